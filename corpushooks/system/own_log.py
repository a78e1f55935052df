"""The daemon's own log: an object of JSON on each line.

Python's own logging carries it. Before the daemon says where to write, and in other processes, events go to stderr.
"""

from __future__ import annotations

import json
import logging
import traceback
from contextlib import suppress
from datetime import datetime, timezone
from typing import TextIO

NAME = "corpushooks"


def write_to(file: TextIO) -> None:
    """Write the events to a file from now on, and nowhere else."""
    logger = logging.getLogger(NAME)
    logger.handlers[:] = [_Lines(file)]
    logger.propagate = False
    logger.setLevel(logging.INFO)


def info(event: str, **about: object) -> None:
    """Record what happened."""
    _record(logging.INFO, event, about)


def warning(event: str, **about: object) -> None:
    """Record what somebody should know."""
    _record(logging.WARNING, event, about)


def error(event: str, failed: BaseException | None = None, **about: object) -> None:
    """Record what went wrong, with the traceback if there is an exception."""
    trace = {"exception": "".join(traceback.format_exception(failed)).rstrip("\n")} if failed else {}
    _record(logging.ERROR, event, {**about, **trace})


def _record(level: int, event: str, about: dict[str, object]) -> None:
    logging.getLogger(NAME).log(level, "%s", event, extra={"about": about})


def told(record: logging.LogRecord) -> dict[str, object]:
    """Return an event as the object that is written."""
    at = datetime.fromtimestamp(record.created, timezone.utc).isoformat().replace("+00:00", "Z")
    about: dict[str, object] = vars(record)["about"]
    return {**about, "event": record.getMessage(), "level": record.levelname.lower(), "timestamp": at}


class _Lines(logging.Handler):
    """Writes each event as a line, and ignores a full disk."""

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            self._file.write(json.dumps(told(record), default=repr) + "\n")
            self._file.flush()
