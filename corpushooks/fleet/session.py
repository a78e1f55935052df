"""A kept session with a node: one process of ssh, a line of JSON each way, a deadline for everything."""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from corpushooks.core.errors import CorpusError, EndedError, UnreachableError
from corpushooks.core.text import one_line
from corpushooks.protocol import client
from corpushooks.system.patience import TICK, Check
from corpushooks.system.process import PIPE, Child, reap, spawn

ANSWER_LIMIT = 1 << 20  # bytes of an answer
COMPLAINT = 4096  # bytes of what ssh and the node complain of, the last ones
CHUNK = 1 << 16


class Session:
    """A process of ssh that runs the forced command of a controller's key."""

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        self._child: Child[bytes] = spawn(words, cwd=folder, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        assert self._child.stdin and self._child.stdout and self._child.stderr
        self._to, self._from, self._err = (
            each.fileno() for each in (self._child.stdin, self._child.stdout, self._child.stderr)
        )
        for each in (self._to, self._from, self._err):
            os.set_blocking(each, False)
        self._read, self._said, self._deaf = b"", b"", False

    def alive(self) -> bool:
        """Return whether the session can be used again: it goes on, and has said nothing that was not asked for."""
        return self._child.poll() is None and not self._read and not _ready({self._from: select.POLLIN}, 0)

    def ask(self, request: bytes, end: float, check: Check) -> dict[str, Any]:
        """Send a line and return the answer; raise UnreachableError, after which the session must be closed."""
        self._write(request, end, check)
        return valid(_parsed(self._line(end, check)))

    def close(self) -> None:
        """End the process."""
        self._child.kill()
        reap(self._child, 1.0)
        for each in (self._child.stdin, self._child.stdout, self._child.stderr):
            with contextlib.suppress(OSError):
                assert each
                each.close()

    def _write(self, data: bytes, end: float, check: Check) -> None:
        left = memoryview(data)
        while left:
            self._await(end, check, to=True)
            try:
                left = left[os.write(self._to, left) :]
            except BlockingIOError:
                continue
            except OSError:
                raise self._ended() from None

    def _line(self, end: float, check: Check) -> bytes:
        while b"\n" not in self._read:
            self._await(end, check)
            try:
                chunk = os.read(self._from, CHUNK)
            except BlockingIOError:
                continue
            if not chunk:
                raise self._ended()
            self._read += chunk
            if len(self._read) > ANSWER_LIMIT:
                raise UnreachableError(f"its answer is longer than {ANSWER_LIMIT} bytes")
        line, _, self._read = self._read.partition(b"\n")
        return line

    def _await(self, end: float, check: Check, *, to: bool = False) -> None:
        """Wait until the node can be read, or written to; raise UnreachableError at the end, or what `check` raises."""
        while True:
            check()
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            wanted = {self._from: select.POLLIN, **({} if self._deaf else {self._err: select.POLLIN})}
            ready = _ready({**wanted, **({self._to: select.POLLOUT} if to else {})}, min(TICK, left))
            if self._err in ready:
                self._hear()
            if (to and self._to in ready) or (self._from in ready and not to):
                return
            if self._from in ready and to:  # it talks, or ends, before it was asked
                raise self._ended()

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            said = os.read(self._err, CHUNK)
            self._deaf = not said
            self._said = (self._said + said)[-COMPLAINT:]

    def _ended(self) -> UnreachableError:
        """Return the error of a session that ended, with what was complained of."""
        reap(self._child, 0.5)  # it writes its complaint before it ends
        with contextlib.suppress(OSError):
            self._hear()
        lines = [line for line in self._said.decode("utf-8", "replace").splitlines() if line.strip()]
        wrong = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), "")
        why = one_line(wrong or (lines[-1] if lines else "the connection ended"))
        return UnreachableError(why) if self._read else EndedError(why)


def _ready(wanted: Mapping[int, int], seconds: float) -> set[int]:
    """Return the descriptors that are ready for what is wanted of them, or closed at the other end."""
    poll = select.poll()
    for descriptor, event in wanted.items():
        poll.register(descriptor, event)
    return {descriptor for descriptor, _ in poll.poll(seconds * 1000)}


def _parsed(line: bytes) -> object:
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found


def valid(said: object) -> dict[str, Any]:
    """Return an answer of a node that can be understood; raise UnreachableError."""
    if isinstance(said, dict):
        if isinstance(said.get("result"), dict):
            return said
        if isinstance(said.get("error"), str) and isinstance(said.get("hint", ""), str):
            return said
    raise UnreachableError("its answer is not understood")


def result(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result in an answer; raise the error in it."""
    if "result" in said:
        return dict(said["result"])
    plain = {"error": one_line(said["error"]), "hint": one_line(said.get("hint", ""))}
    if said.get("kind") == UnreachableError.kind:
        raise UnreachableError(plain["error"])
    code, kind = said.get("code"), said.get("kind")
    more = {"code": code if type(code) is int else 1, "kind": kind if isinstance(kind, str) else ""}
    error: CorpusError = client.complaint({**plain, **more, "denied": said.get("denied") is True})
    raise error
