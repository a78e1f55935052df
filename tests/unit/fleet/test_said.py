"""What a rollout shows of its nodes: a failure once, with its reason, whatever was heard of it and in which order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from corpushooks.core.rollouts import (
    BACK,
    BROKEN,
    HELD,
    LIVE,
    PREPARED,
    RETURNING,
    SWITCHING,
    UNTOUCHED,
    Ordered,
    by_controller,
    was_revoked,
)
from corpushooks.fleet.said import Said
from corpushooks.screen import words
from corpushooks.screen.rows import BOTH

WHY, LINES = "install 10_app failed: key", ("FAILED key", "exit code 1")
REVOKED = f"cancelled by {by_controller('main')}"


def shown(answers: Sequence[Ordered], *, blamed: bool = True) -> list[str]:
    """Return what a terminal shows of the answers of one node, and the whole log in parentheses."""
    said, lines = Said(), []
    for each in answers:
        for event in said.came("n1", each, blamed=blamed, canary=False):
            for line in words.node(event):
                lines.append(
                    " ".join(line.text.split()) if line.readers == BOTH else f"({' '.join(line.text.split())})"
                )
    return lines


def test_a_reason_is_shown_in_full() -> None:
    why = "health check https://shop.example.org/health failed: the certificate expired on Friday"
    *lines, last = shown([Ordered(phase=BACK, reason=why)])
    assert (" ".join(lines), last) == (f"n1 FAILED: {why}", "(n1 rolled back)")
    assert len(lines) > 1


def heard(phases: Sequence[str], reason: str = WHY) -> list[Ordered]:
    ends = (RETURNING, BACK, BROKEN, UNTOUCHED)
    return [
        Ordered(phase=phase, reason=reason, lines=LINES, revoked=was_revoked(reason))
        if phase in ends else Ordered(phase=phase) for phase in phases
    ]  # fmt: skip


def some(*phases: str) -> list[tuple[str, ...]]:
    """Return what can be heard if any question but the last can come too late for a phase."""
    *early, last = phases
    return [(*kept, last) for n in range(len(early) + 1) for kept in itertools.combinations(early, n)]


@pytest.mark.parametrize("phases", some(PREPARED, SWITCHING, HELD, RETURNING, BACK))
def test_a_failure_is_shown_once_whatever_was_heard(phases: tuple[str, ...]) -> None:
    found = [line for line in shown(heard(phases)) if not line.startswith("(")]
    assert found == [*(["n1 healthy"] if HELD in phases else []), f"n1 FAILED: {WHY}", *(f"n1 {x}" for x in LINES)]


@pytest.mark.parametrize("phases", some(SWITCHING, RETURNING, BROKEN))
def test_a_rollback_that_fails_is_shown_after_why(phases: tuple[str, ...]) -> None:
    found = shown(heard(phases))
    assert found[0] == f"n1 FAILED: {WHY}"
    assert " ".join(found).endswith(f"n1 THE ROLLBACK FAILED: {WHY}")
    assert " ".join(found).count("ROLLBACK") == 1


def test_a_node_that_was_told_to_go_back_has_not_failed() -> None:
    for phases in some(SWITCHING, RETURNING, BACK):
        assert shown(heard(phases, REVOKED)) == ["(n1 rolled back)"]
    assert shown(heard([UNTOUCHED], "the controller revoked the rollout; nothing was changed")) == ["(n1 untouched)"]


def test_a_failure_before_anything_was_touched_has_its_reason() -> None:
    wrong = "pillar.git: init.sls line 3: wrong"
    assert shown(heard([PREPARED, UNTOUCHED], wrong), blamed=False) == ["(n1 prepared)", f"n1 FAILED: {wrong}"]


def test_a_failure_without_lines_and_one_that_is_not_the_first_are_shown_too() -> None:
    assert shown([Ordered(phase=RETURNING, reason="sync failed")], blamed=False) == ["n1 FAILED: sync failed"]
    assert shown(heard([RETURNING, BACK]), blamed=False) == [f"n1 FAILED: {WHY}", "(n1 rolled back)"]
    assert shown([Ordered(phase=LIVE)]) == ["(n1 live)"]
