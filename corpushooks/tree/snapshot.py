"""Snapshots of trees: copies that share unchanged files with the previous one, by hard links.

A snapshot is complete if its manifest exists beside it: that is written last and removed first.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from corpushooks.system import safe_files
from corpushooks.system.disk import Writes, write_file
from corpushooks.system.patience import Check, endless
from corpushooks.tree.descriptors import (
    RACES,
    TRIES,
    Folders,
    SwappedError,
    at,
    closing,
    look,
    open_file,
    stamp_of,
    told,
    unlock,
)
from corpushooks.tree.entries import (
    dress,
    fill,
    hard_link,
    make_folder,
    make_node,
    make_root,
    makeable,
    same_content,
    xattrs_of,
)
from corpushooks.tree.flags import flags_of
from corpushooks.tree.manifest import (
    EMPTY,
    HEAD,
    Entry,
    Folder,
    Manifest,
    entry_of,
    is_intact,
    join,
    manifest_path,
    read_manifest,
    read_place,
    write_manifest,
)
from corpushooks.tree.mounts import LEFT, MountedError, Place, mount_of
from corpushooks.tree.removal import remove_at
from corpushooks.tree.report import Report, Tally
from corpushooks.tree.scan import Scan, forget, is_planted


def cost(found: Scan, earlier: Path | None) -> int:
    """Return the bytes that a snapshot of `found` copies at most: the changes since `earlier`."""
    old = _earlier(earlier).folders
    total = 0
    counted: set[int] = set()
    for folder, names in found.folders.items():
        before = old.get(folder, {})
        for name, entry in names.items():
            known = before.get(name)
            if known is not None and entry.is_still(known):
                continue
            if entry.kind == "file" and not (entry.group and entry.group in counted):
                total += entry.stored
                counted.add(entry.group)
    return total


@dataclass
class _Snapshot:
    """A snapshot in progress."""

    found: Scan
    old: Manifest
    source: Folders
    target: Folders
    leads: Folders  # the target again, for the first links of groups
    writes: Writes
    earlier: Folders | None
    check: Check
    kept: dict[str, Folder] = field(default_factory=dict)
    leaders: dict[int, tuple[str, str]] = field(default_factory=dict)  # group -> folder, name of its first link
    tally: Tally = field(default_factory=Tally)
    left: set[str] = field(default_factory=set)  # paths that could not be kept

    def leave(self, path: str, why: str = "skipped, it changed while it was archived") -> None:
        """Skip a path that keeps changing, or does not belong to the tree."""
        self.left.add(path)
        self.tally.warn(path, why)


class PlantedError(OSError):
    """A file that could have been hard-linked into the tree by someone who cannot read it."""


def snapshot(found: Scan, target: Path, earlier: Path | None, check: Check = endless) -> Report:
    """Copy the scanned tree `found` to `target`, sharing unchanged files with `earlier` by hard links.

    `earlier` is a complete snapshot, or None. Files of `target` that the tree does not have stay. The manifest is
    written last, and completes the snapshot. Raise TreeError, or what `check` raises.
    """
    with told("archive of", found.source), contextlib.ExitStack() as stack:
        old = _earlier(earlier)
        safe_files.remove(manifest_path(target))
        make_root(target, above=0o700)
        job = _Snapshot(
            found,
            old,
            source=stack.enter_context(Folders(found.source)),
            target=stack.enter_context(Folders(target, unlock=True)),
            leads=stack.enter_context(Folders(target, unlock=True)),
            writes=stack.enter_context(Writes()),
            earlier=stack.enter_context(Folders(earlier)) if earlier and old.folders else None,
            check=check,
        )
        job.tally.warnings += found.warnings
        for folder, entries in found.folders.items():
            _save_folder(job, folder, entries)
        fd = job.source.fd("")
        root = found.root.but(xattrs=xattrs_of(fd), flags=flags_of(fd))
        whole = Manifest(root, job.kept, left=found.left | job.left, place=found.place)
        _finish(job, whole, target)
        return job.tally.report(whole.files)


def _finish(job: _Snapshot, whole: Manifest, target: Path) -> None:
    """Set the attributes of the folders, flush everything to the disk, and only then write the manifest."""
    for folder in reversed(job.kept):
        fd = job.target.fd(folder)
        dress(fd, whole.own(folder), job.tally, folder)
        job.writes.note(fd)  # a hard link in it is new, too
    for made in (target.parent, target.parent.parent):  # the first can be new
        job.writes.note_folder(made)
    job.writes.flush(job.target.fd(""))
    write_file(manifest_path(target), write_manifest(whole))


def place_in(saved: Path) -> Place | None:
    """Return the identity of the root of a tree at the time of a snapshot; None if it is not recorded."""
    with contextlib.suppress(OSError), manifest_path(saved).open("rb") as file:
        return read_place(file.read(HEAD))
    return None


def is_whole(target: Path) -> bool:
    """Return whether `target` is a complete snapshot."""
    try:
        return target.is_dir() and is_intact(manifest_path(target).read_bytes())
    except OSError:
        return False


def rename(saved: Path, to: Path) -> None:
    """Give a complete snapshot a new, free name in its folder; at any moment it is complete under one of the two.

    Raise TreeError.
    """
    with told("renaming of", saved):
        manifest_path(to).unlink(missing_ok=True)
        os.link(manifest_path(saved), manifest_path(to))
        os.rename(saved, to)
        os.unlink(manifest_path(saved))


def _earlier(target: Path | None) -> Manifest:
    """Return the manifest of an earlier snapshot; an empty one if it is unusable."""
    if target is not None and target.is_dir():
        with contextlib.suppress(OSError, ValueError):
            return read_manifest(manifest_path(target).read_bytes())
    return EMPTY


def _enter(job: _Snapshot, folder: str) -> bool:
    """Complete the entry of a folder of the snapshot; return whether the folder still exists."""
    parent, _, own = folder.rpartition("/")
    if folder and own not in job.kept.get(parent, {}):
        return False  # its parent is gone
    try:
        with at(folder):
            fd = job.source.fd(folder)
            xattrs, flags = xattrs_of(fd), flags_of(fd)
    except MountedError:  # just now
        job.left.add(folder)
        job.tally.warn(folder, LEFT)
        return False
    except OSError as exc:
        if not folder or exc.errno not in RACES:
            raise
        forget(job.kept, folder)
        with contextlib.suppress(OSError):
            os.rmdir(own, dir_fd=job.target.fd(parent))
        job.leave(folder)
        return False
    if folder and (xattrs or flags):
        job.kept[parent][own] = job.kept[parent][own].but(xattrs=xattrs, flags=flags)
    return True


def _save_folder(job: _Snapshot, folder: str, entries: Folder) -> None:
    """Save the entries of one folder to the snapshot, and to `kept` as they were saved."""
    if not _enter(job, folder):
        return
    into = job.target.fd(folder)
    unlock(into)
    before = _earlier_fd(job, folder)
    known = job.old.folders.get(folder, {}) if before is not None else {}
    kept = job.kept[folder] = {}
    link, check = os.link, job.check
    for name, entry in entries.items():
        check()
        old = known.get(name)
        # The common case, an unchanged file, costs only this comparison and this call.
        if (
            old is not None
            and entry.is_still(old)
            and not entry.group
            and not old.group
            and (entry.links == 1 or entry.mode & 0o004)  # otherwise its owner matters
        ):
            try:
                link(name, name, src_dir_fd=before, dst_dir_fd=into, follow_symlinks=False)
            except OSError:
                pass  # the name exists, too many links, or gone: the slow way
            else:
                kept[name] = old
                continue
        with at(join(folder, name)):
            saved = _save(job, folder, name, entry)
        if saved is not None:
            kept[name] = saved


def _earlier_fd(job: _Snapshot, folder: str) -> int | None:
    with contextlib.suppress(OSError):
        return job.earlier.fd(folder) if job.earlier else None
    return None


def _save(job: _Snapshot, folder: str, name: str, entry: Entry) -> Entry | None:
    """Save one entry to the snapshot; return it as it was saved, None if it was skipped."""
    if linked := _save_as_link(job, folder, name, entry):
        return linked
    for _ in range(TRIES):
        try:
            _save_as_it_is(job, folder, name, entry)
        except MountedError:
            job.left.add(path := join(folder, name))
            job.tally.warn(path, LEFT)
            return None
        except PlantedError:
            job.leave(join(folder, name), "skipped, a hard link to a file of another owner that others cannot read")
            return None
        except SwappedError:
            now = look(job.source.fd(folder), name)
            if now is None:
                return None
            if now.kind == "folder":
                break
            entry = now
        else:
            return job.kept[folder][name]
    job.leave(join(folder, name))
    return None


def _save_as_link(job: _Snapshot, folder: str, name: str, entry: Entry) -> Entry | None:
    """Save another name of a file as a hard link; None if it is the first, or there are too many links."""
    if entry.group not in job.leaders:
        return None
    lead, first = job.leaders[entry.group]
    try:
        hard_link(job.leads.fd(lead), first, job.target.fd(folder), name)
    except OSError as exc:
        if exc.errno != errno.EMLINK:
            raise
        return None
    return job.kept[lead][first]


def _save_as_it_is(job: _Snapshot, folder: str, name: str, entry: Entry) -> None:
    """Save one entry to the snapshot; raise SwappedError if it was replaced in the source."""
    into, path = job.target.fd(folder), join(folder, name)
    kept = entry
    if entry.kind == "folder":
        make_folder(into, name, 0o700, job.check)
    elif entry.kind == "file":
        kept = _save_file(job, folder, name, entry)
    elif not makeable(entry):
        job.tally.warn(path, f"a {entry.kind} cannot be archived")
    elif not _share(job, folder, name, entry):
        remove_at(into, name, job.check)
        make_node(into, name, entry, job.tally, path)
        job.tally.changed += 1
    job.kept[folder][name] = kept
    if kept.group:
        job.leaders[kept.group] = (folder, name)


def _save_file(job: _Snapshot, folder: str, name: str, entry: Entry) -> Entry:
    """Share or copy one file; return its entry at the time it was read."""
    path, copied = join(folder, name), False
    with closing(open_file(job.source.fd(folder), name, job.check)) as source:
        if os.fstat(source).st_ino != entry.ino and mount_of(source) != job.source.mount:
            raise MountedError(path)
        for _ in range(TRIES):
            now_ns = time.time_ns()
            before = os.fstat(source)
            if is_planted(job.found, folder, entry, before):
                raise PlantedError
            kept = entry_of(before, now_ns).but(group=entry.group, xattrs=xattrs_of(source), flags=flags_of(source))
            if not _share(job, folder, name, kept, source):
                kept, copied = _copy_file(job, folder, name, kept, source), True
            after = os.fstat(source)
            if stamp_of(before) == stamp_of(after):
                break
        else:
            job.tally.warn(path, "changed while it was read")
            kept = kept.but(ctime_ns=0)
    job.tally.changed += copied
    return kept


def _copy_file(job: _Snapshot, folder: str, name: str, entry: Entry, source: int) -> Entry:
    """Copy an open file into the snapshot; return its entry with the actual size."""
    into, path = job.target.fd(folder), join(folder, name)
    remove_at(into, name, job.check)  # never write into an existing file: an earlier snapshot can share it
    with closing(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=into)) as copy:
        job.writes.note(copy)
        size = fill(source, copy, entry.size, job.check)
        dress(copy, entry, job.tally, path)
    job.tally.copied += min(size, entry.stored)
    return entry.but(size=size)


def _share(job: _Snapshot, folder: str, name: str, entry: Entry, source: int | None = None) -> bool:
    """Link to the inode of the earlier snapshot if it serves for `entry`, whose contents are in `source`."""
    old = job.old.folders.get(folder, {}).get(name)
    if old is None or not entry.alike(old):
        return False
    if job.found.groups.get(entry.group) != job.old.groups.get(old.group):
        return False  # sharing would create hard links between files that have none, or the reverse
    before = _earlier_fd(job, folder)
    if before is None:
        return False
    try:
        if source is not None and not entry.is_still(old):
            with closing(open_file(before, name)) as earlier:
                if not same_content(source, earlier, job.check):
                    return False
        hard_link(before, name, job.target.fd(folder), name)
    except OSError:
        return False  # too many links, another filesystem, or gone: copy it
    return True
