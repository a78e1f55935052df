"""The door to the kernel's news of files that change, by watchdog."""

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

QUIET = 0.3  # seconds without a change after which what changed is told
LONGEST = 3.0  # seconds that it is told after at the latest
EVENTS: Sequence[type[FileSystemEvent]] = (
    DirDeletedEvent, DirMovedEvent, FileClosedEvent, FileCreatedEvent, FileDeletedEvent, FileModifiedEvent,
    FileMovedEvent,
)  # fmt: skip


class Watch(FileSystemEventHandler):
    """What changes in some folders, and below them, from when it is entered until it is left."""

    def __init__(self, folders: Sequence[Path], wanted: Callable[[Path], bool]) -> None:
        """Watch `folders`; what is not `wanted` is not told, and delays nothing."""
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
        """Begin; raise WatchError where the kernel cannot watch that much."""
        try:
            self._observer.start()
        except OSError as exc:
            self._observer.unschedule_all()  # some of the folders are watched
            hint = "sysctl fs.inotify.max_user_watches=524288" if exc.errno in (errno.ENOSPC, errno.EMFILE) else ""
            raise WatchError(f"files cannot be watched: {os.strerror(exc.errno or 0)}", hint) from exc

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._observer.stop()
        self._observer.join()

    @property
    def lost(self) -> bool:
        """Whether a folder is no longer what was there when this began: the kernel tells nothing of another one."""
        return any(_identity(folder) != before for folder, before in self._folders.items())

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Note what the kernel tells, in a thread of watchdog."""
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
        """Return what changed, once nothing more does; nothing where nothing did for `patience` seconds."""
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
