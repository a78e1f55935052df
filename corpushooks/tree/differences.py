"""Compare a tree with a snapshot. Reads only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from corpushooks.core.errors import TreeError
from corpushooks.core.text import shown
from corpushooks.system.patience import Check, endless
from corpushooks.tree.descriptors import Folders, closing, open_file, open_live, told
from corpushooks.tree.entries import same_content
from corpushooks.tree.manifest import Entry, Manifest, manifest_path, read_manifest
from corpushooks.tree.scan import scan


def differences(saved: Path, target: Path, check: Check = endless) -> list[str]:
    """Return the paths in which `target` differs from the snapshot `saved`, in order.

    Files with the stamps of the snapshot are not read. Sockets, the times of folders and extended attributes do not
    count; nor does a folder in which something differs. Raise TreeError, or what `check` raises.
    """
    with told("comparison of", target):
        try:
            manifest = read_manifest(manifest_path(saved).read_bytes())
        except (FileNotFoundError, ValueError) as exc:
            raise TreeError(f"comparison of {shown(str(target))}: the archive {saved} is incomplete") from exc
        found = scan(target, check)
        with Folders(saved) as archive, Folders(target) as live:
            wrong = set(_differing(manifest, found, archive, live, check))
    return sorted(wrong - {path.rpartition("/")[0] for path in wrong})


def _differing(before: Manifest, now: Manifest, archive: Folders, live: Folders, check: Check) -> Iterator[str]:
    old, new = dict(before.entries), dict(now.entries)
    left = before.left | now.left
    for path in old.keys() | new.keys():
        check()
        was, is_ = old.get(path), new.get(path)
        if "socket" in (was and was.kind, is_ and is_.kind) or _is_in(path, left):
            continue
        if was is None and any(each.startswith(f"{path}/") for each in left):  # a folder that leads to a mount
            continue
        if was is None or is_ is None or not _same(was, is_) or not _same_file(path, was, is_, archive, live, check):
            yield path


def _is_in(path: str, left: frozenset[str]) -> bool:
    """Return whether a path, or a folder above it, could not be kept."""
    return bool(left) and any(path == each or path.startswith(f"{each}/") for each in left)


def _same(was: Entry, now: Entry) -> bool:
    if os.geteuid():  # then owners are not restored
        now = now.but(uid=was.uid, gid=was.gid)
    if was.kind == "folder":
        return was.looks()[:4] == now.looks()[:4]
    return was.looks() == now.looks() and was.target == now.target


def _same_file(path: str, was: Entry, now: Entry, archive: Folders, live: Folders, check: Check) -> bool:
    """Return whether a file that looks unchanged has the same content."""
    if was.kind != "file" or now.is_still(was):
        return True
    folder, _, name = path.rpartition("/")
    try:
        with closing(open_file(archive.fd(folder), name)) as kept, closing(open_live(live.fd(folder), name)) as file:
            return file is not None and same_content(kept, file, check)
    except FileNotFoundError:  # it, or its folder, went meanwhile
        return False
