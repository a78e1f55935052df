"""What a deployment says: events to its log, secrets taken out, and each warning once."""

from __future__ import annotations

from dataclasses import dataclass, field

from corpushooks.core.events import Event, Warned
from corpushooks.core.redaction import Redactor
from corpushooks.store.log import Log

MOST = 20  # warnings that are said at once


@dataclass
class Voice:
    """The voice of one deployment, which those who follow its log hear, now or later."""

    log: Log
    warned: set[str] = field(default_factory=set)

    @property
    def redactor(self) -> Redactor:
        """What hides secrets: in the log, and in whatever else is kept."""
        return self.log.redactor

    def hide(self, text: str) -> str:
        """Return a text without the secrets that are known by now."""
        return self.redactor.redact(text)

    def tell(self, event: Event) -> None:
        """Tell what happens."""
        self.log.tell(event)

    def warn(self, *warnings: str) -> None:
        """Tell warnings, each once, the first of many."""
        fresh = [warning for warning in dict.fromkeys(warnings) if warning not in self.warned]
        self.warned |= set(fresh)
        for warning in fresh[:MOST]:
            self.tell(Warned(warning))
        if len(fresh) > MOST:
            self.tell(Warned(f"{len(fresh) - MOST} more of this kind"))
