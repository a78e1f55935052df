"""Remove trees of any content and depth, without following links or entering mounts."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

from corpushooks.core.errors import TreeError
from corpushooks.core.text import shown
from corpushooks.system import safe_files
from corpushooks.system.patience import Check, endless
from corpushooks.tree.descriptors import DEPTH, RACES, TEMP, TRIES, closing, open_folder, told, unlock
from corpushooks.tree.flags import freed, kept
from corpushooks.tree.manifest import join, manifest_path
from corpushooks.tree.mounts import MountedError, mount_of, umount, unmounted


def remove(path: Path, check: Check = endless) -> None:
    """Remove a tree, a file or a link, if it exists; links are not followed. Raise TreeError, or what `check` raises.

    The manifest of a snapshot is removed first, so that it is incomplete before it loses anything. If filesystems are
    mounted in it, everything but these and the folders that lead to them is removed before the error is raised.
    """
    with told("removal of", path):
        try:
            parent = safe_files.open_folder(path.parent, follow=True)
        except (FileNotFoundError, NotADirectoryError):
            return
        with closing(parent), kept(parent):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(manifest_path(path).name, dir_fd=parent)
                os.fsync(parent)
            try:
                remove_at(parent, path.name, check)
            except MountedError as exc:
                found = [path.parent / mount for mount in exc.mounts]
                named = ", ".join(shown(str(mount)) for mount in found)
                message = f"removal of {shown(str(path))}: a filesystem is mounted on {named}"
                raise TreeError(message, hint=umount(*found)) from exc


def set_aside(path: Path, folder: Path) -> Path:
    """Move a file, or any other entry, into a folder of ours; return its new path. Raise TreeError.

    If that is on another filesystem, it is renamed in its own folder.
    """
    with told("moving of", path):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for place in (folder, path.parent):
            to = next(to for n in count(1) if not os.path.lexists(to := place / f"{path.name}.replaced{n}"))
            try:
                _move(path, to)
            except OSError as exc:
                if exc.errno != errno.EXDEV or place == path.parent:
                    raise
            else:
                break
        return to


def _move(path: Path, to: Path) -> None:
    with (
        closing(safe_files.open_folder(path.parent, follow=True)) as source,
        closing(safe_files.open_folder(to.parent, follow=True)) as target,
        kept(source),
    ):
        move = partial(os.rename, path.name, to.name, src_dir_fd=source, dst_dir_fd=target)
        unmounted(source, path.name, lambda: freed(source, path.name, move))
        os.fsync(target)
        os.fsync(source)


def remove_at(fd: int, name: str, check: Check = endless) -> None:
    """Remove an entry of an open folder, of any kind, if it exists; raise OSError.

    MountedError if a mount is on it or in it; everything else of it is removed then.
    """
    tries = 0
    while True:
        try:
            unmounted(fd, name, lambda: freed(fd, name, lambda: os.unlink(name, dir_fd=fd)))
            return
        except FileNotFoundError:
            return
        except IsADirectoryError:
            pass
        mounts: list[str] = []
        try:
            moved = _remove_folder(fd, name, _Position(name, mounts, check))
        except OSError as exc:  # files are created while we remove them
            tries += 1
            if exc.errno not in RACES or tries >= TRIES:
                raise
            continue
        if mounts and not moved:
            raise MountedError(*mounts)
        tries += not moved


@dataclass(frozen=True)
class _Position:
    """The position of a removal: the path of a folder, its depth, and the mounts found."""

    path: str
    mounts: list[str]
    check: Check
    level: int = 0
    top: int | None = None  # the descriptor of the first folder

    def into(self, name: str, fd: int) -> _Position:
        top = fd if self.top is None else self.top
        return replace(self, path=join(self.path, name), level=self.level + 1, top=top)

    def tries(self, fd: int, name: str, act: Callable[[], None], path: str) -> None:
        """Act on an entry of an open folder, or note that something is mounted there."""
        try:
            unmounted(fd, name, lambda: freed(fd, name, act))
        except MountedError:
            self.mounts.append(path)


def _remove_folder(fd: int, name: str, way: _Position) -> bool:
    """Remove a folder of an open folder; return whether deep folders were moved up to the top.

    Each level needs a descriptor, and there can be more levels than these: those below DEPTH are moved up.
    """
    met = len(way.mounts)
    try:
        opened = open_folder(fd, name, unlock=True)
    except MountedError:
        way.mounts.append(way.path)
        return False
    with closing(opened) as inner:
        if mount_of(inner) != mount_of(fd):
            way.mounts.append(way.path)
            return False
        unlock(inner)
        moved = _empty(inner, way)
    if not (moved and way.top is None) and len(way.mounts) == met:
        way.tries(fd, name, lambda: os.rmdir(name, dir_fd=fd), way.path)
    return moved


def _checked(items: Iterable[os.DirEntry[str]], check: Check) -> Iterator[os.DirEntry[str]]:
    """Yield entries one by one: they can be created faster than they are read."""
    for item in items:
        check()
        yield item


def _empty(inner: int, way: _Position) -> bool:
    """Remove the content of an open folder; return what `_remove_folder` does."""
    with os.scandir(inner) as items:
        found = list(_checked(items, way.check))
    moved = False
    for item in found:
        if not item.is_dir(follow_symlinks=False):
            way.tries(inner, item.name, partial(os.unlink, item.name, dir_fd=inner), join(way.path, item.name))
    for item in found:
        if not item.is_dir(follow_symlinks=False):
            continue
        if way.level >= DEPTH and way.top is not None:
            up = partial(os.rename, item.name, f"{TEMP}.{item.inode()}", src_dir_fd=inner, dst_dir_fd=way.top)
            way.tries(inner, item.name, up, join(way.path, item.name))
            moved = True
        else:
            moved |= _remove_folder(inner, item.name, way.into(item.name, inner))
    return moved
