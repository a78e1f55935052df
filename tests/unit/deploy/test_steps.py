"""What single steps do where it is hard to bring a host: run twice, cut off, overtaken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from corpushooks import git
from corpushooks.core.deployment import DECIDES, DEPLOYED, RUNNING
from corpushooks.core.errors import CancelledError, SaltError, StepError
from corpushooks.core.events import SlsBegan
from corpushooks.deploy import steps
from corpushooks.deploy.progress import NOWHERE
from corpushooks.deploy.run import Run
from corpushooks.release.release import Release
from corpushooks.salt import Result, Session, State
from tests.support.alone import aimed, at_work, commit
from tests.support.box import Box

HEAD = "refs/heads/master"
FAILED = State("app", "app", "cmd.run", False, {}, "no", 0.0, "10_app", 1)


@pytest.fixture
def alone(new_box: Callable[..., Box]) -> Iterator[Run]:
    """Return a deployment of a project in which nothing was deployed."""
    box = new_box()
    box.init()
    with at_work(box) as run:
        yield run


@pytest.fixture
def moving(alone: Run) -> tuple[Run, str, str, str]:
    """Return a deployment from one commit to another, with these, and a third."""
    repo = alone.project.code_git
    old = commit(repo, "old")
    new, other = commit(repo, "new", old), commit(repo, "other", old)
    git.move_ref(repo, HEAD, None, old)
    aimed(alone, old, new)
    return alone, old, new, other


class Answering:
    """A session whose SLS end as told."""

    def __init__(self, answer: Result | SaltError) -> None:
        self._answer = answer

    def __enter__(self) -> Answering:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def run(self, sls: str, **_: Any) -> Result:
        if isinstance(self._answer, SaltError):
            raise self._answer
        return self._answer

    def command(self, sls: str) -> str:
        return f"salt-call state.sls {sls}"


def with_session(run: Run, answer: Result | SaltError) -> Run:
    run.salt.use(cast(Session, Answering(answer)))
    run.salt.release = cast(Release, object())
    return run


# refs


@pytest.mark.parametrize("before", ["old", "new"])
def test_publishing_moves_the_branch_also_where_that_was_done_before_a_crash(
    moving: tuple[Run, str, str, str], before: str
) -> None:
    run, old, new, _ = moving
    if before == "new":
        git.move_ref(run.project.code_git, HEAD, old, new)
    assert steps.publish(run, NOWHERE).note == f"master {new[:7]}"
    assert git.ref(run.project.code_git, HEAD) == new
    assert run.deployment.state == DEPLOYED and run.site.known("hello").code == new


def test_a_branch_that_somebody_moved_meanwhile_is_not_published(moving: tuple[Run, str, str, str]) -> None:
    run, old, _, other = moving
    git.move_ref(run.project.code_git, HEAD, old, other)
    with pytest.raises(StepError, match="moved meanwhile") as caught:
        steps.publish(run, NOWHERE)
    assert caught.value.summary == "publish failed"
    assert git.ref(run.project.code_git, HEAD) == other
    assert run.deployment.state == RUNNING and run.site.known("hello").code is None


@pytest.mark.parametrize("decided", [True, False])
def test_a_ref_is_taken_back_where_it_may_have_been_moved(moving: tuple[Run, str, str, str], decided: bool) -> None:
    run, old, new, _ = moving
    git.move_ref(run.project.code_git, HEAD, old, new)
    if decided:
        run.site.history.begin(run.deployment, DECIDES)
    steps.take_back_refs(run, NOWHERE)
    steps.take_back_refs(run, NOWHERE)
    assert git.ref(run.project.code_git, HEAD) == (old if decided else new)


# SLS


def test_an_sls_that_fails_is_named_with_its_states(alone: Run) -> None:
    run = with_session(alone, Result("10_app", (FAILED,), (), ok=False))
    with pytest.raises(StepError) as caught:
        steps.run_sls(run, SlsBegan("10_app", "install"))
    assert (caught.value.message, caught.value.summary) == ("install 10_app failed: app", "install 10_app failed")


def test_salt_that_ends_is_told_from_a_state_that_fails(alone: Run) -> None:
    run = with_session(alone, SaltError("Salt was killed"))
    with pytest.raises(StepError, match=r"^fixperms\.sls: Salt was killed$") as caught:
        steps.run_sls(run, SlsBegan("fixperms", "hook"))
    assert isinstance(caught.value.__cause__, SaltError)


def test_salt_that_ends_since_it_was_stopped_is_a_cancellation(alone: Run) -> None:
    run = with_session(alone, SaltError("Salt was stopped"))
    asked = run.deadline.check

    def cancelled_meanwhile() -> None:
        asked()
        run.deadline.cancelled.set()  # between this look and the end of Salt

    run.deadline.check = cancelled_meanwhile  # type: ignore[method-assign]
    with pytest.raises(CancelledError, match="cancelled by somebody"):
        steps.run_sls(run, SlsBegan("10_app", "install"))


def test_the_name_of_an_sls_shows_no_secret(alone: Run) -> None:
    alone.voice.log.redactor.know(["hunter2-first"])
    assert "hunter2" not in steps._named(alone, SlsBegan("10_hunter2-first", "install"))


# fixperms before install


ENDS = {
    "a state that fails": (StepError("fixperms.sls failed", why="x"), None),
    "a cancellation": (CancelledError("cancelled by ann"), CancelledError),
    "Salt that ends": (StepError("fixperms.sls", why="Salt was killed"), StepError),
}


@pytest.mark.parametrize("end", ENDS)
def test_before_install_only_a_state_that_fails_is_a_warning(
    alone: Run, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    error, raised = ENDS[end]
    error.__cause__ = SaltError("it ended") if end == "Salt that ends" else None
    warned: list[str] = []

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(steps, "fixperms", fails)
    monkeypatch.setattr(alone.voice, "warn", lambda *texts: warned.extend(texts))
    if raised:
        with pytest.raises(raised):
            steps.fixperms_before(alone, NOWHERE)
        assert not warned
    else:
        assert steps.fixperms_before(alone, NOWHERE).note == "failed"
        assert warned == ["fixperms.sls failed: x; it runs again after install"]
