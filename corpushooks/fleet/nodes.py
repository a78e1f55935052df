"""The nodes of a controller at a glance: what each says of itself, and how that compares with what is live here.

What a node says is data: cleaned, bounded, and of the projects that it was given only.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from corpushooks.core import records
from corpushooks.core.errors import CorpusError, RefusedError, UnreachableError
from corpushooks.core.rollouts import COMMIT_OR_NONE, TOLERANCE, Condition, Node, OnNode
from corpushooks.core.text import one_line
from corpushooks.fleet.transport import Transport
from corpushooks.protocol.answers import VERSION
from corpushooks.store.fleet import Fleet
from corpushooks.system.patience import Check, beside, endless

GLANCE = 10.0  # seconds for a node to answer
BIG = 1 << 60


@dataclass(frozen=True)
class Glance:
    """What a node said of itself, or why it said nothing."""

    node: Node
    condition: Condition | None = None
    clock: float = 0.0  # seconds that it is ahead of ours
    unsure: float = 0.0  # by so much
    wrong: CorpusError | None = None

    @property
    def apart(self) -> float:
        """Return by how many seconds the clocks differ at least."""
        return max(0.0, abs(self.clock) - self.unsure)


def look(transport: Transport, fleet: Fleet, node: Node, limit: float = GLANCE, check: Check = endless) -> Glance:
    """Ask a node what it is; raise nothing that a node can cause."""
    try:
        transport.ask(node, "node hello", {}, limit, check)
        sent = time.time()  # of the second question: the first one connects, which says nothing of the clocks
        said = transport.ask(node, "node hello", {}, limit, check)
        got = time.time()
        found = _condition(said.get("value"), set(fleet.on(node.name)))
    except CorpusError as exc:
        return Glance(node, wrong=exc)
    fleet.saw(node.name, found.projects)
    seen = replace(node, seen=got)
    return Glance(seen, found, found.time - (sent + got) / 2, (got - sent) / 2)


def look_at_all(
    transport: Transport, fleet: Fleet, nodes: Sequence[Node], limit: float = GLANCE, check: Check = endless
) -> list[Glance]:
    """Ask all nodes at once."""

    def of(node: Node) -> Glance:
        return look(transport, fleet, node, limit, check)

    asked = [beside(lambda node=node: of(node)) for node in nodes]  # type: ignore[misc]
    return [each.result() for each in asked]


def _condition(said: object, projects: set[str]) -> Condition:
    """Return what a node said as it can be believed; raise UnreachableError."""
    try:
        found = records.typed(said, Condition)
    except ValueError:
        raise UnreachableError("its answer is not understood") from None
    numbers = (found.time, found.memory, found.disk, found.places, found.protocol)
    if not all(0 <= each < BIG for each in numbers):  # false for NaN, too
        raise UnreachableError("its answer is not understood")
    on = {name: _on_node(each) for name, each in found.projects.items() if name in projects}
    return replace(
        found, version=one_line(found.version)[:40], environment=one_line(found.environment)[:40],
        machine=one_line(found.machine)[:40], projects=on,
    )  # fmt: skip


def _on_node(said: OnNode) -> OnNode:
    if not (COMMIT_OR_NONE.fullmatch(said.code) and COMMIT_OR_NONE.fullmatch(said.pillar) and 0 <= said.number < BIG):
        raise UnreachableError("its answer is not understood")
    return replace(said, environment=one_line(said.environment)[:40], broken=one_line(said.broken))


def check_usable(glance: Glance) -> Condition:
    """Return what a node said of itself; raise its error, or RefusedError if this controller cannot deploy to it."""
    name, found = glance.node.name, glance.condition
    if found is None:
        assert glance.wrong
        raise glance.wrong.reworded(lambda text: f"{name}: {text}")
    if found.protocol != VERSION:
        which = "node" if found.protocol < VERSION else "controller"
        raise RefusedError(
            f"{name} has version {found.protocol} of the protocol ({found.version}), this controller {VERSION}",
            hint=f"upgrade the {which}",
        )
    if glance.apart > TOLERANCE:
        ahead = "ahead of" if glance.clock > 0 else "behind"
        raise RefusedError(
            f"the clock of {name} is {abs(glance.clock):.0f} s {ahead} ours; at most {TOLERANCE:g} s are tolerated",
            hint="synchronize both clocks (systemd-timesyncd, chrony)",
        )
    return found
