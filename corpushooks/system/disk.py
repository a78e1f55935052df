"""Bring what was written to the disk: few things one by one, many with all that the filesystem has.

The second, a syncfs, waits for what everybody else has written too, tenths of a second on a busy disk; the first
costs a wait for each of them. A folder takes the links and nodes in it along. The fsync of a file does not bring its
name: that is its folder's.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from corpushooks.system import safe_files

FEW = 64  # files and folders; each of them holds a descriptor


class Writes:
    """The files and folders that were written to and may not be on the disk yet."""

    def __init__(self) -> None:
        self._fds: dict[tuple[int, int], int] = {}  # device, number -> a descriptor of ours
        self._many = False

    def __enter__(self) -> Writes:
        return self

    def __exit__(self, *_: object) -> None:
        while self._fds:
            os.close(self._fds.popitem()[1])

    def note(self, fd: int) -> None:
        """Remember an open file that is being written, or a folder in which names are; it may be closed then."""
        if self._many:
            return
        st = os.fstat(fd)
        if (st.st_dev, st.st_ino) in self._fds:
            return
        if len(self._fds) < FEW:
            self._fds[st.st_dev, st.st_ino] = _held(fd)
        else:
            self._many = True
            self.__exit__()

    def note_folder(self, path: Path) -> None:
        """Remember a folder of ours, in which names were written."""
        with _opened(path) as fd:
            self.note(fd)

    def flush(self, fd: int) -> None:
        """Bring what was noted to the disk; `fd` is open on its filesystem. Raise OSError."""
        if self._many:
            flush_filesystem(fd)
        for written in self._fds.values():
            os.fsync(written)


def _held(fd: int) -> int:
    """Open again what is open, for reading: who holds a file open for writing keeps others from running it."""
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        return os.dup(fd)
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def flush_folder(path: Path) -> None:
    """Bring the names in a folder of ours to the disk. Raise OSError."""
    with _opened(path) as fd:
        os.fsync(fd)


def flush_all(*folders: Path) -> None:
    """Bring all to the disk that was written to the filesystems of some folders, by whomever. Raise OSError."""
    done = set()
    for folder in folders:
        with _opened(folder) as fd:
            if (device := os.fstat(fd).st_dev) not in done:
                flush_filesystem(fd)
                done.add(device)


def flush_filesystem(fd: int) -> None:
    """Bring all of a filesystem to the disk. Raise OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(fd):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file of ours so that it is the old or the new one, whenever the power goes. Raise OSError."""
    safe_files.write(path, data, mode)
