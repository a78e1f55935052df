"""The daemon's own log: a line of JSON for each event, for whoever runs the host.

By the logging of the standard library. Without a daemon, as where a command runs a lane itself, only what goes wrong is
shown, on stderr.
"""

from __future__ import annotations

import json
import logging
import traceback
from contextlib import suppress
from datetime import datetime, timezone
from typing import TextIO

NAME = "corpushooks"


class _Lines(logging.Handler):
    """Writes to a file whose disk may be full: whoever says something must not fail over it."""

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        """Write one event."""
        at = datetime.fromtimestamp(record.created, timezone.utc).isoformat().replace("+00:00", "Z")
        about: dict[str, object] = getattr(record, "about", {})
        said = {**about, "event": record.msg, "level": record.levelname.lower(), "timestamp": at}
        with suppress(OSError):
            self._file.write(json.dumps(said, default=repr) + "\n")
            self._file.flush()


def write_to(file: TextIO) -> None:
    """Write all events to a file from now on."""
    logger = logging.getLogger(NAME)
    logger.handlers[:] = [_Lines(file)]
    logger.setLevel(logging.INFO)


def info(event: str, **about: object) -> None:
    """Tell what happens."""
    _say(logging.INFO, event, None, about)


def warning(event: str, **about: object) -> None:
    """Tell what is not as it should be."""
    _say(logging.WARNING, event, None, about)


def error(event: str, exc: BaseException | None = None, **about: object) -> None:
    """Tell what failed, and where in our code."""
    _say(logging.ERROR, event, exc, about)


def _say(level: int, event: str, exc: BaseException | None, about: dict[str, object]) -> None:
    trace = {"exception": "".join(traceback.format_exception(exc)).rstrip()} if exc else {}
    logging.getLogger(NAME).log(level, event, extra={"about": {**about, **trace}})
