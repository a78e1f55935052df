"""Mounts that end with the test that made them."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from corpushooks.system.process import run

Mount = Callable[..., None]


@contextmanager
def mounting() -> Iterator[Mount]:
    """Give what mounts, on a path: a folder or file (bound there), or without one a new tmpfs."""
    made: list[Path] = []

    def mount(at: Path, what: Path | None = None) -> None:
        run(["mount", *(["--bind", what] if what else ["-t", "tmpfs", "-o", "size=1m", "none"]), at])
        made.append(at)

    try:
        yield mount
    finally:
        unmount_below(*made)


def mount_dead(at: Path) -> None:
    """Mount a filesystem for which nobody answers, as when the program of a FUSE mount was killed."""
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fuse},rootmode={stat.S_IFDIR:o},user_id=0,group_id=0"
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if libc.mount(b"dead", os.fsencode(at), b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(fuse)


def unmount_below(*folders: Path) -> None:
    """Unmount all that is mounted on some paths or below them, wherever they were moved meanwhile."""
    for _ in folders:
        for at in reversed(mounts_below(*folders)):
            run(["umount", "--lazy", at], check=False)


def mounts_below(*folders: Path) -> list[Path]:
    """Return the mount points on or below some paths, in the order in which they were mounted."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    found = [Path(line.split()[4].encode().decode("unicode_escape")) for line in lines]
    return [at for at in found if any(at.is_relative_to(folder) for folder in folders)]
