"""How long something foreign may take: what a loop over it asks in each round, and waits that end in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")

Check = Callable[[], None]  # raises what ends a loop: it was cancelled, or it is late

TICK = 0.05  # seconds between two checks while something is awaited


def endless() -> None:
    """End nothing."""


def beside(act: Callable[[], T]) -> Future[T]:
    """Act in a thread; return what gives, once it is there, what it returns or raises. Nothing can end that thread."""
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(act())
        except BaseException as exc:  # the edge of a thread: whoever waits gets it
            answer.set_exception(exc)

    threading.Thread(target=work, daemon=True).start()
    return answer


def within(seconds: float, act: Callable[[], T], check: Check = endless) -> T:
    """Return what `act` returns or raise what it raises; raise TimeoutError after `seconds`, or what `check` raises.

    It acts in a thread: late, it is left to itself, so it must hold nothing that others need.
    """
    answer, end = beside(act), time.monotonic() + seconds
    while not answer.done():
        check()
        if (left := end - time.monotonic()) <= 0:
            raise TimeoutError
        wait([answer], min(TICK, left))
    return answer.result()
