"""See what of a checkout is no longer so in the live tree: read, never written."""

from __future__ import annotations

import os
from pathlib import Path

from corpushooks.tree.descriptors import Folders, closing, look, open_file, open_live, stamp_of, told
from corpushooks.tree.entries import same_content
from corpushooks.tree.manifest import Entry, join
from corpushooks.tree.scan import scan
from corpushooks.tree.sync import Stamps, stamps


def drift(stage: Path, target: Path, cache: Path) -> list[str]:
    """Return the files and links of the checkout `stage` that `target` has not, or not like that.

    What `cache` (that of sync) knows as equal and has not moved since is not read. Raise TreeError.
    """
    found, known = scan(stage), stamps(cache)
    wrong: list[str] = []
    with told("reading of", target), Folders(found.source) as staged, Folders(target) as live:
        for folder, entries in found.folders.items():
            for name, entry in entries.items():
                if entry.kind in ("file", "link") and not _same(staged, live, folder, name, entry, known):
                    wrong.append(join(folder, name))
    return sorted(wrong)


def _same(staged: Folders, live: Folders, folder: str, name: str, entry: Entry, known: Stamps) -> bool:
    try:
        fd = live.fd(folder)
    except OSError:
        return False
    there = look(fd, name)
    if there is None or there.kind != entry.kind:
        return False
    if entry.kind == "link":
        return there.target == entry.target
    with closing(open_live(fd, name)) as file:
        if file is None:
            return False
        if known.get(join(folder, name)) == [*entry.stamp, *stamp_of(os.fstat(file))]:
            return True
        with closing(open_file(staged.fd(folder), name)) as original:
            return same_content(original, file)
