"""What is done for each kind of request: given to the lanes, which know no kind by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from corpushooks import deploy, inplace, plan, restart, task
from corpushooks.deployment import KINDS
from corpushooks.errors import RefusedError
from corpushooks.site import Run

ACTS: Mapping[str, Callable[[Run], None]] = {
    "deploy": deploy.deploy,
    "rollback": deploy.deploy,
    "task": task.task,
    "restart": restart.restart,
    "plan": plan.plan,
    "repair": deploy.repair,
    "edit": inplace.edit,
}
assert ACTS.keys() == KINDS.keys()


def act(run: Run) -> None:
    """Do what a request asks for; refuse what a newer version may have queued."""
    known = ACTS.get(run.request.kind)
    if known:
        known(run)
    else:
        deploy.refuse(run, RefusedError(f"unknown request {run.request.kind!r}", hint="ask again"))
