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
KINDS = (*OF_CONTROLLER, *OF_NODES)
LASTS = ((0.0, 0.5), (0.5, 3.0), (3.0, 12.0), (12.0, 40.0))  # seconds
OFTEN = (3, 5, 3, 1)
MOST = 3  # faults in a round


@dataclass(frozen=True)
class Fault:
    """One fault."""

    kind: str
    victim: str
    at: float  # a share of what a push takes
    lasts: float  # seconds

    def __str__(self) -> str:
        return f"{self.kind} {self.victim} at {self.at:.2f} for {self.lasts:.1f} s"


@dataclass(frozen=True)
class Plan:
    """One round: the policy, the node where install fails, and the faults."""

    number: int
    policy: dict[str, Any]
    failing: str
    faults: tuple[Fault, ...]

    @classmethod
    def roll(cls, dice: random.Random, number: int, nodes: Sequence[str]) -> Plan:
        policy = {
            "batch": dice.choice(("100%", "50%", 1)), "canary": dice.choice((0, 0, 1)),
            "absent": dice.choice(("refuse", "later")), "on_silence": dice.choice(("back", "back", "keep")),
            "lease": dice.choice((6, 12)),
        }  # fmt: skip
        failing = dice.choice(nodes) if dice.random() < 0.25 else ""
        victims = dice.sample((CONTROLLER, *nodes), min(dice.randint(0, MOST), len(nodes) + 1))
        return cls(number, policy, failing, tuple(_fault(dice, each) for each in victims))


def _fault(dice: random.Random, victim: str) -> Fault:
    kind = dice.choice(OF_CONTROLLER if victim == CONTROLLER else OF_NODES)
    return Fault(kind, victim, dice.uniform(0, 1.1), dice.uniform(*dice.choices(LASTS, OFTEN)[0]))


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
    return {"freeze sshd": _freeze_line, "kill sshd": _kill_line, "cut": _cut}[fault.kind](node)


@dataclass
class Nemesis:
    """Carries out the faults of a plan while a push runs."""

    fleet: FleetBox
    plan: Plan
    took: float  # what a push takes
    hit: list[Fault] = field(default_factory=list)

    def run(self, going: Callable[[], bool]) -> None:
        """Strike and heal, each in its time, as long as the push is going; in the end all is healed."""
        began = time.monotonic()
        due = [(began + fault.at * self.took, fault) for fault in self.plan.faults]
        sick: list[tuple[float, Callable[[], None]]] = []
        try:
            while going() and (due or sick):
                now = time.monotonic()
                for entry in [each for each in due if each[0] <= now]:
                    due.remove(entry)
                    sick.append((now + entry[1].lasts, strike(self.fleet, entry[1])))
                    self.hit.append(entry[1])
                for one in [each for each in sick if each[0] <= now]:
                    sick.remove(one)
                    one[1]()
                time.sleep(0.02)
        finally:
            for _, heal in sick:
                heal()
