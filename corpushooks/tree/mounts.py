"""Detect mounts in a tree, and leave them alone: a tree does not extend into other mounts below its root.

Mounts are identified by mount id: a bind mount of the same filesystem has the same device.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import shlex
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from corpushooks.core.errors import TreeError
from corpushooks.core.text import shown
from corpushooks.system import safe_files

LEFT = "left alone, a filesystem is mounted there"
NAMED = 5  # paths below a mount that a warning lists

_OCTAL = re.compile(rb"\\([0-7]{3})")
_STATX = getattr(ctypes.CDLL(None), "statx", None)  # not in every libc
_MNT_ID, _EMPTY_PATH, _DONT_SYNC = 0x1000, 0x1000, 0x4000
_MASK_AT, _MNT_ID_AT = 0, 0x90  # in struct statx, which is the same on every machine


class MountedError(OSError):
    """Filesystems are mounted on these paths of the tree."""

    def __init__(self, *mounts: str) -> None:
        super().__init__(errno.EBUSY, "a filesystem is mounted there")
        self.mounts = mounts


def mount_of(fd: int) -> int:
    """Return the mount id of a descriptor. Source: statx(2), proc(5)."""
    found = ctypes.create_string_buffer(256)
    asked = _STATX is not None and _STATX(fd, b"", _EMPTY_PATH | _DONT_SYNC, _MNT_ID, found) == 0
    if asked and struct.unpack_from("I", found, _MASK_AT)[0] & _MNT_ID:  # Linux 5.8
        return int(struct.unpack_from("Q", found, _MNT_ID_AT)[0])
    return mount_by_proc(fd)


def mount_by_proc(fd: int) -> int:
    """Do the same as `mount_of` without statx, for an old kernel or libc."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        return int(next(line for line in file if line.startswith("mnt_id:")).partition(":")[2])


def is_mounted(fd: int, name: str) -> bool:
    """Return whether something is mounted on an entry of an open folder, even if its server does not answer."""
    try:
        return mount_at(fd, name) != mount_of(fd)
    except OSError:
        return False


def mount_at(fd: int, name: str) -> int:
    """Return the mount id of an entry of an open folder; raise OSError."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=fd)
    try:
        return mount_of(handle)
    finally:
        os.close(handle)


def refuse_mounts(folder: Path) -> None:
    """Raise TreeError if something is mounted on or below a folder, where a program would write or delete.

    Source: proc(5).
    """
    real = os.fsencode(folder.resolve())
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    found = {_OCTAL.sub(_character, line.split()[4]) for line in lines}
    below = [path for path in found if path == real or path.startswith(real.rstrip(b"/") + b"/")]
    if mounted := sorted(Path(os.fsdecode(path)) for path in below):
        raise TreeError(f"a filesystem is mounted on {shown(str(mounted[-1]))}", hint=umount(*reversed(mounted)))


def umount(*paths: Path) -> str:
    """Return the command that unmounts some paths."""
    return f"umount {shlex.join(map(str, paths))}"


def _character(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 8)])


def unmounted(fd: int, name: str, act: Callable[[], None]) -> None:
    """Run an act that the kernel refuses on a mount point; raise MountedError then."""
    try:
        act()
    except OSError as exc:
        if exc.errno == errno.EBUSY and not isinstance(exc, MountedError):
            raise MountedError(name) from exc
        raise


@dataclass
class Mounts:
    """The mounts found in a tree, and our files that were not written because of them."""

    ours: set[str] = field(default_factory=set)

    blocked: dict[str, str] = field(default_factory=dict)  # a path of ours -> a mount below it

    @contextlib.contextmanager
    def left(self, folder: str = "") -> Iterator[None]:
        """Note the mounts that an act meets; their paths are relative to `folder`."""
        try:
            yield
        except MountedError as exc:
            self.ours.update(f"{folder}/{mount}" if folder else mount for mount in exc.mounts)

    @contextlib.contextmanager
    def entry(self, fd: int, folder: str, name: str) -> Iterator[None]:
        """Note the mounts in the place of an entry of ours, in an open folder."""
        path = f"{folder}/{name}" if folder else name
        try:
            with self.left(folder):
                yield
        except OSError:
            if not is_mounted(fd, name):
                raise
            self.ours.add(path)
        below = [mount for mount in self.ours if mount.startswith(f"{path}/")]
        if below:
            self.blocked[path] = below[0]

    def covers(self, path: str) -> bool:
        """Return whether a path of the tree is on or below a mount that was found."""
        return any(path == mount or path.startswith(f"{mount}/") for mount in self.ours)

    def warnings(self, paths: Iterable[str]) -> list[str]:
        """Return a line for each mount, with the files that were not written; `paths` are all our files."""
        missed: dict[str, list[str]] = {mount: [] for mount in sorted(self.ours)}
        for path, mount in self.blocked.items():
            missed[mount].append(path)
        for path in paths if self.ours else ():
            for mount in self.ours:
                if path == mount or path.startswith(f"{mount}/"):
                    missed[mount].append(path)
        return [f"{shown(mount)}: {LEFT}{_missed(names)}" for mount, names in missed.items()]


def _missed(paths: list[str]) -> str:
    if not paths:
        return ""
    names = ", ".join(shown(path) for path in sorted(paths)[:NAMED])
    more = f", … ({len(paths)} files)" if len(paths) > NAMED else ""
    return f"; not written: {names}{more}"


class Place(NamedTuple):
    """The identity of the root of a tree: whether it is a mount point, and of which device."""

    mounted: bool
    device: int
    ino: int
    boot: str  # device numbers change with each boot

    def is_same(self, now: Place) -> bool:
        """Return whether this is still the same root: no mount was added, removed or replaced."""
        if not (self.mounted or now.mounted):
            return True
        if (self.mounted, self.ino) != (now.mounted, now.ino):
            return False
        return self.boot != now.boot or self.device == now.device


def place_of(root: Path) -> Place:
    """Return the identity of the root of a tree; raise OSError."""
    parent = safe_files.open_folder(root.parent, follow=True)
    try:
        handle = os.open(root.name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            st = os.fstat(handle)
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            return Place(mount_of(handle) != mount_of(parent), st.st_dev, st.st_ino, boot)
        finally:
            os.close(handle)
    finally:
        os.close(parent)
