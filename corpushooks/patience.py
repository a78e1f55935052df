"""How long something foreign may take: what a loop over it asks in each round, and a wait that ends in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

Check = Callable[[], None]  # raises what ends a loop: it was cancelled, or it is late

TICK = 0.05  # seconds between two checks while something is awaited


def endless() -> None:
    """End nothing."""


def within(seconds: float, act: Callable[[], T], check: Check = endless) -> T:
    """Return what `act` returns or raise what it raises; raise TimeoutError after `seconds`, or what `check` raises.

    It acts in a thread, which nothing can end: late, it is left to itself, so it must hold nothing that others need.
    """
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(act())
        except BaseException as exc:  # the edge of a thread: whoever waits gets it
            answer.set_exception(exc)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    end = time.monotonic() + seconds
    while thread.is_alive():
        check()
        if (left := end - time.monotonic()) <= 0:
            raise TimeoutError
        thread.join(min(TICK, left))
    return answer.result()
