"""The threads that ask the nodes of a rollout: that they ask anew when it matters, and rest when it does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpushooks.core.errors import UnreachableError
from corpushooks.core.policy import Policy
from corpushooks.core.project import Host, Project
from corpushooks.core.rollouts import BACK, HELD, UNTOUCHED, Node, Order, Ordered
from corpushooks.fleet.coordinator import Coordinator
from corpushooks.fleet.drive import Drive
from corpushooks.system.patience import Check, endless

LEASE = 3600.0  # seconds: by itself, a node that holds is asked every 20 minutes


@dataclass
class Nodes:
    """A transport to nodes that say at once in which phase they are; `most`: so often, then they are silent."""

    phases: dict[str, str]
    most: int = 1000
    asked: list[str] = field(default_factory=list)

    def ask(
        self, node: Node, name: str, fields: Mapping[str, Any], limit: float, check: Check = endless
    ) -> dict[str, Any]:
        self.asked.append(node.name)
        if not self.phases[node.name] or len(self.asked) > self.most:
            raise UnreachableError("gone")
        return {"phase": self.phases[node.name], "reason": "it fell ill" if self.phases[node.name] == BACK else ""}

    def send(
        self, node: Node, project: Project, number: int, code: str, pillar: str, limit: float, check: Check = endless
    ) -> None:
        raise AssertionError

    def close(self) -> None:
        pass


def drive_of(nodes: Nodes, policy: Policy, kind: type[Drive] = Drive) -> Drive:
    coordinator = Coordinator.holding({name: Ordered(phase=HELD) for name in nodes.phases}, policy, 0.0)
    order = Order(project="hello", epoch=1, number=2, not_after=0.0, code="", pillar="", lease=policy.lease)
    known = {name: Node(name=name, address="a@b") for name in nodes.phases}
    return kind(coordinator, nodes, known, Host(Path("/nowhere")).project("hello"), order, lambda name, said: None)


@contextmanager
def holding(nodes: Nodes, policy: Policy) -> Iterator[Drive]:
    drive = drive_of(nodes, policy)
    drive.start()
    try:
        yield drive
    finally:
        drive.stop()


def test_before_people_commit_all_nodes_are_asked_anew() -> None:
    nodes = Nodes({"n1": HELD, "n2": HELD})
    with holding(nodes, Policy(lease=LEASE, patience=30)) as drive:
        assert drive.unsure(endless) == ""
        nodes.phases["n2"] = BACK
        assert drive.unsure(endless) == "n2: it fell ill"


def test_what_silent_nodes_hold_is_not_sure() -> None:
    for absent in ("refuse", "later"):
        nodes = Nodes({"n1": "", "n2": ""})
        with holding(nodes, Policy(lease=LEASE, patience=1, absent=absent)) as drive:
            assert drive.unsure(endless) == ("no node answers" if absent == "later" else "n1 does not answer: gone")
            nodes.phases["n1"] = HELD
            assert drive.unsure(endless) == ("" if absent == "later" else "n2 does not answer: gone")


def test_a_caller_that_has_left_is_not_waited_for() -> None:
    def leaves() -> None:
        raise BrokenPipeError

    with holding(Nodes({"n1": ""}), Policy(lease=LEASE, patience=600)) as drive:
        try:
            drive.unsure(leaves)
        except BrokenPipeError:
            return
    raise AssertionError


@dataclass
class Resting(Drive):
    """Ends where a node would rest, and keeps for how long."""

    rested: list[float] = field(default_factory=list)

    def _rest(self, name: str, wish: str, turn: Any, seconds: float) -> None:
        self.rested.append(seconds)
        self._stop = True


def test_a_node_that_has_come_to_its_end_is_not_asked_without_rest() -> None:
    """One that was absent, and answers again while people have not decided yet."""
    nodes = Nodes({"n1": UNTOUCHED}, most=5)
    drive = drive_of(nodes, Policy(lease=LEASE, absent="later"), Resting)
    drive.coordinator.members["n1"].absent = True
    drive.coordinator.members["n1"].said = Ordered(phase=UNTOUCHED)
    drive._attend("n1")
    assert isinstance(drive, Resting) and drive.rested == [LEASE / 3]
