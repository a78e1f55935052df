"""Rollouts as values: the order that a controller gives to its nodes, and what a node says of it.

A rollout brings one release to all nodes of a project. Each node prepares it, switches to it on order and holds it;
the controller decides once, and each node confirms or goes back. What a node has done is asked for by the number of
the rollout, never inferred from an exit code or from a lost connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corpushooks.core import deployment as states
from corpushooks.core.deployment import Deployment
from corpushooks.core.errors import UsageError
from corpushooks.core.text import shown

NODE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
COMMIT_OR_NONE = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}|")
MOST_NODES, MOST_LABELS = 1000, 64  # of a project, of a node
LOCAL = "local"  # not a node: the controller itself
CONTROLLER_KEY, PINNED = "key", "hosts"  # in the folder of a controller: short, since a path of a socket is limited
VIA = "rollout"  # how a deployment of a node was requested
TOLERANCE = 5.0  # seconds that the clocks of controller and node can differ

# What a node has done with an order, as it says itself.
UNKNOWN = "unknown"  # it has never heard of it
PREPARING = "preparing"  # it waits in its queue, or is checked and archived
PREPARED = "prepared"  # nothing was touched; it waits for the order to switch
SWITCHING = "switching"
PUBLISHING = "publishing"  # confirmed, not yet live
HELD = "held"  # the new release runs and is healthy; the old one can return
RETURNING = "returning"  # it is being rolled back
LIVE = "live"  # confirmed; final
UNTOUCHED = "untouched"  # it ended before anything was touched; final
BACK = "back"  # rolled back; final
BROKEN = "broken"  # the rollback failed; final
PHASES = (UNKNOWN, PREPARING, PREPARED, SWITCHING, HELD, PUBLISHING, RETURNING, LIVE, UNTOUCHED, BACK, BROKEN)
FINAL = frozenset({LIVE, UNTOUCHED, BACK, BROKEN})
GONE_BACK = frozenset({UNTOUCHED, BACK})  # it runs exactly what it ran before

CONTROLLER = "the controller"  # in reasons
REVOKED = f"{CONTROLLER} revoked the rollout"

# What a controller orders.
PREPARE, SWITCH, CONFIRM, REVOKE = "prepare", "switch", "confirm", "revoke"


@dataclass(frozen=True, kw_only=True)
class Order:
    """An order: the rollout `number` of a controller, whose store is known by its `epoch`.

    A node refuses an order with a lower pair of both than it has seen, and one past `not_after`.
    """

    project: str
    epoch: int
    number: int
    not_after: float  # seconds since the epoch; by the clock of the node
    code: str
    pillar: str = ""  # empty: none
    lease: float = 60.0  # seconds without a word of the controller after which the node goes back
    keeps: bool = False  # it never goes back by itself
    who: str = ""  # asked for the rollout
    nodes: tuple[str, ...] = ()  # the names of all nodes of the project
    run_once: str = ""  # the node on which migrations run
    force: bool = False  # what was edited there is overwritten

    @property
    def token(self) -> str:
        """Identify the request that a node makes of an order: the same order never makes two."""
        return token(self.epoch, self.number)


def token(epoch: int, number: int) -> str:
    """Return the token of the deployment that belongs to a rollout."""
    return f"rollout {epoch} {number}"


def phase_of(deployment: Deployment, steps: Sequence[str]) -> str:
    """Return the phase of a deployment that belongs to an order, from its state and the journal."""
    touched = states.TOUCHES in steps
    if deployment.state == states.RUNNING:
        if deployment.confirmed:
            return PUBLISHING
        return SWITCHING if touched else PREPARED if states.PREPARED in steps else PREPARING
    return BROKEN if deployment.state == states.FAILED and touched else PHASE_OF[deployment.state]


def by_controller(name: str) -> str:
    """Return who ended a deployment, for its reason: a controller."""
    return f"{CONTROLLER} {name}"


def was_revoked(reason: str) -> bool:
    """Return whether a deployment of a node ended because its controller wanted that, from its reason."""
    return reason.startswith((REVOKED, f"cancelled by {CONTROLLER} "))


PHASE_OF: Mapping[str, str] = {
    states.QUEUED: PREPARING, states.HELD: HELD, states.ROLLING_BACK: RETURNING, states.DEPLOYED: LIVE,
    states.DONE: UNTOUCHED, states.REFUSED: UNTOUCHED, states.CANCELLED: UNTOUCHED, states.FAILED: UNTOUCHED,
    states.ROLLED_BACK: BACK, states.BROKEN: BROKEN,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """What a node says of one order: data, which says nothing about any other node."""

    phase: str = UNKNOWN
    deployment: int = 0  # its number on the node
    code: str = ""  # what is live there
    pillar: str = ""
    step: str = ""  # the last one that began
    reason: str = ""
    summary: str = ""
    lines: tuple[str, ...] = ()  # of its log, about a failure
    took: float = 0.0  # seconds since it began
    state: str = ""  # of its deployment
    revoked: bool = False  # it ended because the controller wanted that, not by itself

    @property
    def final(self) -> bool:
        return self.phase in FINAL


@dataclass(frozen=True, kw_only=True)
class Governed:
    """A project of a node that a controller deploys."""

    project: str
    controller: str  # the name of the key that it comes with
    address: str  # of the controller, for people
    epoch: int
    number: int  # of the newest order that was seen
    node: str  # the name of this node
    nodes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Placed:
    """What cfg says of a host among the nodes of a project; a host without a controller is alone."""

    node: str = ""
    nodes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    run_once: bool = True  # migrations run here

    @property
    def cfg(self) -> dict[str, Any]:
        """Return the keys of cfg."""
        return {"node": self.node, "nodes": list(self.nodes), "node_labels": list(self.labels),
                "run_once": self.run_once}  # fmt: skip


def check_names(node: str, nodes: Sequence[str], labels: Sequence[str]) -> None:
    """Raise UsageError for names that a controller cannot have given."""
    if wrong := next((each for each in (node, *nodes) if not NODE_NAME.fullmatch(each)), None):
        raise UsageError(f"invalid name of a node: {shown(wrong, 80)}")
    if wrong := next((each for each in labels if not LABEL.fullmatch(each)), None):
        raise UsageError(f"invalid label: {shown(wrong, 80)}")
    if len(nodes) > MOST_NODES or len(labels) > MOST_LABELS:
        raise UsageError(f"too many nodes or labels: at most {MOST_NODES} and {MOST_LABELS}")


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node, as its controller knows it."""

    name: str
    address: str  # ACCOUNT@HOST[:PORT]
    labels: tuple[str, ...] = ()
    added: float = 0.0
    by: str = ""
    drained: bool = False
    seen: float | None = None  # when it answered last


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What a node says of itself."""

    version: str
    protocol: int
    time: float
    environment: str
    machine: str = ""  # the kind of guest, or empty
    memory: int = 0  # bytes that are free
    disk: int = 0  # bytes that are free
    places: int = 0  # deployments that it can run at once
    free: int | None = None  # of these; None: an older version does not say
    projects: Mapping[str, OnNode]


@dataclass(frozen=True, kw_only=True)
class OnNode:
    """What a node runs of a project of its controller."""

    environment: str
    code: str = ""
    pillar: str = ""
    epoch: int = 0  # of the rollout that it runs; 0: none
    number: int = 0
    broken: str = ""
    busy: bool = False
