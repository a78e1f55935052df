"""How this process uses its memory."""

from __future__ import annotations

import ctypes
from typing import Any

ARENA_MAX = -8  # malloc.h of glibc


def share_one_arena() -> None:
    """Let all threads allocate from one arena: else each new one may get its own, with what is freed in it kept.

    Python runs one thread at a time, so they do not wait for one another. Without glibc nothing happens.
    """
    setting: Any = getattr(ctypes.CDLL(None), "mallopt", None)
    if setting:
        setting(ARENA_MAX, 1)
