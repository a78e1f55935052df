"""The daemon's own log."""

from __future__ import annotations

import errno
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from corpushooks.system import own_log
from tests.support.own_log import captured


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with captured():  # puts back what it was
        file = io.StringIO()
        own_log.write_to(file)
        yield file


def objects(file: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.getvalue().splitlines()]


def test_each_event_is_an_object_on_a_line(log: io.StringIO) -> None:
    own_log.info("state", project="hello", deployment=1)
    own_log.warning("refused", error="100 % sure\nof two lines", path=Path("/a"))
    first, second = objects(log)
    at = datetime.fromisoformat(str(first.pop("timestamp")).replace("Z", "+00:00"))
    assert at.tzinfo == timezone.utc
    assert first == {"event": "state", "level": "info", "project": "hello", "deployment": 1}
    assert second["error"] == "100 % sure\nof two lines" and second["level"] == "warning"


def test_an_error_has_its_traceback_and_what_caused_it(log: io.StringIO) -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError as exc:
            raise ValueError("second") from exc
    except ValueError as exc:
        own_log.error("lane failed", exc, project="hello")
    (found,) = objects(log)
    lines = str(found["exception"]).splitlines()
    assert lines[0] == "Traceback (most recent call last):" and lines[-1] == "ValueError: second"
    assert "KeyError: 'first'" in lines


def test_a_full_disk_hurts_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "full")

    with captured():
        own_log.write_to(Full())
        own_log.error("cannot answer")
    assert capfd.readouterr() == ("", "")


def test_what_others_log_does_not_get_into_it(log: io.StringIO) -> None:
    logging.getLogger("dulwich").error("not ours")
    assert log.getvalue() == ""


def test_the_daemon_loads_no_library_for_terminals_or_event_loops() -> None:
    code = "import sys, corpushooks.daemon.server; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.split()
    )
    assert not loaded & {"asyncio", "rich", "pygments", "attr", "ssl", "structlog"}
