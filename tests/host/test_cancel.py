"""`corpus cancel`, wherever a deployment is: it ends within seconds, rolled back, and says who wanted that."""

from __future__ import annotations

import getpass
import os
import signal
import threading
from typing import Any

import pytest

from corpushooks.core.errors import RefusedError
from corpushooks.system.process import carrying, group_alive
from tests.support.box import FAILING, Box, tree_of, until

DEAF = """\
deaf:
  cmd.run:
    - name: |
        trap "" TERM
        echo $$ > {0}/pid
        while :; do sleep 0.1; done
"""


def cancelled(box: Box, name: str = "hello") -> dict[str, Any]:
    return box.ask(op="cancel", project=name)


def held(box: Box, label: str, when: str) -> list[dict[str, Any]]:
    """Push into a deployment that stands still at an effect, cancel it there, let it go on; return what cancel said."""
    box.work().commit({"index.html": "two", ".salt/10_more.sls": "{}\n"})
    box.faults((label, when, "wait"))
    push = box.work().start_push()
    until(box.happened)
    told: list[dict[str, Any]] = []
    canceller = threading.Thread(target=lambda: told.append(cancelled(box)))
    canceller.start()
    until(lambda: box.deployment(2).cancelled)
    (box.host.root / "gate").touch()
    canceller.join(30)
    assert push.wait(30) == (0 if told[0]["state"] == "deployed" else 1)
    return told


@pytest.mark.parametrize(
    ("label", "when", "state"),
    [
        ("aim", "after", "refused"),
        ("check syntax", "before", "refused"),
        ("layout", "after", "refused"),
        ("snapshot", "after", "refused"),
        ("checkout stage", "before", "rolled_back"),
        ("sync tree", "after", "rolled_back"),
        ("compute cfg", "before", "rolled_back"),
        ("permissions", "after", "rolled_back"),
        ("SLS", "before", "rolled_back"),
        ("SLS", "after", "rolled_back"),
        ("5 fixperms", "after", "rolled_back"),
    ],
)
def test_a_deployment_is_cancelled_in_any_step(box: Box, label: str, when: str, state: str) -> None:
    box.app().push()
    box.ended(1)
    old, before = box.work().head, tree_of(box.project().tree)
    told = held(box, label, when)
    done = box.ended(2)
    assert told[0]["state"] == done.state == state
    assert done.reason == f"cancelled by {getpass.getuser()}"
    assert tree_of(box.project().tree) == before
    assert (box.ref(), box.row().live) == (old, 1)
    assert box.work().push().code == 0


@pytest.mark.parametrize(("label", "when"), [("6 publish", "before"), ("move ref", "after")])
def test_what_is_being_published_is_not_cancelled_any_more(box: Box, label: str, when: str) -> None:
    box.app().push()
    box.ended(1)
    assert held(box, label, when)[0]["state"] == "deployed"
    assert box.ref() == box.row().code == box.work().head
    assert "success: hello is live" in box.log(2)


def test_a_roll_back_is_not_cancelled_nor_what_waits_behind_it(box: Box) -> None:
    box.app().push()
    box.work().commit({".salt/10_broken.sls": FAILING})
    box.faults(("undo restore", "before", "wait"))
    first = box.work().start_push()
    until(box.happened)
    second = box.work().start_push("HEAD:refs/deploy/now")
    until(lambda: box.exists(3))
    with pytest.raises(RefusedError, match="deployment 2 is rolling back"):
        cancelled(box)
    assert box.deployment(3).state == "queued"
    (box.host.root / "gate").touch()
    assert (first.wait(30), second.wait(30)) == (1, 1)


@pytest.mark.parametrize("engine", ["fake", "warm", "salt-call"])
def test_what_is_deaf_to_a_request_to_end_is_killed(new_box: Any, engine: str) -> None:
    """A salt-call that exits with 0 because it was told to end is no success either."""
    box = new_box(salt=engine != "fake")
    box.settings(f"engine: {'warm' if engine == 'fake' else engine}\n")
    box.init()
    box.start()
    box.app().push()
    box.ended(1)
    before = tree_of(box.project().tree)
    box.work().commit({"index.html": "two", ".salt/10_deaf.sls": DEAF.format(box.root)})
    push = box.work().start_push()
    until((box.root / "pid").exists, 60)
    assert cancelled(box)["state"] == "rolled_back"
    assert push.wait(30) == 1
    assert tree_of(box.project().tree) == before
    assert carrying(f"CORPUS_DEPLOYMENT={box.project().dir}#2") == set()


@pytest.mark.parametrize("engine", ["fake", "warm"])
def test_what_left_the_group_is_left_alone_and_named(new_box: Any, engine: str) -> None:
    box = new_box(salt=engine != "fake")
    box.init()
    box.start()
    box.app().push()
    service = f"setsid sh -c 'echo $$ > {box.root}/pid; exec sleep 301' >{box.root}/out 2>&1 </dev/null & sleep 300"
    box.work().commit({".salt/10_service.sls": f"service:\n  cmd.run:\n    - name: {service}\n"})
    push = box.work().start_push()
    until(lambda: (box.root / "pid").exists() and (box.root / "pid").read_text(), 60)
    cancelled(box)
    assert push.wait(30) == 1
    pids = carrying(f"CORPUS_DEPLOYMENT={box.project().dir}#2")
    try:
        assert len(pids) == 1
        assert f"warning: left running (service): sleep 301 (pid {min(pids)})" in box.log(2)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


def test_room_that_is_being_made_can_be_cancelled(box: Box) -> None:
    box.app().push()
    box.stop()
    box.settings(f"reserve: 100000000\nenlarge: [sh, -c, 'echo $$ > {box.root}/pid; sleep 300 & wait']\n")
    box.start()
    box.work().commit({"index.html": "two"})
    push = box.work().start_push()
    until(lambda: (box.root / "pid").exists() and (box.root / "pid").read_text())
    assert cancelled(box)["state"] == "refused"
    assert push.wait(30) == 1
    assert not group_alive(int((box.root / "pid").read_text()))
