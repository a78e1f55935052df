"""A few rounds of `make fleet`, always the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.fleet.__main__ import rounds, summary
from tests.faults.fleet.nemesis import Fault, Plan
from tests.faults.fleet.rounds import Scene
from tests.support.fleet import fleet_box

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


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_node_that_was_left_out_while_others_switched_is_named(tmp_path: Path) -> None:
    policy = {"batch": "100%", "canary": 0, "absent": "later", "on_silence": "back", "lease": 12}
    plan = Plan(1, policy, "n2", (Fault("freeze sshd", "n2", "switch", 0.0, 11.7),))
    folder = tmp_path / "fleet"
    folder.mkdir()
    with fleet_box(folder, "n1", "n2") as fleet:
        scene = Scene(fleet)
        scene.prepare()
        assert scene.play(plan).wrong == ()
