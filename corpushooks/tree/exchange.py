"""Exchange two entries of folders atomically, so that neither path is ever missing; or put one where nothing is."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from corpushooks.core.errors import TreeError
from corpushooks.core.text import shown
from corpushooks.system import safe_files
from corpushooks.tree.descriptors import closing, told

_RENAMEAT2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # not in every libc
_NOREPLACE, _EXCHANGE = 1, 2  # of linux/fs.h
CANNOT = (errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.EBUSY)


def exchange(one: Path, other: Path) -> None:
    """Exchange two entries of folders that only we can write; raise TreeError if that fails."""
    _rename(one, other, _EXCHANGE)


def put(one: Path, other: Path) -> None:
    """Move an entry to a path where nothing is, in folders that only we can write; raise TreeError if that fails."""
    _rename(one, other, _NOREPLACE)


def _rename(one: Path, other: Path, how: int) -> None:
    with (
        told("exchange of", other),
        closing(safe_files.open_folder(one.parent)) as left,
        closing(safe_files.open_folder(other.parent)) as right,
    ):
        try:
            _renameat2(left, one.name, right, other.name, how)
        except OSError as exc:
            if exc.errno not in CANNOT:
                raise
            raise TreeError(f"{shown(str(other))} is a mount, or on a filesystem without RENAME_EXCHANGE") from exc
        os.fsync(left)
        os.fsync(right)


def _renameat2(left: int, one: str, right: int, other: str, how: int) -> None:
    if _RENAMEAT2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if _RENAMEAT2(left, os.fsencode(one), right, os.fsencode(other), how):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), other)
