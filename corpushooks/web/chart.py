"""The history of a project as a chart: a bar for each deployment, as high as it took, in the colour of its outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corpushooks.core.deployment import state_of
from corpushooks.screen import view

WIDTH, GAP, HEIGHT, LEAST = 12, 3, 80, 4
MOST = 50  # bars


@dataclass(frozen=True)
class Bar:
    """One deployment."""

    number: int
    x: int
    y: int
    height: int
    sort: str  # ok, failed or other
    says: str


def sort_of(state: str) -> str:
    """Return in which colour a state is shown."""
    known = state_of(state)
    return "ok" if known.succeeded else "failed" if known.failed else "other"


def bars(history: Sequence[Mapping[str, Any]]) -> list[Bar]:
    """Return the bars of a history, which has the newest first: the oldest is on the left."""
    shown, most = _shown(history)[::-1], longest(history) or 1.0
    found = []
    for place, one in enumerate(shown):
        height = max(LEAST, round(HEIGHT * one["took"] / most))
        says = f"{view.named(one)}: {view.outcome(one['state'])}, {one['took']:.1f} s"
        bar = Bar(one["number"], place * (WIDTH + GAP), HEIGHT - height, height, sort_of(one["state"]), says)
        found.append(bar)
    return found


def longest(history: Sequence[Mapping[str, Any]]) -> float:
    """Return how many seconds the highest bar stands for."""
    return max([one["took"] for one in _shown(history)], default=0.0)


def _shown(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [one for one in history if one["took"] is not None][:MOST]
