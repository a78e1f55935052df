"""The log of an application: the journal of its units and its log files, as named in its cfg.

Neither the application nor its log is trusted. A file is read by a process with only the rights of NAME-user, so that,
wherever a link leads, it shows nothing that the application could not print itself. Each line is redacted, stripped of
control characters, and cut if it is too long.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpushooks.core import services
from corpushooks.core.deployment import ProjectRow
from corpushooks.core.errors import DoorError, RefusedError
from corpushooks.core.project import Project
from corpushooks.core.redaction import Redactor
from corpushooks.host import accounts
from corpushooks.host.site import Site
from corpushooks.release import app_units, release
from corpushooks.store import log
from corpushooks.system import safe_files, units
from corpushooks.system.patience import Check
from corpushooks.system.process import PIPE, Account, Child, reap, spawn, stop_group

LINE = 1 << 20  # bytes kept of a line
CHUNK = 1 << 16
TICK = 0.25  # seconds between calls of `check`
LIMIT = 30.0  # seconds for reading without follow
MEMORY = 64 << 20  # bytes that a reader can use: a device or a pipe may be endless
MOST = 10_000  # past lines that can be shown


@dataclass(frozen=True)
class Wanted:
    """What to show of the `named` sources: the newest `lines`, or all `since` a time in µs.

    With `follow` also all future lines.
    """

    named: services.Named
    lines: int
    follow: bool
    since: int = 0

    @property
    def several(self) -> bool:
        """Whether each line needs the name of its source."""
        return len(self.named.units) + len(self.named.files) > 1


@dataclass(frozen=True)
class Line:
    """One line. A `note` is ours: why something is not shown."""

    source: str
    text: str
    at: int | None = None  # µs since the epoch, if known
    note: bool = False

    def shown(self, *, named: bool) -> str:
        """Return it for display; `named` if there are several sources."""
        when = "" if self.at is None else time.strftime("%Y-%m-%dT%H:%M:%SZ ", time.gmtime(self.at // 1_000_000))
        return f"{when}{f'{self.source}: ' if named or self.note else ''}{self.text}"

    def as_json(self) -> dict[str, Any]:
        return {"at": None if self.at is None else self.at / 1e6, "source": self.source, "text": self.text}


Tell = Callable[[Line], None]


@dataclass(frozen=True)
class Source:
    """A program whose output is shown, its account, and how to parse its lines."""

    name: str
    words: Sequence[str]
    read: Callable[[str], Sequence[Line]]
    account: Account | None = None
    descriptor: int | None = None  # to inherit


@dataclass
class Secrets:
    """Redacts the secrets of a project, also of releases deployed while somebody reads."""

    project: Project
    redactor: Redactor
    _seen: int = 0

    def harmless(self, text: str) -> str:
        """Return a line that is safe to show."""
        with contextlib.suppress(OSError):
            seen = (self.project.minion_dir / release.SECRETS).stat().st_mtime_ns
            if seen != self._seen:
                release.recall(self.project, self.redactor)
                self._seen = seen
        return log.harmless(text, self.redactor)


def show(site: Site, row: ProjectRow, wanted: Wanted, tell: Tell, check: Check) -> None:
    """Send the lines of an application's log, and notes on sources that cannot be shown.

    `check` is called regularly, and can raise. Raise RefusedError if nothing can be shown.
    """
    project = site.host.project(row.name)
    secrets = Secrets(project, release.redactor_of(site.settings.sound(row.name)))
    with ExitStack() as stack:
        found, notes = _sources(site, project, wanted, stack)
        for note in notes:
            tell(note)
        if not found:
            raise RefusedError(f"none of the logs of {row.name} can be shown", hint=services.HINT)
        for some in [found] if wanted.follow else [[each] for each in found]:
            _read_output(some, secrets, tell, check, None if wanted.follow else LIMIT)


# sources


def _sources(site: Site, project: Project, wanted: Wanted, stack: ExitStack) -> tuple[list[Source], list[Line]]:
    """Return the sources to read, and notes on the others."""
    names, notes, found = wanted.named.units, list[Line](), list[Source]()
    if names and not app_units.is_supervised(project):
        what = "on this host" if project.host.embedded else "here"
        notes += [Line(name, f"systemd is not running {what}: no journal", note=True) for name in names]
    elif names:
        units_of = list(app_units.judged(site, project, names))
        notes += [Line(unit.name, f"not shown: {why}", note=True) for unit, why in units_of if why]
        if own := [unit.name for unit, why in units_of if not why]:
            found.append(_journal(own, wanted))
    for path in wanted.named.files:
        try:
            found.append(_file(project, Path(path), wanted, stack))
        except OSError as exc:
            notes.append(Line(_label(project, path), f"cannot be read: {exc.strerror}", note=True))
    return found, notes


def _journal(names: Sequence[str], wanted: Wanted) -> Source:
    def read(text: str) -> Sequence[Line]:
        entry = units.entry(text, names)
        return [Line(entry.unit, part, entry.at) for part in entry.text.splitlines()] if entry else []

    words = units.journal(names, wanted.lines, follow=wanted.follow, since=wanted.since)
    return Source(", ".join(names), words, read)


def _file(project: Project, path: Path, wanted: Wanted, stack: ExitStack) -> Source:
    """Return the end of a file, read as the account of the application; raise OSError."""
    label, account, place, descriptor = _label(project, str(path)), _account(project), str(path), None
    if account is None and os.geteuid() == 0:
        descriptor = _opened(project, path)
        stack.callback(os.close, descriptor)
        place = f"/proc/self/fd/{descriptor}"
    named = "descriptor" if descriptor is not None else "name"
    follow = [f"--follow={named}", "--retry", f"--pid={os.getpid()}"] if wanted.follow else []
    lines = 0 if wanted.since else wanted.lines
    words = ["prlimit", f"--as={MEMORY}", "tail", f"--lines={lines}", *follow, "--", place]
    return Source(label, words, lambda text: [Line(label, text)], account, descriptor)


def _opened(project: Project, path: Path) -> int:
    """Open a file as root, for a host in a folder, where applications have no accounts; follow no link of theirs.

    A file outside the project must be world-readable.
    """
    if not project.host.embedded:
        raise PermissionError(errno.EACCES, f"no account {project.user} to read it as", str(path))
    with safe_files.spot(path, follow=True) as at:
        descriptor = safe_files.open_file(at)
    if not os.fstat(descriptor).st_mode & stat.S_IROTH and not path.is_relative_to(project.dir):
        os.close(descriptor)
        raise PermissionError(errno.EACCES, "not world-readable", str(path))
    return descriptor


def _label(project: Project, path: str) -> str:
    return path.removeprefix(f"{project.dir}/")


def _account(project: Project) -> Account | None:
    """Return the account of an application; None if we cannot become it. Raise OSError if it has root's rights."""
    uid, gid = accounts.account_ids(project.host, project.user, project.group)
    if uid is None or gid is None:
        return None
    groups = tuple(os.getgrouplist(project.user, gid))
    if uid == 0 or 0 in groups:
        raise PermissionError(errno.EACCES, f"{project.user} has the rights of root")
    return Account(uid, gid, groups)


# reading


@dataclass
class _Reading:
    """A running program; its stderr becomes notes."""

    source: Source
    child: Child[bytes]
    rest: dict[int, bytearray] = field(default_factory=dict)

    def lines(self, descriptor: int, data: bytes) -> Iterator[str]:
        """Yield the complete lines so far, long ones cut. Without data: the rest."""
        rest = self.rest.setdefault(descriptor, bytearray())
        kept = len(rest)
        rest += data if data else b"\n" * bool(rest)
        *whole, left = rest.split(b"\n") if b"\n" in rest[kept:] else [rest]
        for each in whole:
            yield each[:LINE].decode("utf-8", "backslashreplace").rstrip("\r").rpartition("\r")[2]
        self.rest[descriptor] = bytearray(left[: LINE + 1])


def _read_output(found: Sequence[Source], secrets: Secrets, tell: Tell, check: Check, seconds: float | None) -> None:
    """Send the output of sources until all have ended, or for `seconds`."""
    end = float("inf") if seconds is None else time.monotonic() + seconds
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for source in found:
            reading = stack.enter_context(_started(source))
            for pipe in (reading.child.stdout, reading.child.stderr):
                assert pipe is not None
                selector.register(pipe, selectors.EVENT_READ, reading)
        while selector.get_map():
            check()
            if time.monotonic() > end:
                raise DoorError(f"{found[0].name}: timed out after {seconds:g} s", hint=services.HINT)
            for key, _ in selector.select(TICK):
                data = os.read(key.fd, CHUNK)
                _send_lines(key.data, key.fd, data, secrets, tell)
                if not data:
                    selector.unregister(key.fileobj)
                    if seconds is None and key.fileobj is key.data.child.stdout:
                        tell(Line(key.data.source.name, "no longer followed: its reader ended", note=True))


def _send_lines(reading: _Reading, descriptor: int, data: bytes, secrets: Secrets, tell: Tell) -> None:
    """Send the lines of new output."""
    assert reading.child.stderr is not None
    complains = descriptor == reading.child.stderr.fileno()
    for text in reading.lines(descriptor, data):
        if complains:
            note = text.partition(": ")[2] or text
            told = [Line(reading.source.name, note, note=True)]
        else:
            told = list(reading.source.read(text))
        for line in told:
            tell(Line(line.source, secrets.harmless(line.text), line.at, line.note))


@contextlib.contextmanager
def _started(source: Source) -> Iterator[_Reading]:
    """Run the program of a source; raise ProcessError."""
    fds = () if source.descriptor is None else (source.descriptor,)
    child = spawn(source.words, cwd=Path("/"), stdout=PIPE, stderr=PIPE, pass_fds=fds, account=source.account)
    try:
        yield _Reading(source, child)
    finally:
        if child.poll() is None:
            stop_group(child.pid, grace=1.0)
        reap(child, 1.0)
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
