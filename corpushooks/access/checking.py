"""Asks the child that checks passwords and the like; few run at once, and few wait."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from corpushooks.core.errors import BusyError, CredentialError, DoorError, ProcessError
from corpushooks.system.patience import Check, endless
from corpushooks.system.process import run

WORDS = (sys.executable, "-I", "-m", "corpushooks.access.proof")
AT_ONCE, WAITING = 2, 16
SECONDS = 30.0
BUSY = BusyError("too many people sign in at once", hint="try again in a few seconds")


@dataclass
class Checker:
    """The children of a daemon that check something."""

    _slots: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(AT_ONCE))
    _queue: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(AT_ONCE + WAITING))

    def ask(self, check: str, asked: dict[str, Any], patience: Check = endless) -> dict[str, Any]:
        """Return what the child answers; raise BusyError, DoorError or CredentialError."""
        given = json.dumps({"check": check, **asked}).encode()
        with self._turn():
            try:
                found: dict[str, Any] = json.loads(run(WORDS, stdin=given, timeout=SECONDS, patience=patience).stdout)
            except (ProcessError, ValueError) as exc:
                raise DoorError("the check of the sign-in failed: see the log of the daemon") from exc
        if "error" in found:
            kind = CredentialError if found["kind"] == CredentialError.kind else DoorError
            raise kind(found["error"], found["hint"])
        return found

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._queue.acquire(blocking=False):
            raise BUSY
        try:
            if not self._slots.acquire(timeout=SECONDS):
                raise BUSY
            try:
                yield
            finally:
                self._slots.release()
        finally:
            self._queue.release()
