"""make matrix: what it says of a row that cannot be had, or fails. The rows themselves are run by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support import matrix
from tests.support.matrix import NotAvailable, Place
from tests.support.places import TESTS


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(matrix, "MADE", tmp_path)
    monkeypatch.setattr(matrix, "TOP", tmp_path)


def test_the_quick_part_is_there() -> None:
    assert [name for name in matrix.QUICK if not (TESTS / f"{name}.py").is_file()] == []


def test_what_cannot_be_had_is_a_row_that_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rooted(release: str) -> None:
        raise NotAvailable(f"no root of Debian {release}: no network")

    monkeypatch.setattr(matrix, "interpreter", lambda minor: None)
    monkeypatch.setattr(matrix, "rooted", rooted)
    assert matrix.main([]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert len(rows) == len(matrix.ROWS) == 8 and all("not available: no root of Debian" in row for row in rows)
    assert rows[0].startswith("Python 3.10 ") and rows[5].startswith("Debian 11 ")


@pytest.mark.parametrize(("end", "code"), [("print('== 3 passed in 1.00s ==')", 0), ("sys.exit('2 failed')", 1)])
def test_a_row_that_fails_fails_all(
    end: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(matrix, "on_python", lambda minor: Place((), Path(sys.executable)))
    monkeypatch.setattr(matrix, "PYTEST", ("-c", f"import sys; {end}"))
    assert matrix.main(["Python 3.10"]) == code
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.split()[2] == sys.version.split()[0]
    assert said.endswith("2 failed: Python-3.10.log" if code else " 3 passed in 1.00s")


def test_an_unknown_row_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert matrix.main(["Python 4.0"]) == 2
    assert "no row 'Python 4.0'; there are: Python 3.10" in capsys.readouterr().err
