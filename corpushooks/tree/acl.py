"""Access control lists of files and folders, in the extended attributes of the kernel.

Source: acl(5), and posix_acl_xattr.h of Linux.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
VERSION = 2
OWNER, USER, OWNING_GROUP, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20  # tags
ALL = 0xFFFFFFFF  # the id of an entry without one
NONE_HERE = (errno.ENOTSUP, errno.EPERM)  # a filesystem without access lists; a file that is not ours

Acl = dict[tuple[int, int], int]  # (tag, id) -> permission bits


@dataclass(frozen=True)
class Access:
    """The permissions that access lists of a tree grant; those of folders are inherited by new files."""

    dirs: Mapping[tuple[int, int], int] = field(default_factory=dict)
    files: Mapping[tuple[int, int], int] = field(default_factory=dict)
    reset: bool = False  # remove other grants


def of_mode(mode: int) -> Acl:
    """Return the access list equal to permission bits."""
    return {(OWNER, ALL): mode >> 6 & 7, (OWNING_GROUP, ALL): mode >> 3 & 7, (OTHER, ALL): mode & 7}


def encode(acl: Mapping[tuple[int, int], int]) -> bytes:
    """Return an access list in the format of the kernel."""
    entries = (struct.pack("<HHI", tag, bits, who) for (tag, who), bits in sorted(acl.items()))
    return struct.pack("<I", VERSION) + b"".join(entries)


def decode(data: bytes) -> Acl:
    """Parse an access list of the kernel; empty if it has another version."""
    if len(data) < 4 or struct.unpack_from("<I", data)[0] != VERSION:
        return {}
    return {(tag, who): bits for tag, bits, who in struct.iter_unpack("<HHI", data[4:])}


def read(way: str | int, name: str = ACCESS) -> Acl:
    """Return an access list; empty if there is none."""
    with contextlib.suppress(OSError):
        return decode(os.getxattr(way, name))
    return {}


def grant(way: str | int, mode: int, access: Access, *, folder: bool) -> bool:
    """Set the access lists of one file or folder; return whether anything differed.

    Raise OSError if the filesystem has no access lists.
    """
    wanted = access.dirs if folder else access.files
    changed = _set(way, ACCESS, mode, wanted, access.reset)
    return (folder and _set(way, DEFAULT, mode, wanted, access.reset)) or changed


def _set(way: str | int, name: str, mode: int, wanted: Mapping[tuple[int, int], int], reset: bool) -> bool:
    there = read(way, name)
    own = {key: bits for key, bits in there.items() if key[0] in (OWNER, OWNING_GROUP, OTHER)}
    base = (own if reset else there) or of_mode(mode)
    made = {**base, **wanted, (MASK, ALL): 7}
    if made == there:
        return False
    os.setxattr(way, name, encode(made))
    return True
