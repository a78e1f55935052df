"""What can happen to a fleet: a plan of faults, drawn from a seed, and the nemesis that carries it out and heals."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from corpushooks.protocol import client
from tests.support.box import Box
from tests.support.fleet import FleetBox, NodeBox

CONTROLLER = "controller"
OF_CONTROLLER = ("kill controller", "freeze controller")
OF_NODES = ("kill daemon", "freeze daemon", "freeze sshd", "kill sshd", "cut")
OF_WIRES = ("lose all", "lose some")
KINDS = (*OF_CONTROLLER, *OF_NODES, *OF_WIRES)
LASTS = ((0.0, 0.5), (0.5, 3.0), (3.0, 12.0), (12.0, 40.0))  # seconds
OFTEN = (3, 5, 3, 1)
MOST = 3  # faults in a round
ALL, SOME = 100, 25  # percent
STEPS = ("prepare", "switch", "publish", "confirm")


@dataclass(frozen=True)
class Fault:
    """One fault."""

    kind: str
    victim: str
    step: str  # of the controller, after whose beginning it happens; empty: after that of the push
    at: float  # how long after: a share of what a push takes, or of a second
    lasts: float  # seconds

    def __str__(self) -> str:
        when = f"{self.at:.2f} s into {self.step}" if self.step else f"at {self.at:.2f}"
        return f"{self.kind} {self.victim} {when} for {self.lasts:.1f} s"


@dataclass(frozen=True)
class Plan:
    """One round: the policy, the node where install fails, and the faults."""

    number: int
    policy: dict[str, Any]
    failing: str
    faults: tuple[Fault, ...]

    @classmethod
    def roll(cls, dice: random.Random, number: int, nodes: Sequence[str], *, wired: bool) -> Plan:
        policy = {
            "batch": dice.choice(("100%", "50%", 1)), "canary": dice.choice((0, 0, 1)),
            "absent": dice.choice(("refuse", "later")), "on_silence": dice.choice(("back", "back", "keep")),
            "lease": dice.choice((6, 12)),
        }  # fmt: skip
        failing = dice.choice(nodes) if dice.random() < 0.25 else ""
        victims = dice.sample((CONTROLLER, *nodes), min(dice.randint(0, MOST), len(nodes) + 1))
        return cls(number, policy, failing, tuple(_fault(dice, each, wired=wired) for each in victims))


def _fault(dice: random.Random, victim: str, *, wired: bool) -> Fault:
    of_nodes = (*OF_NODES, *OF_WIRES) if wired else OF_NODES
    kind = dice.choice(OF_CONTROLLER if victim == CONTROLLER else of_nodes)
    step = dice.choice(("", "", *STEPS))
    at = dice.uniform(0, 1) ** 3 if step else dice.uniform(0, 1.1)
    return Fault(kind, victim, step, at, dice.uniform(*dice.choices(LASTS, OFTEN)[0]))


def revive(box: Box) -> None:
    box.revive()


def _freeze(box: Box) -> Callable[[], None]:
    """Stop a daemon where it is; return what lets it go on."""
    pid = client.ping(box.host)
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


def _kill(box: Box) -> Callable[[], None]:
    box.kill()
    return lambda: revive(box)


def _cut(node: NodeBox) -> Callable[[], None]:
    """End all connections to a node."""
    for pid in node.server.own():
        if pid != node.server.process.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return lambda: None


def _lose(node: NodeBox, share: int) -> Callable[[], None]:
    """Drop all packets to and from a node in silence, or a share of them; nobody is told."""
    line = node.server.wire
    assert line is not None
    if share < ALL:
        line.lose(share)
    else:
        line.cut()
    return line.heal


def _freeze_line(node: NodeBox) -> Callable[[], None]:
    node.server.signal(signal.SIGSTOP)
    return lambda: node.server.signal(signal.SIGCONT)


def _kill_line(node: NodeBox) -> Callable[[], None]:
    node.server.kill()
    return node.server.revive


def strike(fleet: FleetBox, fault: Fault) -> Callable[[], None]:
    """Let a fault happen; return what heals it."""
    if fault.victim == CONTROLLER:
        return _kill(fleet.box) if fault.kind == "kill controller" else _freeze(fleet.box)
    node = fleet.nodes[fault.victim]
    if fault.kind.endswith(" daemon"):
        return _kill(node.box) if fault.kind == "kill daemon" else _freeze(node.box)
    if fault.kind.startswith("lose "):
        return _lose(node, ALL if fault.kind == "lose all" else SOME)
    return {"freeze sshd": _freeze_line, "kill sshd": _kill_line, "cut": _cut}[fault.kind](node)


@dataclass
class Nemesis:
    """Carries out the faults of a plan while a push runs."""

    fleet: FleetBox
    plan: Plan
    took: float  # what a push takes
    steps: Callable[[], Sequence[str]]  # that the controller has begun
    hit: list[Fault] = field(default_factory=list)

    def run(self, going: Callable[[], bool]) -> None:
        """Strike and heal, each in its time, as long as the push is going; in the end all is healed."""
        began = {"": time.monotonic()}
        due = list(self.plan.faults)
        sick: list[tuple[float, Callable[[], None]]] = []
        try:
            while going() and (due or sick):
                now = time.monotonic()
                for step in self.steps():
                    began.setdefault(step, now)
                for fault in [each for each in due if self._is_due(each, began)]:
                    due.remove(fault)
                    sick.append((now + fault.lasts, strike(self.fleet, fault)))
                    self.hit.append(fault)
                for one in [each for each in sick if each[0] <= now]:
                    sick.remove(one)
                    one[1]()
                time.sleep(0.02)
        finally:
            for _, heal in sick:
                heal()

    def _is_due(self, fault: Fault, began: dict[str, float]) -> bool:
        wait = fault.at * (1.0 if fault.step else self.took)
        return fault.step in began and time.monotonic() >= began[fault.step] + wait
