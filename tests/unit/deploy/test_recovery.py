"""What of a deployment that was interrupted is found again: its processes, and how far it came."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from corpushooks import git
from corpushooks.core.deployment import DECIDES, TOUCHES, ChildRow
from corpushooks.deploy import deploy, recovery
from corpushooks.deploy.run import Run
from corpushooks.system.process import spawn, start_time
from tests.support.alone import at_work
from tests.support.box import Box


@pytest.fixture
def alone(new_box: Callable[..., Box]) -> Iterator[Run]:
    """Return a deployment of a project in which nothing was deployed."""
    box = new_box()
    box.init()
    with at_work(box) as run:
        yield run


@pytest.mark.parametrize("same", [True, False], ids=["the process", "another that has its pid"])
def test_only_the_process_that_a_deployment_left_is_stopped(alone: Run, same: bool) -> None:
    child = spawn(["sleep", "100"])
    start = start_time(child.pid)
    assert start is not None
    row = ChildRow(child.pid, start if same else start - 1, child.pid)
    alone.site.history.add_child(alone.deployment, row)
    recovery.stop_children(alone.site, alone.deployment)
    try:
        assert (child.poll() is None) is not same
    finally:
        child.kill()
        child.wait(20)


WAYS: dict[tuple[str, ...], str] = {  # what had begun -> what is done
    (): "refuse",
    ("archive",): "refuse",
    ("archive", TOUCHES): "roll_back",
    ("archive", TOUCHES, "fixperms", "install"): "roll_back",
    ("archive", TOUCHES, "fixperms", "install", "fixperms", DECIDES): "go_on",
}


@pytest.mark.parametrize("begun", WAYS, ids=lambda begun: begun[-1] if begun else "nothing")
def test_two_rows_of_the_journal_say_where_an_interrupted_deployment_goes(
    alone: Run, monkeypatch: pytest.MonkeyPatch, begun: tuple[str, ...]
) -> None:
    done: list[tuple[str, Any]] = []
    for name in ("refuse", "roll_back", "go_on"):
        monkeypatch.setattr(deploy, name, lambda run, what, name=name: done.append((name, what)))
    monkeypatch.setattr(git, "distrust", lambda path: None)
    for step in begun:
        alone.site.history.begin(alone.deployment, step)
    recovery.recover(alone)
    ((way, what),) = done
    assert way == WAYS[begun]
    if way == "go_on":
        assert [step.name for step in what] == [DECIDES, "rotate", "notify"]
    else:
        assert what.summary.startswith("interrupted")


def test_what_is_no_release_is_asked_for_again(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.init()
    with at_work(box, kind="task", task="tidy") as run:
        recovery.recover(run)
        done = run.deployment
        said = run.voice.log.path.read_text()
    assert (done.state, done.summary) == ("failed", "interrupted")
    assert "run the task again" in said
