"""Sync a checkout to a live tree: write what differs, leave other files alone.

The stamps of both sides are cached in a file, so that the next sync does not read unchanged files.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from corpushooks.core.errors import TreeError
from corpushooks.core.text import shown
from corpushooks.system.disk import Writes, write_file
from corpushooks.system.patience import Check, endless
from corpushooks.tree.descriptors import (
    DEPTH,
    TEMP,
    Folders,
    at,
    closing,
    insist,
    look,
    open_file,
    open_folder,
    open_live,
    stamp_of,
    told,
    unlock,
)
from corpushooks.tree.entries import (
    clear_temp,
    fill,
    make_folder,
    make_root,
    put_flags,
    replacing,
    same_content,
    set_xattrs,
    take_place,
    xattrs_of,
)
from corpushooks.tree.flags import flags_of, freed, kept, lifted
from corpushooks.tree.manifest import Entry, Folder, entry_of, join, pack, unpack
from corpushooks.tree.mounts import MountedError, Mounts, mount_of
from corpushooks.tree.removal import remove_at
from corpushooks.tree.report import Report, Tally
from corpushooks.tree.scan import Scan, scan

Stamps = dict[str, list[int]]


@dataclass
class _Sync:
    """A sync in progress."""

    stage: Folders
    live: Folders
    writes: Writes
    tally: Tally
    fresh: frozenset[str]
    old: Stamps
    check: Check
    new: Stamps = field(default_factory=dict)
    mounts: Mounts = field(default_factory=Mounts)


def sync(
    stage: Path, target: Path, removed: Iterable[str], cache: Path, check: Check = endless,
    fresh: frozenset[str] = frozenset(),
) -> Report:  # fmt: skip
    """Copy the files and links of the checkout `stage` to `target`, and remove the `removed` paths.

    Content, link target and the executable bits follow the stage; owner and the other permission bits of `target` stay,
    as do its other files. `cache` is a file of ours that makes the next sync faster. The report lists what was replaced
    by `fresh` paths, which the previous checkout did not have, and by folders. Can be interrupted and run again. Raise
    TreeError, or what `check` raises.
    """
    found = scan(stage, check)
    if found.warnings:
        raise TreeError(f"sync of {shown(str(target))}: {found.warnings[0]}")
    tally = Tally()
    gone = list(removed)
    with told("sync of", target), Writes() as writes:
        insist(lambda: _sync_once(found, target, gone, cache, fresh, writes, tally, check))
    return tally.report(found.files)


def _sync_once(
    found: Scan,
    target: Path,
    removed: list[str],
    cache: Path,
    fresh: frozenset[str],
    writes: Writes,
    tally: Tally,
    check: Check,
) -> None:
    if make_root(target):
        tally.changed += 1
        writes.note_folder(target.parent)
    with Folders(found.source) as stage, Folders(target, unlock=True) as live:
        job = _Sync(stage, live, writes, tally, fresh, stamps(cache), check)
        for path in removed:
            with at(path), job.mounts.left():
                _remove_tracked(job, found, path)
        for folder, entries in found.folders.items():
            if not job.mounts.covers(folder):
                with job.mounts.left():
                    _sync_folder(job, folder, entries)
        tally.warnings += job.mounts.warnings(path for path, entry in found.entries if entry.kind != "folder")
        writes.flush(live.fd(""))  # before the stamps, which must not be newer than the files
        if job.new != job.old:
            write_file(cache, pack(job.new))


def stamps(cache: Path) -> Stamps:
    """Return the stamps of an earlier sync; none if they are unusable."""
    try:
        return dict(unpack(cache.read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def _remove_tracked(job: _Sync, found: Scan, path: str) -> None:
    """Remove a file or link that the stage no longer has, and the folders that this leaves empty."""
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise TreeError(f"invalid path {shown(path)!r}")
    folder, _, name = path.rpartition("/")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        fd = job.live.fd(folder)
        st = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISDIR(st.st_mode) or name in found.folders.get(folder, {}):
            return
        unlock(fd)
        job.writes.note(fd)
        with kept(fd), job.mounts.left(folder):
            remove_at(fd, name, job.check)
            job.tally.changed += 1
    while folder and folder not in found.folders:  # also if an interrupted sync has removed the file
        folder, _, name = folder.rpartition("/")
        try:
            fd = job.live.fd(folder)
            with kept(fd):
                freed(fd, name, partial(os.rmdir, name, dir_fd=fd))
            job.writes.note(fd)
        except FileNotFoundError:
            continue
        except OSError:
            return  # it is not empty, or not a folder of the tree


def _sync_folder(job: _Sync, folder: str, entries: Folder) -> None:
    """Sync the entries of one folder of the stage; folders in it are only created."""
    with at(folder):
        fd = job.live.fd(folder)
        unlock(fd)
    with kept(fd):
        clear_temp(fd, job.check)
        for name, entry in entries.items():
            job.check()
            if entry.kind == "file" and _recorded(job, fd, join(folder, name), name, entry):
                continue  # the common case
            with at(join(folder, name)), job.mounts.entry(fd, folder, name):
                _sync_entry(job, fd, folder, name, entry)


def _sync_entry(job: _Sync, fd: int, folder: str, name: str, entry: Entry) -> None:
    path = join(folder, name)
    if entry.kind == "folder":
        _sync_subfolder(job, fd, path, name, entry)
    elif entry.kind == "link":
        _sync_link(job, fd, path, name, entry)
    elif entry.kind == "file":
        _sync_file(job, folder, name, entry)


def _sync_subfolder(job: _Sync, fd: int, path: str, name: str, entry: Entry) -> None:
    try:
        mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        mode = 0
    if not stat.S_ISDIR(mode) and make_folder(fd, name, entry.mode, job.check):
        job.writes.note(fd)
        if mode and not stat.S_ISSOCK(mode):  # the application's: tracked files were removed before
            job.tally.replaced.append(path)


def _own_files(job: _Sync, fd: int, path: str, name: str) -> list[str]:
    """Return the untracked files that a fresh file or link replaces; sockets do not count, since they hold no data."""
    now = look(fd, name) if path in job.fresh else None
    if now is None or now.kind == "socket":
        return []
    return sorted(_files_in(job, fd, path, name)) if now.kind == "folder" else [path]


def _files_in(job: _Sync, fd: int, path: str, name: str, level: int = 0) -> Iterator[str]:
    """Yield the paths of the files in a folder of an open folder, as far as they can be read; none of a mount."""
    with contextlib.suppress(OSError), closing(open_folder(fd, name, unlock=True)) as inner:
        if level >= DEPTH or mount_of(inner) != mount_of(fd):
            return
        with os.scandir(inner) as items:
            for item in items:
                job.check()
                if item.is_dir(follow_symlinks=False):
                    yield from _files_in(job, inner, join(path, item.name), item.name, level + 1)
                elif item.name != TEMP:
                    yield join(path, item.name)


def _recorded(job: _Sync, fd: int, path: str, name: str, entry: Entry) -> bool:
    """Return whether a file has the right mode, and neither side changed since their contents were equal."""
    known = job.old.get(path)
    if known is None:
        return False
    try:
        st = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError:
        return False
    if known != [*entry.stamp, *stamp_of(st)] or _mode(st, entry) != stat.S_IMODE(st.st_mode):
        return False
    job.new[path] = known
    return True


def _is_equal(job: _Sync, folder: str, name: str, entry: Entry, live: int) -> bool:
    """Return whether an open file has the contents of the stage's; record it if so."""
    now_ns = time.time_ns()
    there = entry_of(os.fstat(live), now_ns)
    with closing(open_file(job.stage.fd(folder), name)) as staged:
        if not same_content(staged, live, job.check):
            return False
    if entry.settled and there.settled:
        job.new[join(folder, name)] = [*entry.stamp, *there.stamp]
    return True


def _mode(st: os.stat_result, entry: Entry) -> int:
    """Return the mode for an existing file: its own, executable where readable if the stage's file is."""
    mode = stat.S_IMODE(st.st_mode) & ~0o111
    return mode | (mode & 0o444) >> 2 if entry.mode & 0o100 else mode


def _sync_file(job: _Sync, folder: str, name: str, entry: Entry) -> None:
    """Make one file equal to the stage's: leave it, correct its mode, or replace it by a copy."""
    fd, path = job.live.fd(folder), join(folder, name)
    job.writes.note(fd)  # also if nothing differs: an interrupted sync may have written it
    with closing(open_live(fd, name, job.check)) as live:
        if live is not None and mount_of(live) != job.live.mount:
            raise MountedError(name)
        st = os.fstat(live) if live is not None else None
        if live is not None and st is not None and _is_equal(job, folder, name, entry, live):
            job.writes.note(live)
            mode = _mode(st, entry)
            if mode == stat.S_IMODE(st.st_mode):
                return
            job.new.pop(path, None)
            if st.st_nlink == 1:  # otherwise a name of it can be outside
                with lifted(live):
                    os.fchmod(live, mode)
                job.tally.changed += 1
                return
            own = []
        else:
            own = _own_files(job, fd, path, name)
        _replace_file(job, folder, name, entry, live)
    job.tally.changed += 1
    job.tally.replaced += own


def _replace_file(job: _Sync, folder: str, name: str, entry: Entry, live: int | None) -> None:
    """Replace an entry by a copy of the stage's file; `live` is the old one if it is a file."""
    fd, path = job.live.fd(folder), join(folder, name)
    flags = flags_of(live) if live is not None else 0
    with (
        closing(open_file(job.stage.fd(folder), name)) as staged,
        replacing(fd, name, lambda copy: put_flags(copy, flags, job.tally, path), job.check) as copy,
    ):
        job.writes.note(copy)
        job.tally.copied += fill(staged, copy, entry.size, job.check)
        mode = entry.mode
        if live is not None:
            st = os.fstat(live)
            mode = _mode(st, entry)
            _inherit(live, st, copy, job.tally, path)
        os.fchmod(copy, mode & 0o777)  # a setuid bit applied to the old contents


def _inherit(live: int, st: os.stat_result, copy: int, tally: Tally, path: str) -> None:
    """Give a copy the owner and the access list of the file that it replaces."""
    if os.geteuid() == 0:
        os.fchown(copy, st.st_uid, st.st_gid)
    kept = {name: value for name, value in xattrs_of(live).items() if name.startswith(("user.", "system."))}
    set_xattrs(copy, kept, tally, path)


def _sync_link(job: _Sync, fd: int, path: str, name: str, entry: Entry) -> None:
    now = look(fd, name)
    if now is None or now.target != entry.target:
        clear_temp(fd, job.check)
        job.writes.note(fd)
        freed(fd, "", lambda: os.symlink(entry.target, TEMP, dir_fd=fd))
        own = _own_files(job, fd, path, name)
        take_place(fd, name, job.check)
        job.tally.changed += 1
        job.tally.replaced += own
