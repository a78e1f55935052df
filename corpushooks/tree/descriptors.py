"""Open and examine folders and files of a tree without following links.

The owner of a live tree can change it while we walk: swap a folder for a link, plant a hard link, replace a file.
So each folder is opened by name in its parent's descriptor, never through a path, and a file by name in its folder's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from corpushooks.core.errors import TreeError
from corpushooks.core.text import shown
from corpushooks.system import safe_files
from corpushooks.system.patience import TICK, Check, endless
from corpushooks.tree.manifest import Entry, entry_of
from corpushooks.tree.mounts import MountedError, is_mounted, mount_of

TEMP = ".corpushooks.tmp"  # the file being written; one name suffices, since one deployment works in a tree
DEPTH = 100  # levels of folders; each needs a descriptor
TRIES = 4
LEASE = 60.0  # seconds; the kernel breaks a lease after 45 (lease-break-time)
RACES = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ESTALE)

MaybeOpen = TypeVar("MaybeOpen", int, "int | None")


class Folders:
    """The open folders from the root of a tree to one folder; enters no mount and follows no foreign link."""

    def __init__(self, root: Path, unlock: bool = False) -> None:
        """Open `root`; with `unlock` an ordinary user adds the missing rights to open his own folders."""
        self._unlock = unlock
        self._names: list[str] = []
        self._fds = [safe_files.open_folder(root)]
        self.mount = mount_of(self._fds[0])

    def __enter__(self) -> Folders:
        return self

    def __exit__(self, *_: object) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def fd(self, folder: str) -> int:
        """Return the descriptor of a folder, valid until the next call; raise OSError, also MountedError."""
        names = folder.split("/") if folder else []
        same = 0
        while same < min(len(names), len(self._names)) and names[same] == self._names[same]:
            same += 1
        del self._names[same:]
        while len(self._fds) > same + 1:
            os.close(self._fds.pop())
        for name in names[same:]:
            self._enter(name)
        return self._fds[-1]

    def _enter(self, name: str) -> None:
        """Open a folder of the innermost one, if it is on the same mount."""
        path = "/".join([*self._names, name])
        try:
            inner = open_folder(self._fds[-1], name, self._unlock)
        except MountedError as exc:
            raise MountedError(path) from exc
        if mount_of(inner) != self.mount:
            os.close(inner)
            raise MountedError(path)
        self._fds.append(inner)
        self._names.append(name)


def open_folder(fd: int, name: str, unlock: bool) -> int:
    """Open a folder of an open folder; with `unlock` an ordinary user adds the missing rights. Raise OSError."""
    flags = os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(name, os.O_RDONLY | flags, dir_fd=fd)
    except OSError as exc:
        if exc.errno not in RACES and is_mounted(fd, name):  # and its server does not answer, or refuses us
            raise MountedError(name) from exc
        if not unlock or not isinstance(exc, PermissionError):
            raise
    with closing(os.open(name, os.O_PATH | flags, dir_fd=fd)) as handle:
        os.chmod(f"/proc/self/fd/{handle}", stat.S_IMODE(os.fstat(handle).st_mode) | 0o700)
    return os.open(name, os.O_RDONLY | flags, dir_fd=fd)


def unlock(fd: int) -> None:
    """As an ordinary user, add the missing rights to write in an open folder."""
    if os.geteuid():
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if mode & 0o700 != 0o700:
            os.fchmod(fd, mode | 0o700)


# -- single files ----------------------------------------------------------------------------------------------


def open_file(fd: int, name: str, check: Check = endless) -> int:
    """Open a regular file for reading; raise SwappedError if it is not one (any more)."""
    try:
        opened = _open_with_lease(fd, name, check)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR):
            raise SwappedError(errno.ESTALE, os.strerror(errno.ESTALE)) from exc
        raise
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise SwappedError(errno.ESTALE, os.strerror(errno.ESTALE))
    return opened


def _open_with_lease(fd: int, name: str, check: Check) -> int:
    """Open a file that can have a lease, which the kernel breaks within a minute; raise OSError."""
    end = time.monotonic() + LEASE
    while True:
        try:
            return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=fd)
        except BlockingIOError:
            check()
            if time.monotonic() > end:  # the lease is renewed again and again
                raise SwappedError(errno.ESTALE, os.strerror(errno.ESTALE)) from None
            time.sleep(TICK)


def open_live(fd: int, name: str, check: Check = endless) -> int | None:
    """Open a regular file; None if it does not exist, is not one, or cannot be read."""
    try:
        return open_file(fd, name, check)
    except (SwappedError, PermissionError):
        return None


def look(fd: int, name: str) -> Entry | None:
    """Return the current state of an entry of an open folder; None if it is gone."""
    try:
        now_ns = time.time_ns()
        st = os.stat(name, dir_fd=fd, follow_symlinks=False)
        return entry_of(st, now_ns, os.readlink(name, dir_fd=fd) if stat.S_ISLNK(st.st_mode) else "")
    except FileNotFoundError:
        return None


def stats(fd: int) -> dict[str, os.stat_result | None]:
    """Return name -> status of an open folder's entries; None for a mount whose server does not answer."""
    found: dict[str, os.stat_result | None] = {}
    with os.scandir(fd) as items:
        for item in items:
            try:
                found[item.name] = item.stat(follow_symlinks=False)
            except FileNotFoundError:
                pass
            except OSError:
                if not is_mounted(fd, item.name):
                    raise
                found[item.name] = None
    return found


def stamp_of(st: os.stat_result) -> tuple[int, ...]:
    """Return the `Entry.stamp` of a status."""
    return st.st_size, st.st_mtime_ns, st.st_ino, st.st_ctime_ns


@contextlib.contextmanager
def closing(fd: MaybeOpen) -> Iterator[MaybeOpen]:
    """Close a descriptor at the end, if it is one."""
    try:
        yield fd
    finally:
        if fd is not None:
            os.close(fd)


# -- errors ----------------------------------------------------------------------------------------------------


class SwappedError(OSError):
    """A regular file was replaced by something else."""


@contextlib.contextmanager
def at(path: str) -> Iterator[None]:
    """Set the path of an OSError to this path of the tree."""
    try:
        yield
    except OSError as exc:
        exc.filename = path
        raise


@contextlib.contextmanager
def told(doing: str, root: Path) -> Iterator[None]:
    """Turn an OSError into a TreeError of one line, with it as the cause."""
    try:
        yield
    except OSError as exc:
        path = root / exc.filename if isinstance(exc.filename, str) else root
        raise TreeError(f"{doing} {shown(str(path))}: {exc.strerror}") from exc


def insist(act: Callable[[], None]) -> None:
    """Repeat an act while others change the tree during it; raise OSError."""
    for _ in range(TRIES - 1):
        try:
            return act()
        except OSError as exc:
            if exc.errno not in RACES:
                raise
    return act()
