"""Serves operations: who asks is judged here, once for all of them, then what is asked is done and answered."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

from corpushooks.access.authentication import Authentication
from corpushooks.access.keys import Key
from corpushooks.access.principal import Principal
from corpushooks.core.deployment import ProjectRow
from corpushooks.core.errors import NotAllowedError, RefusedError
from corpushooks.core.rights import ADMIN, HOST, Caller, Rights
from corpushooks.host.site import Site
from corpushooks.operations import hosting, pushes, requests, tokens
from corpushooks.operations.call import Call, Conversation, Work
from corpushooks.operations.table import (
    CALLER,
    HOST_ITSELF,
    OPERATIONS,
    PROJECT,
    PROJECT_OR_HOST,
    PROJECTS,
    Operation,
)
from corpushooks.protocol.connection import Connection, accounts
from corpushooks.protocol.messages import Asked
from corpushooks.reports import reports
from corpushooks.reports.report import Report
from corpushooks.reports.reports import naming

LOOKS: Mapping[str, Callable[[Call[Any]], Report]] = {  # what tells of projects, and changes nothing
    "status": lambda call: reports.status(
        call.site, call.rows, call.spell, urls=call.asked.urls, one=bool(call.asked.project)
    ),
    "open": lambda call: reports.addresses(call.site, call.row, needed=call.asked.needed),
    "history": lambda call: reports.history(call.site, call.row, call.asked.limit),
    "commands": lambda call: reports.commands(call.site, call.row, call.asked.limit),
    "archives": lambda call: reports.archives(call.site, call.row),
    "backups": lambda call: reports.backups(call.site, call.row, call.asked.limit),
    "stats": lambda call: reports.stats(call.site, call.rows, call.spell),
    "metrics": lambda call: reports.metrics(call.site, call.rows),
    "config": lambda call: reports.config(call.site, call.row, origin=call.asked.origin, secrets=_secrets(call)),
    "variables": lambda call: reports.variables(call.site, call.row, call.spell),
    "diff": lambda call: reports.diff(call.site, call.row, call.asked.old, call.asked.new),
}
OF_FAULTS = ("status", "metrics")  # what tells of faults itself
DOES: Mapping[str, Callable[[Call[Any]], Report]] = {  # what is done at once
    "freeze": hosting.freeze,
    "thaw": hosting.thaw,
    "init": hosting.init,
    "remove": hosting.remove,
    "link": hosting.link,
    "unlink": hosting.unlink,
    "rename-branch": hosting.rename_branch,
    "key list": hosting.key_list,
    "key add": hosting.key_add,
    "key set": hosting.key_set,
    "key remove": hosting.key_remove,
    "key test": hosting.key_test,
    "token list": tokens.list_,
    "token add": tokens.add,
    "token revoke": tokens.revoke,
}
TALKS: Mapping[str, Callable[[Conversation[Any]], None]] = {  # what goes on for a while, and is heard meanwhile
    "push": pushes.push,
    "deploy": requests.deploy,
    "plan": requests.plan,
    "rollback": requests.rollback,
    "task": requests.task,
    "restart": requests.restarted,
    "repair": requests.repair,
    "backup": requests.backup,
    "drill": requests.drill,
    "restore": requests.restore,
    "set": requests.assign,
    "unset": requests.assign,
    "log": requests.log,
    "app-log": requests.application_log,
    "watch": requests.watch,
    "cancel": requests.cancel,
    "confirm": requests.confirm,
    "run": requests.run,
}


def _named(key: Key) -> str:
    return f"the {'token' if key.is_token else 'key'} {key.name}"


def _secrets(call: Call[Any]) -> bool:
    """Say whether secrets are wanted; raise RefusedError for whom they are not shown."""
    if call.asked.secrets and not call.principal.admin(call.row.name):
        raise RefusedError("secrets are shown to root, the host's group and keys that may admin")
    return bool(call.asked.secrets)


def told(name: str, call: Call[Any]) -> Report:
    """Do what needs no conversation, and return what it tells."""
    if name in DOES:
        return DOES[name](call)
    with naming(call.site, call.rows):
        found = LOOKS[name](call)
    if name in OF_FAULTS:
        return found
    return Report(found.value, found.lines, tuple(reports.warnings(call.site, call.rows, call.spell)))


def here(site: Site, name: str, asked: Any) -> Report:
    """Do what needs no conversation in the process of whoever asks, which can read the store and so may everything."""
    account = Caller(os.geteuid(), getpass.getuser(), frozenset())
    principal = Principal(account.name, Rights(account.uid, "", accounts()), account)
    about, project = OPERATIONS[name].about, getattr(asked, "project", "")
    if about == HOST_ITSELF or (about == PROJECT_OR_HOST and not project):
        rows: Sequence[ProjectRow] = []
    else:
        rows = [site.known(project)] if project else site.history.projects()
    return told(name, Call(site=site, principal=principal, asked=asked, rows=rows, here=True))


@dataclass(frozen=True)
class Server:
    """Where callers are answered. It is made anew for each connection."""

    site: Site
    rights: Rights
    work: Work

    def serve(self, connection: Connection, asked: Asked) -> None:
        """Do what a caller asks for."""
        operation = OPERATIONS.get(asked.name)
        if operation is None:
            raise asked.unknown()
        if operation.about == CALLER:
            connection.send(result=self._of_caller(operation, connection, asked))
            return
        principal = self._authentication.principal(connection, asked)
        if principal.key is None and not self.rights.anything(principal.caller):  # an account that relays, by itself
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
        return {"pid": os.getpid(), "busy": self.work.lanes.busy()}

    def _answer(self, operation: Operation, principal: Principal, connection: Connection, asked: Asked) -> None:
        given = asked.typed(operation.asks)
        rows = self._judged(operation, principal, getattr(given, "project", ""))

        def still() -> object:
            """Judge the caller anew: a key can be revoked meanwhile, and a project removed."""
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
        """Return the projects that a principal asks about and may; say nothing of any other, not even whether it is."""
        right, about = operation.right, operation.about
        if about == PROJECT or (about in (PROJECTS, PROJECT_OR_HOST) and project):
            if not principal.may(project, right):
                raise self.not_allowed(right)
            return [self.site.known(project)]
        if about == PROJECTS:
            return [row for row in self.site.history.projects() if principal.may(row.name, right)]
        assert about in (PROJECT_OR_HOST, HOST_ITSELF)
        if not principal.may_all(right):
            raise self.not_allowed(right)
        return []

    def not_allowed(self, right: str = "") -> NotAllowedError:
        """Return the refusal of whoever has too few rights."""
        people = "" if right in (ADMIN, HOST) else ", for its project the group NAME-deploy"
        by_ssh = f"{right} keys" if right in (ADMIN, HOST) else "keys"
        hint = f"who may: root, the group {self.rights.group}{people}, and {by_ssh} by ssh"
        return NotAllowedError("not allowed", hint)
