"""Where a project is on its nodes, as the store has it: what each said last. No node is asked for this."""

from __future__ import annotations

from collections.abc import Sequence

from corpushooks.core.deployment import Deployment, ProjectRow
from corpushooks.core.policy import Policy
from corpushooks.host.site import Site
from corpushooks.protocol import gives
from corpushooks.store import standing
from corpushooks.store.fleet import Fleet


def of_project(site: Site, row: ProjectRow, running: Sequence[gives.Open]) -> list[gives.ProjectNode]:
    """Return the nodes of a project: what each runs, and its phase in the rollout that runs now."""
    fleet, policy = Fleet(site.history), site.settings.sound(row.name).rollout or Policy()
    said = fleet.said(row.name)
    phases = {each["node"]: each["phase"] for one in running[:1] for each in fleet.rollout(row.name, one.number)}
    found = []
    for node in fleet.of(row.name):
        there = said.get(node.name)
        state = standing.shown(site.history, row, node, there, policy) if node.name in said else standing.UNKNOWN
        found.append(gives.ProjectNode(
            name=node.name, state=state, code=there.code if there else "", pillar=there.pillar if there else "",
            rollout=there.number if there else 0, seen=node.seen, drained=node.drained, phase=phases.get(node.name),
        ))  # fmt: skip
    return found


def outcomes(site: Site, found: Sequence[Deployment]) -> dict[int, list[gives.NodeOutcome]]:
    """Return what became of deployments on each node, by their numbers; nothing of one that concerned no nodes."""
    told: dict[int, list[gives.NodeOutcome]] = {}
    if not found:
        return told
    numbers = [each.number for each in found]
    for row in Fleet(site.history).rollouts(found[0].project, min(numbers), max(numbers)):
        told.setdefault(row["number"], []).append(
            gives.NodeOutcome(node=row["node"], phase=row["phase"], reason=row["reason"], before=row["base_code"])
        )
    return told
