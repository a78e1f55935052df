"""What can be wrong with a host, as a table of checks: each finds what is wrong and which command repairs it.

A further check is a further row of CHECKS.
"""

from __future__ import annotations

import shlex
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpushooks.project import Host, Project
from corpushooks.redaction import Redactor
from corpushooks.settings import Settings

OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Patient:
    """A host that is looked at."""

    host: Host
    settings: Settings
    projects: tuple[Project, ...]


@dataclass(frozen=True)
class Fault:
    """Something that is wrong, and the command that repairs it."""

    what: str
    repair: str


@dataclass(frozen=True)
class Check:
    """One row: what is looked at, and how."""

    name: str
    find: Callable[[Patient], Iterator[Fault]]


def examine(patient: Patient) -> list[tuple[str, list[Fault]]]:
    """Return each check with what it found."""
    return [(check.name, list(check.find(patient))) for check in CHECKS]


def lines(name: str, faults: Sequence[Fault]) -> list[str]:
    """Return what people read of a check: a line, or one for each fault."""
    return [f"wrong  {name:<20} {fault.what}; {fault.repair}" for fault in faults] or [f"ok     {name}"]


# what must be kept from others


def _private(path: Path, owner: int) -> Iterator[Fault]:
    """Find who else than `owner` may see something; what is not there is no fault."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    quoted = shlex.quote(str(path))
    if stat.S_ISLNK(found.st_mode):
        yield Fault(f"{path} is a symbolic link", f"rm {quoted}")
        return
    if found.st_uid != owner:
        yield Fault(f"{path} belongs to uid {found.st_uid}", f"chown {owner} {quoted}")
    if found.st_mode & OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        yield Fault(f"{path} has mode {mode:04o}: others may use it", f"chmod go= {quoted}")


def kept(paths: Callable[[Patient], Iterator[Path]]) -> Callable[[Patient], Iterator[Fault]]:
    """Return a check that only the owner of the store may see certain paths."""

    def find(patient: Patient) -> Iterator[Fault]:
        owner = patient.host.store.stat().st_uid if patient.host.embedded else 0
        for path in paths(patient):
            yield from _private(path, owner)

    return find


def _state(patient: Patient) -> Iterator[Path]:
    host = patient.host
    yield from (host.state_dir, host.locks_dir, host.scratch)


def _store(patient: Patient) -> Iterator[Path]:
    """The store, what sqlite keeps beside it, and the copies that were kept of older and of damaged ones."""
    store = patient.host.store
    yield from sorted(store.parent.glob(f"{store.name}*"))


def _logs(patient: Patient) -> Iterator[Path]:
    yield from (patient.host.state_dir / name for name in ("daemon.log", "salt-worker.log"))
    for project in patient.projects:
        yield project.logs
        yield from sorted(project.logs.glob("*"))


def _pillars(patient: Patient) -> Iterator[Path]:
    for project in patient.projects:
        yield from (project.pillar, project.pillar_git)


def _trees(patient: Patient) -> Iterator[Path]:
    for project in patient.projects:
        yield from (project.archives, project.stage, project.work_git)


def _salt(patient: Patient) -> Iterator[Path]:
    for project in patient.projects:
        folder = project.minion_dir
        yield from (folder, folder / "minion", folder / "secrets.json", folder / "log")


def _settings(patient: Patient) -> Iterator[Path]:
    """The settings, where the minion configuration in them has something that looks secret."""
    redactor = Redactor(patient.settings.secret_keys)
    redactor.learn(patient.settings.minion)
    if redactor.values:
        yield patient.host.config_file


CHECKS = (
    Check("state folder", kept(_state)),
    Check("store", kept(_store)),
    Check("logs", kept(_logs)),
    Check("pillars", kept(_pillars)),
    Check("archives and stages", kept(_trees)),
    Check("Salt's folders", kept(_salt)),
    Check("settings", kept(_settings)),
)
