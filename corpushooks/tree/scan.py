"""List the content of a tree: a walk that follows no links and reads no files."""

from __future__ import annotations

import errno
import os
import stat
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from corpushooks.core.text import shown
from corpushooks.system.patience import Check, endless
from corpushooks.tree.descriptors import DEPTH, RACES, TEMP, Folders, at, told
from corpushooks.tree.manifest import Entry, Folder, Manifest, entry_of, join
from corpushooks.tree.mounts import LEFT, MountedError, is_mounted, mount_at, place_of


@dataclass(frozen=True)
class Scan(Manifest):
    """The content of `source`; its entries have no xattrs yet, which are read when needed."""

    source: Path
    warnings: tuple[str, ...]


def scan(source: Path, check: Check = endless) -> Scan:
    """Walk the tree `source` and return its content; raise TreeError, or what `check` raises."""
    with told("reading of", source):
        return replace(walk(source, check=check), place=place_of(source))


def walk(source: Path, unlock: bool = False, check: Check = endless) -> Scan:
    """Scan; with `unlock` an ordinary user adds the missing rights to open his own folders. Raise OSError."""
    with Folders(source, unlock) as tree:
        job = _Walk(tree, time.time_ns(), check)
        root = entry_of(os.fstat(tree.fd("")), job.now_ns)
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            with at(folder):
                if job.enter(folder):
                    found = job.folders[folder].items()
                    waiting += [join(folder, name) for name, entry in found if entry.kind == "folder"]
        _mark_hard_links(job.folders, job.shared)
        return Scan(root, job.folders, source, tuple(job.warnings), left=frozenset(job.left))


@dataclass
class _Walk:
    """A walk in progress."""

    tree: Folders
    now_ns: int
    check: Check
    folders: dict[str, Folder] = field(default_factory=dict)
    shared: dict[tuple[int, int], list[str]] = field(default_factory=dict)  # paths of files with several names
    left: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)

    def enter(self, folder: str) -> bool:
        """List a folder; return whether that was possible. A mount has an entry in its parent but no list."""
        if folder.count("/") >= DEPTH:
            self.leave(folder, f"{shown(folder)[:60]}…: skipped, more than {DEPTH} folders deep")
            return False
        try:
            self.folders[folder] = self._list(folder)
        except MountedError:
            self._leave_mount(folder)
            return False
        except OSError as exc:
            if not folder or exc.errno not in RACES:
                raise
            self.leave(folder, f"{shown(folder)}: skipped, it changed while it was read")
            return False
        return True

    def _leave_mount(self, path: str) -> None:
        self.left.add(path)
        self.warnings.append(f"{shown(path)}: {LEFT}")

    def leave(self, path: str, warning: str) -> None:
        """Skip a path, and warn."""
        self.left.add(path)
        self.warnings.append(warning)
        forget(self.folders, path)

    def _list(self, folder: str) -> Folder:
        """Return the entries of a folder; raise OSError."""
        fd = self.tree.fd(folder)
        device = os.fstat(fd).st_dev
        found: Folder = {}
        check, now_ns = self.check, self.now_ns
        with os.scandir(fd) as items:
            for item in items:
                check()  # the list can be endless
                name = item.name
                if name == TEMP:
                    continue
                try:
                    st = item.stat(follow_symlinks=False)
                    target = os.readlink(name, dir_fd=fd) if stat.S_ISLNK(st.st_mode) else ""
                    # A mount on a file has another inode than listed; one on a folder shows when it is opened.
                    odd = st.st_ino != item.inode() or st.st_dev != device
                    if odd and not stat.S_ISDIR(st.st_mode) and mount_at(fd, name) != self.tree.mount:
                        self._leave_mount(join(folder, name))
                        continue
                except OSError as exc:
                    if is_mounted(fd, name):  # and its server does not answer
                        self._leave_mount(join(folder, name))
                    elif exc.errno not in (errno.ENOENT, errno.EINVAL):  # gone, or no longer a link
                        raise
                    continue
                found[name] = entry = entry_of(st, now_ns, target)
                if entry.links > 1 and entry.kind != "folder":
                    self.shared.setdefault((st.st_dev, st.st_ino), []).append(join(folder, name))
        return found


def is_outside(found: Manifest, entry: Entry, st: os.stat_result) -> bool:
    """Return whether a file (`entry` in the scan, now `st`) has or could have a name outside the tree.

    A name that is moved during the walk is counted twice; then the ctime of the file changes too.
    """
    unmoved = entry.settled and (st.st_ino, st.st_ctime_ns) == (entry.ino, entry.ctime_ns)
    return st.st_nlink > 1 and (not unmoved or st.st_nlink > len(found.groups.get(entry.group, ())))


def is_planted(found: Manifest, folder: str, entry: Entry, st: os.stat_result) -> bool:
    """Return whether a file could have been hard-linked into the tree by someone who cannot read it.

    It has a name outside, is not readable for all, and belongs to root or to someone other than the tree's owner.
    """
    if os.geteuid() or not stat.S_ISREG(st.st_mode) or st.st_mode & stat.S_IROTH or not is_outside(found, entry, st):
        return False
    return st.st_uid == 0 or st.st_uid not in (found.root.uid, found.own(folder).uid)


def forget(folders: dict[str, Folder], folder: str) -> None:
    """Remove a folder from its parent."""
    parent, _, name = folder.rpartition("/")
    folders[parent].pop(name, None)


def _mark_hard_links(folders: dict[str, Folder], shared: dict[tuple[int, int], list[str]]) -> None:
    """Mark the entries that are hard links of each other."""
    for group, paths in enumerate((paths for paths in shared.values() if len(paths) > 1), 1):
        for path in paths:
            folder, _, name = path.rpartition("/")
            if name in folders.get(folder, {}):  # otherwise its folder was skipped
                folders[folder][name] = folders[folder][name].but(group=group)
