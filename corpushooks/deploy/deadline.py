"""The time limits of a deployment, and its cancellation. A rollback always runs to its end."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from corpushooks.core.errors import CancelledError, CorpusError
from corpushooks.store.history import History
from corpushooks.system.patience import Check

ASK = 0.5  # seconds between checks of the store for a cancellation


@dataclass
class Deadline:
    """The limits of a deployment: `whole` seconds for all of it, `step` for one step (None: no limit)."""

    history: History
    project: str
    number: int
    whole: float | None
    step: float | None
    lifted: bool = False  # it is being rolled back: no limits apply
    since: float = field(default_factory=time.monotonic)
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def cuts(self) -> bool:
        """Whether it was cancelled, and can be."""
        return self.cancelled.is_set() and not self.lifted

    def check(self) -> None:
        """Raise CancelledError if it was cancelled or timed out."""
        if self.lifted:
            return
        row = self.history.deployment(self.project, self.number)
        if row.cancelled or self.cancelled.is_set():
            raise CancelledError(f"cancelled by {row.cancelled or 'somebody'}")
        if self.left() == 0:
            raise CancelledError(f"timed out after {self.whole:g} s (timeout)")

    def left(self) -> float | None:
        """Return the seconds left for the next SLS; None: no limit."""
        if self.whole is None or self.lifted:
            return self.step
        left = max(0.0, self.since + self.whole - time.monotonic())
        return left if self.step is None else min(self.step, left)

    def patience(self) -> Check:
        """Return a check for a loop that begins now, cheap enough for each round.

        It raises CancelledError if the deployment is cancelled or timed out, or the loop exceeds `step_timeout`.
        """
        began, asked = time.monotonic(), 0.0

        def check() -> None:
            nonlocal asked
            now = time.monotonic()
            if self.lifted or (now < asked + ASK and not self.cancelled.is_set()):
                return
            asked = now
            self.check()
            if self.step is not None and now > began + self.step:
                raise CancelledError(f"timed out after {self.step:g} s (step_timeout)")

        return check

    @contextlib.contextmanager
    def within(self, step: float | None, *, lifted: bool = False) -> Iterator[None]:
        """Limit what is done meanwhile to `step` seconds; if `lifted`, nobody cancels it."""
        was = self.step, self.lifted
        self.step, self.lifted = step, lifted or self.lifted
        try:
            yield
        finally:
            self.step, self.lifted = was

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Do not count what is done meanwhile, which has limits of its own."""
        was, began = (self.whole, self.step), time.monotonic()
        since, self.since = self.since, began
        try:
            yield
        finally:
            self.whole, self.step = was
            self.since = since + time.monotonic() - began

    def cause(self, exc: CorpusError) -> CorpusError:
        """Return the cause of a failure: a cancellation or timeout takes precedence."""
        try:
            self.check()
        except CancelledError as asked:
            return asked
        return exc
