"""Serves operations: checks the caller's right, here for all of them, then runs the operation and answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

from corpushooks.access.authentication import Authentication
from corpushooks.access.keys import Key
from corpushooks.access.principal import Principal
from corpushooks.core.deployment import ProjectRow
from corpushooks.core.errors import NotAllowedError
from corpushooks.core.rights import ADMIN, HOST, NODE, Rights
from corpushooks.host.site import Site
from corpushooks.operations import governing, node_logs, pushes, requests, signing, syncing, tokens
from corpushooks.operations.auditing import recorded
from corpushooks.operations.call import Call, Conversation, Work
from corpushooks.operations.looks import told
from corpushooks.operations.table import (
    CALLER,
    HOST_ITSELF,
    OPERATIONS,
    PROJECT,
    PROJECT_OR_HOST,
    PROJECTS,
    Operation,
)
from corpushooks.protocol.connection import Connection
from corpushooks.protocol.messages import Asked

TALKS: Mapping[str, Callable[[Conversation[Any]], None]] = {  # these take a while, and send messages meanwhile
    "push": pushes.push,
    "deploy": requests.deploy,
    "plan": requests.plan,
    "rollback": requests.rollback,
    "task": requests.task,
    "restart": requests.restarted,
    "repair": requests.repair,
    "backup": requests.backup,
    "drill": requests.drill,
    "prune": requests.prune,
    "check-backups": requests.check_backups,
    "restore": requests.restore,
    "set": requests.assign,
    "unset": requests.assign,
    "log": requests.log,
    "app-log": requests.application_log,
    "watch": requests.watch,
    "cancel": requests.cancel,
    "confirm": requests.confirm,
    "run": requests.run,
    "node prepare": governing.prepare,
    "node request": governing.request,
    "node switch": governing.switch,
    "node confirm": governing.confirm,
    "node revoke": governing.revoke,
    "node outcome": governing.outcome,
    "node log": node_logs.part,
    "node sync": syncing.sync,
}


def _named(key: Key) -> str:
    kind = "token" if key.is_token else "account" if key.is_account else "key"
    return f"the {kind} {key.name}"


@dataclass(frozen=True)
class Server:
    """Answers callers. One is made for each connection."""

    site: Site
    rights: Rights
    work: Work

    def serve(self, connection: Connection, asked: Asked) -> None:
        """Run the operation that a caller asks for."""
        operation = OPERATIONS.get(asked.name)
        if operation is None:
            raise asked.unknown()
        if operation.about == CALLER:
            connection.send(result=self._of_caller(operation, connection, asked))
            return
        principal = self._authentication.principal(connection, asked)
        if principal.key is None and not self.rights.anything(
            principal.caller
        ):  # an account that relays for others, itself
            raise self.not_allowed()
        with self.work.semaphores.of_key(_named(principal.key)) if principal.key else nullcontext():
            self._answer(operation, principal, connection, asked)

    @property
    def _authentication(self) -> Authentication:
        return Authentication(self.site.host, self.site.history, self.rights, self.site.settings)

    def _of_caller(self, operation: Operation, connection: Connection, asked: Asked) -> dict[str, Any]:
        if operation.name == "admit":
            wanted = asked.typed(operation.asks)
            return {**self._authentication.admit(connection, wanted), **pushes.paths(self.site.host, wanted)}
        if operation.name == "whoami":
            return tokens.whoami(self._authentication.principal(connection, asked))
        if operation.name in signing.SIGNS:
            return signing.sign(self.site, self.rights, self.work.gate, connection, asked)
        return {"pid": os.getpid(), "busy": self.work.lanes.busy()}

    def _answer(self, operation: Operation, principal: Principal, connection: Connection, asked: Asked) -> None:
        given = asked.typed(operation.asks)
        with recorded(self.site.history, principal, operation, given, lambda: connection.number):
            self._serve(operation, principal, connection, asked, given)

    def _serve(
        self, operation: Operation, principal: Principal, connection: Connection, asked: Asked, given: Any
    ) -> None:
        rows = self._judged(operation, principal, getattr(given, "project", ""))

        def still() -> object:
            """Check the caller again: meanwhile a key can be revoked, or a project removed."""
            again = self._authentication.principal(connection, asked)
            return self._judged(operation, again, getattr(given, "project", ""))

        if operation.name in TALKS:
            TALKS[operation.name](Conversation(
                site=self.site, principal=principal, asked=given, rows=rows, connection=connection, work=self.work,
                still=still,
            ))  # fmt: skip
            return
        found = told(
            operation.name, Call(site=self.site, principal=principal, asked=given, rows=rows, check=connection.check)
        )
        warnings = [asdict(each) for each in found.warnings]
        connection.send(
            result={"value": found.plain, "lines": list(found.lines), "warnings": warnings, "hint": found.hint}
        )

    def _judged(self, operation: Operation, principal: Principal, project: str) -> Sequence[ProjectRow]:
        """Return the projects of a call if the principal has the right; reveal nothing about any other project."""
        right, about = operation.right, operation.about
        if about == PROJECT or (about in (PROJECTS, PROJECT_OR_HOST) and project):
            if not (principal.may(project, right) or (operation.node and principal.may(project, NODE))):
                raise self.not_allowed(right)
            return [self.site.known(project)]
        if about == PROJECTS:
            return [row for row in self.site.history.projects() if principal.may(row.name, right)]
        assert about in (PROJECT_OR_HOST, HOST_ITSELF)
        if not principal.may_all(right):
            raise self.not_allowed(right)
        return []

    def not_allowed(self, right: str = "") -> NotAllowedError:
        """Return the error for a caller without the right."""
        people = "" if right in (ADMIN, HOST) else ", for its project the group NAME-deploy"
        by_ssh = f"{right} keys" if right in (ADMIN, HOST) else "keys"
        hint = f"allowed: root, the group {self.rights.group}{people}, and {by_ssh} over ssh"
        return NotAllowedError("not allowed", hint)
