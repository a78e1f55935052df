"""Bring what was written to the disk: few things one by one, many with all that the filesystem has.

The second, a syncfs, waits for what everybody else has written too, tenths of a second on a busy disk; the first
costs a wait for each of them. A folder takes the links and nodes in it along.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from pathlib import Path

from corpushooks.tree.descriptors import closing

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
        with closing(os.open(path, os.O_RDONLY | os.O_DIRECTORY)) as fd:
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


def flush_filesystem(fd: int) -> None:
    """Bring all of a filesystem to the disk. Raise OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(fd):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write_file(path: Path, data: bytes) -> None:
    """Write a file of ours aside, to the disk, and put it into its place."""
    aside = path.with_name(path.name + ".new")
    with open(aside, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
    with closing(os.open(path.parent, os.O_RDONLY)) as folder:
        os.fsync(folder)
