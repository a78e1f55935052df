"""Fingerprints of trees, with a digest of each file: taken while another program copies the tree (a backup), and
compared with what is restored from that copy.

The last digest of a file is reused if its stamp is the same; other files are read. A file that changes during the copy
is not compared, since its state in the copy is unknown.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from corpushooks.system.patience import Check, endless
from corpushooks.tree.descriptors import Folders, SwappedError, at, closing, open_file, stamp_of, told
from corpushooks.tree.entries import CHUNK, LABELS, xattrs_of
from corpushooks.tree.flags import flags_of
from corpushooks.tree.manifest import (
    EMPTY,
    TICK_NS,
    Entry,
    Folder,
    Manifest,
    entry_of,
    join,
    pack,
    read_manifest,
    unpack,
)
from corpushooks.tree.mounts import mount_of
from corpushooks.tree.scan import Scan, is_planted, scan

TRIES = 3  # scans, until nothing changed just before one
Owner = Callable[[int, int], tuple[int, int]]  # uid and gid in the copy -> on this host


def same_owner(uid: int, gid: int) -> tuple[int, int]:
    return uid, gid


@dataclass(frozen=True)
class Fingerprint:
    """A tree, path -> SHA-256 of each file, and the paths that changed meanwhile."""

    manifest: Manifest
    digests: Mapping[str, str]
    changed: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """Bytes of content, each file with several names counted once."""
        groups: set[int] = set()
        total = 0
        for _, entry in self.manifest.entries:
            if entry.kind == "file" and entry.group not in groups:
                total += entry.size
                groups |= {entry.group} - {0}
        return total

    @property
    def changed_files(self) -> list[str]:
        """The paths that changed, in order, without folders, which change with their content."""
        return sorted(path for path in self.changed if path and path not in self.manifest.folders)

    def unsure(self, paths: Iterable[str]) -> Fingerprint:
        """Return the same with more paths marked as changed."""
        return replace(self, changed=self.changed | set(paths))

    def pack(self) -> bytes:
        """Serialize it."""
        own = self.manifest
        return pack({
            "root": own.root, "folders": own.folders, "left": sorted(own.left),
            "digests": self.digests, "changed": sorted(self.changed),
        })  # fmt: skip

    @classmethod
    def unpack(cls, data: bytes) -> Fingerprint:
        """Read the result of `pack`; raise ValueError for anything else."""
        value = unpack(data)
        try:
            digests = {str(path): str(digest) for path, digest in value["digests"].items()}
            return cls(read_manifest(data), digests, frozenset(map(str, value["changed"])))
        except (KeyError, TypeError, AttributeError) as exc:
            raise ValueError(f"not a fingerprint: {exc}") from exc


NOTHING = Fingerprint(EMPTY, {})


def is_below(path: str, paths: Collection[str]) -> bool:
    """Return whether a path is one of these paths, or below one."""
    return bool(paths) and any(path == each or path.startswith(f"{each}/") for each in paths)


def take(
    source: Path, earlier: Fingerprint = NOTHING, without: Collection[str] = (), check: Check = endless
) -> Fingerprint:
    """Take the fingerprint of a tree without the paths `without`; raise TreeError, or what `check` raises.

    Paths that must not be copied (a mount, a file that was planted as a hard link) are in `left` of its manifest.
    """
    with told("reading of", source), Folders(source) as tree:
        job = _Fingerprinting(_settled_scan(source, check), tree, earlier, without, check)
        for folder, entries in job.found.folders.items():
            if not is_below(folder, job.left) and not is_below(folder, without):
                with at(folder):
                    job.folder(folder, entries)
        root = job.found.root.but(xattrs=xattrs_of(tree.fd("")), flags=flags_of(tree.fd("")))
        return Fingerprint(Manifest(root, job.folders, left=frozenset(job.left)), job.digests, frozenset(job.changed))


def _settled_scan(source: Path, check: Check) -> Scan:
    """Scan a tree; again if something changed just before, since an equal stamp would prove nothing then."""
    for _ in range(TRIES - 1):
        found = scan(source, check)
        if all(entry.settled for _, entry in found.entries):
            return found
        time.sleep(2 * TICK_NS / 1e9)
    return scan(source, check)


@dataclass
class _Fingerprinting:
    """A fingerprint in progress."""

    found: Scan
    tree: Folders
    earlier: Fingerprint
    without: Collection[str]
    check: Check
    folders: dict[str, Folder] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    left: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.left = set(self.found.left)

    def folder(self, folder: str, entries: Folder) -> None:
        """Add the content of a folder."""
        try:
            fd = self.tree.fd(folder)
        except FileNotFoundError:
            self.changed.add(folder)
            return
        parent, _, own = folder.rpartition("/")
        if folder:
            listed = self.folders[parent]
            listed[own] = listed[own].but(xattrs=xattrs_of(fd), flags=flags_of(fd))
        kept = self.folders[folder] = {}
        known = self.earlier.manifest.folders.get(folder, {})
        for name, entry in entries.items():
            self.check()
            path = join(folder, name)
            if entry.kind == "socket" or is_below(path, self.left) or is_below(path, self.without):
                continue
            with at(path):
                seen = entry if entry.kind != "file" else self._file(fd, folder, name, entry, known.get(name))
            if seen is not None:
                kept[name] = seen

    def _file(self, fd: int, folder: str, name: str, entry: Entry, old: Entry | None) -> Entry | None:
        """Return the current entry of a file and note its digest; None if it must not be copied."""
        path = join(folder, name)
        alone = entry.links == 1 or entry.mode & stat.S_IROTH  # otherwise its owner matters
        if old and alone and entry.is_still(old) and path in self.earlier.digests:
            self.digests[path] = self.earlier.digests[path]
            return entry.but(xattrs=old.xattrs, flags=old.flags)
        try:
            return self._read(fd, folder, name, entry)
        except SwappedError:
            self.changed.add(path)
            return entry

    def _read(self, fd: int, folder: str, name: str, entry: Entry) -> Entry | None:
        path, now_ns = join(folder, name), time.time_ns()
        with closing(open_file(fd, name, self.check)) as file:
            before = os.fstat(file)
            moved = before.st_ino != entry.ino and mount_of(file) != self.tree.mount
            if moved or is_planted(self.found, folder, entry, before):
                self.left.add(path)
                return None
            digest = _digest(file, self.check)
            own = entry_of(before, now_ns).but(group=entry.group, xattrs=xattrs_of(file), flags=flags_of(file))
            if stamp_of(before) != stamp_of(os.fstat(file)):
                self.changed.add(path)
        self.digests[path] = digest
        return own


def _digest(fd: int, check: Check) -> str:
    digest, place = hashlib.sha256(), 0
    while data := os.pread(fd, CHUNK, place):
        check()
        digest.update(data)
        place += len(data)
    return digest.hexdigest()


def settle(taken: Fingerprint, source: Path, without: Collection[str] = (), check: Check = endless) -> Fingerprint:
    """Return a fingerprint with the changes since it was taken; raise TreeError, or what `check` raises."""
    after = scan(source, check)
    now = {path: entry for path, entry in after.entries if entry.kind != "socket"}
    was = dict(taken.manifest.entries)
    left = taken.manifest.left | after.left
    changed = set(taken.changed)
    for path in was.keys() | now.keys():
        if not (is_below(path, without) or is_below(path, left)) and not _has_same_stamp(was.get(path), now.get(path)):
            changed.add(path)
    if not _has_same_stamp(taken.manifest.root, after.root):
        changed.add("")
    return replace(taken, changed=frozenset(changed))


def _has_same_stamp(was: Entry | None, now: Entry | None) -> bool:
    return was is not None and now is not None and was.kind == now.kind and was.is_still(now)


def compare(
    saved: Fingerprint, target: Path, owner: Owner = same_owner, check: Check = endless
) -> list[tuple[str, str]]:
    """Return the paths in which a tree differs from a fingerprint, each with the difference, in order.

    Every file is read. Files that changed during the copy do not count. Raise TreeError, or what `check` raises.
    """
    with told("comparison of", target), Folders(target) as tree:
        found = scan(target, check)
        return sorted(_differing(saved, found, tree, owner, check))


def _differing(saved: Fingerprint, found: Scan, tree: Folders, owner: Owner, check: Check) -> Iterator[tuple[str, str]]:
    was, now = dict(saved.manifest.entries), dict(found.entries)
    for path in {"", *was, *now}:
        check()
        before, after = (was.get(path), now.get(path)) if path else (saved.manifest.root, found.root)
        if path in saved.changed or (after and after.kind == "socket") or is_below(path, found.left):
            continue
        if before is None:
            if path.rpartition("/")[0] not in saved.changed:
                yield path, "is new"
        elif after is None:
            yield path, "is missing"
        elif what := _difference(saved, found, path, before, after, tree, owner):
            yield path, what


def _difference(
    saved: Fingerprint, found: Scan, path: str, was: Entry, now: Entry, tree: Folders, owner: Owner
) -> str:  # fmt: skip
    """Return how an entry differs, or nothing."""
    if was.kind != now.kind:
        return f"is a {now.kind}, was a {was.kind}"
    owned = os.geteuid() != 0 or (now.uid, now.gid) == owner(was.uid, was.gid)
    same = {
        "has a different mode": was.mode == now.mode or was.kind == "link",
        "has a different owner": owned,
        "has a different target": was.target == now.target,
        "has a different size": was.size == now.size,
        "has different hard links": _names(saved.manifest, was, saved.changed) == _names(found, now, saved.changed),
        "has a different time": was.mtime_ns == now.mtime_ns,
    }
    if wrong := [what for what, fits in same.items() if not fits]:
        return wrong[0]
    return _inner_difference(saved, path, was, now, tree)


def _names(manifest: Manifest, entry: Entry, changed: frozenset[str]) -> frozenset[str]:
    return manifest.groups.get(entry.group, frozenset()) - changed


def _inner_difference(saved: Fingerprint, path: str, was: Entry, now: Entry, tree: Folders) -> str:
    """Return how a file or folder differs inside, for which it must be opened, or nothing."""
    if now.kind not in ("file", "folder"):
        return ""
    folder, _, name = path.rpartition("/")
    with at(path):
        opened = os.dup(tree.fd(path)) if now.kind == "folder" else open_file(tree.fd(folder), name)
        with closing(opened) as fd:
            if _attributes(xattrs_of(fd)) != _attributes(was.xattrs):
                return "has different attributes"
            if now.kind == "file" and _digest(fd, endless) != saved.digests.get(path):
                return "has different content"
    return ""


def _attributes(found: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in found.items() if name not in LABELS}
