"""Where edits are not deployed, and what of one that ends before its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from corpushooks.core.errors import BrokenError, CorpusError, DoorError, RefusedError, StepError, UsageError
from corpushooks.deploy import inplace
from corpushooks.deploy.run import Run
from corpushooks.release import edits
from tests.support.alone import at_work
from tests.support.box import Box


@pytest.fixture
def alone(new_box: Callable[..., Box]) -> Iterator[Run]:
    """Return a deployment of edits."""
    box = new_box()
    box.init(env="dev")
    with at_work(box, kind="edit") as run:
        run.row = replace(run.row, tree_code="a" * 40)
        yield run


REFUSED: dict[str, tuple[dict[str, object], type[CorpusError]]] = {
    "prod": ({"environment": "prod"}, UsageError),
    "broken": ({"broken": "why"}, BrokenError),
    "nothing deployed": ({"tree_code": None}, RefusedError),
}


@pytest.mark.parametrize("case", REFUSED)
def test_edits_are_deployed_in_dev_over_a_release_that_is_whole(alone: Run, case: str) -> None:
    inplace._check(alone)
    changed, error = REFUSED[case]
    alone.row = replace(alone.row, **changed)  # type: ignore[arg-type]
    with pytest.raises(error):
        inplace._check(alone)


@pytest.mark.parametrize("stopping", [False, True])
@pytest.mark.parametrize("error", [None, StepError("install 10_app failed", why="app")], ids=["done", "failed"])
def test_what_was_tried_counts_as_deployed_unless_the_next_daemon_goes_on(
    alone: Run, monkeypatch: pytest.MonkeyPatch, error: StepError | None, stopping: bool
) -> None:
    ran: list[str] = []

    def perform(self: object, run: Run, step: object) -> None:
        if error:
            raise error

    monkeypatch.setattr(edits, "look", lambda *_: {})
    monkeypatch.setattr(edits, "ran", lambda *_: ran.append("ran"))
    monkeypatch.setattr(inplace.Procedure, "perform", perform)
    alone.site.stopping = stopping
    if error:
        with pytest.raises(StepError):
            inplace._run_steps(alone)
    else:
        inplace._run_steps(alone)
    assert ran == ([] if stopping else ["ran"])


def test_somebody_who_saves_just_then_changes_no_outcome(alone: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(*_: object) -> None:
        raise DoorError("it was written meanwhile")

    monkeypatch.setattr(edits, "look", lambda *_: {})
    monkeypatch.setattr(edits, "ran", moved)
    monkeypatch.setattr(inplace.Procedure, "perform", lambda *_: None)
    inplace._run_steps(alone)


def test_who_saved_what_fails_is_told_that_it_stays(alone: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise StepError("install 10_app failed", why="app")

    monkeypatch.setattr(inplace, "_run_steps", fails)
    inplace.edit(alone)
    done = alone.deployment
    assert (done.state, done.reason, done.summary) == ("failed", "install 10_app failed: app", "install 10_app failed")
    assert "nothing was rolled back; save a corrected file" in alone.voice.log.path.read_text()
