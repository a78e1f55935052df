"""The act for each kind of request; given to the lanes, which know no kind by name."""

from __future__ import annotations

from collections.abc import Mapping

from corpushooks.core.deployment import KINDS
from corpushooks.deploy import deploy, drilling, inplace, keeping, plan, restart, restoring, task
from corpushooks.deploy.lanes import Act

ACTS: Mapping[str, Act] = {
    "deploy": deploy.deploy,
    "rollback": deploy.deploy,
    "task": task.task,
    "restart": restart.restart,
    "plan": plan.plan,
    "repair": deploy.repair,
    "backup": keeping.backup,
    "drill": drilling.drill,
    "restore": restoring.restore,
    "edit": inplace.edit,
}
assert ACTS.keys() == KINDS.keys()
