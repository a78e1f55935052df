"""Keep trees: a copy that shares with the one before, by hard links, what did not change.

A snapshot is whole when its manifest lies beside it, which is the last thing to be written and the first to go.
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
    """Return the bytes of content that a snapshot of `found` copies at most: what moved since `earlier`."""
    old = _earlier(earlier).folders
    total = 0
    counted: set[int] = set()
    for folder, names in found.folders.items():
        before = old.get(folder, {})
        for name, entry in names.items():
            known = before.get(name)
            if known is not None and entry.settled and entry.stamp == known.stamp:
                continue
            if entry.kind == "file" and not (entry.group and entry.group in counted):
                total += entry.stored
                counted.add(entry.group)
    return total


@dataclass
class _Snapshot:
    """A snapshot that is being made."""

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

    def leave(self, path: str, why: str = "left out, it changed while it was archived") -> None:
        """Leave out what changes all the time, or is not the tree's."""
        self.left.add(path)
        self.tally.warn(path, why)


class PlantedError(OSError):
    """A file that somebody linked into the tree who could not read it."""


def snapshot(found: Scan, target: Path, earlier: Path | None, check: Check = endless) -> Report:
    """Copy the tree that `found` is a scan of to `target`, sharing by hard links what `earlier` has already.

    `earlier` is a whole snapshot, or None. Files of `target` that the tree does not have stay. The snapshot
    is whole when its manifest lies beside it, which is the last thing to happen. Raise TreeError, or what `check`
    raises.
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
        root = found.root._replace(xattrs=xattrs_of(fd), flags=flags_of(fd))
        whole = Manifest(root, job.kept, left=found.left | job.left, place=found.place)
        _finish(job, whole, target)
        return job.tally.report(whole.files)


def _finish(job: _Snapshot, whole: Manifest, target: Path) -> None:
    """Give the folders what they bear, bring all of it to the disk, and only then say that it is whole."""
    for folder in reversed(job.kept):
        fd = job.target.fd(folder)
        dress(fd, whole.own(folder), job.tally, folder)
        job.writes.note(fd)  # a hard link in it is new, too
    for made in (target.parent, target.parent.parent):  # our caller may have made the first just now
        job.writes.note_folder(made)
    job.writes.flush(job.target.fd(""))
    write_file(manifest_path(target), write_manifest(whole))


def place_in(saved: Path) -> Place | None:
    """Return where the root of a tree was when it was kept; None where the snapshot does not say."""
    with contextlib.suppress(OSError), manifest_path(saved).open("rb") as file:
        return read_place(file.read(HEAD))
    return None


def is_whole(target: Path) -> bool:
    """Say whether `target` is a snapshot that was finished."""
    try:
        return target.is_dir() and is_intact(manifest_path(target).read_bytes())
    except OSError:
        return False


def rename(saved: Path, to: Path) -> None:
    """Give a whole snapshot another, free name in its folder, under one of which it is always whole.

    Raise TreeError.
    """
    with told("renaming of", saved):
        manifest_path(to).unlink(missing_ok=True)
        os.link(manifest_path(saved), manifest_path(to))
        os.rename(saved, to)
        os.unlink(manifest_path(saved))


def _earlier(target: Path | None) -> Manifest:
    """Return the manifest of an earlier snapshot; an empty one where there is none that can be used."""
    if target is not None and target.is_dir():
        with contextlib.suppress(OSError, ValueError):
            return read_manifest(manifest_path(target).read_bytes())
    return EMPTY


def _enter(job: _Snapshot, folder: str) -> bool:
    """Complete the entry of a folder that the snapshot has already; return whether it is still there."""
    parent, _, own = folder.rpartition("/")
    if folder and own not in job.kept.get(parent, {}):
        return False  # it went with its parent
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
        job.kept[parent][own] = job.kept[parent][own]._replace(xattrs=xattrs, flags=flags)
    return True


def _save_folder(job: _Snapshot, folder: str, entries: Folder) -> None:
    """Bring the entries of one folder into the snapshot, and into `kept` as they were brought."""
    if not _enter(job, folder):
        return
    into = job.target.fd(folder)
    unlock(into)
    before = _earlier_fd(job, folder)
    known = job.old.folders.get(folder, {}) if before is not None else {}
    kept = job.kept[folder] = {}
    link = os.link
    for name, entry in entries.items():
        job.check()
        old = known.get(name)
        # The common case, an unchanged file, costs this comparison and this call.
        alone = entry.links == 1 or entry.mode & 0o004  # else it is looked at whose it is
        if (
            old is not None
            and entry.ctime_ns
            and entry[4:8] == old[4:8]
            and not entry.group
            and not old.group
            and alone
        ):
            try:
                link(name, name, src_dir_fd=before, dst_dir_fd=into, follow_symlinks=False)
            except OSError:
                pass  # taken, too many links, gone: the long way
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
    """Bring one entry into the snapshot; return it as it was then, None where it is left out."""
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
            job.leave(join(folder, name), "left out, a hard link to a file of another owner that others cannot read")
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
    """Bring one more name of a file that is there already; None where it has none, or takes no more."""
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
    """Bring one entry into the snapshot; raise SwappedError where the source has something else now."""
    into, path = job.target.fd(folder), join(folder, name)
    kept = entry
    if entry.kind == "folder":
        make_folder(into, name, 0o700, job.check)
    elif entry.kind == "file":
        kept = _save_file(job, folder, name, entry)
    elif not makeable(entry):
        job.tally.warn(path, f"a {entry.kind} cannot be kept")
    elif not _share(job, folder, name, entry):
        remove_at(into, name, job.check)
        make_node(into, name, entry, job.tally, path)
        job.tally.changed += 1
    job.kept[folder][name] = kept
    if kept.group:
        job.leaders[kept.group] = (folder, name)


def _save_file(job: _Snapshot, folder: str, name: str, entry: Entry) -> Entry:
    """Share or copy one file; return its entry as it was when it was read."""
    path, copied = join(folder, name), False
    with closing(open_file(job.source.fd(folder), name, job.check)) as source:
        if os.fstat(source).st_ino != entry.ino and mount_of(source) != job.source.mount:
            raise MountedError(path)
        for _ in range(TRIES):
            now_ns = time.time_ns()
            before = os.fstat(source)
            if is_planted(job.found, folder, entry, before):
                raise PlantedError
            kept = entry_of(before, now_ns)._replace(
                group=entry.group, xattrs=xattrs_of(source), flags=flags_of(source)
            )
            if not _share(job, folder, name, kept, source):
                kept, copied = _copy_file(job, folder, name, kept, source), True
            after = os.fstat(source)
            if stamp_of(before) == stamp_of(after):
                break
        else:
            job.tally.warn(path, "changed while it was read")
            kept = kept._replace(ctime_ns=0)
    job.tally.changed += copied
    return kept


def _copy_file(job: _Snapshot, folder: str, name: str, entry: Entry, source: int) -> Entry:
    """Copy an open file into the snapshot; return its entry with the size that was found."""
    into, path = job.target.fd(folder), join(folder, name)
    remove_at(into, name, job.check)  # never write into what is there: an earlier snapshot may share it
    with closing(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=into)) as copy:
        job.writes.note(copy)
        size = fill(source, copy, entry.size, job.check)
        dress(copy, entry, job.tally, path)
    job.tally.copied += min(size, entry.stored)
    return entry._replace(size=size)


def _share(job: _Snapshot, folder: str, name: str, entry: Entry, source: int | None = None) -> bool:
    """Link to the earlier snapshot's inode if it serves for `entry` too, whose contents `source` has."""
    old = job.old.folders.get(folder, {}).get(name)
    if old is None or not entry.alike(old):
        return False
    if job.found.groups.get(entry.group) != job.old.groups.get(old.group):
        return False  # sharing would tie together what is not, or untie what is
    before = _earlier_fd(job, folder)
    if before is None:
        return False
    try:
        if source is not None and not (entry.settled and entry.stamp == old.stamp):
            with closing(open_file(before, name)) as earlier:
                if not same_content(source, earlier, job.check):
                    return False
        hard_link(before, name, job.target.fd(folder), name)
    except OSError:
        return False  # too many links, another filesystem, gone: then a copy
    return True
