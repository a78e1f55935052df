"""The flags immutable and append-only (chattr +i, +a): removed where we must write, and put back afterwards.

Only root can set these flags, so an application cannot plant them. Filesystems without flags are supported.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TypeVar

from corpushooks.system import safe_files
from corpushooks.tree.descriptors import closing, open_file, open_folder

T = TypeVar("T")

FLAGS = 0x10 | 0x20  # FS_IMMUTABLE_FL and FS_APPEND_FL of linux/fs.h

_SWAPPED = os.uname().machine.startswith(("alpha", "mips", "ppc", "sparc"))  # these number ioctls differently
_READ, _WRITE = (0x40000000, 0x80000000) if _SWAPPED else (0x80000000, 0x40000000)
_GET = _READ | struct.calcsize("l") << 16 | 0x6601  # FS_IOC_GETFLAGS, which fills an int all the same
_SET = _WRITE | struct.calcsize("l") << 16 | 0x6602


def flags_of(fd: int) -> int:
    """Return which of the two flags an open file or folder has; none if its filesystem does not support them."""
    return _all_flags(fd) & FLAGS


def _all_flags(fd: int) -> int:
    found = bytearray(8)
    try:
        fcntl.ioctl(fd, _GET, found)
    except OSError:  # filesystems without flags raise various errors
        return 0
    return int.from_bytes(found[:4], sys.byteorder)


def set_flags(fd: int, wanted: int) -> bool:
    """Set the two flags of an open file or folder; return whether any differed. Raise OSError."""
    found = _all_flags(fd)
    if found & FLAGS == wanted:
        return False
    fcntl.ioctl(fd, _SET, (found & ~FLAGS | wanted).to_bytes(4, sys.byteorder) + bytes(4))
    return True


@contextlib.contextmanager
def lifted(fd: int) -> Iterator[None]:
    """Remove the flags of an open file or folder for a while."""
    flags = flags_of(fd)
    if flags:
        set_flags(fd, 0)
    try:
        yield
    finally:
        if flags:
            set_flags(fd, flags)


@contextlib.contextmanager
def kept(fd: int) -> Iterator[None]:
    """Put back, at the end, the flags that `freed` removes from an open folder."""
    flags = flags_of(fd)
    try:
        yield
    finally:
        if flags:
            set_flags(fd, flags)


def freed(fd: int, name: str, act: Callable[[], T]) -> T:
    """Act on an entry of an open folder even if flags of the folder or the entry forbid it. Raise OSError.

    Flags of the folder stay removed; those of the entry are put back if it still exists.
    """
    try:
        return act()
    except PermissionError as exc:
        if exc.errno != errno.EPERM or os.geteuid():
            raise
        with closing(_opened(fd, name)) as entry:
            flags = flags_of(entry) if entry is not None else 0
            if not (set_flags(fd, 0) or flags):
                raise
            if entry is None or not flags:
                return act()
            set_flags(entry, 0)
            try:
                return act()
            finally:
                if os.fstat(entry).st_nlink:
                    set_flags(entry, flags)


def loosen(*folders: Path) -> None:
    """Remove the flags of some folders of ours, if they exist."""
    for folder in folders:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), _opened_folder(folder) as fd:
            set_flags(fd, 0)


def loosen_all(*roots: Path) -> bool:
    """Remove the flags of trees that only we write, for a program that writes there; return whether any were set."""
    found = False
    for _, _, files, fd in chain(*(os.fwalk(root) for root in roots)):
        found |= set_flags(fd, 0)
        for name in files:
            with closing(_opened(fd, name)) as file:
                found |= file is not None and set_flags(file, 0)
    return found


@contextlib.contextmanager
def _opened_folder(folder: Path) -> Iterator[int]:
    with closing(safe_files.open_folder(folder)) as fd:
        yield fd


def _opened(fd: int, name: str) -> int | None:
    """Open a regular file or a folder, which can have flags, without following a link; None for anything else."""
    with contextlib.suppress(OSError):
        kind = stat.S_IFMT(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
        if kind == stat.S_IFREG:
            return open_file(fd, name)
        if kind == stat.S_IFDIR:
            return open_folder(fd, name, unlock=False)
    return None


def flags_at(fd: int, name: str) -> int:
    """Return which of the two flags an entry of an open folder has."""
    with closing(_opened(fd, name)) as entry:
        return flags_of(entry) if entry is not None else 0
