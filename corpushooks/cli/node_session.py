"""The session of a controller on a node: its operations as lines of JSON, each answered by one.

What a controller can ask is judged by the daemon, as for any key; here only the words of its operations are passed on.
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Iterator
from typing import Any

from corpushooks.core.errors import CorpusError, NoDaemonError, NotAllowedError, UnreachableError, UsageError
from corpushooks.core.project import Host
from corpushooks.core.rights import NODE
from corpushooks.core.text import one_line
from corpushooks.operations.table import OPERATIONS
from corpushooks.protocol import client
from corpushooks.protocol.messages import Asked, not_understood

REQUEST_LIMIT = 256 << 10  # bytes of a request
IDLE = 900.0  # seconds without a request: the controller is gone, and its line was never closed
CHUNK = 1 << 16
OURS = ("v", "op", "admission", "bearer")  # of the request to the daemon: set by us, or not at all


def serve(host: Host) -> None:
    """Answer the requests on standard input, one after another, until it ends."""
    for line in _lines():
        sys.stdout.write(json.dumps(_answer(host, line)) + "\n")
        sys.stdout.flush()


def _lines() -> Iterator[bytes]:
    """Yield lines until the input ends, or nothing comes for a long time; raise UsageError if one is too long."""
    left = b""
    while select.select([0], [], [], IDLE)[0] and (chunk := os.read(0, CHUNK)):
        *lines, left = (left + chunk).split(b"\n")
        if max(map(len, (left, *lines))) > REQUEST_LIMIT:
            raise UsageError(f"the request is longer than {REQUEST_LIMIT} bytes")
        yield from lines


def _answer(host: Host, line: bytes) -> dict[str, Any]:
    try:
        name, fields = _request(line)
        return {"result": client.ask(host, name, fields, lambda said: None)}
    except CorpusError as exc:
        kind = UnreachableError.kind if isinstance(exc, NoDaemonError) else exc.kind
        denied = {"denied": True} if isinstance(exc, NotAllowedError) else {}
        hint = host.spell(exc.hint)
        return {"error": one_line(exc.message), "hint": hint, "code": exc.exit_code, "kind": kind, **denied}


def _request(line: bytes) -> tuple[str, dict[str, Any]]:
    """Return an operation that a controller can ask for, and its fields; raise UsageError or RefusedError."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        raise not_understood() from None
    if not isinstance(values, dict):
        raise not_understood()
    name = Asked(values).name
    if name not in OPERATIONS or OPERATIONS[name].right != NODE:
        raise not_understood("op")
    return name, {key: value for key, value in values.items() if key not in OURS}
