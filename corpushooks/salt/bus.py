"""Questions to minions over the bus of a Salt master, by a child process that has Salt loaded.

A question is answered by the node, with its signature, or it is not answered. What Salt says of it counts for nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpushooks.core.errors import UnreachableError
from corpushooks.core.text import one_line
from corpushooks.salt.child import WORKER, spawn
from corpushooks.salt.configuration import private
from corpushooks.system import disk, process
from corpushooks.system.patience import TICK, Check, endless

AGAIN = 3.0  # seconds after which a question is published again
LINE = 4 << 20  # bytes of an answer
ENDING = 2.0  # seconds for the child to end
SAID = 200  # characters of a note
KEYGEN, BITS = 120.0, "3072"  # seconds for a pair of keys, and their size


@dataclass
class _Waiting:
    """A question that waits for its answer."""

    there: threading.Event = field(default_factory=threading.Event)
    said: dict[str, Any] | None = None
    note: str = ""
    over: bool = False


class Bus:
    """A child process at the bus of a Salt master; started when needed, and again if it died."""

    def __init__(self, configuration: Path, python: Path, log: Path) -> None:
        self._words: list[str | Path] = [python, "-I", "-B", WORKER, "bus", configuration]
        self._log = log
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._process: process.Child[bytes] | None = None
        self._waiting: dict[str, _Waiting] = {}

    def ask(
        self, node: str, name: str, fields: Mapping[str, Any], limit: float, held: float = 0.0, check: Check = endless
    ) -> dict[str, Any]:
        """Return the answer of a node; raise UnreachableError if there is none within `limit` seconds.

        `held`: how long the node can wait with it. `check` is called meanwhile, and can raise.
        """
        end, once, mine = time.monotonic() + limit, secrets.token_hex(16), _Waiting()
        question = {"node": node, "once": once, "until": time.time() + limit, "op": name, "fields": dict(fields)}
        with self._lock:
            self._waiting[once] = mine
        try:
            self._send({"ask": question, "again": AGAIN + held})
            while not mine.there.wait(TICK):
                check()
                if time.monotonic() >= end:
                    mine.note = mine.note or "its minion does not answer"
                    raise UnreachableError(f"no answer within {limit:g} s: {mine.note}")
        finally:
            with self._lock:
                del self._waiting[once]
            if mine.said is None:
                with contextlib.suppress(UnreachableError):
                    self._send({"drop": once})
        if mine.said is None:
            raise UnreachableError(mine.note)
        return mine.said

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._end()

    def _send(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        with self._lock:
            try:
                self._start().sendall(data)
            except OSError:
                self._end()
                raise UnreachableError("the process at the bus of Salt ended") from None

    def _start(self) -> socket.socket:
        if self._sock and self._process and self._process.poll() is None:
            return self._sock
        self._end()
        ours, theirs = socket.socketpair()
        try:
            with theirs, open(self._log, "ab", opener=private) as log:
                self._process = spawn(self._words, theirs, log.fileno())
        except BaseException:
            ours.close()
            raise
        self._sock = ours
        threading.Thread(target=self._listen, args=(ours,), name="salt bus", daemon=True).start()
        return ours

    def _end(self) -> None:
        if self._sock:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        if self._process:
            self._process.terminate()
            process.reap(self._process, ENDING)
        self._sock = self._process = None

    def _listen(self, sock: socket.socket) -> None:
        """Take what the child says, until it ends; then what it was asked is not answered."""
        with sock, sock.makefile("rb") as file, contextlib.suppress(OSError, ValueError):
            while (line := file.readline(LINE)).endswith(b"\n"):
                self._hear(json.loads(line))
        with self._lock:
            if sock is not self._sock and self._sock is not None:
                return  # another child has begun, and with it other questions
            for each in self._waiting.values():
                each.note = each.note or "the process at the bus of Salt ended"
                each.there.set()

    def _hear(self, said: dict[str, Any]) -> None:
        with self._lock:
            mine = self._waiting.get(said.get("once", ""))
            if mine is None:
                if "error" in said:
                    for each in self._waiting.values():
                        each.note = one_line(said["error"])[:SAID]
                return
            if "said" in said:
                mine.said = said["said"]
            else:
                mine.note = one_line(said["note"])[:SAID]
            if "said" in said or said.get("over"):
                mine.there.set()


def key_pair(private: Path, shown: Path) -> None:
    """Make a pair of keys as Salt has them, where there is none; raise ProcessError."""
    if not private.exists():
        aside = private.with_name(f"{private.name}.new")
        aside.unlink(missing_ok=True)
        process.run(["ssh-keygen", "-q", "-t", "rsa", "-b", BITS, "-m", "PEM", "-N", "", "-f", aside], timeout=KEYGEN)
        aside.with_name(f"{aside.name}.pub").unlink()
        aside.rename(private)
        shown.unlink(missing_ok=True)
    if not shown.exists():
        disk.write_file(
            shown, process.run(["ssh-keygen", "-e", "-m", "PKCS8", "-f", private], timeout=KEYGEN).stdout, 0o644
        )


def finger(key: bytes) -> str:
    """Return the fingerprint of a public key, as Salt shows it."""
    import hashlib

    body = b"".join([line + b"\n" for line in key.splitlines() if line.strip()][1:-1])
    digest = hashlib.sha256(body).hexdigest()
    return ":".join(digest[place : place + 2] for place in range(0, len(digest), 2))


def public(folder: Path, name: str) -> bytes | None:
    """Return a public key of a folder of keys of Salt, or None."""
    with contextlib.suppress(OSError):
        return (folder / name).read_bytes()
    return None


def at_work(sock_dir: Path) -> bool:
    """Return whether a master listens there."""
    with socket.socket(socket.AF_UNIX) as link, contextlib.suppress(OSError):
        link.connect(os.fspath(sock_dir / "master_event_pub.ipc"))
        return True
    return False
