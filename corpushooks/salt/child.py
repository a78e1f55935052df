"""A Salt process, connected by a socket."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from corpushooks.core.errors import ProcessError, SaltError
from corpushooks.salt.interface import Listener
from corpushooks.system import distribution, process

WORKER = Path(__file__).parents[1] / "salt_worker"
OPEN_LIMIT = 60.0  # seconds for a process to load Salt and register


class Child:
    """A registered process, its group, and our socket to it."""

    def __init__(self, sock: socket.socket, listener: Listener) -> None:
        self.sock = sock
        self._buffer = b""
        try:
            first = self.answer(OPEN_LIMIT, {"child"}, ignore)
        except TimeoutError:
            raise SaltError(f"the Salt worker did not start within {OPEN_LIMIT:g} s") from None
        if "child" not in first:
            without = first.get("without_salt")
            hint = distribution.with_salt(Path(without)) if without else ""
            raise SaltError(first.get("error") or death(first.get("ended")), hint)
        pid, start, self.group = first["child"]
        listener.child(pid, start, self.group)
        self.send({"go": True})

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; errors show in the answer."""
        with contextlib.suppress(OSError):
            self.sock.sendall(json.dumps(message).encode() + b"\n")

    def answer(
        self, timeout: float | None, wanted: set[str], heard: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]:
        """Return the message that has a key of `wanted` (or one of an end), {} if the socket is closed.

        Others are passed to `heard`. Raise TimeoutError after `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (line := self._line(deadline)) is not None:
            message = _message(line)
            if message.keys() & {"error", "ended", *wanted}:
                return message
            heard(message)
        return {}

    def _line(self, deadline: float | None) -> bytes | None:
        while b"\n" not in self._buffer:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            self.sock.settimeout(left)
            data = b""
            with contextlib.suppress(ConnectionError):
                data = self.sock.recv(65536)
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def stop(self) -> None:
        """Stop the process group."""
        process.stop_group(self.group)


def _message(line: bytes) -> dict[str, Any]:
    """Parse a message; {} for an empty line, or one cut off when its writer was killed."""
    try:
        return dict(json.loads(line))
    except ValueError:
        return {}


def ignore(_message: dict[str, Any]) -> None:
    """Ignore a message."""


def death(status: int | None) -> str:
    return "the Salt worker died" + (f" ({ending(status)})" if status is not None else "")


def ending(status: int) -> str:
    """Describe the end of a process, from its wait status."""
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def spawn(
    argv: Sequence[str | Path], sock: socket.socket, log: int, mark: str = "", more: Mapping[str, str] | None = None
) -> process.Child[bytes]:
    """Start salt_worker with `sock` as its descriptor 0, and `mark` and `more` in its environment; raise SaltError."""
    name, _, value = mark.partition("=")
    try:
        # removed modules would still be loaded from bytecode
        env = {"PYTHONDONTWRITEBYTECODE": "1", **(more or {}), **({name: value} if name else {})}
        return process.spawn(argv, cwd=Path("/"), env=env, stdin=sock.fileno(), stdout=log, stderr=log)
    except ProcessError as exc:
        raise SaltError(exc.message) from exc
