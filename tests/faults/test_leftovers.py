"""Processes that a deployment leaves in a session of their own: what works in project/ is stopped before a restore."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from corpushooks.system import leftovers, proc
from corpushooks.system.process import Child, carrying, group_alive, spawn, start_time
from tests.support.box import FAILING, Box, tree_of, until

ROOT = os.geteuid() == 0
LOOP = "while :; do date >> {tree}/tick; sleep 0.02; done"
MAPPED = (
    "import mmap, os, time; f = os.open('{tree}/tick', os.O_RDWR | os.O_CREAT); os.ftruncate(f, 99);"
    " m = mmap.mmap(f, 99); os.close(f)\nwhile True: m[:8] = b'%08d' % (time.monotonic_ns() % 10**8); time.sleep(0.02)"
)
SCRIPTS = {  # a program's text in /bin/sh, and where it is run
    "writes again and again": (LOOP.replace("{tree}/", ""), "{tree}"),
    "names the file that it writes": (LOOP, "/"),
    "holds a file open": ("exec 3>> tick; cd /; exec {python} {root}/holds", "{tree}"),
    "is deaf": ('trap "" TERM HUP INT; ' + LOOP.replace("{tree}/", ""), "{tree}"),
    "is halted": ("echo begun >> tick; kill -STOP $$; " + LOOP.replace("{tree}/", ""), "{tree}"),
    "forks when it is told to end": (
        "trap '(" + LOOP.replace("{tree}/", "") + ") & exit' TERM; echo begun >> tick; while :; do sleep 0.02; done",
        "{tree}",
    ),
    "forks all the time": ("while :; do (sleep 0.2; date >> tick) & sleep 0.02; done", "{tree}"),
    "forks twice": ("(setsid sh -c '" + LOOP.replace("{tree}/", "") + "' &) &", "{tree}"),
    "clears the environment of a child": ("env -i /bin/sh -c '" + LOOP.replace("{tree}/", "") + "' & wait", "{tree}"),
    "has a file mapped": ("exec {python} {root}/mapped", "/"),
    "holds the folder open": ("exec {python} {root}/beside", "/"),
    "waits for a child without its mark": ("env -i {python} {root}/opens & wait", "/"),
    "waits for a child elsewhere without its mark": ("env -i setsid {python} {root}/opens & wait", "/"),
}
BESIDE = """\
import os, time
folder = os.open("{tree}", os.O_RDONLY)
while True:
    file = os.open("tick", os.O_WRONLY | os.O_CREAT | os.O_APPEND, dir_fd=folder)
    os.write(file, b"x")
    os.close(file)
    time.sleep(0.02)
"""
OPENS = """\
import os, time
file = os.open("{tree}/tick", os.O_WRONLY | os.O_CREAT)
while True:
    os.write(file, b"x")
    time.sleep(0.02)
"""
HOLDS = "import os, time\nwhile True: os.write(3, b'x'); time.sleep(0.02)\n"
SLS = """\
leaves:
  cmd.run:
    - name: |
        setsid sh -c "$(cat {script})" >/dev/null 2>&1 </dev/null &
        while ! test -s {tree}/tick; do sleep 0.02; done
    - cwd: {cwd}
"""


def leaving(box: Box, what: str, then: str = "") -> dict[str, str]:
    """Return the SLS of a release that leaves a process, and then fails or does something else."""
    script, cwd = SCRIPTS[what]
    words = {"tree": str(box.project().tree), "root": str(box.root), "python": sys.executable}
    (box.root / "holds").write_text(HOLDS)
    (box.root / "mapped").write_text(MAPPED.format(**words))
    (box.root / "beside").write_text(BESIDE.format(**words))
    (box.root / "opens").write_text(OPENS.format(**words))
    (box.root / "script").write_text(script.format(**words))
    sls = SLS.format(script=box.root / "script", cwd=cwd.format(**words), tree=box.project().tree)
    return {"index.html": "two", ".salt/10_leaves.sls": sls, ".salt/20_then.sls": then or FAILING}


def at_work(box: Box) -> set[int]:
    """Return the pids of what works in project/, whatever its environment is."""
    tree = str(box.project().tree)
    found = set()
    for pid in proc.processes():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            names = (tree, *(str(box.root / name) for name in ("holds", "mapped", "beside", "opens")))
            if os.readlink(f"/proc/{pid}/cwd").startswith(tree) or any(os.fsencode(name) in words for name in names):
                found.add(pid)
    return found


@pytest.fixture
def box(new_box: Callable[..., Box]) -> Iterator[Box]:
    """Return a host with the project `hello`, from which nobody is left."""
    box: Box = new_box()
    box.init()
    box.start()
    yield box
    for pid in at_work(box) | carrying(f"CORPUS_DEPLOYMENT={box.project().dir}#2"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("what", SCRIPTS)
def test_what_was_left_at_work_in_the_tree_is_stopped_before_the_restore(box: Box, what: str) -> None:
    box.app().push()
    box.ended(1)
    before = tree_of(box.project().tree)
    box.work().commit(leaving(box, what))
    pushed = box.work().push()
    assert (pushed.code, "rolled back to" in pushed.text) == (1, True)
    assert "warning: stopped in project/: " in pushed.text
    assert at_work(box) == set()
    assert tree_of(box.project().tree) == before
    kept = next(box.project().archives.glob("*_2")) / "project.failed/tick"
    assert kept.exists()


def test_a_service_with_a_pid_file_is_left_with_what_it_starts_and_named(box: Box) -> None:
    box.app().push()
    box.ended(1)
    (box.host.root / "run/hello").mkdir(parents=True)
    service = f"echo $$ > {box.host.root}/run/hello/service.pid; sleep 1001 & echo begun >> tick; sleep 1002"
    box.work().commit(leaving(box, "is deaf"))
    (box.root / "script").write_text(service)
    pushed = box.work().push()
    left = carrying(f"CORPUS_DEPLOYMENT={box.project().dir}#2")
    assert pushed.code == 1
    assert len(left) == 3
    for pid in left:
        assert f"(pid {pid})" in pushed.text
    assert "stopped in" not in pushed.text
    assert "warning: left running (service): sleep 1001 (pid " in pushed.text


def test_what_succeeds_leaves_what_it_left(box: Box) -> None:
    box.app().push()
    box.ended(1)
    box.work().commit(leaving(box, "writes again and again", "fine:\n  test.nop: []\n"))
    assert box.work().push().code == 0
    box.ended(2)
    assert at_work(box)


@pytest.mark.parametrize("kind", ["deploy", "task"])
def test_a_cancel_stops_it_too(box: Box, kind: str) -> None:
    wait = f"wait:\n  cmd.run:\n    - name: touch {box.root}/waits; sleep 1000\n"
    box.app().push()
    box.ended(1)
    files = leaving(box, "writes again and again", wait)
    if kind == "task":
        files = {".salt/task_it.sls": files[".salt/10_leaves.sls"] + wait}
        box.work().commit(files)
        assert box.work().push().code == 0
        box.ended(2)
        box.ask(op="task", project="hello", task="it", token="t", nowait=True)
    else:
        box.work().commit(files)
        push = box.work().start_push()
    until((box.root / "waits").exists)
    assert at_work(box)
    state = box.ask(op="cancel", project="hello")["state"]
    assert state == ("failed" if kind == "task" else "rolled_back")
    if kind == "deploy":
        assert push.wait(30) == 1
    assert at_work(box) == set()
    assert "stopped in project/: " in box.log(3 if kind == "task" else 2)


def test_what_outlived_a_killed_daemon_is_stopped_by_the_next(box: Box) -> None:
    box.app().push()
    box.ended(1)
    before = tree_of(box.project().tree)
    box.work().commit(leaving(box, "is deaf", f"wait:\n  cmd.run:\n    - name: touch {box.root}/waits; sleep 1000\n"))
    assert box.work().push(options=("nowait",)).code == 0
    until((box.root / "waits").exists)
    box.kill()
    box.start()
    assert box.ended(2).state == "rolled_back"
    assert at_work(box) == set()
    assert tree_of(box.project().tree) == before


# which ones


MARK = "CORPUS_DEPLOYMENT=/srv/projects/x#7"


@pytest.fixture
def started() -> Iterator[Callable[..., Child[bytes]]]:
    """Return a starter of processes that end with the test."""
    made: list[Child[bytes]] = []

    def start(script: str, cwd: Path = Path("/"), env: dict[str, str] | None = None) -> Child[bytes]:
        name, _, value = MARK.partition("=")
        made.append(spawn([sys.executable, "-c", script], cwd=cwd, env={name: value} if env is None else env))
        return made[-1]

    yield start
    for child in made:
        child.kill()
        child.wait()


def work(folder: Path, **given: Any) -> leftovers.Work:
    return leftovers.Work(
        **{"mark": MARK, "since": time.time(), "folder": folder, "uid": None, "runs": frozenset(), **given}
    )


@pytest.mark.skipif(not ROOT, reason="takes the right to become somebody else")
def test_what_runs_as_the_applications_user_is_stopped(tmp_path: Path, started: Callable[..., Child[bytes]]) -> None:
    script = "import os, time; os.setuid(65534); print(flush=True); time.sleep(1000)"
    child = started(script)
    until(lambda: "Uid:\t65534" in Path(f"/proc/{child.pid}/status").read_text())
    assert leftovers.stop(work(tmp_path)).left == ((child.pid, f"{sys.executable} -c {script}"),)
    assert [each.pid for each in leftovers.stop(work(tmp_path, uid=65534)).stopped] == [child.pid]


def test_what_goes_on_in_a_thread_when_its_first_ended_is_stopped(
    tmp_path: Path, started: Callable[..., Child[bytes]]
) -> None:
    script = (
        "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(1000,)).start();"
        " ctypes.CDLL(None).syscall(%d, 0)"
    )
    child = started(script % {"x86_64": 60}.get(os.uname().machine, 93), tmp_path)  # exit, of this thread alone
    until(lambda: "State:\tZ" in Path(f"/proc/{child.pid}/status").read_text())
    assert group_alive(child.pid)
    found = leftovers.stop(work(tmp_path))
    assert [each.pid for each in found.stopped] == [child.pid]
    assert found.stopped[0].command.startswith(sys.executable)
    assert not group_alive(child.pid)


def test_what_carries_another_mark_is_not_touched(tmp_path: Path, started: Callable[..., Child[bytes]]) -> None:
    """A folder whose name begins with that of project/ is another one, too."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project2").mkdir()
    other = started("import time; time.sleep(1000)", tmp_path / "project", {"CORPUS_DEPLOYMENT": "/srv/projects/x#70"})
    beside = started("import time; time.sleep(1000)", tmp_path / "project2")
    until(lambda: carrying(MARK))
    found = leftovers.stop(work(tmp_path / "project"))
    assert ([each.pid for each in found.left], found.stopped) == ([beside.pid], ())
    assert other.poll() is beside.poll() is None


def test_what_only_reads_there_is_left(tmp_path: Path, started: Callable[..., Child[bytes]]) -> None:
    (tmp_path / "file").write_text("x")
    child = started("import os, sys, time; f = os.open(os.environ['FILE'], os.O_RDONLY); time.sleep(1000)",
                    env={"CORPUS_DEPLOYMENT": MARK.partition("=")[2], "FILE": str(tmp_path / "file")})  # fmt: skip
    fds = f"/proc/{child.pid}/fd"
    until(lambda: any(os.readlink(f"{fds}/{number}") == str(tmp_path / "file") for number in os.listdir(fds)))
    assert [each.pid for each in leftovers.stop(work(tmp_path)).left] == [child.pid]


def test_what_carries_no_mark_and_writes_there_is_named(tmp_path: Path, started: Callable[..., Child[bytes]]) -> None:
    """It may be somebody's editor. What was there before the deployment is not even named."""
    script = "import os, time; f = os.open(os.environ['FILE'], os.O_WRONLY | os.O_CREAT); time.sleep(1000)"
    child = started(script, env={"FILE": str(tmp_path / "file")})
    until((tmp_path / "file").exists)
    found = leftovers.stop(work(tmp_path, since=time.time() - 60))
    assert ([each.pid for each in found.others], child.poll()) == ([child.pid], None)
    assert leftovers.stop(work(tmp_path, since=time.time() + 60)).others == ()


UNITS = {
    "0::/system.slice/nginx.service\n": "nginx.service",
    "0::/system.slice/nginx.service/worker\n": "nginx.service",
    "0::/user.slice/user-0.slice/session-3.scope\n": "session-3.scope",
    "0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service\n": "web.service",
    "12:pids:/a.service\n1:name=systemd:/system.slice/run-r1.scope\n0::/\n": "run-r1.scope",
    "0::/\n": "",
    "": "",
}


@pytest.mark.parametrize("text", UNITS)
def test_the_unit_of_a_process_is_read_from_its_control_group(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "_read", lambda pid, name: text.encode())
    assert proc.unit(1) == UNITS[text]


@pytest.mark.parametrize(
    ("unit", "is_left"),
    [("web.service", True), ("run-r1.scope", True), ("session-9.scope", False), ("ours.service", False)],
)
def test_what_is_in_a_unit_of_its_own_is_left(
    unit: str, is_left: bool, tmp_path: Path, started: Callable[..., Child[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    child = started("import time; time.sleep(1000)", tmp_path)
    until(lambda: carrying(MARK))
    monkeypatch.setattr(proc, "unit", lambda pid: unit if pid == child.pid else "ours.service")
    found = leftovers.stop(work(tmp_path, since=time.time() + 60))
    assert [each.pid for each in (found.left if is_left else found.stopped)] == [child.pid]


def test_what_cleared_its_environment_is_known_by_our_own_unit(
    tmp_path: Path, started: Callable[..., Child[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody but the daemon starts anything there."""
    child = started("import time; time.sleep(1000)", tmp_path, {})
    units = {os.getpid(): "ours.service", child.pid: "ours.service"}
    monkeypatch.setattr(proc, "unit", lambda pid: units.get(pid, "other.service"))
    assert leftovers.stop(work(tmp_path, since=time.time() + 60)).stopped == ()
    assert [each.pid for each in leftovers.stop(work(tmp_path, since=time.time() - 60)).stopped] == [child.pid]


def test_what_cannot_be_stopped_is_named_in_time(
    tmp_path: Path, started: Callable[..., Child[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    child = started("import time; time.sleep(1000)", tmp_path)
    until(lambda: carrying(MARK))
    monkeypatch.setattr(leftovers, "_send", lambda *_: None)
    monkeypatch.setattr(leftovers, "KILLING", 0.1)
    found = leftovers.stop(work(tmp_path), grace=0.1)
    assert ([each.pid for each in found.deaf], found.stopped, found.left) == ([child.pid], (), ())


def test_a_pid_that_belongs_to_another_process_by_now_gets_no_signal(
    started: Callable[..., Child[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda _, number: sent.append(number))
    child = started("import time; time.sleep(1000)")
    begun = start_time(child.pid)
    assert begun
    leftovers._send(proc.Process(child.pid, begun - 1, 1, 1, "S"), signal.SIGKILL)
    assert sent == []
    leftovers._send(proc.Process(child.pid, begun, 1, 1, "S"), signal.SIGKILL)
    assert sent == [signal.SIGKILL]


def test_pid_files_are_read_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "run/web").mkdir(parents=True)
    (tmp_path / "run/a.pid").write_text("11\n")
    (tmp_path / "run/web/pid").write_text(" 12")
    (tmp_path / "run/postmaster.pid").write_text("13\n/var/lib/data\n1700000000\n")
    (tmp_path / "run/none.pid").write_text("none")
    (tmp_path / "run/15.txt").write_text("15")
    (tmp_path / "outside.pid").write_text("16\n")
    (tmp_path / "run/link.pid").symlink_to(tmp_path / "outside.pid")
    (tmp_path / "run/folder").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "run/fifo.pid")
    assert proc.pids_of_files(tmp_path / "run") == {11, 12, 13}
    assert proc.pids_of_files(tmp_path / "nowhere") == set()
