"""Backups that are no longer kept, and what failed ones left in the repository: found, and removed."""

from __future__ import annotations

from collections.abc import Iterable

from corpushooks import backup as door
from corpushooks.core import backups
from corpushooks.deploy.run import Run
from corpushooks.store.kept import Backups
from corpushooks.system.patience import Check


def remove(
    run: Run, engine: door.Engine, there: set[str], kept: backups.Backup, newest: backups.Name, check: Check
) -> int:  # fmt: skip
    """Remove the expired backups of a project on this host; return how many. Raise ProcessError."""
    rows = Backups(run.site.history)
    proved = next((row.name for row in rows.of(newest.project) if row.drilled and not row.wrong), "")
    old, left = expired(there, kept, newest, proved)
    rows.forget(map(str, old))
    with run.site.effect("backup forgotten"):  # what makes each whole goes first
        engine.forget([*map(str, old), *left], check)
    return len(old)


def expired(
    there: Iterable[str], kept: backups.Backup, newest: backups.Name, proved: str
) -> tuple[list[backups.Name], list[str]]:
    """Return the expired backups of the project and host of the newest one, and parts that belong to no kept backup."""
    names = set(there)
    read = [(text, *found) for text, found in ((text, backups.Name.read(text)) for text in sorted(names)) if found]
    own = [each for each in read if (each[1].project, each[1].host) == (newest.project, newest.host)]
    whole = {name for _, name, is_part in own if not is_part and name.files in names}
    stays = {newest, *backups.retained(whole, kept), *(name for name in whole if str(name) == proved)}
    old = whole - stays
    parts = [(text, name) for text, name, is_part in own if is_part]
    left = [text for text, name in parts if name in old or (name not in whole and name.number < newest.number)]
    return sorted(old, key=lambda name: name.at), left
