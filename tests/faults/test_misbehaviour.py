"""SLS files that misbehave: whatever they do to the tree, to processes or to the disk, the promise holds."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from corpushooks.system.process import carrying, run
from tests.support.box import FAILING, Box, tree_of, until
from tests.support.misbehaving import command


def fails(box: Box, script: str, *more: str) -> str:
    """Push a release whose SLS runs a script and see it rolled back; return what was said."""
    before, live = tree_of(box.project().tree), box.row().code
    work = box.work()
    work.commit({"index.html": "two", ".salt/10_bad.sls": command(script), **dict.fromkeys(more, FAILING)})
    pushed = work.push()
    assert pushed.code == 1, pushed.text
    assert pushed.rejected.endswith("; rolled back"), pushed.text
    assert tree_of(box.project().tree) == before
    assert box.ref() == box.row().code == live
    assert not list(box.project().git_dir.rglob("*.lock"))
    work.commit({".salt/10_bad.sls": None, **dict.fromkeys(more)})
    assert work.push().code == 0
    assert (box.project().tree / "index.html").read_text() == "two"
    return pushed.text


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("rm -rf ../project; exit 1", id="removes the project and fails"),
        pytest.param("rm -rf ../project", id="removes the project and calls that a success"),
        pytest.param("mv ../project ../elsewhere; mkdir ../project; echo x > ../project/y; exit 1", id="moves it away"),
        pytest.param("cd lib/deep; rm -rf ../../lib; exit 1", id="stands in a folder that goes"),
        pytest.param("chmod -R 0 .; exit 1", id="shuts everything"),
        pytest.param("rm -rf uploads lib; ln -s /etc uploads; ln -s lib lib; exit 1", id="puts links in the way"),
        pytest.param(
            "find . -type f -exec sh -c 'echo x >> {}' \\;; touch -d 2001-01-01 .; exit 1", id="writes to all"
        ),
        pytest.param("rm -rf ../git/stage ../pillar; exit 1", id="removes what we checked out"),
        pytest.param("rm -rf ../.salt ../git/work.git; exit 1", id="removes the wiring and our git dir"),
        pytest.param(
            "touch ../git/work.git/stage.index.lock ../git/work.git/pillar-stage.index.lock; exit 1", id="locks"
        ),
    ],
)
def test_the_tree_comes_back_whatever_was_done_to_it(live: Box, script: str) -> None:
    fails(live, script)


def test_a_service_that_holds_all_it_got_holds_nothing_of_ours(live: Box) -> None:
    service = f"setsid sh -c 'echo $$ > {live.root}/pid; exec sleep 302' >{live.root}/out 2>&1 &"
    live.work().commit({".salt/10_service.sls": command(service)})
    assert live.work().push().code == 0
    pid = int(until((live.root / "pid").read_text))
    try:
        fds = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
        assert fds <= {"/dev/null", str(live.root / "out")}
        live.work().commit({".salt/10_service.sls": None})
        assert live.work().push().code == 0
        live.stop()
        assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep")
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_deployment_that_takes_too_long_is_stopped_and_rolled_back(live: Box) -> None:
    live.stop()
    live.settings("projects: {hello: {timeout: 2}}\n")
    live.start()
    work, before = live.work(), tree_of(live.project().tree)
    work.commit({".salt/10_long.sls": command("trap '' TERM; while :; do sleep 0.1; done")})
    pushed = work.push()
    assert (pushed.code, pushed.rejected) == (1, "timed out after 2 s (timeout); rolled back")
    assert tree_of(live.project().tree) == before
    assert carrying(f"CORPUS_DEPLOYMENT={live.project().dir}#2") == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "who",
    [
        pytest.param("$PPID", id="the process of the SLS"),
        pytest.param("$(cut -d' ' -f4 /proc/$PPID/stat)", id="the session"),
        pytest.param("$(cut -d' ' -f4 /proc/$(cut -d' ' -f4 /proc/$PPID/stat)/stat)", id="the worker"),
    ],
)
def test_a_command_kills_salt(new_box: Callable[..., Box], who: str) -> None:
    box = new_box(salt=True)
    box.init()
    box.start()
    box.app().push()
    box.ended(1)
    before = tree_of(box.project().tree)
    box.work().commit({"index.html": "two", ".salt/10_kill.sls": command(f"kill -9 {who}; sleep 0.5; exit 1")})
    pushed = box.work().push()
    assert (pushed.code, box.ended(2).state) == (1, "rolled_back")
    assert tree_of(box.project().tree) == before
    box.work().commit({".salt/10_kill.sls": None})
    assert box.work().push().code == 0


# a disk that is full


@pytest.fixture
def small(new_box: Callable[..., Box], tmp_path: Path) -> Iterator[Box]:
    """Return a host on a filesystem of its own that has 96 MiB."""
    if os.geteuid():
        pytest.skip("only root may mount")
    folder = tmp_path / "small"
    folder.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=96m", "none", folder])
    try:
        box = Box(folder)
        box.settings("reserve: 1\n")
        box.init()
        box.start()
        box.app(files={"lib/a.txt": "a" * 9000}).push()
        box.ended(1)
        yield box
        box.stop()
    finally:
        run(["umount", "-l", folder])


FILL = "dd if=/dev/zero of={} bs=64k 2>/dev/null; for n in 1 2 3 4 5 6 7 8 9; do echo x >> {}.$n; done; {}"


@pytest.mark.parametrize("end", ["exit 1", "true"])
@pytest.mark.parametrize("where", ["big", "../data/big"])
def test_an_sls_fills_the_disk(small: Box, where: str, end: str) -> None:
    """Also where it fills a place that no roll back empties: something was kept for that."""
    before, live = tree_of(small.project().tree), small.row().code
    work = small.work()
    fill = command("echo y > lib/a.txt; " + FILL.format(where, where, end))
    work.commit({"lib/a.txt": "b" * 9000, ".salt/10_fill.sls": fill})
    pushed = work.push()
    assert pushed.code == 1, pushed.text
    assert small.ended(2).state == "rolled_back"
    kept = list(small.project().archives.glob("*_2/project.failed"))
    assert f"the failed tree is {'kept: archive 2' if kept else 'not kept'}" in pushed.text
    assert tree_of(small.project().tree) == before
    assert small.ref() == small.row().code == live
    (small.project().data / "big").unlink(missing_ok=True)
    work.commit({".salt/10_fill.sls": None})
    assert work.push().code == 0
