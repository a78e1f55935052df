"""What can be done from a page: each asks for an operation, and is said before it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from corpushooks.operations.table import OPERATIONS


@dataclass(frozen=True)
class Action:
    """One thing that can be done with a project, or with one of its deployments."""

    name: str
    operation: str
    label: str
    says: str  # what it will do
    numbered: bool = False  # it is about a deployment
    reason: bool = False  # it wants one
    once: bool = False  # sent twice it is done once

    @property
    def right(self) -> str:
        return OPERATIONS[self.operation].right


ACTIONS: Mapping[str, Action] = {
    row.name: row
    for row in (
        Action("redeploy", "deploy", "Deploy again",
               "Deploys the live commit of {project} again: archive, install and health checks run, and services may"
               " restart. If it fails, it is rolled back.", once=True),
        Action("rollback", "rollback", "Roll back to",
               "Returns {project} to the result of deployment {number}: its code, its configuration, its services."
               " data/ stays as it is.", numbered=True, once=True),
        Action("confirm", "confirm", "Confirm",
               "Confirms deployment {number} of {project}: it becomes final.", numbered=True),
        Action("cancel", "cancel", "Cancel",
               "Cancels what runs or waits in {project}. What a running deployment did is rolled back."),
        Action("freeze", "freeze", "Freeze",
               "Refuses deployments, rollbacks and tasks of {project} until somebody thaws it. Anyone who is refused"
               " sees the reason and your name.", reason=True),
        Action("thaw", "thaw", "Thaw", "Accepts deployments of {project} again."),
    )
}  # fmt: skip
