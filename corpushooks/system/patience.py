"""Timeouts and cancellation: checks that loops over foreign things call, and waits with a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")

Check = Callable[[], None]  # raises to end a loop: cancelled, or timed out

TICK = 0.05  # seconds between checks while waiting


def endless() -> None:
    """Never end a loop."""


def beside(act: Callable[[], T]) -> Future[T]:
    """Run `act` in a thread; return a future of its result. Nothing can stop that thread."""
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(act())
        except BaseException as exc:  # the edge of a thread: the caller gets it
            answer.set_exception(exc)

    threading.Thread(target=work, daemon=True).start()
    return answer


def within(seconds: float, act: Callable[[], T], check: Check = endless) -> T:
    """Return or raise what `act` does; raise TimeoutError after `seconds`, or what `check` raises.

    It runs in a thread, which is abandoned after the timeout, so it must not hold anything that others need.
    """
    answer, end = beside(act), time.monotonic() + seconds
    while not answer.done():
        check()
        if (left := end - time.monotonic()) <= 0:
            raise TimeoutError
        wait([answer], min(TICK, left))
    return answer.result()
