"""The repository of a host's backups: what keeps them, where its passphrase is, and whether that is elsewhere too."""

from __future__ import annotations

import hashlib
import json
import secrets
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from corpushooks import backup
from corpushooks.core.backups import Backup
from corpushooks.core.errors import ProcessError, RefusedError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Host
from corpushooks.core.settings import Settings
from corpushooks.system import disk, safe_files
from corpushooks.system.patience import Check, endless
from corpushooks.system.process import Child, spawn

PROGRAM, PACKAGE = "borg", "borgbackup"
HINT = command("help", "backups")
SETUP = command("setup", "--backup")
CHECKED = ".checked"
DAY = 86400.0


def wanted(settings: Settings) -> Backup:
    """Return the backup settings of a host; raise RefusedError if there are none, or borg is missing."""
    if settings.backup is None:
        raise RefusedError("no backup repository in the settings of this host", hint=HINT)
    check_program()
    return settings.backup


def check_program() -> None:
    """Raise RefusedError where the program that makes backups is missing."""
    if shutil.which(PROGRAM) is None:
        raise RefusedError(f"{PROGRAM} is not installed", hint=f"apt-get install {PACKAGE}")


def passphrase_file(host: Host, kept: Backup) -> Path:
    """Return the file that has the passphrase of the repository."""
    return kept.passphrase_file or host.config_file.with_name("backup.passphrase")


def engine(host: Host, settings: Settings, start: backup.Start, purpose: str = "all") -> backup.Engine:
    """Return the backup engine of a host; raise RefusedError if there is none."""
    kept = wanted(settings)
    file = passphrase_file(host, kept)
    if not passphrase(file):
        raise RefusedError(f"the backup passphrase is missing: {file}", hint=SETUP)
    return backup.Borg(kept, file, host.backups_dir / ".borg", start, purpose)


def passphrase(file: Path) -> bytes:
    """Return a passphrase, or nothing; raise RefusedError where others could read or write it, or it cannot be read."""
    try:
        data, found = safe_files.read(file)
    except FileNotFoundError:
        return b""
    except OSError as exc:
        raise RefusedError(f"{file} cannot be read: {exc.strerror}") from exc
    if found.st_mode & 0o077:
        raise RefusedError(f"others can read {file}", hint=f"chmod 600 {shlex.quote(str(file))}")
    return data.strip()


def alone(words: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str], stdout: int, stderr: int) -> Child[bytes]:
    """Start a program for somebody who waits for it."""
    return spawn(words, cwd=cwd, env=env, stdout=stdout, stderr=stderr)


def begin(host: Host, settings: Settings) -> list[str]:
    """Make the passphrase and the repository, where they are missing; return what was made."""
    kept, made = wanted(settings), []
    file = passphrase_file(host, kept)
    if not passphrase(file):
        disk.write_file(file, f"{secrets.token_urlsafe(32)}\n".encode())
        made.append(f"passphrase {file}")
    found = engine(host, settings, alone)
    host.backups_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        found.begin()
    except ProcessError:
        found.copies()  # raises where it is not ours
    else:
        made.append(f"repository {kept.repository}")
    return made


@dataclass(frozen=True)
class Checked:
    """When the repository was last checked, and what was wrong with it."""

    at: float
    wrong: str = ""


def check(host: Host, settings: Settings) -> None:
    """Read the whole repository, and record what came of that; raise ProcessError where it is damaged."""
    verify(host, engine(host, settings, alone))


def verify(host: Host, found: backup.Engine, check: Check = endless) -> None:
    """Read the whole repository, and record what came of that; raise ProcessError where it is damaged."""
    try:
        found.verify(check)
    except ProcessError as exc:
        _record(host, Checked(time.time(), exc.message))
        raise
    _record(host, Checked(time.time()))


def _record(host: Host, found: Checked) -> None:
    disk.write_file(host.backups_dir / CHECKED, json.dumps(asdict(found)).encode())


def checked(host: Host) -> Checked | None:
    """Return what came of the last check of the repository, as far as that is known."""
    try:
        return Checked(**json.loads((host.backups_dir / CHECKED).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def is_check_late(host: Host, kept: Backup, now: float) -> bool:
    """Say whether the last check of the repository failed, or is too long ago."""
    found = checked(host)
    return (
        bool(found and found.wrong) or abs(now - (found.at if found else since(host, kept))) > kept.check_overdue * DAY
    )


def since(host: Host, kept: Backup) -> float:
    """Return from when on there can have been backups: since there is a passphrase."""
    try:
        return passphrase_file(host, kept).stat().st_mtime
    except OSError:
        return time.time()


def is_exported(host: Host, kept: Backup) -> bool:
    """Say whether somebody said that the passphrase, as it is now, is kept elsewhere too."""
    try:
        return _mark(host).read_text() == _digest(host, kept)
    except OSError:
        return False


def exported(host: Host, kept: Backup) -> None:
    """Record that the passphrase is kept elsewhere too; raise UsageError where there is none."""
    if not passphrase(passphrase_file(host, kept)):
        raise UsageError("no passphrase exists yet", hint=SETUP)
    disk.write_file(_mark(host), _digest(host, kept).encode())


def _mark(host: Host) -> Path:
    return host.backups_dir / ".exported"


def _digest(host: Host, kept: Backup) -> str:
    return hashlib.sha256(passphrase(passphrase_file(host, kept))).hexdigest()


def advice(host: Host, kept: Backup) -> Hint:
    """Return what is left to do before a backup survives the loss of this machine."""
    file = passphrase_file(host, kept)
    return Hint(f"keep a copy of {file} elsewhere, then: ", command("setup", "--backup", "--exported"))
