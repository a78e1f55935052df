"""The log of a deployment: one file of events that grows while it runs and can be followed by offset.

Each line is a JSON record of one event: {"at": seconds since the epoch, "event": its name, …its fields}; the first
one has "v", the version, and that of the outcome "end": true. What older versions wrote are lines of text: {"at": …,
"text": …, "more": true}. Offsets mean nothing but where the next line begins. A crash can tear the last line; whoever
goes on writing cuts it.

It is bounded: a long text loses its middle, a long line its end, and of a log that is too long what only the whole log
shows is not kept any longer; how much that was is said. Secrets are taken out before anything else is done to a text.
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
    Text,
    Traced,
    Warned,
    as_record,
    of_record,
)
from corpushooks.core.redaction import Redactor
from corpushooks.core.text import bounded, clean, shortened, shown
from corpushooks.system import disk

LIMIT = 32 << 20  # bytes of a log from which on what only the whole log shows is counted and not kept
TOGETHER = 0.01  # seconds in which events are passed on together
UNREADABLE = "(this line cannot be read)"


@dataclass
class Log:
    """The log of a running deployment, open for writing by one thread, followed by many."""

    path: Path
    redactor: Redactor = field(default_factory=Redactor)
    needed: bool = True  # else, where no log can be made, what is said is dropped
    _file: int = field(default=-1, repr=False)
    _size: int = field(default=0, repr=False)
    _closed: bool = False
    ended: bool = False  # the outcome is said
    _lost: int = field(default=0, repr=False)  # characters that were not kept, and their lines
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
                raise LogError(f"the log {self.path} cannot be made: {exc.strerror}") from exc

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
        """Append an event, its texts made harmless and without secrets."""
        kept, lost = _spared(event) if self._size > LIMIT else (event, "")
        self._lost += len(lost)
        self._lost_lines += lost.count("\n") + 1 if lost else 0
        if kept is not None:
            self._write(kept)

    def _write(self, event: Event) -> None:
        record = {"at": round(time.time(), 3), **self._harmless(as_record(event))}
        if Recorded(event, 0, 0).end:
            self._say_lost()
            record["end"] = self.ended = True
        self._add(record)

    def _harmless(self, value: Any) -> Any:
        """Return plain data with texts that drive no terminal, are not too long, and hold no secret."""
        if isinstance(value, dict):
            return {key: self._harmless(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._harmless(inner) for inner in value]
        if not isinstance(value, str):
            return value
        texts = bounded(self.redactor.redact(value)).split("\n")
        return "\n".join(harmless(text, self.redactor) for text in texts)

    def _say_lost(self) -> None:
        """Say how much was not kept since this was last said."""
        if self._lost_lines:
            self._add({"at": round(time.time(), 3), **as_record(Cut(self._lost_lines, self._lost))})
            self._lost = self._lost_lines = 0

    def _add(self, record: dict[str, Any]) -> None:
        with self._grown:
            if self._file >= 0:
                if not self._size:
                    record = {"v": VERSION, **record}
                self._append((json.dumps(record, ensure_ascii=False) + "\n").encode())
            self._grown.notify_all()

    def _append(self, data: bytes) -> None:
        """Write whole lines or nothing: a full disk must neither spoil the log nor fail the deployment."""
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

        What comes with it is awaited for a moment, but not after the outcome: each time that somebody is woken, others
        are, to whom it is passed on.
        """
        with self._grown:
            if self._grown.wait_for(lambda: self._closed or self._size > offset, seconds):
                self._grown.wait_for(lambda: self._closed or self.ended, TOGETHER)

    def flush(self) -> None:
        """Bring the log to the disk; where that fails, the deployment does not: its outcome stands in the store."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.fsync(self._file)

    def close(self) -> None:
        """Bring the log to the disk and close it."""
        self._say_lost()
        with self._grown:
            self.flush()
            if self._file >= 0:
                with contextlib.suppress(OSError):
                    os.close(self._file)
            self._file, self._closed = -1, True
            self._grown.notify_all()


def harmless(line: str, redactor: Redactor) -> str:
    """Return a line that drives no terminal, is not too long, and holds no secret, whole or with escapes in it."""
    redacted = redactor.redact(line)
    cleaned = clean(redacted)
    return shortened(cleaned if cleaned == redacted else redactor.redact(cleaned))


def _spared(event: Event) -> tuple[Event | None, str]:
    """Return what is kept of an event where a log is too long, and the text that is not: what only it shows."""
    if isinstance(event, Traced) or (isinstance(event, Warned) and event.aside):
        return None, event.text
    if isinstance(event, StateEnded) and event.result is not False:
        said = [event.comment, event.diff, event.output]
        return replace(event, comment="", diff="", output=""), "\n".join(filter(None, said))
    if isinstance(event, Listed) and event.what in ("replaced", "processes"):
        return None, "\n".join(item.text for item in event.items)
    return event, ""


def read(path: Path, offset: int = 0) -> Iterator[Recorded]:
    """Yield the events of a log from `offset` on; nothing if there is no log. Raise LogError."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, offset - 1))
            if offset < 0 or (offset > 0 and file.read(1) not in (b"\n", b"")):
                raise UsageError(f"no line of the log starts at {offset}")
            for raw in file:
                if not raw.endswith(b"\n"):
                    return
                offset += len(raw)
                yield _recorded(raw, offset)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return
    except OSError as exc:
        raise LogError(f"the log {path} cannot be read: {exc.strerror}") from exc


def has_end(path: Path) -> bool:
    """Return whether a log has the line behind which the outcome is final; one that cannot be read has not."""
    try:
        with path.open("rb") as file:
            return any(raw.endswith(b'"end": true}\n') for raw in file)  # in a text the quotes would be escaped
    except OSError:
        return False


def _recorded(raw: bytes, offset: int) -> Recorded:
    """Return an event of a log; a line that is damaged says so."""
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        record = json.loads(raw)
        at = float(record["at"])
        if isinstance(record.get("event"), str) and record["event"] not in NAMES:
            return Recorded(Text(f"(unknown event {shown(record['event'])})", more=True), at, offset)
        if "event" in record:
            return Recorded(of_record(record), at, offset)
        if isinstance(record["text"], str):
            more, brief, end = (record.get(mark) is True for mark in ("more", "brief", "end"))
            return Recorded(Text(record["text"], more, brief, end), at, offset)
    return Recorded(Text(UNREADABLE), 0.0, offset)
