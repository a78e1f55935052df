"""The act for each kind of request; given to the lanes, which know no kind by name."""

from __future__ import annotations

from collections.abc import Mapping

from corpushooks.core.deployment import KINDS
from corpushooks.deploy import deploy, inplace, keeping, plan, recovery, restart, task
from corpushooks.deploy.lanes import Act
from corpushooks.deploy.run import Run
from corpushooks.fleet import requests, rollout


def _releases(run: Run) -> None:
    """Deploy here, or, where the project has nodes, there."""
    if rollout.is_on_nodes(run):
        rollout.roll_out(run)
    else:
        deploy.deploy(run)


def _plans(run: Run) -> None:
    """Plan here, or, where the project has nodes, there."""
    if rollout.is_on_nodes(run):
        requests.plan(run)
    else:
        plan.plan(run)


def _tasks(run: Run) -> None:
    """Run a task here, or, where the project has nodes or had them when it was asked, there."""
    if run.request.nodes or rollout.is_on_nodes(run):
        requests.task(run)
    else:
        task.task(run)


def recover(run: Run) -> None:
    """Complete or take back what was interrupted."""
    if run.request.sort.releases and rollout.was_on_nodes(run):
        rollout.recover(run)
    else:
        recovery.recover(run)


def _drill(run: Run) -> None:
    from corpushooks.deploy import (
        drilling,
    )  # here, as below: most daemons do none of these, and would keep it in memory

    drilling.drill(run)


def _restore(run: Run) -> None:
    from corpushooks.deploy import restoring

    restoring.restore(run)


def _prune(run: Run) -> None:
    from corpushooks.deploy import tending

    tending.prune(run)


def _check(run: Run) -> None:
    from corpushooks.deploy import tending

    tending.check(run)


ACTS: Mapping[str, Act] = {
    "deploy": _releases,
    "rollback": _releases,
    "task": _tasks,
    "restart": restart.restart,
    "plan": _plans,
    "repair": deploy.repair,
    "backup": keeping.backup,
    "drill": _drill,
    "prune": _prune,
    "check": _check,
    "restore": _restore,
    "edit": inplace.edit,
}
assert ACTS.keys() == KINDS.keys()
