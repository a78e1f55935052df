"""Stamps of files and folders, which change whenever they do."""

from __future__ import annotations

import os
from contextlib import suppress

Stamp = tuple[int, int, int]
TICK_NS = 1_000_000_000  # after a change within this time, a second change can have the same timestamp


def stamp(path: str) -> Stamp | None:
    """Return the stamp of a file or folder."""
    with suppress(OSError):
        st = os.stat(path)
        return st.st_dev, st.st_ino, st.st_ctime_ns
    return None
