"""How much trees take on the disk, remembered for a while: a walk of them all for each question would be slow."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from corpushooks import tree
from corpushooks.system.patience import Check

LASTS = 300.0  # seconds for which a figure is good
KEPT = 5000  # trees that are remembered


@dataclass
class Weights:
    """What was measured, and when."""

    _found: OrderedDict[Path, tuple[float, int, int]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, path: Path, check: Check, *, fixed: bool = False) -> tuple[float, int]:
        """Return when a tree was measured, and its size; a `fixed` one changes only with the entries of its folder."""
        now, stamp = time.time(), _stamp(path)
        with self._lock:
            known = self._found.get(path)
        if known and ((fixed and known[2] == stamp) or 0 <= now - known[0] < LASTS):
            return known[:2]
        made = (now, tree.weigh(path, check))
        with self._lock:
            self._found[path] = (*made, stamp)
            self._found.move_to_end(path)
            while len(self._found) > KEPT:
                self._found.popitem(last=False)
        return made


def _stamp(path: Path) -> int:
    """Return when the entries of a folder changed last."""
    try:
        return os.lstat(path).st_mtime_ns
    except OSError:
        return 0
