"""The door to file change events of the kernel, by watchdog."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from watchdog.events import (
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from corpushooks.core.errors import WatchError

QUIET = 0.3  # seconds without a change after which changes are reported
LONGEST = 3.0  # seconds after which they are reported at the latest
EVENTS: Sequence[type[FileSystemEvent]] = (
    DirDeletedEvent, DirMovedEvent, FileClosedEvent, FileCreatedEvent, FileDeletedEvent, FileModifiedEvent,
    FileMovedEvent,
)  # fmt: skip


class Watch(FileSystemEventHandler):
    """A recursive watch of some folders, as a context manager."""

    def __init__(self, folders: Sequence[Path], wanted: Callable[[Path], bool]) -> None:
        """Watch `folders`; paths that are not `wanted` are ignored."""
        self._wanted = wanted
        self._changed: set[Path] = set()
        self._first = self._last = 0.0
        self._news = threading.Condition()
        self._folders = {folder: _identity(folder) for folder in folders}
        self._observer = Observer()
        for folder in folders:
            self._observer.schedule(self, str(folder), recursive=True, event_filter=list(EVENTS))

    def __enter__(self) -> Watch:
        self.start()
        return self

    def start(self) -> None:
        """Start; raise WatchError if the kernel cannot watch that much."""
        try:
            self._observer.start()
        except OSError as exc:
            self._observer.unschedule_all()  # some of the folders are watched
            hint = "sysctl fs.inotify.max_user_watches=524288" if exc.errno in (errno.ENOSPC, errno.EMFILE) else ""
            raise WatchError(f"cannot watch files: {os.strerror(exc.errno or 0)}", hint) from exc

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching."""
        self._observer.stop()
        self._observer.join()

    @property
    def lost(self) -> bool:
        """Whether a folder was replaced since the start: the kernel does not report changes in the new one."""
        return any(_identity(folder) != before for folder, before in self._folders.items())

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Note an event of the kernel, in a thread of watchdog."""
        names = [os.fsdecode(name) for name in (event.src_path, event.dest_path) if name]
        found = {path for path in map(Path, names) if self._wanted(path)}
        if not found:
            return
        with self._news:
            self._last = time.monotonic()
            self._first = self._first if self._changed else self._last
            self._changed |= found
            self._news.notify_all()

    def changed(self, patience: float) -> frozenset[Path]:
        """Return the changed paths, once changes pause; nothing if there were none for `patience` seconds."""
        with self._news:
            self._news.wait_for(lambda: self._changed, patience)
            while self._changed and (left := self._left()) > 0:
                self._news.wait(left)
            found, self._changed = frozenset(self._changed), set()
            return found

    def _left(self) -> float:
        return min(self._last + QUIET, self._first + LONGEST) - time.monotonic()


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        st = folder.lstat()
    except OSError:
        return None
    return st.st_dev, st.st_ino
