"""The log of a deployment: one file of lines that grows while it runs and can be followed by offset.

Each line is a JSON record: {"at": seconds since the epoch, "text": …, "more": true}. `more` marks what only
the whole log shows, not the terminal of a push; "brief": true what only the terminal shows, since the whole log has
it anyway; "end": true the line behind which the outcome is final. A crash can tear the last line; whoever goes on
writing cuts it.

It is bounded: a long text loses its middle, a long line its end, and of a log that is too long what is marked `more`
is not kept any longer. What is left out is counted. Secrets are taken out before anything else is done to a text.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpushooks import disk
from corpushooks.errors import LogError, UsageError
from corpushooks.redaction import Redactor
from corpushooks.text import bounded, clean, shortened

LIMIT = 32 << 20  # bytes of a log from which on `more` is only counted


@dataclass(frozen=True)
class Line:
    """One line of a log; `offset` is where the next one starts, in bytes."""

    text: str
    more: bool
    end: bool
    at: float
    offset: int
    brief: bool = False

    def is_in(self, *, whole: bool) -> bool:
        """Say whether a reader of the whole log, or of what the terminal showed, sees this line."""
        return not (self.brief if whole else self.more)


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
        self.ended = any(line.end for line in read(self.path))

    def write(self, text: str, *, more: bool = False, end: bool = False, brief: str = "") -> None:
        """Append text, line by line, made harmless; `more` hides it from the terminal of a push, `end` closes it.

        `brief` follows it, and is hidden from those who read the whole log.
        """
        if more and self._size > LIMIT:
            self._lost += len(text)
            self._lost_lines += text.count("\n") + 1
            return
        if end:
            self._say_lost()
        texts = bounded(self.redactor.redact(text)).split("\n")
        records = [_record(self._harmless(line), more) for line in texts]
        records += [_record(self._harmless(line), False, True) for line in brief.splitlines()]
        if end:
            records[-1]["end"] = self.ended = True
        self._add(records)

    def _harmless(self, line: str) -> str:
        """Return a line that drives no terminal, is not too long, and holds no secret that had escapes in it."""
        cleaned = clean(line)
        return shortened(cleaned if cleaned == line else self.redactor.redact(cleaned))

    def _say_lost(self) -> None:
        """Say how much was not kept since this was last said."""
        if self._lost_lines:
            said = f"… {self._lost_lines} lines, {self._lost} characters, are not kept: the log is too long …"
            self._add([_record(said, True)])
            self._lost = self._lost_lines = 0

    def _add(self, records: list[dict[str, Any]]) -> None:
        data = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
        with self._grown:
            if self._file >= 0:
                self._append(data)
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
        """Wait until the log is longer than `offset` or closed, at most `seconds`."""
        with self._grown:
            self._grown.wait_for(lambda: self._closed or self._size > offset, seconds)

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


def _record(text: str, more: bool, brief: bool = False) -> dict[str, Any]:
    record: dict[str, Any] = {"at": round(time.time(), 3), "text": text}
    return {**record, **({"more": True} if more else {}), **({"brief": True} if brief else {})}


def read(path: Path, offset: int = 0) -> Iterator[Line]:
    """Yield the whole lines of a log from `offset` on; nothing where there is no log. Raise LogError."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, offset - 1))
            if offset < 0 or (offset > 0 and file.read(1) not in (b"\n", b"")):
                raise UsageError(f"no line of the log starts at {offset}")
            for raw in file:
                if not raw.endswith(b"\n"):
                    return
                offset += len(raw)
                yield _line(raw, offset)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return
    except OSError as exc:
        raise LogError(f"the log {path} cannot be read: {exc.strerror}") from exc


def has_end(path: Path) -> bool:
    """Say whether a log has the line behind which the outcome is final; one that cannot be read has not."""
    try:
        with path.open("rb") as file:
            return any(raw.endswith(b'"end": true}\n') for raw in file)  # in a text the quotes would be escaped
    except OSError:
        return False


def _line(raw: bytes, offset: int) -> Line:
    """Return a line of a log; one that is damaged says so."""
    try:
        record = json.loads(raw)
        text, at = record["text"], float(record["at"])
        if isinstance(text, str):
            more, brief, end = (record.get(mark) is True for mark in ("more", "brief", "end"))
            return Line(text, more, end, at, offset, brief)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return Line("(this line cannot be read)", False, False, 0.0, offset)
