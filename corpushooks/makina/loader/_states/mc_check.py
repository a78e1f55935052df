# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Checks that only the service of one project can pass: it listens on its port, or answers at its address."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from typing import Any

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills these in
__opts__: dict[str, Any]

Ended = dict[str, Any]
DELAY = 0.2  # seconds between two questions
BODY = 1 << 16  # bytes of an answer that are read


def listening(name: str, port: int | str, timeout: float = 15) -> Ended:
    """Check that a systemd unit listens on a TCP port, within `timeout` seconds."""
    return _awaited(name, lambda: __salt__["mc_services.listening"](name, int(port)), float(timeout))


def answers(name: str, host: str, port: int | str, text: str, timeout: float = 15) -> Ended:
    """Check that this machine answers for a host name, path (`name`) and port, with a text."""
    return _awaited(name, lambda: _ask(name, str(host), int(port), str(text)), float(timeout))


def _awaited(name: str, wrong: Callable[[], str], timeout: float) -> Ended:
    if __opts__["test"]:
        return {"name": name, "result": True, "changes": {}, "comment": "this is only checked in a deployment"}
    end = time.monotonic() + timeout
    while (said := wrong()) and time.monotonic() < end:
        time.sleep(DELAY)
    return {"name": name, "result": not said, "changes": {}, "comment": said or "checked"}


def _ask(path: str, host: str, port: int, text: str) -> str:
    """Send a request; return the error, or nothing."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        link.request("GET", path, headers={"Host": host, "Connection": "close"})
        answer = link.getresponse()
        body = answer.read(BODY).decode("utf-8", "replace")
    except (OSError, ValueError, http.client.HTTPException) as exc:
        return f"http://{host}:{port}{path}: no answer: {getattr(exc, 'strerror', None) or exc}"
    finally:
        link.close()
    if text in body:
        return ""
    return f"http://{host}:{port}{path} answered {answer.status}, from another site or service"
