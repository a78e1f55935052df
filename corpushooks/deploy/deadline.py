"""How long a deployment may go on: until somebody cancels it, or its time is over. A rollback goes on to its end."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from corpushooks.core.errors import CancelledError, CorpusError
from corpushooks.store.history import History
from corpushooks.system.patience import Check

ASK = 0.5  # seconds after which the store is asked again whether somebody cancelled


@dataclass
class Deadline:
    """The end that a deployment must come to: `whole` seconds for all of it, `step` for one (None: any)."""

    history: History
    project: str
    number: int
    whole: float | None
    step: float | None
    lifted: bool = False  # it is rolled back: nobody cuts that off
    since: float = field(default_factory=time.monotonic)
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def cuts(self) -> bool:
        """Whether somebody cancelled, and that counts."""
        return self.cancelled.is_set() and not self.lifted

    def check(self) -> None:
        """Raise CancelledError where somebody asked for the end, or the time is over."""
        if self.lifted:
            return
        row = self.history.deployment(self.project, self.number)
        if row.cancelled or self.cancelled.is_set():
            raise CancelledError(f"cancelled by {row.cancelled or 'somebody'}")
        if self.left() == 0:
            raise CancelledError(f"no end after {self.whole:g} s (timeout)")

    def left(self) -> float | None:
        """Return how many seconds the next SLS may take; None: any."""
        if self.whole is None or self.lifted:
            return self.step
        left = max(0.0, self.since + self.whole - time.monotonic())
        return left if self.step is None else min(self.step, left)

    def patience(self) -> Check:
        """Return what a loop that begins now asks in each round, as often as it likes.

        It raises CancelledError where this deployment is cancelled or late, or the loop takes more than `step_timeout`.
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
                raise CancelledError(f"no end after {self.step:g} s (step_timeout)")

        return check

    def cause(self, exc: CorpusError) -> CorpusError:
        """Return why something ended: whatever it met then, that it was cancelled or late comes first."""
        try:
            self.check()
        except CancelledError as asked:
            return asked
        return exc
