"""Set the owner and modes of a tree, changing only what differs, and nothing outside the tree."""

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
class _Fixing:
    """A setting of permissions in progress."""

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
    foreign: list[str] = field(default_factory=list)  # paths of files with names outside the tree


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
    """Set the owner (None: unchanged) and modes of a tree, changing only what differs.

    Folders get `dirs`; files get `files`, and also `run` if anyone could execute them (None: unchanged); both get the
    grants of `access` (None: unchanged); links get the owner; FIFOs, sockets and devices are left alone. So are, as
    root, files of other owners with a name outside the tree, or with names that move, since these links can be
    planted; and paths in the tree for which `skip` is true. An ordinary user changes modes only. Raise TreeError, or
    what `check` raises.
    """
    tally = Tally()
    if os.geteuid() and (uid, gid) != (None, None):
        tally.warnings.append("owners are left alone: not root")
        uid = gid = None
    with told("permissions of", target), Folders(target, unlock=True) as tree:
        found = _settled_scan(target, uid, check) if recursive else Scan(_own_stat(tree), {}, target, ())
        tally.warnings += found.warnings
        job = _Fixing(found, tree, uid, gid, dirs, files, run, access, tally, check)
        for folder in reversed(found.folders):
            for name, entry in found.folders[folder].items():
                check()
                if not skip(join(folder, name)):
                    _fix_entry(job, folder, name, entry)
        _fix_entry(job, "", ".", found.root)
    if job.foreign:
        count, first = len(job.foreign), shown(job.foreign[0])
        tally.warnings.append(f"{count} files of other owners with names outside the tree were left alone ({first}…)")
    return tally.report(found.files)


def _settled_scan(target: Path, uid: int | None, check: Check) -> Scan:
    """Walk a tree; twice if files of other owners just got new names, so that these are counted."""
    found = walk(target, unlock=True, check=check)
    if any(e.group and not e.settled and (e.uid != uid or not uid) for _, e in found.entries):
        time.sleep(2 * TICK_NS / 1e9)
        found = walk(target, unlock=True, check=check)
    return found


def _own_stat(tree: Folders) -> Entry:
    return entry_of(os.fstat(tree.fd("")), 0)


def _fixed(job: _Fixing, entry: Entry) -> Entry:
    """Return an entry with its new owner and mode."""
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
    return entry.but(mode=mode, uid=uid, gid=gid)


def _fix_entry(job: _Fixing, folder: str, name: str, entry: Entry) -> None:
    """Correct one entry, if it is unchanged since the scan, and belongs to the tree."""
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
        job.tally.warn(
            path, "left alone, it is immutable or append-only" if fixed else "left alone, it has another owner"
        )
    except MountedError as exc:
        job.tally.warnings += [f"{shown(mount)}: {LEFT}" for mount in exc.mounts]
    except OSError as exc:
        if exc.errno not in RACES:
            raise


def _correct(job: _Fixing, path: str, handle: int, entry: Entry, wanted: Entry, *, listed: bool) -> None:
    """Correct an open entry, if it is unchanged since the scan; `listed`: its access list, too."""
    st = os.fstat(handle)
    if mount_of(handle) != job.tree.mount:
        job.tally.warn(path, LEFT)
    elif (st.st_ino, KINDS[stat.S_IFMT(st.st_mode)]) != (entry.ino, entry.kind):
        job.tally.warn(path, "left alone, it changed meanwhile")
    elif not listed and (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (wanted.uid, wanted.gid, wanted.mode):
        pass  # corrected by another name of the same file
    elif _is_foreign(job, entry, st):
        job.foreign.append(path)
    else:
        way = f"/proc/self/fd/{handle}"
        job.tally.changed += set_owner(way, st, wanted) | _grant(job, way, path, wanted)


def _grant(job: _Fixing, way: str, path: str, wanted: Entry) -> bool:
    """Set the access list of a file or folder, if wanted; warn if that is not possible."""
    if job.access is None or wanted.kind not in ("file", "folder"):
        return False
    try:
        return grant(way, wanted.mode, job.access, folder=wanted.kind == "folder")
    except OSError as exc:
        if exc.errno not in NONE_HERE:
            raise
        if exc.errno == errno.ENOTSUP:
            job.tally.warnings.append("access lists are left alone: this filesystem does not support them")
        else:
            job.tally.warn(path, "its access list is left alone, it has another owner")
        return False


def _is_foreign(job: _Fixing, entry: Entry, st: os.stat_result) -> bool:
    """Return whether a file of another owner, or of root, has or could have a name outside the tree."""
    if os.geteuid() or entry.kind != "file" or (st.st_uid and st.st_uid == job.uid):
        return False
    return is_outside(job.found, entry, st)
