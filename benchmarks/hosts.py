"""Hosts that are measured, and what is done with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import timed
from tests.support.box import Box, Work


@contextmanager
def host(folder: Path, *, settings: str = "") -> Iterator[Box]:
    """Be a host with the project `hello` and a daemon."""
    folder.mkdir()
    box = Box(folder, salt=True)
    if settings:
        box.settings(settings)
    box.init()
    box.start()
    try:
        yield box
    finally:
        box.stop()


def push(box: Box, name: str = "hello") -> float:
    """Push what is committed; return how long it took, when nothing of it is left to do."""
    work = box.work(name)
    number = last(box, name) + 1
    took = timed(lambda: pushed(work))
    box.ended(number, name)
    return took


def pushed(work: Work) -> None:
    done = work.push()
    assert done.code == 0, done.text


def last(box: Box, name: str = "hello") -> int:
    store = box.history
    number = store.newest(name)
    store.close()
    return number


def committed(work: Work, act: Callable[[], object]) -> float:
    """Commit a change of one file, then do something that is measured, or measures itself."""
    work.commit({"changed": str(time.time_ns())})
    found = act()
    assert isinstance(found, float)
    return found


def deployed(box: Box, files: dict[str, str], name: str = "hello") -> Work:
    """Push some files once; return the working copy."""
    work = box.work(name)
    work.commit(dict(files))
    push(box, name)
    return work
