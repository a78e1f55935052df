"""Freezes projects and thaws them, for the command and for whoever asks the daemon."""

from __future__ import annotations

import time
from dataclasses import dataclass

from corpushooks.core.deployment import Freeze
from corpushooks.core.errors import RefusedError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.store.history import History


@dataclass(frozen=True)
class Frozen:
    """What is frozen now, and what was said before where it was frozen already."""

    freeze: Freeze
    before: Freeze | None

    def lines(self) -> list[str]:
        return [str(self.freeze), *([f"before: {self.before}"] if self.before else [])]


@dataclass(frozen=True)
class Thawed:
    """What is frozen no more ("": the host), and the freeze of the host where that still holds."""

    project: str
    still: Freeze | None

    def lines(self) -> list[str]:
        warning = [f"warning: {self.still}"] if self.still else []
        return [f"{self.project or 'this host'} is frozen no more", *warning]


def freeze(history: History, project: str, reason: str, who: str) -> Frozen:
    """Refuse deployments of a project ("": of all) until it thaws; raise UsageError for a wrong reason."""
    reason = reason.strip()
    if not reason or not reason.isprintable():
        raise UsageError("a one-line reason is required; it is shown to anyone who is refused",
                         hint=Hint(command("freeze", "NAME"), ' "why"'))  # fmt: skip
    found = Freeze(project, reason, who, time.time())
    return Frozen(found, history.freeze(project, reason, who))


def thaw(history: History, project: str) -> Thawed:
    """Deploy a project ("": all) again; raise RefusedError where it is not frozen."""
    if not history.thaw(project):
        raise RefusedError(f"{project or 'this host'} is not frozen", hint=command("status"))
    return Thawed(project, history.frozen(project) if project else None)
