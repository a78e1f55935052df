"""Locks of a host, and turns: `flock` on files, so that none is ever stale.

Whoever holds the lock of a project is alone with it; the kernel frees it when we die.
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
def locked(project: Project, check: Check = endless) -> Iterator[None]:
    """Hold a project's lock, once nobody else does. `check` is asked meanwhile, and may raise."""
    project.host.locks_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(project.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _await(descriptor, check)
        yield
    finally:
        os.close(descriptor)


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
    """Be alone with what of a project's backups is under way; a backup has this lock longer than that of the project.

    `check` is asked while somebody else has it, and may raise.
    """
    project.host.locks_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(_copies(project), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _await(descriptor, check)
        yield
    finally:
        os.close(descriptor)


def _copies(project: Project) -> Path:
    return project.lock.with_suffix(".copies")


def is_copying(project: Project) -> bool:
    """Say whether a backup of a project is under way. Raise OSError."""
    return not _is_free(_copies(project))


def is_free(project: Project) -> bool:
    """Say whether nobody works in a project: no lane, and no `corpus deploy --here`. Raise OSError."""
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
    """Be the only daemon of a host, or what must have none beside it; raise NoDaemonError where there is one."""
    with (host.locks_dir / "daemon.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NoDaemonError("a daemon runs already") from None
        yield


class Semaphore:
    """Room for so many threads at once; those that wait are served in the order in which they came."""

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
        turn.acquire()  # until room is handed over: nobody can slip in between

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._free += 1
            if self._waiting and self._free > 0:
                self._free -= 1
                self._waiting.popleft().release()

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Come in without waiting, beyond the room that there is: for what must not be late."""
        with self._lock:
            self._free -= 1
        try:
            yield
        finally:
            self.__exit__()

    @contextlib.contextmanager
    def left(self) -> Iterator[None]:
        """Leave for a while, then come in again without waiting."""
        self.__exit__()
        try:
            yield
        finally:
            with self._lock:
                self._free -= 1
