"""The coordinator, in simulated time: what is decided, and that no weather breaks the promise."""

from __future__ import annotations

import itertools

import pytest

from corpushooks.core.policy import Policy
from corpushooks.core.rollouts import BACK, HELD, LIVE, PREPARE, PREPARED, RETURNING, SWITCH, UNTOUCHED, Ordered
from corpushooks.fleet.coordinator import ABORT, COMMIT, STUCK, TOLD, Coordinator, next_order
from tests.support.fake_fleet import WILD, FakeFleet, FakeNode, Weather, promise

CALM = Weather()


def phases(fleet: FakeFleet) -> set[str]:
    return {node.phase for node in fleet.nodes.values()}


def test_a_rollout_in_calm_weather_is_committed_and_live_everywhere() -> None:
    fleet = FakeFleet(1, 8, Policy(), CALM).run()
    assert (fleet.coordinator.decision, phases(fleet)) == (COMMIT, {LIVE})
    assert promise(fleet) == []


def test_one_failed_install_takes_all_nodes_back() -> None:
    fleet = FakeFleet(1, 8, Policy(), CALM)
    fleet.nodes["n8"].weather = Weather(fails=1.0)
    fleet.run()
    assert fleet.coordinator.decision == ABORT
    assert fleet.coordinator.reason == "n8: install 10_app failed"
    assert phases(fleet) == {BACK}


def test_a_failure_in_prepare_touches_no_node() -> None:
    fleet = FakeFleet(1, 8, Policy(), CALM)
    fleet.nodes["n8"].weather = Weather(refuses=1.0)
    fleet.run()
    assert fleet.coordinator.decision == ABORT
    assert not any(node.switched for node in fleet.nodes.values())
    assert phases(fleet) == {UNTOUCHED}


def test_a_canary_that_fails_leaves_the_others_untouched() -> None:
    fleet = FakeFleet(1, 8, Policy(canary=1, batch=3), CALM)
    fleet.nodes["n1"].weather = Weather(fails=1.0)
    fleet.run()
    assert fleet.nodes["n1"].phase == BACK
    assert {node.phase for name, node in fleet.nodes.items() if name != "n1"} == {UNTOUCHED}


def test_groups_switch_one_after_the_other() -> None:
    fleet = FakeFleet(3, 7, Policy(canary=1, batch="50%"), CALM).run()
    began = {name: node.switched[0][0] for name, node in fleet.nodes.items()}
    assert fleet.coordinator.groups == [("n1",), ("n2", "n3", "n4"), ("n5", "n6", "n7")]
    groups = [[began[name] for name in group] for group in fleet.coordinator.groups]
    assert all(max(first) < min(then) for first, then in itertools.pairwise(groups))


def test_an_absent_node_refuses_the_rollout_or_is_left_for_later() -> None:
    for absent, decision in (("refuse", ABORT), ("later", COMMIT)):
        fleet = FakeFleet(1, 4, Policy(absent=absent), CALM)
        fleet.nodes["n3"].cut = 1e9
        fleet.run()
        assert fleet.coordinator.decision == decision
        assert fleet.coordinator.members["n3"].absent == (absent == "later")
        assert promise(fleet) == []


def test_without_the_node_for_migrations_there_is_no_rollout() -> None:
    for name, decision in (("n1", ABORT), ("n2", COMMIT)):
        fleet = FakeFleet(1, 4, Policy(absent="later", run_once="n1"), CALM)
        fleet.nodes[name].cut = 1e9
        fleet.run()
        assert fleet.coordinator.decision == decision
        assert promise(fleet) == []


@pytest.mark.parametrize("lease", [5.0, 60.0, 3600.0])
def test_a_node_that_is_silent_after_the_commit_is_waited_for_a_moment(lease: float) -> None:
    c = Coordinator.of(["n1", "n2"], Policy(lease=lease), 0.0)
    c.open()
    for phase in (PREPARED, HELD):
        for name in ("n1", "n2"):
            c.hear(name, Ordered(phase=phase), 1.0, 1.0)
    assert c.close(2.0)
    c.commit(2.0)
    c.hear("n1", Ordered(phase=LIVE), 2.0, 2.0)
    c.lose("n2", "no answer", 2.5, 12.5)
    assert not c.finished(20.0)
    assert c.finished(2.0 + 10 * TOLD + 0.1)


def test_no_commit_while_a_node_may_have_gone_back_meanwhile() -> None:
    c = Coordinator.of(["n1", "n2"], Policy(lease=10), 0.0)
    c.open()
    for phase in (PREPARED, HELD):
        for name in ("n1", "n2"):
            c.hear(name, Ordered(phase=phase), 1.0, 1.0)
    assert c.ready(2.0)
    assert not c.ready(7.0)  # its lease may be over before it hears
    c.hear("n1", Ordered(phase=HELD), 6.5, 7.0)
    c.hear("n2", Ordered(phase=HELD), 6.5, 7.0)
    assert c.ready(7.0)


def test_nothing_aborts_while_the_commit_is_recorded_but_the_failure_of_that() -> None:
    c = Coordinator.of(["n1"], Policy(), 0.0)
    c.open()
    for phase in (PREPARED, HELD):
        c.hear("n1", Ordered(phase=phase), 1.0, 1.0)
    assert c.close(1.5)
    c.hear("n1", Ordered(phase=BACK, reason="it fell ill"), 2.0, 2.0)
    assert c.decision == ""
    c.cancel("the store is full", 3.0)
    assert c.decision == ABORT


def test_what_people_decide_can_be_lost_meanwhile() -> None:
    """While it is held for them, nothing aborts by itself: the store says what came first."""
    held = {name: Ordered(phase=HELD) for name in ("n1", "n2")}

    def holding(policy: Policy = Policy(lease=20)) -> Coordinator:  # noqa: B008
        c = Coordinator.holding(held, policy, 0.0)
        assert (c.lost(1.0), c.decision, c.wish("n1")) == ("", "", HELD)
        return c

    c = holding()
    c.hear("n2", Ordered(phase=BACK, reason="it fell ill"), 2.0, 2.0)
    assert (c.lost(2.0), c.decision) == ("n2: it fell ill", "")
    c.cancel("n2: it fell ill", 3.0)
    assert c.decision == ABORT
    for absent, wrong in (("refuse", "n2 does not answer: gone"), ("later", "")):
        c = holding(Policy(lease=20, absent=absent))
        c.lose("n2", "gone", 2.0, 2.0)
        assert (c.lost(11.0), c.lost(13.0), c.decision) == ("", wrong, "")
    c.commit(14.0)
    assert c.wish("n1") == LIVE


def test_what_silent_nodes_hold_is_lost() -> None:
    held = {name: Ordered(phase=HELD) for name in ("n1", "n2")}
    c = Coordinator.holding(held, Policy(lease=20, absent="later"), 0.0)
    c.lose("n1", "gone", 2.0, 2.0)
    c.hear("n2", Ordered(phase=HELD), 10.0, 10.0)
    assert c.lost(24.0) == ""  # n1 can be brought up later
    c.lose("n2", "gone", 12.0, 24.0)
    assert c.lost(26.0) == "no node answers"
    c = Coordinator.holding(held, Policy(lease=20), 0.0)
    c.hear("n1", Ordered(phase=HELD), 14.0, 14.0)
    assert c.lost(15.0) == ""
    assert c.lost(16.0).startswith("n2 does not answer: ")  # a question hangs, and its lease is nearly over


def test_no_node_is_ordered_to_switch_before_that_is_on_record() -> None:
    c = Coordinator.of(["n1"], Policy(), 0.0)
    c.hear("n1", Ordered(phase=PREPARED), 1.0, 1.0)
    assert (c.prepared(), c.wish("n1")) == (True, PREPARED)
    c.open()
    assert (c.prepared(), c.wish("n1")) == (False, HELD)


def test_a_node_that_loses_what_it_held_aborts() -> None:
    c = Coordinator.of(["n1", "n2"], Policy(batch=1), 0.0)
    c.open()
    for name in ("n1", "n2"):
        c.hear(name, Ordered(phase=PREPARED), 1.0, 1.0)
    c.hear("n1", Ordered(phase=HELD), 2.0, 2.0)
    assert c.wish("n2") == HELD
    c.hear("n1", Ordered(phase=PREPARED), 3.0, 3.0)
    assert c.decision == ABORT


def test_a_node_that_never_comes_to_its_end_holds_up_nobody_for_ever() -> None:
    c = Coordinator.of(["n1"], Policy(), 0.0)
    c.open()
    c.cancel("somebody changed their mind", 1.0)
    for now in (2.0, 1800.0, STUCK):
        c.hear("n1", Ordered(phase=RETURNING), now, now)
        assert not c.finished(now)
    c.hear("n1", Ordered(phase=RETURNING), STUCK + 3, STUCK + 3)
    assert c.finished(STUCK + 3)
    assert c.ended() == [] and c.members["n1"].phase == RETURNING
    c.hear("n1", Ordered(phase=RETURNING, step="undo restore"), STUCK + 4, STUCK + 4)
    assert not c.finished(STUCK + 5)  # it goes on


def test_orders_lead_from_phase_to_wish() -> None:
    assert next_order(PREPARED, "unknown") == PREPARE
    assert next_order(HELD, PREPARED) == SWITCH
    assert next_order(HELD, "unknown") == ""  # nothing is switched that was not prepared
    assert next_order(LIVE, PREPARED) == ""
    assert next_order("back", LIVE) == ""


@pytest.mark.parametrize("absent", ["refuse", "later"])
@pytest.mark.parametrize("silence", ["back", "keep"])
def test_the_promise_holds_in_any_weather(absent: str, silence: str) -> None:
    decided = set()
    for seed in range(150):
        policy = Policy(absent=absent, on_silence=silence, canary=seed % 3, batch=("100%", 2)[seed % 2], lease=20.0)
        fleet = FakeFleet(seed, 2 + seed % 7, policy, WILD).run()
        assert fleet.coordinator.finished(fleet.clock.now), seed
        decided.add(fleet.coordinator.decision)
        assert promise(fleet) == [], seed
    assert decided == {COMMIT, ABORT}


def test_a_node_that_does_not_mind_being_revoked_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeNode, "_revoke", lambda self: None)
    assert any(promise(FakeFleet(seed, 5, Policy(lease=20.0, on_silence="keep"), WILD).run()) for seed in range(40))


def test_a_coordinator_that_aborts_what_is_being_recorded_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Coordinator, "close", Coordinator.ready)
    with pytest.raises(AssertionError):
        for seed in range(60):
            FakeFleet(seed, 5, Policy(lease=20.0), Weather(cut=0.8), writing=40.0).run()


def test_the_cost_for_each_node_is_flat() -> None:
    few, many = (FakeFleet(5, count, Policy(), CALM).run() for count in (10, 1000))
    assert many.coordinator.decision == COMMIT
    assert many.questions / 1000 < 1.5 * few.questions / 10


def test_a_node_takes_an_order_once() -> None:
    fleet = FakeFleet(1, 1, Policy(), CALM)
    node: FakeNode = fleet.nodes["n1"]
    assert node.take(PREPARE, 30.0) == node.take(PREPARE, 30.0)
