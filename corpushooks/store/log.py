"""The log of a deployment: a file of events that grows while it runs and can be followed by offset.

Each line is a JSON record of one event: {"at": seconds since the epoch, "event": its name, …its fields}; the first
one has "v", the version, and that of the outcome "end": true. Older versions wrote lines of text: {"at": …,
"text": …, "more": true}. An offset is the position at which the next line begins. A crash can leave a partial last
line, which is removed before writing continues.

Its size is limited: a long text loses its middle, a long line its end, and a log that is too long no longer stores
what only the whole log shows, but how much that was. Secrets are removed before anything else is done to a text.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from corpushooks.core.errors import LogError, UsageError
from corpushooks.core.events import (
    NAMES,
    VERSION,
    Cut,
    Event,
    Listed,
    Recorded,
    StateEnded,
    SuiteEnded,
    Text,
    Traced,
    Warned,
    as_record,
    of_record,
)
from corpushooks.core.redaction import Redactor
from corpushooks.core.text import bounded, clean, shortened, shown
from corpushooks.system import disk

LIMIT = 32 << 20  # bytes of a log after which details are counted but not stored
TOGETHER = 0.01  # seconds in which events are passed on together
UNREADABLE = "(this line cannot be read)"


@dataclass
class Log:
    """The log of a running deployment, open for writing by one thread, followed by many."""

    path: Path
    redactor: Redactor = field(default_factory=Redactor)
    needed: bool = True  # False: if no log can be created, events are dropped
    _file: int = field(default=-1, repr=False)
    _size: int = field(default=0, repr=False)
    _closed: bool = False
    ended: bool = False  # it has the outcome
    _lost: int = field(default=0, repr=False)  # characters that were not stored, and their lines
    _lost_lines: int = field(default=0, repr=False)
    _grown: threading.Condition = field(default_factory=threading.Condition, repr=False)

    def __post_init__(self) -> None:
        try:
            self._open()
        except OSError as exc:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
            if self.needed:
                raise LogError(f"cannot create the log {self.path}: {exc.strerror}") from exc

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        disk.flush_folder(self.path.parent)
        self._size = os.fstat(self._file).st_size
        start = max(0, self._size - (1 << 20))
        tail = os.pread(self._file, 1 << 20, start)
        if tail and not tail.endswith(b"\n"):
            self._size = start + tail.rfind(b"\n") + 1
            os.ftruncate(self._file, self._size)
        self.ended = has_end(self.path)

    def tell(self, event: Event) -> None:
        """Append an event, with safe texts without secrets."""
        kept, lost = _truncated(event) if self._size > LIMIT else (event, "")
        self._lost += len(lost)
        self._lost_lines += lost.count("\n") + 1 if lost else 0
        if kept is not None:
            self._write(kept)

    def _write(self, event: Event) -> None:
        record = {"at": round(time.time(), 3), **safe(as_record(event), self.redactor)}
        if Recorded(event, 0, 0).end:
            self._say_lost()
            record["end"] = True
        self._add(record)

    def _say_lost(self) -> None:
        """Record how much was not stored since the last record of this."""
        if self._lost_lines:
            self._add({"at": round(time.time(), 3), **as_record(Cut(self._lost_lines, self._lost))})
            self._lost = self._lost_lines = 0

    def _add(self, record: dict[str, Any]) -> None:
        with self._grown:
            if self._file >= 0:
                if not self._size:
                    record = {"v": VERSION, **record}
                self._append((json.dumps(record, ensure_ascii=False) + "\n").encode())
            self.ended = self.ended or "end" in record  # not before it can be read: followers are woken by it
            self._grown.notify_all()

    def _append(self, data: bytes) -> None:
        """Write whole lines or nothing: a full disk must neither damage the log nor fail the deployment."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
            self._size += len(data)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)

    def wait(self, offset: int, seconds: float) -> None:
        """Wait until the log is longer than `offset` or closed, at most `seconds`.

        It waits a moment longer for more events, except after the outcome: waking up is expensive, since each follower
        passes the events on.
        """
        with self._grown:
            if self._grown.wait_for(lambda: self._closed or self._size > offset, seconds):
                self._grown.wait_for(lambda: self._closed or self.ended, TOGETHER)

    def flush(self) -> None:
        """Flush the log to the disk; errors are ignored, since the outcome is in the store."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.fsync(self._file)

    def close(self) -> None:
        """Flush the log to the disk and close it."""
        self._say_lost()
        with self._grown:
            self.flush()
            if self._file >= 0:
                with contextlib.suppress(OSError):
                    os.close(self._file)
            self._file, self._closed = -1, True
            self._grown.notify_all()


def safe(value: Any, redactor: Redactor) -> Any:
    """Return plain data with texts that are safe for terminals, not too long, and without secrets."""
    if isinstance(value, dict):
        return {key: safe(inner, redactor) for key, inner in value.items()}
    if isinstance(value, list):
        return [safe(inner, redactor) for inner in value]
    if not isinstance(value, str):
        return value
    return "\n".join(harmless(text, redactor) for text in bounded(redactor.redact(value)).split("\n"))


def harmless(line: str, redactor: Redactor) -> str:
    """Return a line that is safe for terminals, not too long, and without secrets, even split by escapes."""
    redacted = redactor.redact(line)
    cleaned = clean(redacted)
    return shortened(cleaned if cleaned == redacted else redactor.redact(cleaned))


def _truncated(event: Event) -> tuple[Event | None, str]:
    """Return what to store of an event if the log is too long, and the text that is dropped."""
    if isinstance(event, Traced) or (isinstance(event, Warned) and event.aside):
        return None, event.text
    if isinstance(event, StateEnded) and event.result is not False:
        said = [event.comment, event.diff, event.output]
        return replace(event, comment="", diff="", output=""), "\n".join(filter(None, said))
    if isinstance(event, SuiteEnded):
        said = [each for case in event.cases for each in (case.message, case.text)]
        return replace(event, cases=()), "\n".join(filter(None, said))
    if isinstance(event, Listed) and event.what in ("replaced", "processes"):
        return None, "\n".join(item.text for item in event.items)
    return event, ""


def read(path: Path, offset: int = 0) -> Iterator[Recorded]:
    """Yield the events of a log from `offset` on; nothing if there is no log. Raise LogError."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, offset - 1))
            if offset < 0 or (offset > 0 and file.read(1) not in (b"\n", b"")):
                raise UsageError(f"invalid offset {offset}: no line of the log starts there")
            for raw in file:
                if not raw.endswith(b"\n"):
                    return
                offset += len(raw)
                yield _recorded(raw, offset)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return
    except OSError as exc:
        raise LogError(f"cannot read the log {path}: {exc.strerror}") from exc


def has_end(path: Path) -> bool:
    """Return whether a log has the final line; False if it cannot be read."""
    try:
        with path.open("rb") as file:
            return any(raw.endswith(b'"end": true}\n') for raw in file)  # in a text the quotes would be escaped
    except OSError:
        return False


def _recorded(raw: bytes, offset: int) -> Recorded:
    """Parse an event of a log; a damaged line becomes a text that says so."""
    try:
        return recorded(json.loads(raw), offset)
    except (ValueError, RecursionError):
        return Recorded(Text(UNREADABLE), 0.0, offset)


def recorded(record: Any, offset: int) -> Recorded:
    """Return the event of a line, that ends at an offset; a damaged one becomes a text that says so."""
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        at = float(record["at"])
        if isinstance(record.get("event"), str) and record["event"] not in NAMES:
            return Recorded(Text(f"(unknown event {shown(record['event'])})", more=True), at, offset)
        if "event" in record:
            return Recorded(of_record(record), at, offset)
        if isinstance(record["text"], str):
            more, brief, end = (record.get(mark) is True for mark in ("more", "brief", "end"))
            return Recorded(Text(record["text"], more, brief, end), at, offset)
    return Recorded(Text(UNREADABLE), 0.0, offset)
