"""Listens on loopback, behind the web server of the host, with limits on what one connection takes."""

from __future__ import annotations

import asyncio
import resource
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from corpushooks.core.errors import RefusedError
from corpushooks.core.project import Host
from corpushooks.web.app import make

HEAD = 20.0  # seconds for the head of a request to arrive
IDLE = 30  # seconds that a connection without a request is kept
SLOW = 30.0  # seconds for a client to take what was sent
STALLED = 60_000  # milliseconds after which the kernel ends a connection that it cannot deliver to
MOST = 2000  # requests at once, of which most follow a log
FILES = 4096  # open files: a socket for each, and some to the daemon
LONGEST = 64 << 10  # bytes of the head of a request
STOP = 3  # seconds for requests to end when we are told to stop: logs are followed for hours
BACKLOG = 512


class Protocol(H11Protocol):
    """A connection that is cut where a request does not come to its end, or nobody takes the answer."""

    late: asyncio.TimerHandle | None = None
    slow: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for each in (self.late, self.slow):
            if each:
                each.cancel()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.slow = asyncio.get_running_loop().call_later(SLOW, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.slow:
            self.slow.cancel()

    def _watch(self) -> None:
        """Give a head that has begun its time, counted from its first byte; one that is whole has none."""
        waits = self.cycle is None or self.cycle.response_complete
        if waits and self.late is None:
            self.late = asyncio.get_running_loop().call_later(HEAD, self.transport.abort)
        elif not waits and self.late:
            self.late.cancel()
            self.late = None


def listen(address: str, port: int) -> socket.socket:
    """Return a listening socket; raise RefusedError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
    except OSError as exc:
        listener.close()
        what = f"cannot listen on {address} port {port}: {exc.strerror}"
        raise RefusedError(what, hint="choose another --port") from None
    listener.listen(BACKLOG)
    return listener


def run(host: Host, listener: socket.socket) -> None:
    """Serve until told to stop, on a socket that is listening."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED)
    config = uvicorn.Config(
        make(host), http=Protocol, ws="none", lifespan="off", log_level="warning", access_log=False,
        server_header=False, date_header=True, proxy_headers=True, forwarded_allow_ips="127.0.0.1,::1",
        limit_concurrency=MOST, timeout_keep_alive=IDLE, timeout_graceful_shutdown=STOP,
        h11_max_incomplete_event_size=LONGEST,
    )  # fmt: skip
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES if most == resource.RLIM_INFINITY else min(most, FILES), most))
    uvicorn.Server(config).run([listener])
