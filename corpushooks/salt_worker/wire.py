"""The protocol of a session's socket: lines of JSON."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

from .processes import CHUNK, Stopped, start_time

LOG_LINE = logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")


def encode(message: dict[str, Any]) -> bytes:
    """Return one line; values that JSON does not support become text."""
    return json.dumps(message, default=plain, skipkeys=True).encode() + b"\n"


def plain(value: Any) -> Any:
    """Return a replacement for a value that JSON does not support."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return list(value) if isinstance(value, (set, frozenset)) else str(value)


def lines(sock: socket.socket) -> Iterator[dict[str, Any]]:
    """Yield the messages of our owner until the socket is closed."""
    buffer = b""
    while data := sock.recv(CHUNK):
        *whole, buffer = (buffer + data).split(b"\n")
        yield from (json.loads(line) for line in whole)


def register(sock: socket.socket) -> Iterator[dict[str, Any]]:
    """Register; return the messages of our owner after its permission to continue, or raise Stopped."""
    pid = os.getpid()
    sock.sendall(encode({"child": [pid, start_time(pid), os.getpgid(0)]}))
    said = lines(sock)
    if not next(said, {}).get("go"):
        raise Stopped
    return said


class Report:
    """Sends messages from a question's process to the session, but not from children of that process."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.pid = os.getpid()

    def send(self, message: dict[str, Any]) -> None:
        """Send one message; parallel states, which have their own processes, send none."""
        if os.getpid() == self.pid:
            data = memoryview(encode(message))
            while data:
                data = data[os.write(self.fd, data) :]

    def output(self, data: bytes) -> None:
        """Send output of a command."""
        self.send({"output": data.decode("latin-1")})


class LogReport(logging.Handler):
    """Sends Salt's own log to our owner, which removes secrets from it."""

    def __init__(self, report: Report) -> None:
        super().__init__(logging.WARNING)
        self.report = report
        self.setFormatter(LOG_LINE)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one message."""
        self.report.send({"log": self.format(record)})
