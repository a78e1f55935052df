"""See what is in a tree: a walk that follows no link, and reads no contents."""

from __future__ import annotations

import errno
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from corpushooks.patience import Check, endless
from corpushooks.text import shown
from corpushooks.tree.descriptors import DEPTH, RACES, TEMP, Folders, at, told
from corpushooks.tree.manifest import Folder, Manifest, entry_of, join


@dataclass(frozen=True)
class Scan(Manifest):
    """What a walk found in `source`; its entries have no xattrs yet, those are read where they are needed."""

    source: Path
    warnings: tuple[str, ...]


def scan(source: Path, check: Check = endless) -> Scan:
    """Walk the tree `source` and return what is in it; raise TreeError, or what `check` raises."""
    with told("reading of", source):
        return walk(source, check=check)


def walk(source: Path, unlock: bool = False, check: Check = endless) -> Scan:
    """Scan; with `unlock` an ordinary user gives himself the right to open folders of his own. Raise OSError."""
    with Folders(source, unlock) as tree:
        now_ns = time.time_ns()
        root = entry_of(os.fstat(tree.fd("")), now_ns)
        folders: dict[str, Folder] = {}
        shared: dict[tuple[int, int], list[str]] = {}
        left: set[str] = set()
        warnings: list[str] = []
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            if folder.count("/") >= DEPTH:
                warnings.append(f"{shown(folder)[:60]}…: left out, more than {DEPTH} folders deep")
                forget(folders, folder)
                left.add(folder)
                continue
            with at(folder):
                try:
                    folders[folder] = _list(tree.fd(folder), folder, now_ns, shared, check)
                except OSError as exc:
                    if not folder or exc.errno not in RACES:
                        raise
                    warnings.append(f"{shown(folder)}: left out, it changed while it was read")
                    forget(folders, folder)
                    left.add(folder)
                    continue
            waiting += [join(folder, name) for name, e in folders[folder].items() if e.kind == "folder"]
        _number(folders, shared)
        return Scan(root, folders, source, tuple(warnings), left=frozenset(left))


def _list(fd: int, folder: str, now_ns: int, shared: dict[tuple[int, int], list[str]], check: Check) -> Folder:
    """Return the entries of an open folder; add to `shared` the paths of files with several names."""
    found: Folder = {}
    with os.scandir(fd) as entries:
        for item in entries:
            check()  # there may be ever more of them
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


def forget(folders: dict[str, Folder], folder: str) -> None:
    """Take a folder out of its parent."""
    parent, _, name = folder.rpartition("/")
    folders[parent].pop(name, None)


def _number(folders: dict[str, Folder], shared: dict[tuple[int, int], list[str]]) -> None:
    """Mark the entries that are hard links of each other."""
    for group, paths in enumerate((paths for paths in shared.values() if len(paths) > 1), 1):
        for path in paths:
            folder, _, name = path.rpartition("/")
            if name in folders.get(folder, {}):  # else its folder was left out
                folders[folder][name] = folders[folder][name]._replace(group=group)
