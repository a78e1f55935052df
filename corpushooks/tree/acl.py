"""Access lists of files and folders, as the kernel keeps them in extended attributes.

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
ALL = 0xFFFFFFFF  # the id of an entry that names nobody
NONE_HERE = (errno.ENOTSUP, errno.EPERM)  # a filesystem without access lists; a file that is not ours

Acl = dict[tuple[int, int], int]  # (tag, id) -> permission bits


@dataclass(frozen=True)
class Access:
    """What the access lists of a tree are to grant; folders pass theirs on to what is made in them."""

    dirs: Mapping[tuple[int, int], int] = field(default_factory=dict)
    files: Mapping[tuple[int, int], int] = field(default_factory=dict)
    reset: bool = False  # what else they grant goes


def of_mode(mode: int) -> Acl:
    """Return the access list that permission bits are."""
    return {(OWNER, ALL): mode >> 6 & 7, (OWNING_GROUP, ALL): mode >> 3 & 7, (OTHER, ALL): mode & 7}


def encode(acl: Mapping[tuple[int, int], int]) -> bytes:
    """Return an access list as the kernel takes it."""
    entries = (struct.pack("<HHI", tag, bits, who) for (tag, who), bits in sorted(acl.items()))
    return struct.pack("<I", VERSION) + b"".join(entries)


def decode(data: bytes) -> Acl:
    """Return what the kernel has of an access list; nothing where it has another version."""
    if len(data) < 4 or struct.unpack_from("<I", data)[0] != VERSION:
        return {}
    return {(tag, who): bits for tag, bits, who in struct.iter_unpack("<HHI", data[4:])}


def read(way: str | int, name: str = ACCESS) -> Acl:
    """Return an access list; nothing where there is none."""
    with contextlib.suppress(OSError):
        return decode(os.getxattr(way, name))
    return {}


def grant(way: str | int, mode: int, access: Access, *, folder: bool) -> bool:
    """Have the access lists of one file or folder grant what is wanted; return whether anything differed.

    Raise OSError where the filesystem has no access lists.
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
