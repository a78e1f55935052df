"""The room that trees take is remembered for a while."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpushooks.reports import weights
from corpushooks.reports.weights import Weights
from corpushooks.system.patience import endless


def test_a_figure_is_good_for_a_while_and_of_what_is_fixed_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Weights()
    (tmp_path / "project").mkdir()
    (tmp_path / "project/one").write_bytes(b"x" * 100_000)
    first = known.of(tmp_path, endless)
    (tmp_path / "project/two").write_bytes(b"x" * 100_000)
    assert known.of(tmp_path, endless) == first
    monkeypatch.setattr(weights, "LASTS", -1.0)
    assert known.of(tmp_path, endless, fixed=True) == first
    (tmp_path / "project.manifest").write_text("all of it")  # by this an archive is complete
    later = known.of(tmp_path, endless, fixed=True)
    assert later[1] >= first[1] + 100_000 and later[0] >= first[0]
    (tmp_path / "project/three").write_bytes(b"x" * 100_000)
    assert known.of(tmp_path, endless)[1] >= later[1] + 100_000


def test_not_all_figures_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "KEPT", 2)
    known = Weights()
    for name in "abc":
        (tmp_path / name).mkdir()
        known.of(tmp_path / name, endless)
    assert [path.name for path in known._found] == ["b", "c"]
