"""The operations that only read, by name; and running an operation in this process."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from corpushooks.access import keys
from corpushooks.access.principal import Principal
from corpushooks.core.deployment import ProjectRow
from corpushooks.core.errors import RefusedError
from corpushooks.core.rights import ADMIN, Caller, Rights
from corpushooks.host.site import Site
from corpushooks.operations.auditing import recorded
from corpushooks.operations.call import Call
from corpushooks.operations.table import HOST_ITSELF, OPERATIONS, PROJECT_OR_HOST
from corpushooks.protocol.connection import accounts
from corpushooks.reports import places, reports, tested, trail
from corpushooks.reports.report import Report
from corpushooks.reports.reports import naming

LOOKS: Mapping[str, Callable[[Call[Any]], Report]] = {  # reports on projects
    "status": lambda call: reports.status(
        call.site, call.rows, call.spell, urls=call.asked.urls, one=bool(call.asked.project)
    ),
    "open": lambda call: reports.addresses(call.site, call.row, needed=call.asked.needed),
    "history": lambda call: reports.history(call.site, call.row, call.asked.limit),
    "deployment": lambda call: reports.deployment(call.site, call.row, call.asked.number),
    "tests": lambda call: tested.tests(call.site, call.row, call.asked.number),
    "commands": lambda call: reports.commands(call.site, call.row, call.asked.limit),
    "archives": lambda call: reports.archives(call.site, call.row),
    "storage": lambda call: places.storage(call.site, call.row, call.check),
    "tasks": lambda call: places.tasks(call.site, call.row),
    "names": lambda call: places.names(call.site, call.row, call.check),
    "backups": lambda call: reports.backups(call.site, call.row, call.asked.limit),
    "stats": lambda call: reports.stats(call.site, call.rows, call.spell),
    "metrics": lambda call: reports.metrics(call.site, call.rows),
    "audit": lambda call: _trail(call),
    "config": lambda call: reports.config(call.site, call.row, origin=call.asked.origin, secrets=_secrets(call)),
    "variables": lambda call: reports.variables(call.site, call.row, call.spell),
    "diff": lambda call: reports.diff(call.site, call.row, call.asked.old, call.asked.new),
}
OF_FAULTS = ("status", "metrics")  # these report faults themselves


def _trail(call: Call[Any]) -> Report:
    asked = call.asked
    since = keys.ago(asked.since, time.time()) if asked.since else 0.0
    return trail.trail(call.site, call.rows, everything=call.principal.may_all(ADMIN), one=bool(asked.project),
                       who=asked.who, since=since, limit=asked.limit)  # fmt: skip


def _secrets(call: Call[Any]) -> bool:
    """Say whether secrets are wanted; raise RefusedError if the caller is not allowed to see them."""
    if call.asked.secrets and not call.principal.admin(call.row.name):
        raise RefusedError("only root, the host's group and admin keys can see secrets")
    return bool(call.asked.secrets)


def told(name: str, call: Call[Any]) -> Report:
    """Run an operation that needs no conversation."""
    if name not in LOOKS:
        from corpushooks.operations.does import DOES  # here: `corpus status` does not need it

        return DOES[name](call)
    with naming(call.site, call.rows):
        found = LOOKS[name](call)
    if name in OF_FAULTS:
        return found
    return Report(found.value, found.lines, tuple(reports.warnings(call.site, call.rows, call.spell)))


def here(site: Site, name: str, asked: Any) -> Report:
    """Run an operation in the caller's process: a process that can read the store has all rights."""
    account = Caller(os.geteuid(), getpass.getuser(), frozenset())
    principal = Principal(account.name, Rights(account.uid, "", accounts()), account)
    about, project = OPERATIONS[name].about, getattr(asked, "project", "")
    if about == HOST_ITSELF or (about == PROJECT_OR_HOST and not project):
        rows: Sequence[ProjectRow] = []
    else:
        rows = [site.known(project)] if project else site.history.projects()
    with recorded(site.history, principal, OPERATIONS[name], asked, lambda: None):
        return told(name, Call(site=site, principal=principal, asked=asked, rows=rows, here=True))
