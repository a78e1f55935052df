"""A few rounds of `make fleet`, always the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.fleet.__main__ import rounds, summary

SEED = 29


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_random_faults_break_no_promise_of_a_rollout(tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    folder.mkdir()
    fates = rounds(3, SEED, 2, folder)
    print(f"seed {SEED}", summary(fates), sep="\n")
    assert [line for fate in fates for line in fate.wrong] == []
    assert any(fate.hit for fate in fates), "every fault missed"
