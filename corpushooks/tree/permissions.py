"""Give a tree its owner and its modes, touching only what differs, and nothing that is not the tree's own."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from corpushooks.core.text import shown
from corpushooks.system.patience import Check, endless
from corpushooks.tree.acl import NONE_HERE, Access, grant
from corpushooks.tree.descriptors import RACES, Folders, at, closing, told
from corpushooks.tree.entries import set_owner
from corpushooks.tree.flags import flags_at
from corpushooks.tree.manifest import KINDS, TICK_NS, Entry, entry_of, join
from corpushooks.tree.mounts import LEFT, MountedError, mount_of
from corpushooks.tree.report import Report, Tally
from corpushooks.tree.scan import Scan, is_outside, walk


@dataclass
class _Fix:
    """A setting of permissions that is under way."""

    found: Scan
    tree: Folders
    uid: int | None
    gid: int | None
    dirs: int | None
    files: int | None
    run: int
    access: Access | None
    tally: Tally
    check: Check
    foreign: list[str] = field(default_factory=list)  # paths of files that are not the tree's alone


def fix(
    target: Path,
    *,
    uid: int | None,
    gid: int | None,
    dirs: int | None = 0o770,
    files: int | None = 0o660,
    run: int = 0o110,
    access: Access | None = None,
    recursive: bool = True,
    skip: Callable[[str], bool] = lambda path: False,
    check: Check = endless,
) -> Report:
    """Give a tree its owner (None: left alone) and its modes, touching only what differs.

    Folders get `dirs`; files get `files`, and `run` too where anybody could run it (None: left alone); both get what
    `access` grants (None: their access lists are left alone); links get the owner;
    FIFOs, sockets and devices are left alone. So are, as root, files of others with a name outside the tree, or
    with names that move: who planted that link may not be who owns the file. So is what `skip` says of, by its path
    in the tree. An ordinary user changes modes only.
    Raise TreeError, or what `check` raises.
    """
    tally = Tally()
    if os.geteuid() and (uid, gid) != (None, None):
        tally.warnings.append("owners are left alone: not root")
        uid = gid = None
    with told("permissions of", target), Folders(target, unlock=True) as tree:
        found = _settled(target, uid, check) if recursive else Scan(_own_stat(tree), {}, target, ())
        tally.warnings += found.warnings
        job = _Fix(found, tree, uid, gid, dirs, files, run, access, tally, check)
        for folder in reversed(found.folders):
            for name, entry in found.folders[folder].items():
                check()
                if not skip(join(folder, name)):
                    _fix_entry(job, folder, name, entry)
        _fix_entry(job, "", ".", found.root)
    if job.foreign:
        count, first = len(job.foreign), shown(job.foreign[0])
        tally.warnings.append(f"left alone, with names outside the tree and of another owner: {count} files ({first}…)")
    return tally.report(found.files)


def _settled(target: Path, uid: int | None, check: Check) -> Scan:
    """Walk a tree; once more where the names of files of others came a moment ago, so that they can be counted."""
    found = walk(target, unlock=True, check=check)
    if any(e.group and not e.settled and (e.uid != uid or not uid) for _, e in found.entries):
        time.sleep(2 * TICK_NS / 1e9)
        found = walk(target, unlock=True, check=check)
    return found


def _own_stat(tree: Folders) -> Entry:
    return entry_of(os.fstat(tree.fd("")), 0)


def _fixed(job: _Fix, entry: Entry) -> Entry:
    """Return what an entry is to be."""
    if entry.kind == "folder":
        mode = entry.mode if job.dirs is None else job.dirs
    elif entry.kind == "file":
        mode = entry.mode if job.files is None else job.files | (job.run if entry.mode & 0o111 else 0)
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
    listed = job.access is not None and entry.kind in ("file", "folder")
    if wanted == entry and not listed:
        return
    path = join(folder, name)
    try:
        with (
            at(path),
            closing(os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=job.tree.fd(folder))) as handle,
        ):
            _correct(job, path, handle, entry, wanted, listed=listed)
    except PermissionError:
        fixed = flags_at(job.tree.fd(folder), name)
        job.tally.warn(path, "left alone, it is immutable or append-only" if fixed else "left alone, it is not ours")
    except MountedError as exc:
        job.tally.warnings += [f"{shown(mount)}: {LEFT}" for mount in exc.mounts]
    except OSError as exc:
        if exc.errno not in RACES:
            raise


def _correct(job: _Fix, path: str, handle: int, entry: Entry, wanted: Entry, *, listed: bool) -> None:
    """Correct what is open at `handle`, if it is still what the scan saw; `listed`: it has an access list, too."""
    st = os.fstat(handle)
    if mount_of(handle) != job.tree.mount:
        job.tally.warn(path, LEFT)
    elif (st.st_ino, KINDS[stat.S_IFMT(st.st_mode)]) != (entry.ino, entry.kind):
        job.tally.warn(path, "left alone, it changed meanwhile")
    elif not listed and (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (wanted.uid, wanted.gid, wanted.mode):
        pass  # by another name of the same file
    elif _is_foreign(job, entry, st):
        job.foreign.append(path)
    else:
        way = f"/proc/self/fd/{handle}"
        job.tally.changed += set_owner(way, st, wanted) | _grant(job, way, path, wanted)


def _grant(job: _Fix, way: str, path: str, wanted: Entry) -> bool:
    """Give a file or a folder its access list, where one is wanted; warn where it cannot have any."""
    if job.access is None or wanted.kind not in ("file", "folder"):
        return False
    try:
        return grant(way, wanted.mode, job.access, folder=wanted.kind == "folder")
    except OSError as exc:
        if exc.errno not in NONE_HERE:
            raise
        if exc.errno == errno.ENOTSUP:
            job.tally.warnings.append("access lists are left alone: this filesystem has none")
        else:
            job.tally.warn(path, "its access list is left alone, it is not ours")
        return False


def _is_foreign(job: _Fix, entry: Entry, st: os.stat_result) -> bool:
    """Say whether a file of somebody else, or of root's, has a name outside the tree, or may have."""
    if os.geteuid() or entry.kind != "file" or (st.st_uid and st.st_uid == job.uid):
        return False
    return is_outside(job.found, entry, st)
