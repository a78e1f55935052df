"""An application whose answers have no end: what a health check of a release that fails asks."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


@contextlib.contextmanager
def dripping() -> Iterator[str]:
    """Answer every question byte by byte; give the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)


def _serve(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            link, _ = server.accept()
            threading.Thread(target=_drip, args=(link,), daemon=True).start()


def _drip(link: socket.socket) -> None:
    with link, contextlib.suppress(OSError):
        link.sendall(HEAD)
        while link.send(b"x"):
            time.sleep(0.1)
