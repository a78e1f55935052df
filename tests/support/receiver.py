"""Who is notified: a server that keeps what it gets."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from corpushooks.core.notification import Notification

SECRET = "geheim-4711"


FAILURE = Notification("failure", "host", "hello", "prod", 3, "rolled back", "hello: a -> b", log=("one", "two"))


@dataclass
class Receiver:
    """A web hook: what it got, and how it answers: /fail with an error, /hang when `free` is set."""

    port: int = 0
    got: list[dict[str, Any]] = field(default_factory=list)
    hanging: threading.Event = field(default_factory=threading.Event)
    free: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str = "ok") -> str:
        return f"json://ann:{SECRET}@127.0.0.1:{self.port}/{path}?rto=60"

    @property
    def titles(self) -> list[str]:
        return [one["title"] for one in self.got]


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if "hang" in self.path:
                receiver.hanging.set()
                receiver.free.wait(60)
            receiver.got.append({**message, "path": self.path})
            self.send_response(500 if "fail" in self.path else 200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.free.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver
