"""Checks for doctor that others cannot read the store, logs, pillars, archives, and Salt's files."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from corpushooks.admin.doctor.patient import Check, Find, Patient
from corpushooks.core.errors import Fault
from corpushooks.core.redaction import Redactor

HARD_LINKS = Path("/proc/sys/fs/protected_hardlinks")
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def _private(path: Path, owner: int, bits: int) -> Iterator[Fault]:
    """Find access for others than `owner`, by the bits of the mode; a missing file is not a fault."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    quoted = shlex.quote(str(path))
    if stat.S_ISLNK(found.st_mode):
        yield Fault(f"{path} is a symbolic link", f"rm {quoted}")
        return
    if found.st_uid != owner:
        yield Fault(f"{path} belongs to uid {found.st_uid}", f"chown {owner} {quoted}")
    if found.st_mode & bits:
        mode, whose = stat.S_IMODE(found.st_mode), "go" if bits == OTHERS else "o"
        yield Fault(f"{path} has mode {mode:04o}: others have access", f"chmod {whose}= {quoted}")


def kept(paths: Callable[[Patient], Iterator[Path]]) -> Find:
    """Return a check that only the owner of the store can read certain paths."""

    def find(patient: Patient) -> Iterator[Fault]:
        store = patient.host.store
        if patient.host.embedded and not store.exists():
            return  # nothing exists yet
        owner = store.stat().st_uid if patient.host.embedded else 0
        for path in paths(patient):
            shared = patient.machine is not None and path in {project.pillar_git for project in patient.projects}
            yield from _private(path, owner, stat.S_IRWXO if shared else OTHERS)  # its group can push

    return find


def _state(patient: Patient) -> Iterator[Path]:
    host = patient.host
    yield from (host.state_dir, host.locks_dir, host.scratch)


def _store(patient: Patient) -> Iterator[Path]:
    """The store, sqlite's files beside it, and the copies of older and damaged ones."""
    store = patient.host.store
    yield from sorted(store.parent.glob(f"{store.name}*"))


def _logs(patient: Patient) -> Iterator[Path]:
    yield from sorted(patient.host.state_dir.glob("*.log*"))  # and rotated ones
    for project in patient.projects:
        yield project.logs
        yield from sorted(project.logs.glob("*"))


def _pillars(patient: Patient) -> Iterator[Path]:
    for project in patient.projects:
        yield from (project.pillar, project.pillar_stage, project.pillar_git)


def _trees(patient: Patient) -> Iterator[Path]:
    for project in patient.projects:
        yield from (project.archives, project.stage, project.work_git)


def _salt(patient: Patient) -> Iterator[Path]:
    for project in patient.projects:
        folder = project.minion_dir
        yield from (folder, folder / "minion", folder / "cfg.json", folder / "secrets.json", folder / "log")


def _settings(patient: Patient) -> Iterator[Path]:
    """The settings, if they have URLs of notifications, or secrets in their minion configuration."""
    redactor = Redactor(patient.settings.secret_keys)
    redactor.learn(patient.settings.minion)
    notified = [patient.settings.notify, *(own.get("notify") for own in patient.settings.own.values())]
    if redactor.values or any(notified):
        yield patient.host.config_file


def hard_links(patient: Patient) -> Iterator[Fault]:
    """Find a kernel that lets anyone make hard links to root's files, for example in an application's tree."""
    if patient.machine is not None and HARD_LINKS.exists() and HARD_LINKS.read_text().strip() == "0":
        yield Fault("others can make hard links to root's files", "sysctl -w fs.protected_hardlinks=1")


CHECKS = (
    Check("state folder", kept(_state)),
    Check("store", kept(_store)),
    Check("logs", kept(_logs)),
    Check("pillars", kept(_pillars)),
    Check("archives and stages", kept(_trees)),
    Check("Salt's folders", kept(_salt)),
    Check("secrets in settings", kept(_settings)),
    Check("hard links", hard_links),
)
