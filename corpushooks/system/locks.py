"""Locks of a host, by `flock` on files, so that none is ever stale; and fair semaphores.

The lock of a project is exclusive; the kernel releases it when its holder dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from corpushooks.core.errors import NoDaemonError
from corpushooks.core.project import Host, Project
from corpushooks.system.patience import TICK, Check, endless


@contextlib.contextmanager
def _held(path: Path, check: Check) -> Iterator[None]:
    """Hold the lock of a file. While waiting, `check` is called, and can raise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _await(descriptor, check)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(project: Project, check: Check = endless) -> Iterator[None]:
    """Acquire and hold a project's lock. While waiting, `check` is called, and can raise."""
    with _held(project.lock, check):
        yield


def _await(descriptor: int, check: Check) -> None:
    if check is endless:
        return fcntl.flock(descriptor, fcntl.LOCK_EX)
    while True:
        check()
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(TICK)


@contextlib.contextmanager
def copying(project: Project, check: Check = endless) -> Iterator[None]:
    """Hold the lock of a project's backups in progress; a backup holds it longer than the lock of the project.

    While waiting, `check` is called, and can raise.
    """
    with _held(_copies(project), check):
        yield


@contextlib.contextmanager
def copying_host(host: Host, check: Check = endless) -> Iterator[None]:
    """Hold the lock of the backup of a host itself."""
    with _held(host.locks_dir / ".host.copies", check):
        yield


@contextlib.contextmanager
def configuring(host: Host, check: Check = endless) -> Iterator[None]:
    """Hold the lock of the settings of a host, which programs change one after the other."""
    with _held(host.locks_dir / ".settings", check):
        yield


def _copies(project: Project) -> Path:
    return project.lock.with_suffix(".copies")


def is_copying(project: Project) -> bool:
    """Return whether a backup of a project is in progress. Raise OSError."""
    return not _is_free(_copies(project))


def is_free(project: Project) -> bool:
    """Return whether a project's lock is free: no lane and no `corpus deploy --here` holds it. Raise OSError."""
    return _is_free(project.lock)


def _is_free(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def alone(host: Host) -> Iterator[None]:
    """Hold the lock of the only daemon of a host; raise NoDaemonError if one runs."""
    with (host.locks_dir / "daemon.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NoDaemonError("a daemon is already running") from None
        yield


class Semaphore:
    """A semaphore whose waiting threads are served in order of arrival."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiting: deque[threading.Lock] = deque()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        turn = threading.Lock()
        turn.acquire()
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return
            self._waiting.append(turn)
        turn.acquire()  # until a slot is handed over: no other thread can take it in between

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._free += 1
            if self._waiting and self._free > 0:
                self._free -= 1
                self._waiting.popleft().release()

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Enter without waiting, over the limit if necessary: for urgent work."""
        with self._lock:
            self._free -= 1
        try:
            yield
        finally:
            self.__exit__()

    @contextlib.contextmanager
    def left(self) -> Iterator[None]:
        """Give up the slot for a while, then enter again without waiting."""
        self.__exit__()
        try:
            yield
        finally:
            with self._lock:
                self._free -= 1
