"""Remove trees and what is in them, whatever it is and however deep; what lies behind links and mounts stays."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from corpushooks import safe_files
from corpushooks.patience import Check, endless
from corpushooks.tree.descriptors import DEPTH, RACES, TEMP, TRIES, closing, mount_of, open_folder, told, unlock
from corpushooks.tree.manifest import manifest_path


def remove(path: Path, check: Check = endless) -> None:
    """Remove a tree, a file, a link or nothing; what lies behind links stays. Raise TreeError, or what `check` raises.

    A snapshot stops being whole before it loses anything: its manifest goes first, files go before folders.
    """
    with told("removal of", path):
        try:
            parent = safe_files.open_folder(path.parent, follow=True)
        except (FileNotFoundError, NotADirectoryError):
            return
        with closing(parent):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(manifest_path(path).name, dir_fd=parent)
                os.fsync(parent)
            remove_at(parent, path.name, check)


def remove_at(fd: int, name: str, check: Check = endless) -> None:
    """Remove an entry of an open folder, whatever it is, or nothing; raise OSError, EXDEV where it is a mount."""
    tries = 0
    while True:
        try:
            os.unlink(name, dir_fd=fd)
            return
        except FileNotFoundError:
            return
        except IsADirectoryError:
            pass
        try:
            tries += not _remove_folder(fd, name, 0, None, check)
        except OSError as exc:  # somebody makes files while we remove them
            tries += 1
            if exc.errno not in RACES or tries >= TRIES:
                raise


def _checked(items: Iterable[os.DirEntry[str]], check: Check) -> Iterator[os.DirEntry[str]]:
    """Give entries as they come: somebody may make them faster than they are read."""
    for item in items:
        check()
        yield item


def _remove_folder(fd: int, name: str, level: int, top: int | None, check: Check) -> bool:
    """Remove a folder of an open folder; return whether folders from the depth came up to `top` meanwhile.

    Each level holds a descriptor, and there may be more levels than that: those below DEPTH are moved up.
    """
    with closing(open_folder(fd, name, unlock=True)) as inner:
        if mount_of(inner) != mount_of(fd):
            raise OSError(errno.EXDEV, "a filesystem is mounted there")
        unlock(inner)
        folders = []
        with os.scandir(inner) as items:
            for item in list(_checked(items, check)):
                if item.is_dir(follow_symlinks=False):
                    folders.append((item.name, item.inode()))
                else:
                    os.unlink(item.name, dir_fd=inner)
        moved = False
        for sub, number in folders:
            if level >= DEPTH and top is not None:
                os.rename(sub, f"{TEMP}.{number}", src_dir_fd=inner, dst_dir_fd=top)
                moved = True
            else:
                moved |= _remove_folder(inner, sub, level + 1, inner if top is None else top, check)
    if not (moved and top is None):
        os.rmdir(name, dir_fd=fd)
    return moved
