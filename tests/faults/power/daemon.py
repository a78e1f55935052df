"""The daemon with the fake engine; a trace of it says which row it writes: python -m tests.faults.power.daemon ROOT."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corpushooks.store.history import History
from tests.faults.power.trace import MARK
from tests.support import fake_daemon

ROWS = ("enqueue", "aim", "begin", "move", "hold", "confirm", "publish", "set_tree", "set_broken", "end")


def marked(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of the store that says so before it writes its row."""

    @functools.wraps(act)
    def write(self: History, *values: Any, **named: Any) -> Any:
        words = " ".join([name, *(value for value in values if isinstance(value, str))])
        os.access(MARK + words, os.F_OK)
        return act(self, *values, **named)

    return write


def main(root: Path) -> None:
    """Serve until stopped."""
    for name in ROWS:
        setattr(History, name, marked(name, getattr(History, name)))
    fake_daemon.main(root, embedded=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
