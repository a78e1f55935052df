"""Find files of a checkout that were changed in the live tree. Reads only."""

from __future__ import annotations

import os
from pathlib import Path

from corpushooks.system.patience import Check, endless
from corpushooks.tree.descriptors import Folders, closing, look, open_file, open_live, stamp_of, told
from corpushooks.tree.entries import same_content
from corpushooks.tree.manifest import Entry, join
from corpushooks.tree.mounts import MountedError, is_mounted, mount_of
from corpushooks.tree.scan import scan
from corpushooks.tree.sync import Stamps, stamps

Drift = dict[str, tuple[int, ...]]  # path -> size and time; empty if it is missing


def drift(stage: Path, target: Path, cache: Path, check: Check = endless) -> Drift:
    """Return the files and links of the checkout `stage` that are missing or different in `target`, in order.

    Files that are equal by `cache` (the one of sync) and unchanged since are not read. Raise TreeError, or what `check`
    raises.
    """
    found, known = scan(stage, check), stamps(cache)
    wrong: Drift = {}
    with told("reading of", target), Folders(found.source) as staged, Folders(target) as live:
        for folder, entries in found.folders.items():
            for name, entry in entries.items():
                if entry.kind in ("file", "link") and not _same(staged, live, folder, name, entry, known, check):
                    wrong[join(folder, name)] = _stamp(live, folder, name)
    return dict(sorted(wrong.items()))


def kind_at(root: Path, path: str) -> str:
    """Return the kind of an entry of a tree that others can change; nothing if it does not exist."""
    folder, _, name = path.rpartition("/")
    try:
        with Folders(root) as live:
            there = look(live.fd(folder), name)
    except OSError:
        return ""
    return there.kind if there else ""


def content_at(root: Path, path: str, limit: int) -> bytes | None:
    """Return the content of a file, or the target of a link, of a tree that others can change; no link is followed.

    None if it is neither, or has more than `limit` bytes.
    """
    folder, _, name = path.rpartition("/")
    try:
        with Folders(root) as live:
            there = look(live.fd(folder), name)
            if there and there.kind == "link":
                return os.fsencode(there.target)
            with closing(open_live(live.fd(folder), name)) as file:
                if file is None or os.fstat(file).st_size > limit:
                    return None
                with open(file, "rb", closefd=False) as opened:
                    return opened.read(limit)
    except OSError:
        return None


def _stamp(live: Folders, folder: str, name: str) -> tuple[int, ...]:
    try:
        there = look(live.fd(folder), name)
    except OSError:
        return ()
    return (there.size, there.mtime_ns) if there else ()


def _same(staged: Folders, live: Folders, folder: str, name: str, entry: Entry, known: Stamps, check: Check) -> bool:
    check()
    try:
        fd = live.fd(folder)
    except MountedError:
        return True  # files on a mount are not ours
    except OSError:
        return False
    try:
        there = look(fd, name)
    except OSError:
        if is_mounted(fd, name):
            return True
        raise
    if there is None or there.kind != entry.kind:
        return False
    if entry.kind == "link":
        return there.target == entry.target
    with closing(open_live(fd, name, check)) as file:
        if file is None:
            return False
        if mount_of(file) != live.mount:
            return True
        if known.get(join(folder, name)) == [*entry.stamp, *stamp_of(os.fstat(file))]:
            return True
        with closing(open_file(staged.fd(folder), name)) as original:
            return same_content(original, file, check)
