"""How what a node runs compares with what is live here. Values, and a look into the history."""

from __future__ import annotations

from corpushooks.core.deployment import ProjectRow
from corpushooks.core.errors import CorpusError
from corpushooks.core.rollouts import OnNode
from corpushooks.store.fleet import Fleet
from corpushooks.store.history import History

CURRENT, BEHIND, DRIFT = "current", "behind", "drift"


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
