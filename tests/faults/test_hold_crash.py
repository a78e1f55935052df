"""The daemon killed, and anything that fails, while a deployment is held and at the moment it is confirmed or ended."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from corpushooks.core.deployment import Request
from corpushooks.core.errors import CorpusError, NoDaemonError
from corpushooks.core.settings import Settings
from corpushooks.deploy import deploy
from corpushooks.deploy.lanes import Lanes
from corpushooks.host.site import Site
from corpushooks.operations.acts import ACTS
from corpushooks.protocol import client
from corpushooks.store.history import History
from corpushooks.system.process import Child, run
from tests.support.box import Box, tree_of, until
from tests.support.effects import MOMENTS, parts
from tests.support.engines import FakeEngine
from tests.support.own_log import captured

HELD = [label for label in parts() if label.startswith("hold ")]
STEPS = [f"{index} {step.name}" for index, step in enumerate(deploy.HOLDING.steps, 1)]
AFTER = STEPS[STEPS.index("6 hold") + 1 :]
PUBLISHING = {"7 publish", "move ref", "record live"}
Ask = Callable[[Box, int], None]


def say(box: Box, **request: object) -> None:
    """Ask whatever daemon there is, which may die of it, and start none."""
    with contextlib.suppress(NoDaemonError, OSError), client.connect(box.host) as link:
        link.sendall(json.dumps(request).encode() + b"\n")
        while link.recv(65536):
            pass


def confirm(box: Box, number: int) -> None:
    say(box, op="confirm", project="hello", number=number)


def cancel(box: Box, number: int) -> None:
    say(box, op="cancel", project="hello")


def nothing(box: Box, number: int) -> None:
    """Let it run out."""


# what is asked -> its effects, and how long it is held
FORWARD = {"hold record", "hold notification", "hold confirm", "6 hold", *AFTER, "move ref", "record live"}
CASES = [(confirm, label) for label in sorted(FORWARD)]
CASES += [(cancel, label) for label in ("hold record", "hold cancel", "6 hold", "undo restore")]
CASES += [(nothing, label) for label in ("hold record", "hold back", "6 hold", "undo restore")]


@pytest.fixture
def live(box: Box) -> Box:
    """Return a host with a live release, files of its application, and people who are told what is held."""
    box.stop()
    box.settings("notify: ['json://127.0.0.1:1/']\nnotify_on: [held, success, failure]\n")
    box.start()
    box.app().push()
    box.ended(1)
    (box.project().tree / "uploads").mkdir(mode=0o750)
    (box.project().tree / "uploads/photo").write_text("precious")
    box.work().push("HEAD:refs/deploy/now")  # all has its modes now
    box.ended(2)
    return box


def test_every_effect_of_a_hold_is_tried() -> None:
    assert {label for _, label in CASES} >= set(HELD)


def push(box: Box, page: str, seconds: int) -> Child[bytes]:
    box.work().commit({"index.html": page})
    return box.work().start_push(f"--push-option=confirm={seconds}", "--force", "HEAD:master")


def ask(box: Box, number: int, act: Ask) -> threading.Thread:
    """Ask for something, in a thread, once it is held; the daemon may die of it."""

    def asking() -> None:
        until(lambda: _is_past(box, number, "queued", "running"), 60)
        if act is not nothing:
            until(lambda: act(box, number) or _is_past(box, number, "held"), 60)  # where it failed, once more

    thread = threading.Thread(target=asking, daemon=True)
    thread.start()
    return thread


def _is_past(box: Box, number: int, *states: str) -> bool:
    return box.exists(number) and box.deployment(number).state not in states


def ended(box: Box, number: int) -> bool:
    box.revive()
    return box.exists(number) and box.deployment(number).ended is not None


def tried(box: Box, number: int, act: Ask, faults: list[tuple[str, str, str]], page: str) -> Any:
    """Deploy what is held into faults, with somebody who confirms or cancels; check the promise."""
    tree, live = box.project().tree, box.row().code
    before, old_page = tree_of(tree), (tree / "index.html").read_text()
    box.faults(*faults)
    pushing = push(box, page, 3 if act is nothing else 600)
    asking = ask(box, number, act)
    until(lambda: ended(box, number), 90)
    asking.join(60)
    code = pushing.wait(60)
    done, row = box.deployment(number), box.row()
    deployed = done.state == "deployed"
    assert row.broken is None and code == (0 if deployed else 1)
    fails_to_publish = any(label in PUBLISHING and how != "kill" for label, _, how in faults)
    assert bool(done.confirmed) == ("publish" in box.steps(number))
    assert deployed == bool(done.confirmed) or fails_to_publish
    assert box.ref() == row.code == row.tree_code == (box.work().head if deployed else live)
    after = tree_of(tree)
    assert (tree / "index.html").read_text() == (page if deployed else old_page)
    if deployed:
        for each in (before, after):
            each.pop("."), each.pop("index.html")
        assert box.log(number).count("success: hello is live") == 1
    assert before == after
    assert not list(box.project().git_dir.rglob("*.lock"))
    return done


@pytest.mark.parametrize(("act", "label"), CASES, ids=lambda one: getattr(one, "__name__", one))
def test_a_daemon_is_killed_while_it_holds(live: Box, act: Ask, label: str) -> None:
    for number, when in enumerate(MOMENTS, 3):
        done = tried(live, number, act, [(label, when, "kill")], when)
        if done.held is None:  # killed before it was held
            assert (label, when) in (("6 hold", "before"), ("hold record", "before")) and done.state == "rolled_back"
        else:
            assert done.state == ("deployed" if act is confirm else "rolled_back")
    assert tried(live, 5, confirm, [], "at last").state == "deployed"


FAILING = [(act, label) for act, label in CASES if not label.startswith("undo ")]  # those: tests/faults/test_crash.py


@pytest.mark.parametrize(("act", "label"), FAILING, ids=lambda one: getattr(one, "__name__", one))
def test_an_effect_fails_while_it_holds(live: Box, act: Ask, label: str) -> None:
    number = 2
    for when in MOMENTS:
        for way in ("EIO", "bug"):
            number += 1
            done = tried(live, number, act, [(label, when, way)], f"{when} {way}")
            assert done.state in ("deployed", "rolled_back")
    assert tried(live, number + 1, confirm, [], "at last").state == "deployed"


@pytest.mark.parametrize("act", [confirm, cancel, nothing])
def test_a_daemon_is_killed_again_and_again_while_it_holds(live: Box, act: Ask) -> None:
    pushing = push(live, "two", 8)
    until(lambda: live.exists(3) and live.deployment(3).state == "held")
    until_then = live.deployment(3).until
    for times in (2, 3, 4):
        live.kill()
        live.revive()
        until(lambda times=times: live.steps(3).count("hold") == times)  # type: ignore[misc]
    assert live.deployment(3).until == until_then
    act(live, 3)
    assert pushing.wait(60) == (0 if act is confirm else 1)
    assert live.ended(3).state == ("deployed" if act is confirm else "rolled_back")


def test_a_store_that_is_locked_while_it_holds_changes_nothing(live: Box) -> None:
    live.stop()
    live.work().commit({"index.html": "two"})
    run(["git", "--git-dir", live.project().code_git, "fetch", "--quiet", live.work().path, "HEAD"])
    other = sqlite3.connect(live.host.store, isolation_level=None)
    with captured(), closing(History(live.host.store, patience=0.05)) as store:
        store.enqueue("hello", Request(token="t", new=live.work().head, confirm=600))
        working = Lanes(Site(live.host, Settings(), store, FakeEngine()), ACTS)
        working.wake("hello")
        until(lambda: store.deployment("hello", 3).state == "held")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CorpusError, match="locked"):
            working.confirm("hello", 3, "me")
        assert store.deployment("hello", 3).state == "held"
        other.execute("ROLLBACK")
        assert working.confirm("hello", 3, "me").confirmed == "me"
        until(lambda: not working.busy())
        assert store.deployment("hello", 3).state == "deployed"
    other.close()
