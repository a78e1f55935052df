"""Faults that were found once, each where several parts meet."""

from __future__ import annotations

import shutil
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from corpushooks import git
from corpushooks.core.deployment import REFUSED, Request
from corpushooks.core.settings import Settings
from corpushooks.deploy.lanes import Lanes
from corpushooks.host.site import Site
from corpushooks.release import release
from corpushooks.system.process import spawn
from tests.support.box import FAILING, Box, until


def wait_for(gate: Path) -> str:
    return f"gate:\n  cmd.run:\n    - name: while ! test -e {gate}; do sleep 0.05; done\n"


def deploy_broken(box: Box, label: str) -> None:
    """Have a roll back fail, so that the project is broken."""
    box.stop()
    box.start(label, "before", "EIO")
    assert box.work().push().code == 1


def repair(box: Box, token: str) -> str:
    return str(box.ask(op="repair", project="hello", token=token)["state"])


def test_repair_undoes_the_deployment_that_broke_the_project_and_no_older_one(box: Box) -> None:
    work = box.app()
    work.push()
    for page in ("two", "three"):
        work.commit({"index.html": page, ".salt/10_broken.sls": FAILING})
        deploy_broken(box, "undo restore")
        assert repair(box, page) == "done"
        assert (box.project().tree / "index.html").read_text() == ("one" if page == "two" else "good two")
        work.commit({"index.html": f"good {page}", ".salt/10_broken.sls": None})
        assert work.push().code == 0
    assert repair(box, "nothing is broken") == "done"
    assert (box.project().tree / "index.html").read_text() == "good three"


def test_plan_of_a_folder_that_becomes_a_file_breaks_nothing(box: Box) -> None:
    work = box.app(files={"d/x": "x", "f": "x"})
    work.push()
    work.git("rm", "-r", "--quiet", "d", "f")
    work.commit({"d": "a file now", "f/x": "a folder now"})
    assert work.push("HEAD:refs/deploy/plan").code == 0
    assert box.row().broken is None
    assert work.push().code == 0


@pytest.mark.parametrize("name", ["10_\udcff", "10_\x1b]0;pwned\x07", "10 x"])
def test_an_sls_with_an_odd_name_is_refused_in_plain_text(box: Box, name: str) -> None:
    work = box.app(files={f".salt/{name}.sls": "a: {% if %}\n"})
    pushed = work.push()
    assert pushed.code == 1
    assert "invalid SLS name" in pushed.rejected
    assert "\x1b" not in pushed.text and "\x07" not in pushed.text
    assert box.row().broken is None


def test_an_sls_that_is_a_link_is_refused(box: Box) -> None:
    work = box.app()
    (work.path / ".salt/20_link.sls").symlink_to("/etc/passwd")
    work.commit()
    assert work.push().rejected == ".salt/20_link.sls is a symbolic link"


def test_a_log_that_is_torn_in_the_middle_stops_no_recovery(box: Box) -> None:
    box.app().push()
    box.ended(1)
    gate = box.root / "gate"
    box.work().commit({".salt/10_gate.sls": wait_for(gate)})
    push = box.work().start_push()
    until(lambda: box.exists(2) and "install 00_page" in box.log(2))
    box.kill()
    path = box.project().log_file(2)
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(b"{" * len(first) + b"\n" + rest)
    box.revive()
    assert push.wait(60) == 1
    assert box.ended(2).state == "rolled_back"
    gate.touch()
    assert box.work().push().code == 0


def test_a_daemon_that_is_told_to_stop_starts_nothing_more(new_box: Callable[..., Box]) -> None:
    box, gate = new_box(), Path()
    gate = box.root / "gate"
    box.settings("max_parallel: 1\n")
    names = ["a", "b", "c"]
    for name in names:
        box.init(name)
    box.start()
    for name in names:
        box.app(name=name, files={".salt/10_gate.sls": wait_for(gate)})
        assert box.work(name).push(options=("nowait",)).code == 0
    running = until(lambda: [name for name in names if box.deployment(1, name).state == "running"])
    assert box.daemon is not None
    box.daemon.terminate()
    until(lambda: not box.host.socket.exists() or not listens(box))
    gate.touch()
    box.daemon.wait(30)
    box.daemon = None
    states = {name: box.deployment(1, name).state for name in names}
    assert states == {name: "deployed" if name in running else "queued" for name in names}
    box.start()
    assert [box.ended(1, name).state for name in names] == ["deployed"] * 3


def listens(box: Box) -> bool:
    try:
        return box.reachable()
    except Exception:
        return False


class Stoppable:
    """A session and its engine, which note that they were stopped."""

    stopped = False

    def __init__(self) -> None:
        self.may_open = threading.Event()
        self.may_open.set()

    def session(self, minion: object, listener: object) -> Stoppable:
        assert self.may_open.wait(20)
        return self

    def __enter__(self) -> Stoppable:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def prepare(self) -> None:
        pass

    def stop(self) -> None:
        self.stopped = True


def test_cancelling_before_there_is_a_session_stops_the_one_that_comes(box: Box, tmp_path: Path) -> None:
    engine = Stoppable()
    site = Site(box.host, Settings(), box.history, engine)  # type: ignore[arg-type]
    deployment = site.history.enqueue("hello", Request(token="t", kind="task"))
    with Lanes(site, {}).opened(deployment) as run:
        run.cancel()
        assert not engine.stopped
        run.salt.open(release.live(run.project, "prod"))
        assert engine.stopped
    site.history.close()


def test_cancelling_while_a_session_opens_beside_stops_it_too(box: Box) -> None:
    engine = Stoppable()
    site = Site(box.host, Settings(), box.history, engine)  # type: ignore[arg-type]
    deployment = site.history.enqueue("hello", Request(token="t", kind="task"))
    engine.may_open.clear()
    with Lanes(site, {}).opened(deployment) as run:
        run.salt.begin(release.live(run.project, "prod"))
        run.cancel()
        engine.may_open.set()
        assert run.salt.session
        assert engine.stopped
    site.history.close()


def test_without_salt_a_push_is_refused_before_anything_is_touched(new_box: Callable[..., Box]) -> None:
    box = new_box(salt=True)
    box.init()
    box.start()
    assert box.app().push().code == 0
    box.stop()
    box.settings("salt_python: /bin/false\n")
    box.start()
    box.work().commit({"other": "x"})
    push = box.work().push()
    assert (push.code, "the Salt worker" in push.text) == (1, True), push.text  # it died, or cannot be started
    assert (box.ended(2).state, box.steps(2)) == (REFUSED, [])


def test_a_daemon_that_starts_leaves_a_deployment_of_the_command_alone(new_box: Callable[..., Box]) -> None:
    box = new_box(salt=True)
    box.init()
    gate = box.root / "gate"
    work = box.app(files={".salt/10_gate.sls": wait_for(gate)})
    assert work.push("HEAD:topic").code == 0
    box.stop()
    here = [sys.executable, "-m", "corpushooks", "--root", box.host.root, "deploy", "hello", work.head, "--here"]
    child = spawn(here)
    until(lambda: box.exists(1) and "install 10_gate" in box.steps(1), 60)
    box.start()
    gate.touch()
    assert child.wait(60) == 0
    assert box.row().live == 1


def test_a_branch_below_ours_is_refused(box: Box) -> None:
    work = box.app()
    assert work.push("HEAD:refs/heads/master/x").rejected == "it conflicts with refs/heads/master"
    assert work.push().code == 0


def test_a_project_folder_that_is_gone_is_made_again(box: Box) -> None:
    work = box.app()
    work.push()
    box.ended(1)
    shutil.rmtree(box.project().tree)
    work.commit({"new.txt": "x"})
    assert work.push().code == 0
    assert (box.project().tree / "index.html").exists()


def test_pins_stay_only_for_what_can_return(box: Box) -> None:
    work = box.app()
    work.push()
    work.push("HEAD:refs/deploy/plan")
    work.commit({".salt/10.a.sls": ""})
    work.push()
    box.ended(2)
    assert git.pins(box.project().code_git) == [1]


def test_others_read_no_pillar(box: Box) -> None:
    assert stat.S_IMODE(box.project().pillar_git.stat().st_mode) == 0o700


def test_many_who_wait_get_the_outcome_of_the_next_daemon(box: Box) -> None:
    gate = box.root / "gate"
    work = box.app(files={".salt/10_gate.sls": wait_for(gate)})
    pushes = [work.start_push()]
    until(lambda: box.exists(1) and box.deployment(1).state == "running")
    pushes += [work.start_push("HEAD:refs/deploy/now") for _ in range(10)]
    until(lambda: box.exists(11))
    assert box.daemon is not None
    box.daemon.terminate()
    gate.touch()
    box.daemon.wait(30)
    box.daemon = None
    assert [push.wait(90) for push in pushes] == [0] * 11
    assert [box.ended(number).state for number in range(1, 12)] == ["deployed"] * 11
