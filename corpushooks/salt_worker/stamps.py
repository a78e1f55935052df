"""Stamps of files and folders: what changes whenever they do."""

from __future__ import annotations

import os
from contextlib import suppress

Stamp = tuple[int, int, int]
TICK_NS = 1_000_000_000  # what changed less than this before it was seen may change once more and bear the same time


def stamp(path: str) -> Stamp | None:
    """Return what changes whenever a file does, or an entry of a folder."""
    with suppress(OSError):
        st = os.stat(path)
        return st.st_dev, st.st_ino, st.st_ctime_ns
    return None
