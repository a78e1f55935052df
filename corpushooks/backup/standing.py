"""How the backups of a project are: when the newest was made, when one was last restored aside, and what is overdue."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from corpushooks.backup import vault
from corpushooks.core.backups import Backup
from corpushooks.core.deployment import ProjectRow
from corpushooks.core.project import Host
from corpushooks.store.kept import Kept

BACKUP, DRILL = "backup", "drill"  # what can be overdue, by the command that makes up for it
HOUR, DAY = 3600.0, 86400.0


@dataclass(frozen=True)
class Standing:
    """The backups of a project. Times are in seconds since the epoch."""

    at: float | None  # when the newest began
    proved: float | None  # when a backup was last restored by a drill, and was as it should be
    wrong: str  # what the last drill found
    overdue: tuple[str, ...]


def standing(found: Sequence[Kept], kept: Backup, since: float, now: float) -> Standing:
    """Say how backups are, the newest first; `since`: from when on there can have been some."""
    tried = sorted((one for one in found if one.drilled), key=lambda one: one.drilled or 0.0)
    proved = [one.drilled for one in tried if not one.wrong]
    at, last = (found[0].at if found else None), (proved[-1] if proved else None)
    limits = (
        (BACKUP, at or since, kept.overdue * HOUR),
        (DRILL, last or (found[-1].at if found else since), kept.drill_overdue * DAY),
    )
    late = tuple(what for what, base, limit in limits if abs(now - base) > limit)  # the clock can have been wrong
    return Standing(at, last, tried[-1].wrong if tried else "", late)


def of_project(host: Host, kept: Backup, row: ProjectRow, found: Sequence[Kept]) -> Standing:
    """Say how the backups of a project are now; nothing is overdue of one that has just been made."""
    return standing(found, kept, max(row.created, vault.since(host, kept)), time.time())
