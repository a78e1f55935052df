"""Let what remembers files by number and time (git's index, our stamps and manifests) know those of a replay.

On the disk of a replay every file has another number and time than it had, so that nothing would be believed; after a
real power cut what was remembered may be right about them while their contents are not what they were.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path

from corpushooks.tree.manifest import pack, unpack
from tests.faults.power.model import Disk, Image

HEAD = 62  # bytes of an entry of git's index before its name
Stamp = list[int]  # size, mtime, number, ctime
Renew = Callable[[str, Stamp], Stamp]


def renew(disk: Disk, image: Image) -> None:
    """Renew what is remembered on the disk of a replay, which is written."""
    for path, number in image.paths():
        if path.endswith(("stage.index", "pillar.index")):
            _renew_file(disk, image, path, number, _index)
        elif path.endswith("work.git/stamps"):
            _renew_file(disk, image, path, number, _stamps)
        elif path.endswith(".manifest"):
            _renew_file(disk, image, path, number, _manifest)


def _renew_file(
    disk: Disk, image: Image, path: str, number: int, act: Callable[[bytes, str, Renew], bytes | None]
) -> None:
    """Renew one file; one that is torn stays as it is."""
    place, written = image.root / path, image.inodes[number].touched
    then = disk.moment(written + 1)

    def new(file: str, stamp: Stamp) -> Stamp:
        was, now = then.inode(str(image.root / file), False), image.inode(str(image.root / file), False)
        if was is None or was != now:
            return stamp
        inode = image.inodes[was]
        if inode.touched > written or (inode.was and not _is(stamp, inode.was)):
            return stamp
        st = (image.root / file).lstat()
        return stamp if st.st_size != stamp[0] else [st.st_size, st.st_mtime_ns, st.st_ino, st.st_ctime_ns]

    done = act(place.read_bytes(), path, new)
    if done is not None:
        place.write_bytes(done)


def _is(stamp: Stamp, st: os.stat_result) -> bool:
    return stamp[2] & 0xFFFFFFFF == st.st_ino & 0xFFFFFFFF and stamp[3] == st.st_ctime_ns


def _index(data: bytes, path: str, new: Renew) -> bytes | None:
    """Return an index of git with other stamps."""
    if data[:4] != b"DIRC" or hashlib.sha1(data[:-20]).digest() != data[-20:]:
        return None
    folder = Path(path).parent.parent / "stage" if "stage" in path else Path(path).parent.parent.parent / "pillar"
    found, at = bytearray(data[:-20]), 12
    for _ in range(struct.unpack(">I", data[8:12])[0]):
        end = data.index(b"\0", at + HEAD)
        cs, cn, ms, mn, _dev, ino, *_rest, size = struct.unpack(">10I", data[at : at + 40])
        stamp = [size, ms * 10**9 + mn, ino, cs * 10**9 + cn]
        name = os.fsdecode(data[at + HEAD : end])
        fresh = new(str(folder / name), stamp)
        if fresh != stamp:
            (cs, cn), (ms, mn) = divmod(fresh[3], 10**9), divmod(fresh[1], 10**9)
            struct.pack_into(">4I", found, at, cs, cn, ms, mn)
            struct.pack_into(">I", found, at + 20, fresh[2] & 0xFFFFFFFF)
        at += (end - at) // 8 * 8 + 8
    return bytes(found) + hashlib.sha1(found).digest()


def _stamps(data: bytes, path: str, new: Renew) -> bytes | None:
    """Return stamps of a sync with others."""
    try:
        known: dict[str, Stamp] = unpack(data)
    except ValueError:
        return None
    stage, live = Path(path).parent.parent / "stage", Path(path).parent.parent.parent / "project"
    return pack({
        name: [*new(str(stage / name), both[:4]), *new(str(live / name), both[4:])] for name, both in known.items()
    })  # fmt: skip


def _manifest(data: bytes, path: str, new: Renew) -> bytes | None:
    """Return a manifest with other numbers and ctimes; the times in it are what a restore brings back."""
    try:
        known = unpack(data)
    except ValueError:
        return None
    live = Path(path).parent.parent.parent / "project"
    for folder, names in known["folders"].items():
        for name, row in names.items():
            fresh = new(str(live / folder / name), row[4:8])
            if row[7] and fresh[1] == row[5]:
                row[6:8] = fresh[2:]
    return pack(known)
