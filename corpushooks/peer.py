"""The daemon's end of its socket: listen, hear one request, answer in lines of JSON."""

from __future__ import annotations

import json
import os
import pwd
import select
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpushooks.errors import UsageError

LINE_LIMIT = 4 << 20  # bytes of a request
HELLO_LIMIT = 30.0  # seconds for a request to arrive
BACKLOG = 1024


class PeerGone(Exception):
    """The peer left; what it asked for goes on."""


@dataclass
class Connection:
    """One peer. Who it is says the kernel."""

    link: socket.socket

    @property
    def who(self) -> str:
        """Return the name of the account that called."""
        _, uid, _ = struct.unpack("3i", self.link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return str(uid)

    def read(self) -> dict[str, Any]:
        """Return the request; raise UsageError where it is none."""
        end, data = time.monotonic() + HELLO_LIMIT, bytearray()
        while not data.endswith(b"\n"):
            self.link.settimeout(max(0.01, end - time.monotonic()))
            try:
                chunk = self.link.recv(65536)
            except OSError as exc:
                raise PeerGone from exc
            data += chunk
            if not chunk:
                raise PeerGone
            if len(data) > LINE_LIMIT:
                raise UsageError("the request is too long")
        self.link.settimeout(HELLO_LIMIT)
        try:
            found = json.loads(data)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise UsageError("the request is not understood")
        return found

    def send(self, **said: Any) -> None:
        """Send one line; raise PeerGone where nobody takes it."""
        try:
            self.link.sendall(json.dumps(said).encode() + b"\n")
        except OSError as exc:
            raise PeerGone from exc

    def check(self) -> None:
        """Raise PeerGone where the peer has left."""
        poll = select.poll()
        poll.register(self.link, select.POLLIN)
        if poll.poll(0):  # nothing more is ever sent to us: it can only be the end
            raise PeerGone


def listen(path: Path) -> socket.socket:
    """Listen on a socket in the file system, whose path may be longer than a socket address."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
    path.chmod(0o600)
    listener.listen(BACKLOG)
    return listener
