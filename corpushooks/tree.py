"""The door to trees of files: make one equal to another by what differs, following no link below its root.

Whoever owns a live tree may change it while we walk: swap a folder for a link, plant a hard link, replace a file.
So each folder is opened by name in its parent's descriptor, never through a path; what is changed is changed
through a descriptor, after a look at what it is; new content goes into a new file that is renamed into place.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from corpushooks.errors import TreeError
from corpushooks.manifest import (
    EMPTY,
    KINDS,
    Entry,
    Folder,
    Manifest,
    entry_of,
    is_intact,
    join,
    pack,
    read_manifest,
    shown,
    unpack,
    write_manifest,
)

TEMP = ".corpushooks.tmp"  # what is being written; one name will do, since one deployment works in a tree
DEPTH = 100  # levels of folders; each holds a descriptor
TRIES = 4
WARNINGS = 50  # more than these nobody reads
CHUNK = 1 << 18
SMALL = 1 << 16  # up to here reading and writing is as fast as a copy within the kernel
RACES = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ESTALE)
NO_XATTRS = (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.EINVAL)
LABELS = ("security.selinux", "security.SMACK64", "security.ima", "security.evm")  # the system gives and keeps them
NO_KERNEL_COPY = (
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EPERM,
    errno.EBADF,
    errno.ETXTBSY,
)

Stamps = dict[str, list[int]]


@dataclass(frozen=True)
class Report:
    """What was done to a tree."""

    files: int  # regular files in the tree
    changed: int  # entries copied, made, removed or corrected
    copied: int  # bytes of content written
    warnings: tuple[str, ...]  # what could not be kept, a line each


@dataclass(frozen=True)
class Scan(Manifest):
    """What a walk found in `source`; its entries have no xattrs yet, those are read where they are needed."""

    source: Path
    warnings: tuple[str, ...]


@dataclass
class Tally:
    """What has been done so far."""

    changed: int = 0
    copied: int = 0
    warnings: list[str] = field(default_factory=list)

    def warn(self, path: str, what: str) -> None:
        self.warnings.append(f"{shown(path)}: {what}")

    def report(self, files: int) -> Report:
        lines = list(dict.fromkeys(self.warnings))
        if len(lines) > WARNINGS:
            lines[WARNINGS:] = [f"… and {len(lines) - WARNINGS} more warnings like these"]
        return Report(files, self.changed, self.copied, tuple(lines))


class Folders:
    """The open folders on the way to one folder of the tree `root`; no link below it is followed."""

    def __init__(self, root: Path, unlock: bool = False) -> None:
        """Open `root`; with `unlock` an ordinary user gives himself the right to open folders of his own."""
        self._unlock = unlock
        self._names: list[str] = []
        self._fds = [os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)]

    def __enter__(self) -> Folders:
        return self

    def __exit__(self, *_: object) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def fd(self, folder: str) -> int:
        """Return the descriptor of a folder, good until another one is asked for; raise OSError."""
        names = folder.split("/") if folder else []
        same = 0
        while same < min(len(names), len(self._names)) and names[same] == self._names[same]:
            same += 1
        del self._names[same:]
        while len(self._fds) > same + 1:
            os.close(self._fds.pop())
        for name in names[same:]:
            self._fds.append(_open_folder(self._fds[-1], name, self._unlock))
            self._names.append(name)
        return self._fds[-1]


class _SwappedError(OSError):
    """Where a regular file was, something else is."""


# -- what is there -------------------------------------------------------------------------------------------


def scan(source: Path) -> Scan:
    """Walk the tree `source` and return what is in it; raise TreeError."""
    with _told("reading of", source):
        return _scan(source)


def _scan(source: Path, unlock: bool = False) -> Scan:
    with Folders(source, unlock) as tree:
        now_ns = time.time_ns()
        root = entry_of(os.fstat(tree.fd("")), now_ns)
        folders: dict[str, Folder] = {}
        shared: dict[tuple[int, int], list[str]] = {}
        warnings: list[str] = []
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            if folder.count("/") >= DEPTH:
                warnings.append(f"{shown(folder)[:60]}…: left out, more than {DEPTH} folders deep")
                _forget(folders, folder)
                continue
            with _at(folder):
                try:
                    folders[folder] = _list(tree.fd(folder), folder, now_ns, shared)
                except OSError as exc:
                    if not folder or exc.errno not in RACES:
                        raise
                    warnings.append(f"{shown(folder)}: left out, it changed while it was read")
                    _forget(folders, folder)
                    continue
            waiting += [join(folder, name) for name, e in folders[folder].items() if e.kind == "folder"]
        _number(folders, shared)
        return Scan(root, folders, source, tuple(warnings))


def _list(fd: int, folder: str, now_ns: int, shared: dict[tuple[int, int], list[str]]) -> Folder:
    """Return the entries of an open folder; add to `shared` the paths of files with several names."""
    found: Folder = {}
    with os.scandir(fd) as entries:
        for item in entries:
            name = item.name
            if name == TEMP:
                continue
            try:
                st = item.stat(follow_symlinks=False)
                target = os.readlink(name, dir_fd=fd) if stat.S_ISLNK(st.st_mode) else ""
            except OSError as exc:
                if exc.errno not in (errno.ENOENT, errno.EINVAL):  # gone, or no link any more
                    raise
                continue
            found[name] = entry = entry_of(st, now_ns, target)
            if entry.links > 1 and entry.kind != "folder":
                shared.setdefault((st.st_dev, st.st_ino), []).append(join(folder, name))
    return found


def _forget(folders: dict[str, Folder], folder: str) -> None:
    parent, _, name = folder.rpartition("/")
    folders[parent].pop(name, None)


def _number(folders: dict[str, Folder], shared: dict[tuple[int, int], list[str]]) -> None:
    """Mark the entries that are hard links of each other."""
    for group, paths in enumerate((paths for paths in shared.values() if len(paths) > 1), 1):
        for path in paths:
            folder, _, name = path.rpartition("/")
            if name in folders.get(folder, {}):  # else its folder was left out
                folders[folder][name] = folders[folder][name]._replace(group=group)


# -- snapshot ------------------------------------------------------------------------------------------------


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
    earlier: Folders | None
    kept: dict[str, Folder] = field(default_factory=dict)
    leaders: dict[int, tuple[str, str]] = field(default_factory=dict)  # group -> folder, name of its first link
    tally: Tally = field(default_factory=Tally)


def snapshot(found: Scan, target: Path, earlier: Path | None) -> Report:
    """Copy the tree that `found` is a scan of to `target`, sharing by hard links what `earlier` has already.

    `earlier` is a whole snapshot, or None. Files of `target` that the tree does not have stay. The snapshot
    is whole when its manifest lies beside it, which is the last thing to happen. Raise TreeError.
    """
    with _told("archive of", found.source), contextlib.ExitStack() as stack:
        old = _earlier(earlier)
        _manifest(target).unlink(missing_ok=True)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_root(target)
        job = _Snapshot(
            found,
            old,
            source=stack.enter_context(Folders(found.source)),
            target=stack.enter_context(Folders(target, unlock=True)),
            leads=stack.enter_context(Folders(target, unlock=True)),
            earlier=stack.enter_context(Folders(earlier)) if earlier and old.folders else None,
        )
        job.tally.warnings += found.warnings
        for folder, entries in found.folders.items():
            _save_folder(job, folder, entries)
        root = found.root._replace(xattrs=_xattrs(job.source.fd("")))
        whole = Manifest(root, job.kept)
        for folder in reversed(job.kept):
            _dress(job.target.fd(folder), _own_entry(whole, folder), job.tally, folder)
        _flush(job.target.fd(""))
        _write_file(_manifest(target), write_manifest(whole))
        return job.tally.report(whole.files)


def is_whole(target: Path) -> bool:
    """Say whether `target` is a snapshot that was finished."""
    try:
        return target.is_dir() and is_intact(_manifest(target).read_bytes())
    except OSError:
        return False


def rename(saved: Path, to: Path) -> None:
    """Give a whole snapshot another, free name in its folder, under one of which it is always whole.

    Raise TreeError.
    """
    with _told("renaming of", saved):
        _manifest(to).unlink(missing_ok=True)
        os.link(_manifest(saved), _manifest(to))
        os.rename(saved, to)
        os.unlink(_manifest(saved))


def _manifest(target: Path) -> Path:
    return target.with_name(target.name + ".manifest")


def _earlier(target: Path | None) -> Manifest:
    """Return the manifest of an earlier snapshot; an empty one where there is none that can be used."""
    if target is not None and target.is_dir():
        with contextlib.suppress(OSError, ValueError):
            return read_manifest(_manifest(target).read_bytes())
    return EMPTY


def _own_entry(manifest: Manifest, folder: str) -> Entry:
    """Return the entry of a folder itself."""
    parent, _, name = folder.rpartition("/")
    return manifest.folders[parent][name] if folder else manifest.root


def _enter(job: _Snapshot, folder: str) -> bool:
    """Complete the entry of a folder that the snapshot has already; return whether it is still there."""
    parent, _, own = folder.rpartition("/")
    if folder and own not in job.kept.get(parent, {}):
        return False  # it went with its parent
    try:
        with _at(folder):
            xattrs = _xattrs(job.source.fd(folder))
    except OSError as exc:
        if not folder or exc.errno not in RACES:
            raise
        _forget(job.kept, folder)
        with contextlib.suppress(OSError):
            os.rmdir(own, dir_fd=job.target.fd(parent))
        job.tally.warn(folder, "left out, it changed while it was archived")
        return False
    if folder and xattrs:
        job.kept[parent][own] = job.kept[parent][own]._replace(xattrs=xattrs)
    return True


def _save_folder(job: _Snapshot, folder: str, entries: Folder) -> None:
    """Bring the entries of one folder into the snapshot, and into `kept` as they were brought."""
    if not _enter(job, folder):
        return
    into = job.target.fd(folder)
    _unlock(into)
    before = _earlier_fd(job, folder)
    known = job.old.folders.get(folder, {}) if before is not None else {}
    kept = job.kept[folder] = {}
    link = os.link
    for name, entry in entries.items():
        old = known.get(name)
        # The common case, an unchanged file, costs this comparison and this call.
        if old is not None and entry.ctime_ns and entry[4:8] == old[4:8] and not entry.group and not old.group:
            try:
                link(name, name, src_dir_fd=before, dst_dir_fd=into, follow_symlinks=False)
            except OSError:
                pass  # taken, too many links, gone: the long way
            else:
                kept[name] = old
                continue
        with _at(join(folder, name)):
            saved = _save(job, folder, name, entry)
        if saved is not None:
            kept[name] = saved


def _earlier_fd(job: _Snapshot, folder: str) -> int | None:
    with contextlib.suppress(OSError):
        return job.earlier.fd(folder) if job.earlier else None
    return None


def _save(job: _Snapshot, folder: str, name: str, entry: Entry) -> Entry | None:
    """Bring one entry into the snapshot; return it as it was then, None where it is left out."""
    if entry.group in job.leaders:
        lead, first = job.leaders[entry.group]
        try:
            _link(job.leads.fd(lead), first, job.target.fd(folder), name)
            return job.kept[lead][first]
        except OSError as exc:
            if exc.errno != errno.EMLINK:
                raise
    for _ in range(TRIES):
        try:
            _save_as_it_is(job, folder, name, entry)
        except _SwappedError:
            now = _look(job.source.fd(folder), name)
            if now is None:
                return None
            if now.kind == "folder":
                break
            entry = now
        else:
            return job.kept[folder][name]
    job.tally.warn(join(folder, name), "left out, it changed while it was archived")
    return None


def _save_as_it_is(job: _Snapshot, folder: str, name: str, entry: Entry) -> None:
    """Bring one entry into the snapshot; raise _SwappedError where the source has something else now."""
    into, path = job.target.fd(folder), join(folder, name)
    kept = entry
    if entry.kind == "folder":
        _make_folder(into, name, 0o700)
    elif entry.kind == "file":
        kept = _save_file(job, folder, name, entry)
    elif not _makeable(entry):
        job.tally.warn(path, f"a {entry.kind} cannot be kept")
    elif not _share(job, folder, name, entry):
        _remove_at(into, name)
        _make_node(into, name, entry, job.tally, path)
        job.tally.changed += 1
    job.kept[folder][name] = kept
    if kept.group:
        job.leaders[kept.group] = (folder, name)


def _save_file(job: _Snapshot, folder: str, name: str, entry: Entry) -> Entry:
    """Share or copy one file; return its entry as it was when it was read."""
    path = join(folder, name)
    with _closing(_open_file(job.source.fd(folder), name)) as source:
        for _ in range(TRIES):
            now_ns = time.time_ns()
            before = os.fstat(source)
            kept = entry_of(before, now_ns)._replace(group=entry.group, xattrs=_xattrs(source))
            if not _share(job, folder, name, kept, source):
                kept = _copy_file(job, folder, name, kept, source)
            after = os.fstat(source)
            if _stamp(before) == _stamp(after):
                return kept
    job.tally.warn(path, "changed while it was read")
    return kept._replace(ctime_ns=0)


def _copy_file(job: _Snapshot, folder: str, name: str, entry: Entry, source: int) -> Entry:
    """Copy an open file into the snapshot; return its entry with the size that was found."""
    into, path = job.target.fd(folder), join(folder, name)
    _remove_at(into, name)  # never write into what is there: an earlier snapshot may share it
    with _closing(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=into)) as copy:
        size = _fill(source, copy, entry.size)
        _dress(copy, entry, job.tally, path)
    job.tally.changed += 1
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
            with _closing(_open_file(before, name)) as earlier:
                if not _same(source, earlier):
                    return False
        _link(before, name, job.target.fd(folder), name)
    except OSError:
        return False  # too many links, another filesystem, gone: then a copy
    return True


# -- restore -------------------------------------------------------------------------------------------------


@dataclass
class _Restore:
    """One pass of a restore."""

    manifest: Manifest
    saved: Folders
    live: Folders
    leads: Folders  # the live tree again, for the first links of groups
    tally: Tally
    leaders: dict[int, tuple[str, str, int, int]] = field(default_factory=dict)  # group -> folder, name, dev, ino


def restore(saved: Path, target: Path) -> Report:
    """Make `target` exactly what the snapshot `saved` has, by what differs.

    What is as the manifest says is not even opened. What is written is a copy, never a link to the snapshot.
    Can be interrupted anywhere and run again. Raise TreeError, also where the snapshot is not whole.
    """
    tally = Tally()
    with _told("restore of", target):
        try:
            manifest = read_manifest(_manifest(saved).read_bytes())
        except (FileNotFoundError, ValueError) as exc:
            raise TreeError(f"restore of {shown(str(target))}: the archive {saved} is not whole") from exc
        _insist(lambda: _restore_once(manifest, saved, target, tally))
    return tally.report(manifest.files)


def _restore_once(manifest: Manifest, saved: Path, target: Path, tally: Tally) -> None:
    tally.changed += _make_root(target)
    with Folders(saved) as archive, Folders(target, True) as live, Folders(target, True) as leads:
        job = _Restore(manifest, archive, live, leads, tally)
        for folder, entries in manifest.folders.items():
            _restore_folder(job, folder, entries)
        for folder in reversed(manifest.folders):  # last, and the innermost first: what we did moved their mtimes
            with _at(folder):
                tally.changed += _dress(live.fd(folder), _own_entry(manifest, folder), tally, folder)
        if tally.changed:
            _flush(live.fd(""))


def _restore_folder(job: _Restore, folder: str, entries: Folder) -> None:
    """Make the entries of one folder what they were; folders in it get no more than made."""
    with _at(folder):
        fd = job.live.fd(folder)
        there = _stats(fd)
    for name in there.keys() - entries.keys():
        with _at(join(folder, name)):
            _unlock(fd)
            _remove_at(fd, name)
            job.tally.changed += 1
    for name, entry in entries.items():
        st = there.get(name)
        if st is not None and not entry.group and _untouched(st, entry):
            continue
        with _at(join(folder, name)):
            _restore_entry(job, folder, name, entry, st)


def _untouched(st: os.stat_result, entry: Entry) -> bool:
    """Say whether what is there is, by its stamp, what the snapshot saw; folders are looked into anyway."""
    if entry.kind == "folder":
        return stat.S_ISDIR(st.st_mode)
    return entry.settled and entry.stamp == _stamp(st)


def _restore_entry(job: _Restore, folder: str, name: str, entry: Entry, st: os.stat_result | None) -> None:
    """Make one entry what it was; `st` is what is there."""
    fd = job.live.fd(folder)
    if entry.group in job.leaders:
        lead, first, *inode = job.leaders[entry.group]
        if st is None or [st.st_dev, st.st_ino] != inode:
            _unlock(fd)
            _relink(job.leads.fd(lead), first, inode, fd, name)
            job.tally.changed += 1
        return
    if st is None or not _untouched(st, entry):
        if entry.kind == "folder":
            _unlock(fd)
            job.tally.changed += _make_folder(fd, name, 0o700)
        elif entry.kind == "file":
            _restore_file(job, folder, name, entry)
        else:
            _restore_node(job, folder, name, entry)
    if entry.group:
        with contextlib.suppress(FileNotFoundError):  # what cannot be made leads nobody
            st = os.stat(name, dir_fd=fd, follow_symlinks=False)
            job.leaders[entry.group] = (folder, name, st.st_dev, st.st_ino)


def _restore_file(job: _Restore, folder: str, name: str, entry: Entry) -> None:
    """Make a file what it was: left alone, corrected, or replaced by a copy."""
    fd, path = job.live.fd(folder), join(folder, name)
    try:
        source = _open_file(job.saved.fd(folder), name)
    except OSError as exc:
        raise TreeError(f"the archive is damaged: it lacks {shown(path)}") from exc
    with _closing(source) as saved, _maybe(_open_live(fd, name)) as live:
        if live is None or not _keep_file(job, path, entry, saved, live):
            _unlock(fd)
            with _replacing(fd, name) as copy:
                size = _fill(saved, copy, entry.size)
                if size != entry.size:
                    raise TreeError(f"the archive is damaged: {shown(path)} is too short")
                _dress(copy, entry, job.tally, path)
            job.tally.copied += size
            job.tally.changed += 1


def _keep_file(job: _Restore, path: str, entry: Entry, saved: int, live: int) -> bool:
    """Say whether the file that is there can stay, corrected in place if need be."""
    if not _same(saved, live):
        return False
    st = os.fstat(live)
    now = entry_of(st, 0)._replace(xattrs=_xattrs(live))
    names = len(job.manifest.groups.get(entry.group, ()))
    if _fits(now, entry) and (st.st_nlink in (1, names) or st.st_ino == entry.ino):
        return True  # nobody else's names on it, or those it always had
    if st.st_nlink > 1 or not _harmless(now, entry):
        return False
    job.tally.changed += _dress(live, entry, job.tally, path)
    return True


def _harmless(now: Entry, entry: Entry) -> bool:
    """Say whether a file may be corrected in place.

    Somebody may have it open or mapped for writing: then it must neither change hands nor become setuid.
    """
    return (now.uid, now.gid) == (entry.uid, entry.gid) and not entry.mode & 0o7000


def _fits(now: Entry, entry: Entry) -> bool:
    """Say whether owner (where we could change it), mode, mtime, xattrs and target are as they were."""
    if os.geteuid():
        now = now._replace(uid=entry.uid, gid=entry.gid)
    return now.alike(entry)


def _restore_node(job: _Restore, folder: str, name: str, entry: Entry) -> None:
    """Make a link, FIFO, device or socket what it was, where that can be done."""
    fd, path = job.live.fd(folder), join(folder, name)
    now = _look(fd, name)
    if now is not None and (_fits(now, entry) or now.kind == entry.kind == "socket"):
        return
    _unlock(fd)
    job.tally.changed += 1
    if not _makeable(entry):
        _remove_at(fd, name)
        job.tally.warn(path, f"a {entry.kind} cannot be made again")
        return
    _remove_at(fd, TEMP)
    _make_node(fd, TEMP, entry, job.tally, path)
    _take_place(fd, name)


def _relink(lead_fd: int, first: str, inode: list[int], fd: int, name: str) -> None:
    """Make `name` another link of the file `first`, which must still be `inode` (device, number)."""
    with _closing(os.open(first, os.O_PATH | os.O_NOFOLLOW, dir_fd=lead_fd)) as handle:
        st = os.fstat(handle)
        if [st.st_dev, st.st_ino] != inode:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        _remove_at(fd, TEMP)
        os.link(f"/proc/self/fd/{handle}", TEMP, dst_dir_fd=fd, follow_symlinks=True)
        _take_place(fd, name)


# -- sync ----------------------------------------------------------------------------------------------------


@dataclass
class _Sync:
    """A sync that is being made."""

    stage: Folders
    live: Folders
    tally: Tally
    old: Stamps
    new: Stamps = field(default_factory=dict)


def sync(stage: Path, target: Path, removed: Iterable[str], cache: Path) -> Report:
    """Bring the files and links of the checkout `stage` to `target`, and take the `removed` paths away.

    Content, link target and the executable bits follow the stage; owner and the other permission bits stay as
    they are there; whatever else is in `target` stays. `cache` is a file of ours that makes the next sync read
    only what moved; without it, it takes longer. Can be interrupted and run again. Raise TreeError.
    """
    found = scan(stage)
    if found.warnings:
        raise TreeError(f"sync of {shown(str(target))}: {found.warnings[0]}")
    tally = Tally()
    gone = list(removed)
    with _told("sync of", target):
        _insist(lambda: _sync_once(found, target, gone, cache, tally))
    return tally.report(found.files)


def _sync_once(found: Scan, target: Path, removed: list[str], cache: Path, tally: Tally) -> None:
    tally.changed += _make_root(target)
    with Folders(found.source) as stage, Folders(target, unlock=True) as live:
        job = _Sync(stage, live, tally, _stamps(cache))
        for path in removed:
            with _at(path):
                _remove_tracked(job, found, path)
        for folder, entries in found.folders.items():
            _sync_folder(job, folder, entries)
        if tally.changed:
            _flush(live.fd(""))  # before the stamps: they must not outlive what they are about
        if job.new != job.old:
            _write_file(cache, pack(job.new))


def stamp(stage: Path, target: Path, cache: Path) -> None:
    """Compare what a sync wrote, and record what is equal, so that the next sync need not; raise TreeError.

    For an idle moment; never to call it costs time only. No stamp is ever carried over a change, not even
    over our own chmod: contents changed in that moment, with the mtime put back, would pass for equal.
    """
    found = scan(stage)
    with _told("reading of", target), Folders(stage) as source, Folders(target) as live:
        job = _Sync(source, live, Tally(), _stamps(cache))
        for folder, entries in found.folders.items():
            try:
                fd = live.fd(folder)
            except OSError:
                continue  # the next sync makes it
            for name, entry in entries.items():
                path = join(folder, name)
                if entry.kind == "file" and not _recorded(job, fd, path, name, entry):
                    with _maybe(_open_live(fd, name)) as there:
                        if there is not None:
                            _is_equal(job, folder, name, entry, there)
        if job.new != job.old:
            _write_file(cache, pack(job.new))


def _stamps(cache: Path) -> Stamps:
    """Return the stamps of an earlier sync; none where they cannot be used."""
    try:
        return dict(unpack(cache.read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def _remove_tracked(job: _Sync, found: Scan, path: str) -> None:
    """Remove a file or link that the stage has no more, and the folders that this leaves empty."""
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise TreeError(f"{shown(path)!r} is no path in a tree")
    folder, _, name = path.rpartition("/")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        fd = job.live.fd(folder)
        st = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISDIR(st.st_mode) or name in found.folders.get(folder, {}):
            return
        _unlock(fd)
        _remove_at(fd, name)
        job.tally.changed += 1
    while folder and folder not in found.folders:  # also where an interrupted sync has removed the file
        folder, _, name = folder.rpartition("/")
        try:
            os.rmdir(name, dir_fd=job.live.fd(folder))
        except FileNotFoundError:
            continue
        except OSError:
            return  # something else is in it, or it is no folder of the tree


def _sync_folder(job: _Sync, folder: str, entries: Folder) -> None:
    """Bring the entries of one folder of the stage to the live tree; folders in it get no more than made."""
    with _at(folder):
        fd = job.live.fd(folder)
        _unlock(fd)
        _remove_at(fd, TEMP)
    for name, entry in entries.items():
        path = join(folder, name)
        with _at(path):
            if entry.kind == "folder":
                job.tally.changed += _make_folder(fd, name, entry.mode)
            elif entry.kind == "link":
                _sync_link(job, fd, path, name, entry)
            elif entry.kind == "file" and not _recorded(job, fd, path, name, entry):
                _sync_file(job, folder, name, entry)


def _recorded(job: _Sync, fd: int, path: str, name: str, entry: Entry) -> bool:
    """Say whether a file is right and both sides are as they were when their contents were found equal."""
    known = job.old.get(path)
    if known is None:
        return False
    try:
        st = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if known != [*entry.stamp, *_stamp(st)] or _mode(st, entry) != stat.S_IMODE(st.st_mode):
        return False
    job.new[path] = known
    return True


def _is_equal(job: _Sync, folder: str, name: str, entry: Entry, live: int) -> bool:
    """Say whether an open file has the contents of the stage's; record that it has."""
    now_ns = time.time_ns()
    there = entry_of(os.fstat(live), now_ns)
    with _closing(_open_file(job.stage.fd(folder), name)) as staged:
        if not _same(staged, live):
            return False
    if entry.settled and there.settled:
        job.new[join(folder, name)] = [*entry.stamp, *there.stamp]
    return True


def _mode(st: os.stat_result, entry: Entry) -> int:
    """Return the mode for a file that is there: its own, executable where readable if the stage's is."""
    mode = stat.S_IMODE(st.st_mode) & ~0o111
    return mode | (mode & 0o444) >> 2 if entry.mode & 0o100 else mode


def _sync_file(job: _Sync, folder: str, name: str, entry: Entry) -> None:
    """Make one file equal to the stage's: left alone, its mode corrected, or replaced by a copy."""
    fd, path = job.live.fd(folder), join(folder, name)
    with _maybe(_open_live(fd, name)) as live:
        st = os.fstat(live) if live is not None else None
        if live is not None and st is not None and _is_equal(job, folder, name, entry, live):
            mode = _mode(st, entry)
            if mode == stat.S_IMODE(st.st_mode):
                return
            job.new.pop(path, None)
            if st.st_nlink == 1:  # with more, one of them might lie outside
                os.fchmod(live, mode)
                job.tally.changed += 1
                return
        with _closing(_open_file(job.stage.fd(folder), name)) as staged, _replacing(fd, name) as copy:
            job.tally.copied += _fill(staged, copy, entry.size)
            mode = entry.mode
            if live is not None and st is not None:
                mode = _mode(st, entry)
                _inherit(live, st, copy, job.tally, path)
            os.fchmod(copy, mode & 0o777)  # a setuid bit was for the old contents
    job.tally.changed += 1


def _inherit(live: int, st: os.stat_result, copy: int, tally: Tally, path: str) -> None:
    """Give a copy the owner and the access list of the file whose place it takes."""
    if os.geteuid() == 0:
        os.fchown(copy, st.st_uid, st.st_gid)
    kept = {name: value for name, value in _xattrs(live).items() if name.startswith(("user.", "system."))}
    _set_xattrs(copy, kept, tally, path)


def _sync_link(job: _Sync, fd: int, path: str, name: str, entry: Entry) -> None:
    now = _look(fd, name)
    if now is None or now.target != entry.target:
        _remove_at(fd, TEMP)
        os.symlink(entry.target, TEMP, dir_fd=fd)
        _take_place(fd, name)
        job.tally.changed += 1


# -- fix and remove ------------------------------------------------------------------------------------------


@dataclass
class _Fix:
    """A setting of permissions that is under way."""

    found: Scan
    tree: Folders
    uid: int | None
    gid: int | None
    dirs: int
    files: int
    tally: Tally
    foreign: list[str] = field(default_factory=list)  # paths of files that are not the tree's alone


def fix(
    target: Path,
    *,
    uid: int | None,
    gid: int | None,
    dirs: int = 0o770,
    files: int = 0o660,
    recursive: bool = True,
) -> Report:
    """Give a tree its owner (None: left alone) and its modes, touching only what differs.

    Folders get `dirs`; files get `files`, and x for user and group where anybody had it; links get the owner;
    FIFOs, sockets and devices are left alone. So are, as root, files of others with a name outside the tree:
    who planted that link may not be who owns the file. An ordinary user changes modes only. Raise TreeError.
    """
    tally = Tally()
    if os.geteuid() and (uid, gid) != (None, None):
        tally.warnings.append("owners are left alone: not root")
        uid = gid = None
    with _told("permissions of", target), Folders(target, unlock=True) as tree:
        found = _scan(target, unlock=True) if recursive else Scan(_own_stat(tree), {}, target, ())
        tally.warnings += found.warnings
        job = _Fix(found, tree, uid, gid, dirs, files, tally)
        for folder in reversed(found.folders):
            for name, entry in found.folders[folder].items():
                _fix_entry(job, folder, name, entry)
        _fix_entry(job, "", ".", found.root)
    if job.foreign:
        count, first = len(job.foreign), shown(job.foreign[0])
        tally.warnings.append(f"left alone, with names outside the tree and of another owner: {count} files ({first}…)")
    return tally.report(found.files)


def _own_stat(tree: Folders) -> Entry:
    return entry_of(os.fstat(tree.fd("")), 0)


def _fixed(job: _Fix, entry: Entry) -> Entry:
    """Return what an entry is to be."""
    if entry.kind == "folder":
        mode = job.dirs
    elif entry.kind == "file":
        mode = job.files | (0o110 if entry.mode & 0o111 else 0)
    elif entry.kind == "link":
        mode = entry.mode
    else:
        return entry
    uid = entry.uid if job.uid is None else job.uid
    gid = entry.gid if job.gid is None else job.gid
    return entry._replace(mode=mode, uid=uid, gid=gid)


def _fix_entry(job: _Fix, folder: str, name: str, entry: Entry) -> None:
    """Correct one entry, if it is still what the scan saw, and the tree's own."""
    wanted = _fixed(job, entry)
    if wanted == entry:
        return
    path = join(folder, name)
    try:
        with (
            _at(path),
            _closing(os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=job.tree.fd(folder))) as handle,
        ):
            st = os.fstat(handle)
            if (st.st_ino, KINDS[stat.S_IFMT(st.st_mode)]) != (entry.ino, entry.kind):
                job.tally.warn(path, "left alone, it changed meanwhile")
            elif _is_foreign(job, entry, st):
                job.foreign.append(path)
            else:
                job.tally.changed += _own(f"/proc/self/fd/{handle}", st, wanted)
    except PermissionError:
        job.tally.warn(path, "left alone, it is not ours")
    except OSError as exc:
        if exc.errno not in RACES:
            raise


def _is_foreign(job: _Fix, entry: Entry, st: os.stat_result) -> bool:
    if os.geteuid() or entry.kind != "file" or st.st_uid == job.uid:
        return False
    return st.st_nlink > max(1, len(job.found.groups.get(entry.group, ())))


def remove(path: Path) -> None:
    """Remove a tree, a file, a link or nothing; what lies behind links stays. Raise TreeError.

    A snapshot stops being whole before it loses anything: its manifest goes first, files go before folders.
    """
    with _told("removal of", path):
        try:
            parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return
        with _closing(parent):
            _manifest(path).unlink(missing_ok=True)
            _remove_at(parent, path.name)


def _remove_at(fd: int, name: str) -> None:
    """Remove an entry of an open folder, whatever it is, or nothing; raise OSError."""
    tries = 0
    while True:
        try:
            os.unlink(name, dir_fd=fd)
            return
        except FileNotFoundError:
            return
        except IsADirectoryError:
            pass
        try:
            tries += not _remove_folder(fd, name, 0, None)
        except OSError as exc:  # somebody makes files while we remove them
            tries += 1
            if exc.errno not in RACES or tries >= TRIES:
                raise


def _remove_folder(fd: int, name: str, level: int, top: int | None) -> bool:
    """Remove a folder of an open folder; return whether folders from the depth came up to `top` meanwhile.

    Each level holds a descriptor, and there may be more levels than that: those below DEPTH are moved up.
    """
    with _closing(_open_folder(fd, name, unlock=True)) as inner:
        _unlock(inner)
        folders = []
        with os.scandir(inner) as items:
            for item in list(items):
                if item.is_dir(follow_symlinks=False):
                    folders.append((item.name, item.inode()))
                else:
                    os.unlink(item.name, dir_fd=inner)
        moved = False
        for sub, number in folders:
            if level >= DEPTH and top is not None:
                os.rename(sub, f"{TEMP}.{number}", src_dir_fd=inner, dst_dir_fd=top)
                moved = True
            else:
                moved |= _remove_folder(inner, sub, level + 1, inner if top is None else top)
    if not (moved and top is None):
        os.rmdir(name, dir_fd=fd)
    return moved


# -- single files --------------------------------------------------------------------------------------------


def _open_folder(fd: int, name: str, unlock: bool) -> int:
    flags = os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(name, os.O_RDONLY | flags, dir_fd=fd)
    except PermissionError:
        if not unlock:
            raise
    with _closing(os.open(name, os.O_PATH | flags, dir_fd=fd)) as handle:
        os.chmod(f"/proc/self/fd/{handle}", stat.S_IMODE(os.fstat(handle).st_mode) | 0o700)
    return os.open(name, os.O_RDONLY | flags, dir_fd=fd)


def _unlock(fd: int) -> None:
    """Let an ordinary user write in an open folder of his."""
    if os.geteuid():
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if mode & 0o700 != 0o700:
            os.fchmod(fd, mode | 0o700)


def _open_file(fd: int, name: str) -> int:
    """Open a regular file for reading; raise _SwappedError where it is none (any more)."""
    try:
        opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=fd)
    except BlockingIOError:
        opened = _open_leased(fd, name)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR):
            raise _SwappedError(errno.ESTALE, os.strerror(errno.ESTALE)) from exc
        raise
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise _SwappedError(errno.ESTALE, os.strerror(errno.ESTALE))
    return opened


def _open_leased(fd: int, name: str) -> int:
    """Open a regular file that somebody holds a lease on: the kernel ends that within a minute."""
    with _closing(os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=fd)) as handle:
        if not stat.S_ISREG(os.fstat(handle).st_mode):  # waiting for a FIFO could last for ever
            raise _SwappedError(errno.ESTALE, os.strerror(errno.ESTALE))
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY)


def _open_live(fd: int, name: str) -> int | None:
    """Open a regular file that may be there; None where it is none, or cannot be read."""
    try:
        return _open_file(fd, name)
    except (_SwappedError, PermissionError):
        return None


def _look(fd: int, name: str) -> Entry | None:
    """Return what an entry of an open folder is now; None where it is gone."""
    try:
        now_ns = time.time_ns()
        st = os.stat(name, dir_fd=fd, follow_symlinks=False)
        return entry_of(st, now_ns, os.readlink(name, dir_fd=fd) if stat.S_ISLNK(st.st_mode) else "")
    except FileNotFoundError:
        return None


def _stats(fd: int) -> dict[str, os.stat_result]:
    found = {}
    with os.scandir(fd) as items:
        for item in items:
            with contextlib.suppress(FileNotFoundError):
                found[item.name] = item.stat(follow_symlinks=False)
    return found


def _stamp(st: os.stat_result) -> tuple[int, ...]:
    return st.st_size, st.st_mtime_ns, st.st_ino, st.st_ctime_ns


def _same(one: int, other: int) -> bool:
    """Say whether two open files have the same contents."""
    size = os.fstat(one).st_size
    if size != os.fstat(other).st_size:
        return False
    return all(os.pread(one, CHUNK, at) == os.pread(other, CHUNK, at) for at in range(0, size, CHUNK))


def _fill(source: int, copy: int, size: int) -> int:
    """Copy up to `size` bytes of an open file, holes staying holes; return how many there were."""
    st = os.fstat(source)
    size = min(size, st.st_size)
    if st.st_blocks * 512 >= size:
        return _copy_bytes(source, copy, 0, size)
    end = 0
    with contextlib.suppress(OSError):  # ENXIO: no data behind this
        while end < size:
            start = os.lseek(source, end, os.SEEK_DATA)
            end = min(os.lseek(source, start, os.SEEK_HOLE), size)
            _copy_bytes(source, copy, start, end)
    os.ftruncate(copy, size)
    return size


def _copy_bytes(source: int, copy: int, at: int, end: int) -> int:
    """Copy the bytes from `at` to `end`; return where they ended."""
    in_kernel = end - at > SMALL
    while at < end:
        if in_kernel:
            try:
                done = os.copy_file_range(source, copy, min(end - at, 1 << 30), at, at)
            except OSError as exc:
                if exc.errno not in NO_KERNEL_COPY:
                    raise
                in_kernel = False
                continue
        else:
            done = os.pwrite(copy, os.pread(source, min(end - at, CHUNK), at), at)
        if not done:
            break
        at += done
    return at


def _link(source: int, name: str, fd: int, as_name: str) -> None:
    """Make a hard link in the place of whatever has its name."""
    try:
        os.link(name, as_name, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)
    except FileExistsError:
        _remove_at(fd, as_name)
        os.link(name, as_name, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)


def _make_root(path: Path, mode: int = 0o700) -> bool:
    with _closing(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)) as parent:
        return _make_folder(parent, path.name, mode)


def _make_folder(fd: int, name: str, mode: int) -> bool:
    """Make a folder in the place of a file or link, if there is none; return whether it was made."""
    try:
        os.mkdir(name, mode, dir_fd=fd)
    except FileExistsError:
        if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            return False
        os.unlink(name, dir_fd=fd)
        os.mkdir(name, mode, dir_fd=fd)
    return True


def _makeable(entry: Entry) -> bool:
    return entry.kind in ("link", "fifo") or (entry.kind in ("char", "block") and os.geteuid() == 0)


def _make_node(fd: int, name: str, entry: Entry, tally: Tally, path: str) -> None:
    """Make a link, FIFO or device with its owner, mode and mtime; raise OSError."""
    if entry.kind == "link":
        os.symlink(entry.target, name, dir_fd=fd)
    elif entry.kind == "fifo":
        os.mkfifo(name, 0o600, dir_fd=fd)
    else:
        kind = stat.S_IFCHR if entry.kind == "char" else stat.S_IFBLK
        os.mknod(name, kind | 0o600, entry.size, dir_fd=fd)
    with _closing(os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=fd)) as handle:
        st = os.fstat(handle)
        if (KINDS[stat.S_IFMT(st.st_mode)], st.st_nlink, st.st_uid) != (entry.kind, 1, os.geteuid()):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))  # not what we made
        _dress(handle, entry, tally, path)


def _own(way: str | int, st: os.stat_result, entry: Entry) -> bool:
    """Set owner and mode where they differ; return whether they did."""
    changed = False
    if (st.st_uid, st.st_gid) != (entry.uid, entry.gid) and os.geteuid() == 0:
        os.chown(way, entry.uid, entry.gid)
        changed = True  # and it took setuid away
    if entry.kind != "link" and (changed or stat.S_IMODE(st.st_mode) != entry.mode):
        os.chmod(way, entry.mode)
        changed = True
    return changed


def _dress(handle: int, entry: Entry, tally: Tally, path: str) -> bool:
    """Give what is open the owner, mode, xattrs and mtime of `entry`; return whether anything of note differed."""
    st = os.fstat(handle)
    with_content = entry.kind in ("file", "folder")
    way = handle if with_content else f"/proc/self/fd/{handle}"  # O_PATH descriptors take no calls of their own
    if (st.st_uid, st.st_gid) != (entry.uid, entry.gid) and os.geteuid():
        tally.warnings.append("owners are not kept: not root")
    changed = _own(way, st, entry)
    if with_content:
        changed |= _set_xattrs(handle, entry.xattrs, tally, path)
    if st.st_mtime_ns != entry.mtime_ns:
        os.utime(way, ns=(entry.mtime_ns, entry.mtime_ns))
        changed |= entry.kind != "folder"  # those move with each file that we write
    return changed


def _xattrs(fd: int) -> dict[str, str]:
    """Return the extended attributes of an open file or folder, access lists among them, as far as we may."""
    found = {}
    try:
        for name in os.listxattr(fd):
            with contextlib.suppress(OSError):
                found[name] = os.getxattr(fd, name).decode("latin-1")
    except OSError as exc:
        if exc.errno not in NO_XATTRS:
            raise
    return found


def _set_xattrs(fd: int, wanted: dict[str, str], tally: Tally, path: str) -> bool:
    """Give an open file exactly these extended attributes, or warn; return whether any differed."""
    there = _xattrs(fd)
    if there == wanted:
        return False
    for name in there.keys() | wanted.keys():
        try:
            if name in wanted and there.get(name) != wanted[name]:
                os.setxattr(fd, name, wanted[name].encode("latin-1"))
            elif name not in wanted and name not in LABELS:
                os.removexattr(fd, name)
        except OSError as exc:
            if exc.errno not in NO_XATTRS:
                raise
            tally.warn(path, f"{shown(name)} cannot be kept: {exc.strerror}")
    return True


# -- one place for what all of this needs --------------------------------------------------------------------


def _take_place(fd: int, name: str) -> None:
    """Rename TEMP to `name`, in the place of whatever is there."""
    try:
        os.rename(TEMP, name, src_dir_fd=fd, dst_dir_fd=fd)
    except IsADirectoryError:
        _remove_at(fd, name)
        os.rename(TEMP, name, src_dir_fd=fd, dst_dir_fd=fd)


@contextlib.contextmanager
def _replacing(fd: int, name: str) -> Iterator[int]:
    """Give a new file to write, which takes the place of `name` when all went well."""
    _remove_at(fd, TEMP)
    copy = os.open(TEMP, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=fd)
    try:
        with _closing(copy):
            yield copy
        _take_place(fd, name)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(TEMP, dir_fd=fd)
        raise


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _maybe(fd: int | None) -> Iterator[int | None]:
    try:
        yield fd
    finally:
        if fd is not None:
            os.close(fd)


@contextlib.contextmanager
def _at(path: str) -> Iterator[None]:
    """Let an OSError name this path of the tree."""
    try:
        yield
    except OSError as exc:
        exc.filename = path
        raise


@contextlib.contextmanager
def _told(doing: str, root: Path) -> Iterator[None]:
    """Turn an OSError into a TreeError of one line, which keeps it as its cause."""
    try:
        yield
    except OSError as exc:
        path = root / exc.filename if isinstance(exc.filename, str) else root
        raise TreeError(f"{doing} {shown(str(path))}: {exc.strerror}") from exc


def _insist(act: Callable[[], None]) -> None:
    """Do what can be done again, again, while somebody moves things under our hands; raise OSError."""
    for _ in range(TRIES - 1):
        try:
            return act()
        except OSError as exc:
            if exc.errno not in RACES:
                raise
    return act()


def _flush(fd: int) -> None:
    """Bring a filesystem to the disk: for many small files far cheaper than one by one. Raise OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(fd):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _write_file(path: Path, data: bytes) -> None:
    """Write a file of ours aside, to the disk, and put it into its place."""
    aside = path.with_name(path.name + ".new")
    with open(aside, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
    with _closing(os.open(path.parent, os.O_RDONLY)) as folder:
        os.fsync(folder)
