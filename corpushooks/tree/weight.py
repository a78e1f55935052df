"""How much a tree takes on the disk: a walk that follows no links and enters no mounts."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from corpushooks.system.patience import Check, endless
from corpushooks.tree.descriptors import DEPTH, Folders, told
from corpushooks.tree.manifest import join
from corpushooks.tree.mounts import MountedError

BLOCK = 512  # bytes, in st_blocks


def weigh(source: Path, check: Check = endless) -> int:
    """Return the bytes that a tree takes, each file once; 0 where there is none. Raise TreeError."""
    if not source.is_dir():
        return 0
    found, waiting, shared = 0, [""], set[tuple[int, int]]()
    with told("weighing of", source), Folders(source) as folders:
        while waiting:
            folder = waiting.pop()
            try:
                fd = folders.fd(folder)
            except (MountedError, OSError):  # a mount, or it is gone meanwhile
                continue
            with os.scandir(fd) as items:
                for item in items:
                    check()
                    found += _weight(item, shared)
                    if item.is_dir(follow_symlinks=False) and folder.count("/") < DEPTH:
                        waiting.append(join(folder, item.name))
    return found


def _weight(item: os.DirEntry[str], shared: set[tuple[int, int]]) -> int:
    try:
        st = item.stat(follow_symlinks=False)
    except OSError:  # gone meanwhile
        return 0
    if st.st_nlink > 1 and not stat.S_ISDIR(st.st_mode):
        if (st.st_dev, st.st_ino) in shared:
            return 0
        shared.add((st.st_dev, st.st_ino))
    return st.st_blocks * BLOCK
