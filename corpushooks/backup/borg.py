"""borg, from 1.2 on: what it is told, and what it says.

The passphrase is read by a program that borg starts itself (BORG_PASSCOMMAND): it is in no argument and no environment.
Source: https://borgbackup.readthedocs.io/en/1.2-maint/internals/frontends.html for the lines of --log-json.
"""

from __future__ import annotations

import json
import shlex
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from corpushooks.backup.interface import Copy, Kept, Start
from corpushooks.core.backups import Backup
from corpushooks.core.errors import ProcessError
from corpushooks.core.hints import Advice, Hint
from corpushooks.system.patience import Check, endless
from corpushooks.system.process import attend

ROOT = Path("/")
GRACE = 20.0  # seconds that borg has to take its lock away when it is stopped
LEGACY = "legacy"  # exit codes: 0, 1 with warnings, 2; those of borg 1.4 can be others
SAID: Mapping[str, str] = {  # borg's ids of messages -> what is wrong with {place}
    "Repository.DoesNotExist": "no backup repository at {place}",
    "Repository.InvalidRepository": "{place} is not a backup repository",
    "Repository.AlreadyExists": "there is a backup repository at {place} already",
    "Repository.ParentPathDoesNotExist": "the folder above {place} does not exist",
    "Repository.PathPermissionDenied": "the backup repository {place} cannot be used: permission denied",
    "Repository.InsufficientFreeSpaceError": "the disk of the backup repository {place} is full",
    "Repository.StorageQuotaExceeded": "the backup repository {place} has reached its quota",
    "PassphraseWrong": "wrong passphrase for the backup repository {place}",
    "PasscommandFailure": "the passphrase of the backup repository {place} cannot be read",
    "LockTimeout": "the backup repository {place} is locked by another process",
    "ConnectionClosed": "the host of the backup repository {place} cannot be reached",
    "ConnectionClosedWithHint": "the host of the backup repository {place} cannot be reached",
    "Cache.RepositoryReplay": "the backup repository {place} is older than when it was last used here",
    "Cache.EncryptionMethodMismatch": "another repository than before is at {place}",
}
DAMAGED = "the backup repository {place} is damaged: {text}"
DAMAGES = ("IntegrityError", "Repository.ObjectNotFound", "Repository.CheckNeeded", "Manifest")


@dataclass(frozen=True)
class Borg:
    """borg, with one repository. `state` is a folder of ours for its cache; `host` is used for its files cache only."""

    settings: Backup
    passphrase: Path
    state: Path
    start: Start
    purpose: str = "all"  # what is kept under one of these is compared with what was kept under it before

    def begin(self, check: Check = endless) -> None:
        self._call(["init", "--encryption=repokey-blake2", self.settings.repository], check)

    def keep(
        self, name: str, folder: Path, paths: Sequence[str], without: Sequence[str] = (), check: Check = endless,
        *, fresh: bool = False,
    ) -> Kept:  # fmt: skip
        limit = [f"--upload-ratelimit={self.settings.rate}"] if self.settings.rate else []
        words = ["create", "--json", "--list", "--filter=CE", "--one-file-system", "--sparse", *limit]
        words += ["--files-cache=disabled"] if fresh else []  # to load and to write it costs more than to read a few
        words += [f"--compression={self.settings.compression}", *(f"--exclude=pp:{path}" for path in without)]
        done = self._call([*words, self._of(name), "--", *paths], check, cwd=folder, warned=True)
        marked = [(one["status"], one["path"]) for one in done.said if one.get("type") == "file_status"]
        if done.code and not marked:
            raise ProcessError(f"borg: {done.complaint}")
        stats = json.loads(done.text)["archive"]["stats"]
        changed, unread = (tuple(path for mark, path in marked if mark == wanted) for wanted in "CE")
        return Kept(int(stats["original_size"]), int(stats["deduplicated_size"]), changed, unread)

    def copies(self, check: Check = endless) -> list[Copy]:
        done = self._call(["list", "--json", "--format={start}", self.settings.repository], check)
        found = [Copy(each["archive"], _epoch(each["start"])) for each in json.loads(done.text)["archives"]]
        return sorted(found, key=lambda copy: (copy.at, copy.name))

    def bring(self, name: str, into: Path, paths: Sequence[str] = (), check: Check = endless) -> None:
        self._call(["extract", "--sparse", self._of(name), "--", *(f"pp:{path}" for path in paths)], check, cwd=into)

    def forget(self, names: Sequence[str], check: Check = endless) -> None:
        if names:
            self._call(["delete", self.settings.repository, "--", *names], check)
            self._call(["compact", self.settings.repository], check)

    def verify(self, check: Check = endless) -> None:
        self._call(["check", "--verify-data", self.settings.repository], check)

    def _of(self, name: str) -> str:
        return f"{self.settings.repository}::{name}"

    def _call(self, words: Sequence[str], check: Check, *, cwd: Path = ROOT, warned: bool = False) -> _Done:
        """Run borg to its end; a warning is an error, unless it is `warned` of files."""
        argv = ["borg", "--log-json", f"--lock-wait={self.settings.lock_wait:.0f}", *words]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = self.start(argv, cwd=cwd, env=self._environment(), stdout=out.fileno(), stderr=err.fileno())
            attend(child, self.settings.timeout, check, grace=GRACE)
            done = _Done(child.returncode, _whole(out).decode("utf-8", "replace"), list(_lines(_whole(err))))
        if done.code not in (0, 1 if warned else 0):
            raise self._error(done)
        return done

    def _environment(self) -> dict[str, str]:
        key, hosts = self.settings.ssh_key, self.settings.ssh_known_hosts
        more = ["-i", str(key), "-o", "IdentitiesOnly=yes"] if key else []
        more += ["-o", f"UserKnownHostsFile={hosts}"] if hosts else []
        ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4", *more]
        return {
            "BORG_BASE_DIR": str(self.state),
            "BORG_EXIT_CODES": LEGACY,
            "BORG_FILES_CACHE_SUFFIX": self.purpose,  # else the files of one project are forgotten over many others
            "BORG_HOSTNAME_IS_UNIQUE": "yes",  # borg removes stale locks of dead processes on this host
            "BORG_PASSCOMMAND": shlex.join(["cat", str(self.passphrase)]),
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "no",
            "BORG_RSH": shlex.join(ssh),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "no",
            "TZ": "UTC",
        }

    def _error(self, done: _Done) -> ProcessError:
        """Return what to raise for what borg says."""
        place, last = self.settings.repository, done.last
        id_ = str(last.get("msgid", ""))
        text = done.complaint
        if id_ in SAID:
            return ProcessError(SAID[id_].format(place=place), _hint(id_, place, self.passphrase))
        if id_.startswith(DAMAGES):
            return ProcessError(DAMAGED.format(place=place, text=text), Hint(f"borg check --verify-data {place}"))
        return ProcessError(f"borg {self._named(done)}: {text}")

    @staticmethod
    def _named(done: _Done) -> str:
        return f"was ended by signal {-done.code}" if done.code < 0 else "failed"


def _hint(id_: str, place: str, passphrase: Path) -> Advice:
    if id_ == "LockTimeout":
        return f"where nothing uses it any more: borg break-lock {shlex.quote(place)}"
    if id_ in ("PassphraseWrong", "PasscommandFailure"):
        return f"the passphrase is read from {passphrase}"
    return ""


@dataclass(frozen=True)
class _Done:
    """What borg gave: its exit code, its output, and what it said, a mapping for each line."""

    code: int
    text: str
    said: list[dict[str, Any]]

    @property
    def last(self) -> dict[str, Any]:
        """The last error, else the last warning."""
        told = [one for one in self.said if one.get("type") == "log_message"]
        for level in ("CRITICAL", "ERROR", "WARNING"):
            if found := [one for one in told if one.get("levelname") == level]:
                return found[-1]
        return {}

    @property
    def complaint(self) -> str:
        lines = str(self.last.get("message", "")).strip().splitlines()
        return lines[0] if lines else f"exit code {self.code}"


def _whole(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _lines(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield what each line says; a line that is not JSON counts as an error of borg (ssh writes there too)."""
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        yield found if isinstance(found, dict) else {"type": "log_message", "levelname": "NOTE", "message": line}


def _epoch(text: str) -> float:
    """Return the time that borg says, which it has in UTC, as we tell it to."""
    from calendar import timegm  # here: the daemon need not keep it in memory

    return float(timegm(time.strptime(text.partition(".")[0], "%Y-%m-%dT%H:%M:%S")))
