"""Restore a tree from a snapshot, by their differences.

Entries that match the manifest are not even opened. Files are copied, never linked to the snapshot. Paths that the
snapshot could not keep are left alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from corpushooks.core.errors import TreeError
from corpushooks.core.text import shown
from corpushooks.system.disk import Writes
from corpushooks.tree.descriptors import (
    TEMP,
    Folders,
    at,
    closing,
    insist,
    look,
    open_file,
    open_folder,
    open_live,
    stats,
    told,
    unlock,
)
from corpushooks.tree.entries import (
    clear_temp,
    correct,
    dress,
    fill,
    make_folder,
    make_node,
    make_root,
    makeable,
    put_flags,
    replacing,
    same_content,
    take_place,
    xattrs_of,
)
from corpushooks.tree.flags import flags_of, freed
from corpushooks.tree.manifest import Entry, Folder, Manifest, entry_of, join, manifest_path, read_manifest
from corpushooks.tree.mounts import MountedError, Mounts, Place, mount_of, place_of, umount
from corpushooks.tree.removal import remove_at
from corpushooks.tree.report import Report, Tally


@dataclass
class _Restore:
    """One pass of a restore."""

    manifest: Manifest
    saved: Folders
    live: Folders
    leads: Folders  # the live tree again, for the first links of groups
    writes: Writes
    tally: Tally
    leaders: dict[int, tuple[str, str, int, int]] = field(default_factory=dict)  # group -> folder, name, dev, ino
    mounts: Mounts = field(default_factory=Mounts)


def restore(saved: Path, target: Path) -> Report:
    """Make `target` equal to the snapshot `saved`, by their differences.

    Entries that match the manifest are not even opened. Files are copied, never linked to the snapshot.
    Can be interrupted anywhere and run again. Raise TreeError, also if the snapshot is incomplete.
    """
    tally = Tally()
    with told("restore of", target):
        try:
            manifest = read_manifest(manifest_path(saved).read_bytes())
        except (FileNotFoundError, ValueError) as exc:
            raise TreeError(f"restore of {shown(str(target))}: the archive {saved} is incomplete") from exc
        check_place(manifest.place, target)
        with Writes() as writes:
            insist(lambda: _restore_once(manifest, saved, target, writes, tally))
    return tally.report(manifest.files)


def check_place(was: Place | None, target: Path) -> None:
    """Raise TreeError if something was mounted on, or unmounted from, the root of a tree since the snapshot."""
    try:
        now = place_of(target)
    except OSError as exc:
        if exc.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise TreeError(f"{shown(str(target))}: {exc.strerror}", umount(target)) from exc
        now = Place(False, 0, 0, "")  # it can be created again
    if was is None or was.is_same(now):
        return
    path = shown(str(target))
    if not now.mounted:
        raise TreeError(
            f"{path} was a mount when it was archived, and nothing is mounted there now", f"mount {quote(str(target))}"
        )
    other = "another filesystem is" if was.mounted else "a filesystem was"
    raise TreeError(f"{other} mounted on {path} since it was archived; nothing in it was changed", umount(target))


def _restore_once(manifest: Manifest, saved: Path, target: Path, writes: Writes, tally: Tally) -> None:
    if make_root(target):
        tally.changed += 1
        writes.note_folder(target.parent)
    with Folders(saved) as archive, Folders(target, True) as live, Folders(target, True) as leads:
        job = _Restore(manifest, archive, live, leads, writes, tally)
        for folder, entries in manifest.folders.items():
            if not job.mounts.covers(folder):
                with job.mounts.left():
                    _restore_folder(job, folder, entries)
        for folder in reversed(manifest.folders):  # last, and innermost first: our changes updated their mtimes
            if not job.mounts.covers(folder):
                with job.mounts.left():
                    _correct_folder(job, folder)
        tally.warnings += job.mounts.warnings(path for path, entry in manifest.entries if entry.kind != "folder")
        writes.flush(live.fd(""))


def _restore_folder(job: _Restore, folder: str, entries: Folder) -> None:
    """Restore the entries of one folder; folders in it are only created."""
    with at(folder):
        fd = job.live.fd(folder)
        there = stats(fd)
    for name in there.keys() - entries.keys():
        if (path := join(folder, name)) in job.manifest.left:
            continue  # it existed, and has no other copy
        with at(path):
            unlock(fd)
            job.writes.note(fd)
            with job.mounts.left(folder):
                remove_at(fd, name)
            job.tally.changed += 1
    for name, entry in entries.items():
        st = there.get(name)
        if st is not None and not entry.group and _is_unchanged(st, entry):
            continue
        if entry.links > 1 and _was_planted(job.manifest, folder, entry):
            job.tally.warn(join(folder, name), "left alone, it was a hard link to a file of another owner")
            continue
        with at(join(folder, name)), job.mounts.entry(fd, folder, name):
            _restore_entry(job, folder, name, entry, st)


def _was_planted(manifest: Manifest, folder: str, entry: Entry) -> bool:
    """Return whether an old archive has an entry that `is_planted` keeps out of new ones: a copy could leak it."""
    if os.geteuid() or entry.kind != "file" or entry.mode & stat.S_IROTH:
        return False
    outside = entry.links > max(1, len(manifest.groups.get(entry.group, ())))
    return outside and (entry.uid == 0 or entry.uid not in (manifest.root.uid, manifest.own(folder).uid))


def _correct_folder(job: _Restore, folder: str) -> None:
    with at(folder):
        fd = job.live.fd(folder)
        if correct(fd, job.manifest.own(folder), job.tally, folder):
            job.tally.changed += 1
            job.writes.note(fd)


def _is_unchanged(st: os.stat_result, entry: Entry) -> bool:
    """Return whether an entry is unchanged, by its stamp; folders are always examined."""
    if entry.kind == "folder":
        return stat.S_ISDIR(st.st_mode)
    return entry.has_status(st)


def _restore_entry(job: _Restore, folder: str, name: str, entry: Entry, st: os.stat_result | None) -> None:
    """Restore one entry; `st` is its current status."""
    fd = job.live.fd(folder)
    if entry.group in job.leaders:
        lead, first, *inode = job.leaders[entry.group]
        if st is None or [st.st_dev, st.st_ino] != inode:
            job.writes.note(fd)
            unlock(fd)
            _link_again(job.leads.fd(lead), first, inode, fd, name)
            job.tally.changed += 1
        return
    if st is None or not _is_unchanged(st, entry):
        job.writes.note(fd)  # also if nothing differs: an interrupted restore may have written it
        if entry.kind == "folder":
            unlock(fd)
            job.tally.changed += make_folder(fd, name, 0o700)
            if join(folder, name) in job.manifest.left:  # something was mounted there
                with closing(open_folder(fd, name, unlock=False)) as made:
                    correct(made, entry, job.tally, join(folder, name))
        elif entry.kind == "file":
            _restore_file(job, folder, name, entry)
        else:
            _restore_node(job, folder, name, entry)
    if entry.group:
        with contextlib.suppress(FileNotFoundError):  # it could not be created
            st = os.stat(name, dir_fd=fd, follow_symlinks=False)
            job.leaders[entry.group] = (folder, name, st.st_dev, st.st_ino)


def _restore_file(job: _Restore, folder: str, name: str, entry: Entry) -> None:
    """Restore a file: leave it, correct it, or replace it by a copy."""
    fd, path = job.live.fd(folder), join(folder, name)
    try:
        source = open_file(job.saved.fd(folder), name)
    except OSError as exc:
        raise TreeError(f"the archive is damaged: {shown(path)} is missing") from exc
    with closing(source) as saved, closing(open_live(fd, name)) as live:
        if live is not None and mount_of(live) != job.live.mount:
            raise MountedError(name)
        if live is None or not _keep_file(job, path, entry, saved, live):
            unlock(fd)
            with replacing(fd, name, lambda copy: put_flags(copy, entry.flags, job.tally, path)) as copy:
                job.writes.note(copy)
                size = fill(saved, copy, entry.size)
                if size != entry.size:
                    raise TreeError(f"the archive is damaged: {shown(path)} is too short")
                dress(copy, entry, job.tally, path)
            job.tally.copied += size
            job.tally.changed += 1


def _keep_file(job: _Restore, path: str, entry: Entry, saved: int, live: int) -> bool:
    """Return whether the current file can stay, corrected in place if necessary."""
    if not same_content(saved, live):
        return False
    job.writes.note(live)
    st = os.fstat(live)
    now = entry_of(st, 0).but(xattrs=xattrs_of(live), flags=flags_of(live))
    names = len(job.manifest.groups.get(entry.group, ()))
    if _has_same_attributes(now, entry) and (st.st_nlink in (1, names) or st.st_ino == entry.ino):
        return True  # without foreign names, or with those it always had
    if st.st_nlink > 1 or not _harmless(now, entry):
        return False
    job.tally.changed += correct(live, entry, job.tally, path)
    return True


def _harmless(now: Entry, entry: Entry) -> bool:
    """Return whether a file can be corrected in place.

    Others can have it open or mapped for writing, so it must neither change its owner nor become setuid.
    """
    return (now.uid, now.gid) == (entry.uid, entry.gid) and not entry.mode & 0o7000


def _has_same_attributes(now: Entry, entry: Entry) -> bool:
    """Return whether owner (if we can change it), mode, mtime, xattrs and target are unchanged."""
    if os.geteuid():
        now = now.but(uid=entry.uid, gid=entry.gid)
    return now.alike(entry)


def _restore_node(job: _Restore, folder: str, name: str, entry: Entry) -> None:
    """Restore a link, FIFO or device; a socket cannot be restored."""
    fd, path = job.live.fd(folder), join(folder, name)
    now = look(fd, name)
    if now is not None and (_has_same_attributes(now, entry) or now.kind == entry.kind == "socket"):
        return
    unlock(fd)
    job.tally.changed += 1
    if not makeable(entry):
        remove_at(fd, name)
        job.tally.warn(path, f"a {entry.kind} cannot be restored")
        return
    clear_temp(fd)
    make_node(fd, TEMP, entry, job.tally, path)
    take_place(fd, name)


def _link_again(lead_fd: int, first: str, inode: list[int], fd: int, name: str) -> None:
    """Make `name` another link of the file `first`, which must still be `inode` (device, number)."""
    with closing(os.open(first, os.O_PATH | os.O_NOFOLLOW, dir_fd=lead_fd)) as handle:
        st = os.fstat(handle)
        if [st.st_dev, st.st_ino] != inode:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        clear_temp(fd)

        def link() -> None:
            os.link(f"/proc/self/fd/{handle}", TEMP, dst_dir_fd=fd, follow_symlinks=True)

        freed(lead_fd, first, lambda: freed(fd, "", link))
        take_place(fd, name)
