"""A few of the random kills of `make chaos`, always the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.chaos.__main__ import chaos, table, verdict

SEED = 1


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("salt", "kills", "backups"),
    [(False, 10, False), (True, 6, False), (False, 8, True)],
    ids=["fake", "salt", "backups"],
)
def test_random_kills_break_no_promise(tmp_path: Path, salt: bool, kills: int, backups: bool) -> None:
    print(f"seed {SEED}")
    folder = tmp_path / "chaos"
    folder.mkdir()
    fates = chaos(kills, SEED, salt=salt, folder=folder, backups=backups)
    print(table(fates), verdict(fates), sep="\n")
    assert [line for fate in fates for line in fate.wrong] == []
    assert any(fate.victim for fate in fates), "every kill missed"
