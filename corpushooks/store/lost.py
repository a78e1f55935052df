"""A store that has lost deployments: the logs on the disk tell of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from corpushooks.core.errors import LostStoreError
from corpushooks.core.project import NAME, Host, Project
from corpushooks.store import log
from corpushooks.store.database import HINT
from corpushooks.store.history import History

LOG = re.compile(r"(\d+)\.log")


def check(host: Host, store: History) -> None:
    """Raise LostStoreError if logs have deployments, or ends of deployments, that the store does not have.

    The store is out of date then, as after a torn WAL. The store is written before the log, so it should have both.
    """
    for project in projects(host):
        name, told = project.name, 0
        with suppress(OSError):  # what cannot be read tells nothing, and is said of the project
            told = max(numbers(project.logs, LOG), default=0)  # before the store is asked
        if told > (known := store.newest(name)):
            raise LostStoreError(
                f"the store {host.store} is missing deployments of {name}: {known} recorded, {told} on disk", HINT
            )
        for one in (*store.unfinished(name), *store.queued(name)):
            if log.has_end(project.log_file(one.number)) and not store.deployment(name, one.number).final:
                raise LostStoreError(
                    f"the store {host.store} is missing the end of deployment {one.number} of {name}", HINT
                )


def projects(host: Host) -> list[Project]:
    """Return the projects that have a repository on the disk."""
    names = sorted(path.parent.parent.name for path in host.projects_dir.glob("*/git/project.git"))
    return [host.project(name) for name in names if NAME.fullmatch(name)]


def numbered(folder: Path, pattern: re.Pattern[str]) -> Iterator[tuple[int, Path]]:
    """Yield the entries of a folder whose names have a number, as the pattern says, with that number."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if found := pattern.fullmatch(path.name):
            yield int(found[1]), path


def numbers(folder: Path, pattern: re.Pattern[str]) -> list[int]:
    """Return the numbers of such entries."""
    return [number for number, _ in numbered(folder, pattern)]
