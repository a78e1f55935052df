"""Flush written files to the disk: a few one by one, many with the whole filesystem.

The second, a syncfs, also waits for the writes of others, tenths of a second on a busy disk; the first waits once for
each file. The fsync of a folder covers the links and nodes in it. The fsync of a file does not cover its name, which
belongs to the folder.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from corpushooks.system import safe_files

FEW = 64  # files and folders; each needs a descriptor


class Writes:
    """Files and folders that were written to and are possibly not on the disk yet."""

    def __init__(self) -> None:
        self._fds: dict[tuple[int, int], int] = {}  # device, number -> a descriptor of ours
        self._many = False

    def __enter__(self) -> Writes:
        return self

    def __exit__(self, *_: object) -> None:
        while self._fds:
            os.close(self._fds.popitem()[1])

    def note(self, fd: int) -> None:
        """Note an open file, or a folder with new names; the descriptor can be closed afterwards."""
        if self._many:
            return
        st = os.fstat(fd)
        if (st.st_dev, st.st_ino) in self._fds:
            return
        if len(self._fds) < FEW:
            self._fds[st.st_dev, st.st_ino] = _reopened(fd)
        else:
            self._many = True
            self.__exit__()

    def note_folder(self, path: Path) -> None:
        """Note a folder of ours with new names."""
        with _opened(path) as fd:
            self.note(fd)

    def flush(self, fd: int) -> None:
        """Flush what was noted; `fd` is open on the same filesystem. Raise OSError."""
        if self._many:
            flush_filesystem(fd)
        for written in self._fds.values():
            os.fsync(written)


def _reopened(fd: int) -> int:
    """Reopen a descriptor for reading: a file that is open for writing cannot be executed."""
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
    """Flush the names in a folder of ours to the disk. Raise OSError."""
    with _opened(path) as fd:
        os.fsync(fd)


def flush_all(*folders: Path) -> None:
    """Flush the filesystems of some folders to the disk. Raise OSError."""
    done = set()
    for folder in folders:
        with _opened(folder) as fd:
            if (device := os.fstat(fd).st_dev) not in done:
                flush_filesystem(fd)
                done.add(device)


def flush_filesystem(fd: int) -> None:
    """Flush a filesystem to the disk. Raise OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(fd):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file of ours atomically: after a power cut it is the old or the new one. Raise OSError."""
    safe_files.write(path, data, mode)
