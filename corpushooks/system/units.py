"""The door to systemd units: their state, their journal, and restarts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpushooks.system.process import run

RUNS = Path("/run/systemd/system")  # where systemd runs. Source: sd_booted(3)
ASKED = ("Id", "LoadState", "FragmentPath", "User", "ActiveState", "SubState", "Result", "NRestarts")
FIELDS = "MESSAGE,_SYSTEMD_UNIT,UNIT"
PATIENCE = 30.0  # seconds to wait for an answer of systemd
DONE = ("active", "inactive")


@dataclass(frozen=True)
class Unit:
    """The state of a unit."""

    name: str
    loaded: str
    file: str
    user: str
    active: str
    sub: str
    result: str
    restarts: int  # by systemd, since it was started

    @property
    def state(self) -> str:
        """Return its state, for people."""
        why = f": {self.result}" if self.result not in ("", "success") else ""
        return f"{self.active} ({self.sub}{why})" if self.sub and self.sub != self.active else f"{self.active}{why}"


def supervised() -> bool:
    """Return whether systemd runs here."""
    return RUNS.is_dir()


def look(name: str) -> Unit:
    """Return the state of a unit; raise ProcessError."""
    said = run(["systemctl", "show", f"--property={','.join(ASKED)}", "--", name], timeout=PATIENCE).text
    told = dict(line.partition("=")[::2] for line in said.splitlines())
    loaded, file, user, active, sub, result, restarts = (told.get(key, "") for key in ASKED[1:])
    count = int(restarts) if restarts.isdigit() else 0
    return Unit(told.get("Id") or name, loaded, file, user, active, sub, result, count)


def restarting(name: str) -> list[str]:
    """Return the command that restarts a unit and waits for that."""
    return ["systemctl", "restart", "--", name]


def last_lines(name: str, count: int) -> list[str]:
    """Return the newest lines of the journal of a unit, for people; raise ProcessError."""
    words = ["journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={count}", f"--unit={name}"]
    return run(words, timeout=PATIENCE, check=False).stdout.decode("utf-8", "backslashreplace").splitlines()


def journal(names: Sequence[str], lines: int, *, follow: bool, since: int = 0) -> list[str]:
    """Return the command that prints the journal of units as JSON: the newest lines, or all after a time in µs."""
    some = [f"--since=@{(since + 1) / 1e6:.6f}"] if since else [f"--lines={lines}"]
    ends = ["--follow", *(["--no-tail"] if since else [])] if follow else []
    shape = ["--quiet", "--no-pager", "--output=json", "--all", f"--output-fields={FIELDS}"]
    return ["journalctl", *shape, *some, *ends, *(f"--unit={name}" for name in names)]


@dataclass(frozen=True)
class Entry:
    """One entry of the journal; `at` is in µs since the epoch."""

    at: int
    unit: str
    text: str


def entry(line: str, names: Sequence[str]) -> Entry | None:
    """Parse a JSON line of the journal of some units; None if it is not one."""
    try:
        found = json.loads(line)
        at, said = int(found["__REALTIME_TIMESTAMP"]), (found.get("_SYSTEMD_UNIT"), found.get("UNIT"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Entry(at, next((name for name in said if name in names), names[0]), _message(found.get("MESSAGE")))


def _message(value: Any) -> str:
    """Return a message: text, a list of byte values if it is not UTF-8, or a list of these if the field is repeated."""
    if isinstance(value, list) and value and all(isinstance(each, int) and 0 <= each < 256 for each in value):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, list):
        return "\n".join(map(_message, value))
    return value if isinstance(value, str) else ""
