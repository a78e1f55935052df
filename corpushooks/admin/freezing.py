"""Freeze and thaw projects, for the command and the daemon."""

from __future__ import annotations

import time
from dataclasses import dataclass

from corpushooks.core.deployment import Freeze
from corpushooks.core.errors import RefusedError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.store.history import History


@dataclass(frozen=True)
class Frozen:
    """A new freeze, and the one it replaces, if any."""

    freeze: Freeze
    before: Freeze | None

    def lines(self) -> list[str]:
        return [str(self.freeze), *([f"before: {self.before}"] if self.before else [])]


@dataclass(frozen=True)
class Thawed:
    """The thawed project ("": the host), and the freeze of the host, if that still applies."""

    project: str
    still: Freeze | None

    def lines(self) -> list[str]:
        warning = [f"warning: {self.still}"] if self.still else []
        return [f"{self.project or 'this host'} is no longer frozen", *warning]


def freeze(history: History, project: str, reason: str, who: str) -> Frozen:
    """Refuse deployments of a project ("": of all) until it is thawed; raise UsageError for an invalid reason."""
    reason = reason.strip()
    if not reason or not reason.isprintable():
        raise UsageError("a one-line reason is required; it is shown to anyone who is refused",
                         hint=Hint(command("freeze", "NAME"), ' "why"'))  # fmt: skip
    found = Freeze(project, reason, who, time.time())
    return Frozen(found, history.freeze(project, reason, who))


def thaw(history: History, project: str) -> Thawed:
    """Thaw a project ("": the host); raise RefusedError if it is not frozen."""
    if not history.thaw(project):
        raise RefusedError(f"{project or 'this host'} is not frozen", hint=command("status"))
    return Thawed(project, history.frozen(project) if project else None)
