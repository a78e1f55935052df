"""The daemon's own log."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from corpushooks import daemon_log


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    logger = logging.getLogger(daemon_log.NAME)
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_each_event_is_a_line_of_json_with_its_fields() -> None:
    file = io.StringIO()
    daemon_log.write_to(file)
    daemon_log.info("state", project="hello", deployment=3)
    daemon_log.warning("refused", more=["%s", 1])
    try:
        raise ValueError("two\nlines")
    except ValueError as exc:
        daemon_log.error("lane failed", exc, project="hello")
    first, second, third = map(json.loads, file.getvalue().splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", first.pop("timestamp"))
    assert first == {"project": "hello", "deployment": 3, "event": "state", "level": "info"}
    assert (second["event"], second["level"], second["more"]) == ("refused", "warning", ["%s", 1])
    assert third["exception"].startswith("Traceback") and third["exception"].endswith("ValueError: two\nlines")


def test_a_full_disk_fails_nobody() -> None:
    full = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115 (it cannot be closed)
    daemon_log.write_to(full)
    daemon_log.error("something", project="hello")
    with pytest.raises(OSError, match="No space"):
        full.close()
