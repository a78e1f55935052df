"""The door to what a deployment started: does it answer? Asked over http, at a TCP port, or by a command."""

from __future__ import annotations

import http.client
import shlex
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpushooks.errors import ConfigError, ProcessError
from corpushooks.run import attend, spawn
from corpushooks.text import clean, shortened

KINDS = ("http", "tcp", "command")
NUMBERS = {"status": 200, "retries": 10, "timeout": 5, "delay": 1}  # by default; seconds
BODY = 1 << 20  # bytes of an answer that are searched for a text


@dataclass(frozen=True)
class Check:
    """One question: it is asked once and `retries` times more, `delay` seconds apart."""

    kind: str
    what: str
    status: int
    text: str
    retries: int
    timeout: float
    delay: float

    def __str__(self) -> str:
        return f"{self.kind} {self.what}" if self.kind != "http" else self.what


def checks(value: Any) -> list[Check]:
    """Return the checks that `health` of a cfg has, a mapping or a list of them; raise ConfigError."""
    if not isinstance(value, list):
        return [_check(value, "health")] if value else []
    return [_check(one, f"health, item {place}") for place, one in enumerate(value, 1)]


def _check(given: Any, where: str) -> Check:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: expected a mapping with one of {', '.join(KINDS)}")
    kinds = [kind for kind in KINDS if kind in given]
    unknown = set(given) - {*KINDS, *NUMBERS, "text"}
    if len(kinds) != 1 or unknown:
        wrong = f"unknown key {sorted(map(str, unknown))[0]!r}" if unknown else f"expected one of {', '.join(KINDS)}"
        raise ConfigError(f"{where}: {wrong}", hint=f"known: {', '.join([*KINDS, 'text', *NUMBERS])}")
    kind = kinds[0]
    numbers = {key: given.get(key, default) for key, default in NUMBERS.items()}
    for key, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, (int, float)) or number < 0:
            raise ConfigError(f"{where}: {key}: expected a number, got {number!r}")
    what = given[kind]
    what = shlex.join(map(str, what)) if isinstance(what, list) else str(what)
    if not _FITS[kind](what):
        raise ConfigError(f"{where}: {kind}: {shortened(what, 60)!r} is not understood", hint="see docs/procedure.md")
    return Check(
        kind, what, int(numbers["status"]), str(given.get("text", "")), int(numbers["retries"]),
        float(numbers["timeout"]), float(numbers["delay"]),
    )  # fmt: skip


def _is_url(what: str) -> bool:
    scheme, found, rest = what.partition("://")
    return scheme in ("http", "https") and bool(found and rest) and what.isascii() and " " not in what


def _is_address(what: str) -> bool:
    host, _, port = what.rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 65536


def _is_command(what: str) -> bool:
    try:
        return bool(shlex.split(what))
    except ValueError:
        return False


def await_answer(check: Check, tell: Callable[[], None]) -> str:
    """Ask until the answer is right; return why it is not in the end, or nothing. `tell` may raise, to stop."""
    for left in range(check.retries, -1, -1):
        tell()
        if not (wrong := _ASK[check.kind](check, tell)):
            return ""
        end = time.monotonic() + (check.delay if left else 0)
        while (rest := end - time.monotonic()) > 0:
            time.sleep(min(0.1, rest))
            tell()
    return wrong


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirection is an answer, too."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _ask_http(check: Check, _tell: Callable[[], None]) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)
    try:
        with opener.open(check.what, timeout=check.timeout or None) as answer:
            return _judge(check, answer.status, answer.read(BODY))
    except urllib.error.HTTPError as exc:
        with exc:
            return _judge(check, exc.code, exc.read(BODY))
    except urllib.error.URLError as exc:
        return f"no answer: {_reason(exc.reason)}"
    except (OSError, http.client.HTTPException) as exc:
        return f"no answer: {_reason(exc)}"


def _judge(check: Check, status: int, body: bytes) -> str:
    if status != check.status:
        return f"answered {status}, not {check.status}"
    if check.text and check.text not in body.decode("utf-8", "replace"):
        return f"answered {status}, without the text {shortened(check.text, 40)!r}"
    return ""


def _ask_tcp(check: Check, _tell: Callable[[], None]) -> str:
    host, _, port = check.what.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), check.timeout or None).close()
    except OSError as exc:
        return f"no answer: {_reason(exc)}"
    return ""


def _ask_command(check: Check, tell: Callable[[], None]) -> str:
    try:
        child = spawn(shlex.split(check.what), cwd=Path("/"))
        attend(child, check.timeout or float("inf"), tell)
    except ProcessError as exc:
        return clean(exc.message)
    return f"exited with {child.returncode}" if child.returncode else ""


def _reason(exc: object) -> str:
    words = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
    return clean(str(words))


_FITS: Mapping[str, Callable[[str], bool]] = {"http": _is_url, "tcp": _is_address, "command": _is_command}
_ASK: Mapping[str, Callable[[Check, Callable[[], None]], str]] = {
    "http": _ask_http, "tcp": _ask_tcp, "command": _ask_command,
}  # fmt: skip
