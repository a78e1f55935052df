"""How what a node runs of a project compares with what is live at its controller."""

from __future__ import annotations

from corpushooks.core.deployment import ProjectRow
from corpushooks.core.errors import CorpusError
from corpushooks.core.policy import Policy
from corpushooks.core.rollouts import Node, OnNode
from corpushooks.store.fleet import Fleet
from corpushooks.store.history import History

CURRENT, BEHIND, DRIFT = "current", "behind", "drift"
BROKEN, BUSY, RELEASED, UNKNOWN, EXCLUDED = "broken", "busy", "released", "unknown", "excluded"


def standing(history: History, fleet: Fleet, row: ProjectRow, there: OnNode) -> str:
    """Return whether a node runs the live release of a project, an older one of ours, or something else."""
    if (there.code, there.pillar) == (row.code or "", row.pillar or ""):
        return CURRENT
    if not there.code:
        return BEHIND  # it is new
    if not there.number or there.epoch != fleet.epoch_of(row.name, there.number):
        return DRIFT
    try:
        ours = history.deployment(row.name, there.number)
    except CorpusError:
        return DRIFT
    same = (there.code, there.pillar) == (ours.new_code or "", ours.new_pillar or "")
    return BEHIND if same and there.number < (row.live or 0) else DRIFT


def shown(history: History, row: ProjectRow, node: Node, there: OnNode | None, policy: Policy) -> str:
    """Return the state of a project on a node in a word, for people; `there`: None if the node has released it."""
    if there is None:
        return RELEASED
    if there.broken or there.busy:
        return BROKEN if there.broken else BUSY
    found = standing(history, Fleet(history), row, there)
    return EXCLUDED if found in (BEHIND, DRIFT) and not policy.chosen([node]) else found
