"""A disk that remembers what was brought to it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from corpushooks.system import disk


class Disk:
    """Remembers what was brought to the disk, and what had a name when it was renamed into place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.flushed: set[int] = set()  # inode numbers
        self.whole = 0  # times that all was
        self.renamed: dict[str, set[int]] = {}  # name -> what was flushed before it was given
        self._fsync, self._syncfs, self._rename = os.fsync, disk.flush_filesystem, os.rename
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "rename", self.rename)
        monkeypatch.setattr(disk, "flush_filesystem", self.syncfs)

    def fsync(self, fd: int) -> None:
        if not os.readlink(f"/proc/self/fd/{fd}").endswith((".new", ".lock")):  # written by nobody else
            assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY  # else nobody could run it
        self.flushed.add(os.fstat(fd).st_ino)
        self._fsync(fd)

    def syncfs(self, fd: int) -> None:
        self.whole += 1
        self._syncfs(fd)

    def rename(self, old: Any, new: Any, **where: int) -> None:
        self.renamed[Path(new).name] = {-self.whole, *self.flushed}
        self._rename(old, new, **where)

    def has(self, *paths: Path) -> bool:
        return {path.lstat().st_ino for path in paths} <= self.flushed
