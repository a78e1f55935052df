"""Manifests: the state of a tree as an entry for each path, and its file format. Values only."""

from __future__ import annotations

import contextlib
import json
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from os import stat_result
from pathlib import Path
from typing import Any

from corpushooks.core import records
from corpushooks.tree.mounts import Place

TICK_NS = 20_000_000  # the resolution of the kernel's ctimes (HZ=100, with a margin)
SECOND_NS = 1_000_000_000
KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}
MAGIC = b"corpushooks 1"
PLACE = b'\n{"place":'
HEAD = 4096  # bytes, enough for the place


NO_XATTRS: dict[str, str] = {}  # of most entries, which share it


class Entry(records.Row, frozen=True):
    """One path of a tree. `ino`, `size`, `mtime_ns` and `ctime_ns` are its stamp, see `settled`."""

    kind: str
    mode: int  # permission bits, setuid and friends included
    uid: int
    gid: int
    size: int  # bytes of a file or link; of a device its number; 0 of a folder
    mtime_ns: int
    ino: int
    ctime_ns: int  # 0: a later change could have the same ctime, so the stamp proves nothing
    links: int
    stored: int  # bytes on the disk, at most size; less for sparse files
    group: int  # the same number for all names of one file; 0 if it has one name in this tree
    target: str  # of a link
    xattrs: dict[str, str]  # values as latin-1
    flags: int = 0  # immutable and append-only, of a file or folder; old manifests have none

    @property
    def settled(self) -> bool:
        """Return whether an equal stamp proves that contents, owner, modes and xattrs are unchanged."""
        return self.ctime_ns != 0

    @property
    def stamp(self) -> tuple[int, ...]:
        return (self.size, self.mtime_ns, self.ino, self.ctime_ns)

    def is_still(self, old: Entry) -> bool:
        """Return whether the stamps prove that nothing changed since `old`. Called for each file, so without tuples."""
        return (
            self.ino == old.ino
            and self.ctime_ns == old.ctime_ns
            and self.mtime_ns == old.mtime_ns
            and self.size == old.size
            and self.ctime_ns != 0
        )

    def has_status(self, st: stat_result) -> bool:
        """Return whether the current status of a file or link proves that nothing changed since this entry."""
        return (
            self.ino == st.st_ino
            and self.ctime_ns == st.st_ctime_ns
            and self.mtime_ns == st.st_mtime_ns
            and self.size == st.st_size
            and self.ctime_ns != 0
        )

    def looks(self) -> tuple[str | int, ...]:
        """Return what people see of it but its contents and target: kind, mode, owner, size and mtime."""
        return (self.kind, self.mode, self.uid, self.gid, self.size, self.mtime_ns)

    def alike(self, other: Entry) -> bool:
        """Return whether one inode can serve for both, if their contents are equal."""
        mine, others = (self.target, self.xattrs, self.flags), (other.target, other.xattrs, other.flags)
        return self.looks() == other.looks() and mine == others


Folder = dict[str, Entry]


@dataclass(frozen=True)
class Manifest:
    """A tree: its own entry, and name -> entry for each folder ("" is the tree's own), parents first."""

    root: Entry
    folders: dict[str, Folder]
    left: frozenset[str] = field(default=frozenset(), kw_only=True)  # existing paths that could not be kept
    place: Place | None = field(default=None, kw_only=True)  # the identity of the root; None in old manifests

    @property
    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Yield each path below the root with its entry."""
        for folder, names in self.folders.items():
            for name, entry in names.items():
                yield join(folder, name), entry

    def own(self, folder: str) -> Entry:
        """Return the entry of a folder itself."""
        parent, _, name = folder.rpartition("/")
        return self.folders[parent][name] if folder else self.root

    @property
    def files(self) -> int:
        """How many files the tree has: everything kept but folders."""
        return sum(
            entry.kind not in ("folder", "socket") for names in self.folders.values() for entry in names.values()
        )

    @cached_property
    def groups(self) -> dict[int, frozenset[str]]:
        """Return the paths of each group of hard links."""
        groups: dict[int, set[str]] = {}
        for folder, names in self.folders.items():
            for name, entry in names.items():
                if entry.group:
                    groups.setdefault(entry.group, set()).add(join(folder, name))
        return {group: frozenset(paths) for group, paths in groups.items()}


EMPTY = Manifest(Entry("folder", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, "", {}), {})


def entry_of(st: stat_result, now_ns: int, target: str = "") -> Entry:
    """Return the entry of a status; `now_ns` is a time at or before that stat, since the epoch."""
    mode, ino, _, links, uid, gid, length = st[:7]  # faster than their names, and this is called for each file
    kind, ctime_ns, stored = KINDS[stat.S_IFMT(mode)], st.st_ctime_ns, st.st_blocks * 512
    size = length
    if kind != "file":
        size = st.st_rdev if kind in ("char", "block") else 0 if kind == "folder" else length
    if ctime_ns >= now_ns - (TICK_NS if ctime_ns % SECOND_NS else SECOND_NS):  # some filesystems have whole seconds
        ctime_ns = 0
    return Entry(
        kind, stat.S_IMODE(mode), uid, gid, size, st.st_mtime_ns, ino, ctime_ns,
        links, stored if stored < length else length, 0, target, NO_XATTRS,
    )  # fmt: skip


def join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def manifest_path(snapshot: Path) -> Path:
    """Return the path of the manifest of a snapshot, beside it."""
    return snapshot.with_name(snapshot.name + ".manifest")


@dataclass(frozen=True)
class _Written:
    """A manifest as it is written."""

    folders: dict[str, Folder]
    root: Entry
    left: list[str] = field(default_factory=list)  # old manifests have none
    place: Place | None = None


def write_manifest(manifest: Manifest) -> bytes:
    head = {"place": manifest.place}  # first, see `read_place`
    value = {**head, "root": manifest.root, "folders": manifest.folders, "left": sorted(manifest.left)}
    try:
        return _sealed(records.written(value))
    except ValueError:  # a name that is not ASCII, or not even UTF-8
        return pack(value)


def read_manifest(data: bytes) -> Manifest:
    """Read the result of `write_manifest`; raise ValueError for anything else."""
    body = _body(data)
    with contextlib.suppress(ValueError):
        fast = records.read(body, _Written)
        return Manifest(fast.root, fast.folders, left=frozenset(fast.left), place=fast.place)
    try:  # a name that is not UTF-8, or something that is wrong
        value = json.loads(body)
        folders = {
            folder: {name: Entry(*row) for name, row in names.items()} for folder, names in value["folders"].items()
        }
        left = frozenset(map(str, value.get("left", ())))  # old manifests have none
        place = Place(*value["place"]) if value.get("place") else None
        return Manifest(Entry(*value["root"]), folders, left=left, place=place)
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"not a manifest: {exc}") from exc


def read_place(head: bytes) -> Place | None:
    """Return `place` from the first bytes of a manifest, without reading the rest; None if it has none."""
    begin = head.find(PLACE) + len(PLACE)
    if begin < len(PLACE):
        return None
    with contextlib.suppress(ValueError, TypeError):
        return Place(*json.JSONDecoder().raw_decode(head[begin:].decode("ascii"))[0])
    return None


def pack(value: object) -> bytes:
    """Return `value` as one line of JSON after a line with a checksum."""
    written = json.dumps(value, separators=(",", ":"), default=records.plain)
    return _sealed(written.encode("ascii"))  # surrogates become \udcXX, and come back


def _sealed(body: bytes) -> bytes:
    return b"%s %08x\n%s" % (MAGIC, zlib.crc32(body), body)


def is_intact(data: bytes) -> bool:
    """Return whether these are bytes that `pack` returned, by their checksum."""
    head, _, body = data.partition(b"\n")
    return head == b"%s %08x" % (MAGIC, zlib.crc32(body))


def unpack(data: bytes) -> Any:
    """Read the result of `pack`; raise ValueError for anything else."""
    return json.loads(_body(data))


def _body(data: bytes) -> bytes:
    if not is_intact(data):
        raise ValueError("damaged, or written by another version")
    return data[data.index(b"\n") + 1 :]
