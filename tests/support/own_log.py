"""What the daemon's own log would have, of a daemon's part that is at work in the test."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from corpushooks.system import own_log


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.events.append(own_log.told(record))


@contextmanager
def captured() -> Iterator[list[dict[str, object]]]:
    """Collect the events, instead of showing them."""
    logger, kept = logging.getLogger(own_log.NAME), _Kept()
    before = logger.handlers[:], logger.propagate, logger.level
    logger.handlers[:], logger.propagate = [kept], False
    logger.setLevel(logging.INFO)
    try:
        yield kept.events
    finally:
        logger.handlers[:], logger.propagate = before[:2]
        logger.setLevel(before[2])
