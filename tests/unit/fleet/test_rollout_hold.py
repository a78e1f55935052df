"""What a rollout looks at around its hold, and which tasks belong to nodes; with doubles for all the rest."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace as Fake
from typing import Any

import pytest

from corpushooks.core.errors import StepError
from corpushooks.core.policy import Policy
from corpushooks.core.rollouts import HELD, Node
from corpushooks.deploy import hold
from corpushooks.fleet import rollout
from corpushooks.fleet.coordinator import ABORT, Coordinator
from corpushooks.operations import acts


def of(**fields: Any) -> rollout.Rollout:
    found = rollout.Rollout.__new__(rollout.Rollout)
    found.__dict__.update(fields)
    return found


def test_a_branch_that_moved_ends_a_rollout_before_it_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout.git, "ref", lambda path, name: "c" * 40)
    done = Fake(state="running", old_code="a" * 40, new_code="b" * 40)
    run: Any = Fake(deployment=done, row=Fake(branch="master"), project=Fake(code_git=None))
    with pytest.raises(StepError, match="master moved meanwhile"):
        of(run=run).hold(run, None)  # type: ignore[arg-type]


def test_an_abort_while_it_is_looked_is_not_taken_for_success() -> None:
    coordinator = Fake(decision="", reason="n1: it fell ill", summary="n1")

    def look(done: Any) -> bool:  # a node's thread comes first
        coordinator.decision = ABORT
        return bool(done(coordinator))

    drive = Fake(coordinator=coordinator, wait=lambda done, check: [], with_coordinator=look)
    with pytest.raises(StepError, match="it fell ill"):
        of(drive=drive)._until(lambda c: bool(c.decision))


def test_a_held_rollout_leaves_its_slot_once(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []

    @contextmanager
    def apart() -> Any:
        left.append("slot")
        yield

    monkeypatch.setattr(hold, "_await", lambda run, wrong: None)
    monkeypatch.setattr(hold, "lease_of", lambda deployment: Fake(left=lambda: 9.0))
    run: Any = Fake(
        deployment=Fake(state=hold.HELD, number=2, confirmed="ann"), project=Fake(name="hello"), apart=apart,
        request=Fake(rollout=0), spell=str, voice=Fake(tell=lambda event: None), deadline=Fake(since=0.0),
    )  # fmt: skip
    monkeypatch.setattr(hold, "_Asking", lambda run: Fake(wrong=lambda: None))
    for wrong, slots in ((lambda: None, []), (None, ["slot"])):
        hold.hold(run, None, wrong)  # type: ignore[arg-type]
        assert left == slots


def test_a_task_for_a_node_never_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the last node of the project was removed while it waited."""
    ran: list[str] = []
    monkeypatch.setattr(acts.rollout, "is_on_nodes", lambda run: False)
    monkeypatch.setattr(acts.requests, "task", lambda run: ran.append("there"))
    monkeypatch.setattr(acts.task, "task", lambda run: ran.append("here"))
    for nodes, where in ((("n1",), "there"), ((), "here")):
        acts._tasks(Fake(request=Fake(nodes=nodes)))  # type: ignore[arg-type]
        assert ran.pop() == where


@pytest.mark.parametrize("run_once", [None, "n2"])
def test_the_next_daemon_knows_the_node_for_migrations(run_once: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it there is no rollout, also where nodes can be absent."""
    nodes = [Node(name=name, address="a@b") for name in ("n1", "n2")]
    fleet = Fake(
        rollout=lambda project, number: [{"node": each.name, "phase": HELD} for each in nodes], nodes=lambda: nodes,
        of=lambda project: nodes, policy_of=lambda project, number: Policy(absent="later", run_once=run_once),
    )  # fmt: skip
    seen: list[str] = []

    @contextmanager
    def begun(run: Any, known: Any, coordinator: Coordinator) -> Any:
        seen.append(coordinator.needed)
        yield Fake(go=lambda rows: None, procedure=Fake(from_step=lambda name: ()))

    monkeypatch.setattr(rollout, "Fleet", lambda history: fleet)
    monkeypatch.setattr(rollout, "_begun", begun)
    done = Fake(project="hello", number=2, state=rollout.HELD_HERE)
    history = Fake(steps=lambda deployment: ())
    run: Any = Fake(deployment=done, site=Fake(history=history), settings=Fake(rollout=None), apart=nullcontext)
    rollout.recover(run)
    assert seen == [run_once or ""]
