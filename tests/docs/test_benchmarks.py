"""The benchmarks count right; what they measure is on no clock of these tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import measure, phases, rows
from benchmarks.__main__ import NEWEST, newest
from tests.support.places import TOP
from tests.support.shared_box import world

README = TOP / "README.md"


def test_sides_are_measured_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one first each time; the first round does not count."""
    order: list[str] = []
    monkeypatch.setattr("os.sync", lambda: order.append("sync"))

    def side(name: str, *took: float) -> measure.Act:
        left = iter((1000.0, *took))
        return lambda: (order.append(name), next(left))[1]

    found = measure.in_turn(3, side("a", 1, 9, 2), side("b", 5, 5, 6), sync=True)  # type: ignore[arg-type]
    assert found == [2, 5]
    assert order[1::2] == list("abbaabba")
    assert order[::2] == ["sync"] * 8


def test_a_row_says_whether_it_is_as_wanted() -> None:
    assert measure.faster("x", 1, "y", 4, 4).met
    assert not measure.faster("x", 1, "y", 3.9, 4).met
    assert measure.within("x", 4, "y", 1, 4).met
    assert not measure.within("x", 4.1, "y", 1, 4).met
    assert not measure.smaller("x", 6 << 20, "y", 100 << 20, 0.05).met
    shown = measure.table([measure.within("x", 0.0123, "y", 1.5, 2)])
    cells = [cell.strip() for cell in shown.splitlines()[2].split("|")]
    assert cells == ["", "x", "12.3 ms", "y", "1.50 s", "0.01 x", "at most 2 x", "", ""]


def test_a_row_is_measured(tmp_path: Path) -> None:
    (row,) = rows.ROWS["hook"](tmp_path, 1)
    assert row.what == "hook: start, hand over, answer"
    assert row.ratio > 0


def test_the_phases_of_a_push_are_measured(tmp_path: Path) -> None:
    with world(tmp_path / "who"):
        (found,) = phases.measure(tmp_path, 1, 1)
    assert len(found) == len(phases.PHASES) + 1
    assert all(took > 0 for took in found), found


def test_the_readme_shows_the_newest() -> None:
    found = re.search(r"^\| what .*?\n\n", README.read_text(), re.MULTILINE | re.DOTALL)
    assert found and found[0].strip() == measure.table(newest()).strip(), "run: python -m benchmarks --show"
    assert set(measure.load(NEWEST)) == set(rows.ROWS)
    assert all(row.met for row in newest())
