"""How much trees take on the disk, remembered for a while: a walk of them all for each question would be slow."""

from __future__ import annotations

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

    _found: OrderedDict[Path, tuple[float, int]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, path: Path, check: Check, *, fixed: bool = False) -> tuple[float, int]:
        """Return when a tree was measured, and its size; one that is `fixed` does not change any more."""
        now = time.time()
        with self._lock:
            known = self._found.get(path)
        if known and (fixed or 0 <= now - known[0] < LASTS):
            return known
        made = (now, tree.weigh(path, check))
        with self._lock:
            self._found[path] = made
            self._found.move_to_end(path)
            while len(self._found) > KEPT:
                self._found.popitem(last=False)
        return made
