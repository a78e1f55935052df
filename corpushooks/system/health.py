"""Health checks of what a deployment started: over http, at a TCP port, or by a command."""

from __future__ import annotations

import contextlib
import math
import shlex
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from corpushooks.core.errors import ConfigError, ProcessError
from corpushooks.core.hints import command
from corpushooks.core.text import clean, shortened
from corpushooks.system.patience import within
from corpushooks.system.process import Child, attend, spawn

if TYPE_CHECKING:
    from ssl import SSLContext

KINDS = ("http", "tcp", "command")
NUMBERS = {"status": 200, "retries": 10, "timeout": 5, "delay": 1}  # by default; seconds
BODY = 1 << 20  # bytes of an answer that are searched for a text
GRACE = 1.0  # seconds between TERM and KILL of a command

AnySocket = TypeVar("AnySocket", bound=socket.socket)


@dataclass(frozen=True)
class Check:
    """One health check: it runs once and up to `retries` times more, `delay` seconds apart."""

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
    """Return the checks in the `health` of a cfg, a mapping or a list of them; raise ConfigError."""
    if not isinstance(value, list):
        return [_check(value, "health")] if value else []
    return [_check(one, f"health, item {place}") for place, one in enumerate(value, 1)]


def _check(given: Any, where: str) -> Check:
    if not isinstance(given, Mapping):
        raise ConfigError(f"expected a mapping with one of {', '.join(KINDS)}", where=(where,))
    kinds = [kind for kind in KINDS if kind in given]
    unknown = set(given) - {*KINDS, *NUMBERS, "text"}
    if len(kinds) != 1 or unknown:
        wrong = f"unknown key {sorted(map(str, unknown))[0]!r}" if unknown else f"expected one of {', '.join(KINDS)}"
        raise ConfigError(wrong, f"known keys: {', '.join([*KINDS, 'text', *NUMBERS])}", (where,))
    kind = kinds[0]
    numbers = {key: given.get(key, default) for key, default in NUMBERS.items()}
    for key, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number < math.inf:
            raise ConfigError(f"expected a number, got {number!r}", where=(where, key))
    what = given[kind]
    what = shlex.join(map(str, what)) if isinstance(what, list) else str(what)
    if not _FITS[kind](what):
        raise ConfigError(f"invalid {kind} check {shortened(what, 60)!r}", command("help", "procedure"), (where, kind))
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


def once(value: Any, longest: float) -> list[Check]:
    """Return checks without retries, of at most `longest` seconds each; none if another version wrote them."""
    try:
        found = checks(value)
    except ConfigError:
        return []
    return [replace(check, retries=0, timeout=min(check.timeout or longest, longest)) for check in found]


Start = Callable[[Sequence[str]], Child[bytes]]


def await_answer(check: Check, tell: Callable[[], None], start: Start = spawn) -> str:
    """Run a check until it succeeds; return its last error, or nothing.

    `tell` is called meanwhile and can raise to stop; `start` starts a command.
    """
    for left in range(check.retries, -1, -1):
        tell()
        if not (wrong := _ask(check, tell, start)):
            return ""
        end = time.monotonic() + (check.delay if left else 0)
        while (rest := end - time.monotonic()) > 0:
            time.sleep(min(0.1, rest))
            tell()
    return wrong


def _ask(check: Check, tell: Callable[[], None], start: Start) -> str:
    """Run a check once; return its error, or nothing."""
    if check.kind == "command":
        return _ask_command(check, tell, start)
    line = _CuttableConnection()
    ask = _ask_http if check.kind == "http" else _ask_tcp
    try:
        return within(check.timeout or float("inf"), lambda: ask(check, line), tell)
    except TimeoutError:
        return f"no complete answer within {check.timeout:g} s"
    finally:
        line.cut()


class _CuttableConnection:
    """A connection that one thread makes, and another can cut at any time."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._is_cut = False

    def connect(self, host: str, port: int, tls: SSLContext | None = None) -> socket.socket:
        """Return a connected socket; raise OSError."""
        wrong = OSError("no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            made = self._hold(socket.socket(family, kind, protocol))
            try:
                made.connect(address)
                if tls:
                    made = self._hold(tls.wrap_socket(made, server_hostname=host, do_handshake_on_connect=False))
                    made.do_handshake()
            except OSError as exc:
                made.close()
                wrong = exc
            else:
                return made
        raise wrong

    def _hold(self, made: AnySocket) -> AnySocket:
        self._socket = made
        if self._is_cut:
            made.close()
            raise OSError("cut")
        return made

    def cut(self) -> None:
        """End all waiting for the other side."""
        self._is_cut = True
        if self._socket:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _ask_http(check: Check, line: _CuttableConnection) -> str:
    """Check over http, without following redirects."""
    import http.client  # here: seldom needed, and costs the daemon 5 MB and a command time
    import ssl

    try:
        url = urlsplit(check.what)
        tls = ssl.create_default_context() if url.scheme == "https" else None
        port = url.port or (443 if tls else 80)
        link = (
            http.client.HTTPSConnection(url.hostname or "", port, context=tls)
            if tls
            else (http.client.HTTPConnection(url.hostname or "", port))
        )
        with contextlib.closing(link):
            link.sock = line.connect(url.hostname or "", port, tls)
            headers = {"User-Agent": "corpushooks", "Connection": "close"}
            link.request("GET", urlunsplit(("", "", url.path or "/", url.query, "")), headers=headers)
            with link.getresponse() as answer:
                return _judge(check, answer.status, answer.read(BODY))
    except (OSError, ValueError, http.client.HTTPException) as exc:
        return f"no answer: {_reason(exc)}"


def _judge(check: Check, status: int, body: bytes) -> str:
    if status != check.status:
        return f"answered {status}, not {check.status}"
    if check.text and check.text not in body.decode("utf-8", "replace"):
        return f"answered {status}, without the text {shortened(check.text, 40)!r}"
    return ""


def _ask_tcp(check: Check, line: _CuttableConnection) -> str:
    host, _, port = check.what.rpartition(":")
    try:
        line.connect(host.strip("[]"), int(port)).close()
    except (OSError, ValueError) as exc:
        return f"no answer: {_reason(exc)}"
    return ""


def _ask_command(check: Check, tell: Callable[[], None], start: Start) -> str:
    try:
        child = start(shlex.split(check.what))
        attend(child, check.timeout or float("inf"), tell, grace=GRACE)
    except ProcessError as exc:
        return clean(exc.message)
    return f"exited with {child.returncode}" if child.returncode else ""


def _reason(exc: object) -> str:
    words = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
    return clean(str(words))


_FITS: Mapping[str, Callable[[str], bool]] = {"http": _is_url, "tcp": _is_address, "command": _is_command}
