"""The check of doctor for backups: the newest of each project, and its drills."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from corpushooks.admin import setup
from corpushooks.admin.doctor.patient import Check, Finding, Patient
from corpushooks.admin.setup.actions import Folder
from corpushooks.backup import vault
from corpushooks.core.backups import Backup, Name, retained
from corpushooks.core.deployment import ProjectRow
from corpushooks.core.errors import ConfigError, Fault, RefusedError
from corpushooks.core.hints import command
from corpushooks.release import cfg as release_cfg
from corpushooks.screen import view
from corpushooks.store.kept import Kept

HOUR, DAY = 3600.0, 86400.0
EXPIRED = 14  # backups that can be expired before that is a fault: who removes them may do so weekly


def backups(patient: Patient) -> Iterator[Finding]:
    """Find backups that are missing, overdue or cannot be restored."""
    kept = patient.settings.backup
    if kept is None:
        yield "none are kept"
        return
    try:
        vault.engine(patient.host, patient.settings, vault.alone)
    except RefusedError as exc:
        yield Fault(exc.message, exc.hint)
        return
    if not vault.is_exported(patient.host, kept):
        yield Fault("without their passphrase nobody can read the backups", vault.advice(patient.host, kept))
    yield from _repository_findings(patient, kept)
    yield from _growth(patient, kept)
    yield from _timer_findings(patient)
    for row in patient.rows:
        yield from _cfg_findings(patient, row)
        yield from of_project(row.name, patient.kept.get(row.name, ()), kept, time.time())


def _repository_findings(patient: Patient, kept: Backup) -> Iterator[Finding]:
    """Find out when the repository was checked, and what was wrong with it."""
    found, again = vault.checked(patient.host), command("backups", "--check")
    if found and found.wrong:
        yield Fault(f"the last check of the repository failed: {found.wrong}", again)
        return
    since = time.time() - (found.at if found else vault.since(patient.host, kept))
    if since > kept.check_overdue * DAY:
        yield Fault(f"the repository was not checked for {view.ago(since)}", again)
    elif found:
        yield f"repository checked {view.ago(since)} ago"


def _growth(patient: Patient, kept: Backup) -> Iterator[Finding]:
    """Find out whether expired backups are removed by anybody, where this host does not."""
    if kept.prunes:
        return
    over = sum(len(names) - len(retained(names, kept)) for names in _names(patient))
    if over > EXPIRED:
        yield Fault(
            f"the backup repository grows: {over} expired backups are in it, and this host removes none",
            "remove them on the host of the repository, or set `prune: true` under `backup`",
        )


def _names(patient: Patient) -> Iterator[set[Name]]:
    """Yield the names of the backups of each project."""
    for row in patient.rows:
        read = (Name.read(one.name) for one in patient.kept.get(row.name, ()))
        yield {found[0] for found in read if found}


def _timer_findings(patient: Patient) -> Iterator[Finding]:
    """Find what keeps a host from making backups by itself."""
    record = setup.record_of(patient.host)
    actions = setup.Plan(patient.host, patient.settings, patient.machine).jobs()
    for action in actions:
        if not isinstance(action, Folder) and action.look(record.noted(action)).todo:
            yield Fault(f"{action.kind} {action.name} is not as setup makes it", vault.SETUP)
            return


def _cfg_findings(patient: Patient, row: ProjectRow) -> Iterator[Finding]:
    """Find out whether it is known what belongs to the backups of a project: else they fail, and deployments too."""
    try:
        release_cfg.backup_of(patient.host.project(row.name), row)
    except ConfigError as exc:
        if row.name not in patient.busy:  # it is written just now
            yield Fault(f"{row.name} cannot be backed up: {exc.message}", exc.hint)


def of_project(name: str, found: Sequence[Kept], settings: Backup, now: float) -> Iterator[Finding]:
    """Find what is wrong with the backups of one project, the newest first."""
    if not found:
        yield Fault(f"{name} has no backup", command("backup", name))
        return
    if now - found[0].at > settings.overdue * HOUR:
        yield Fault(f"the newest backup of {name} is {view.ago(now - found[0].at)} old", command("backup", name))
    if found[0].at - now > settings.overdue * HOUR:
        yield Fault(
            f"the newest backup of {name} is dated in the future: was the clock wrong?", command("backup", name)
        )
    tried = sorted((one for one in found if one.drilled), key=lambda one: -(one.drilled or 0.0))
    if tried and tried[0].wrong:
        yield Fault(f"backup {tried[0].number} of {name} did not come back: {tried[0].wrong}", command("drill", name))
        return
    since = (tried[0].drilled or 0.0) if tried else found[-1].at
    if now - since > settings.drill_overdue * DAY:
        yield Fault(f"no backup of {name} was brought back for {view.ago(now - since)}", command("drill", name))


CHECKS = (Check("backups", backups),)
