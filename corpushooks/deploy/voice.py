"""What a deployment reports: events to its log, redacted, and each warning once."""

from __future__ import annotations

from dataclasses import dataclass, field

from corpushooks.core.events import Event, Warned
from corpushooks.core.redaction import Redactor
from corpushooks.store.log import Log

MOST = 20  # warnings logged at a time


@dataclass
class Voice:
    """The voice of one deployment: it writes its log."""

    log: Log
    warned: set[str] = field(default_factory=set)

    @property
    def redactor(self) -> Redactor:
        """Removes secrets, in the log and elsewhere."""
        return self.log.redactor

    def hide(self, text: str) -> str:
        """Return a text without the secrets known so far."""
        return self.redactor.redact(text)

    def tell(self, event: Event) -> None:
        """Log an event."""
        self.log.tell(event)

    def warn(self, *warnings: str) -> None:
        """Log warnings, each once, at most MOST at a time."""
        fresh = [warning for warning in dict.fromkeys(warnings) if warning not in self.warned]
        self.warned |= set(fresh)
        for warning in fresh[:MOST]:
            self.tell(Warned(warning))
        if len(fresh) > MOST:
            self.tell(Warned(f"{len(fresh) - MOST} more warnings of this kind"))
