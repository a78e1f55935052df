"""The exception tree. Each error has an exit code and may carry a hint: the next command to run.

CorpusError                    1
├── StoppingError              1  the daemon stops; the next one continues
├── StepError                  1  a step of a deployment failed
│   └── CancelledError         1  it was cancelled or timed out
├── DoorError                  1  something outside failed
│   ├── GitError
│   ├── SaltError
│   │   └── SourceError         a file that Salt reads is wrong
│   ├── StoreError
│   │   ├── StateError
│   │   └── LostStoreError
│   ├── LogError
│   ├── TreeError
│   ├── WatchError
│   ├── ProcessError
│   └── UnreachableError       a node did not answer: what became of the order is not known
│       └── EndedError         its session had ended before there was anything of an answer
├── UsageError                 2  wrong usage or configuration
│   ├── UnknownError           there is no such project, deployment, …
│   └── ConfigError
├── RefusedError               3  refused: busy, frozen, not allowed, no daemon
│   ├── NotAllowedError
│   │   └── CredentialError    no valid credential was presented
│   ├── BusyError              too many at once
│   └── NoDaemonError
└── BrokenError                4  the rollback failed; a person is needed
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from corpushooks.core.hints import Advice, Hint

Error = TypeVar("Error", bound="CorpusError")


@dataclass(frozen=True)
class Fault:
    """A problem, and the command that repairs it."""

    what: str
    repair: Advice


@dataclass(frozen=True)
class Place:
    """A position in a file: the name shown to people, and the line if known."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.file} line {self.line}" if self.line else self.file


class CorpusError(Exception):
    """One line says what is wrong, `hint` which command helps; `summary` is a short form, for git.

    The summary is the message unless an error sets its own.
    """

    exit_code = 1
    kind = ""  # as the daemon answers it, where callers need to know more than the exit code

    def __init__(self, message: str, hint: Advice = "") -> None:
        super().__init__(message)
        self.message = self.summary = message
        self.hint = Hint(hint)

    def within(self: Error, step: str) -> Error:
        """Return the same error, prefixed with the step in which it occurred."""
        found = self.reworded(lambda text: f"{step}: {text}")
        found.summary = f"{step} failed"
        return found

    def reworded(self: Error, change: Callable[[str], str]) -> Error:
        """Return the same error with its text changed (secrets removed, say) and its other fields kept."""
        found = copy.copy(self)
        found.message, found.summary = change(self.message), change(self.summary)
        found.args = (found.message,)
        return found


class StoppingError(CorpusError):
    """The daemon stops; held deployments are left to the next one."""


class StepError(CorpusError):
    """A step of a deployment failed: `what`, and `why`."""

    def __init__(self, what: str, hint: Advice = "", *, why: str = "") -> None:
        super().__init__(f"{what}: {why}" if why else what, hint)
        self.summary = what


class CancelledError(StepError):
    """A deployment was cancelled or timed out."""


class DoorError(CorpusError):
    """Something outside failed: a program, a file, a store."""

    said = ""  # the last line of output of the program


class UnreachableError(DoorError):
    """A node did not answer: an order may have arrived or not."""

    kind = "unreachable"


class EndedError(UnreachableError):
    """The session with a node ended before there was anything of an answer."""


class GitError(DoorError):
    """A git command failed, or a repository is unusable."""


class SaltError(DoorError):
    """Salt could not be started, or did not answer."""


class SourceError(SaltError):
    """A file that Salt reads has an error: `what` it is, and `at` which position."""

    def __init__(self, what: str, hint: Advice = "", at: Place | None = None) -> None:
        super().__init__(f"{at}: {what}" if at else what, hint)
        self.what = what
        self.at = at


class StoreError(DoorError):
    """The store cannot be read or written."""


class StateError(StoreError):
    """A deployment cannot change from its state to the requested one."""


class LostStoreError(StoreError):
    """The store is missing or damaged: `corpus rebuild` recreates it from what is left."""


class LogError(DoorError):
    """The log of a deployment cannot be created."""


class TreeError(DoorError):
    """A tree of files cannot be read or written."""


class WatchError(DoorError):
    """A tree of files cannot be watched for changes."""


class ProcessError(DoorError):
    """A program could not be started, or exited with an error."""


class UsageError(CorpusError):
    """Wrong usage: an unknown name, option or argument."""

    exit_code = 2


class UnknownError(UsageError):
    """There is no such project, deployment or token."""

    kind = "unknown"


class ConfigError(UsageError):
    """A configuration has an error: `what`.

    `where` is the path to it, outermost first: a file or a layer of cfg, then keys. `at` is its position in a file,
    once that has been looked up.
    """

    def __init__(
        self, what: str, hint: Advice = "", where: Sequence[str | Place] = (), *, at: Place | None = None
    ) -> None:
        super().__init__(": ".join([*map(str, where), what]) + (f" ({at})" if at else ""), hint)
        self.what = what
        self.where = tuple(where)
        self.at = at

    @classmethod
    def of(cls, exc: UsageError, *outer: str | Place, hint: Advice = "") -> ConfigError:
        """Return an error as a configuration error, within an outer place."""
        if isinstance(exc, ConfigError):
            return cls(exc.what, hint or exc.hint, (*outer, *exc.where), at=exc.at)
        return cls(exc.message, hint or exc.hint, outer)

    @property
    def line(self) -> int | None:
        """Return the line of the file, if known."""
        places = (self.at, *self.where)
        return next((place.line for place in places if isinstance(place, Place)), None)

    @property
    def inner(self) -> str:
        """Return the message without the outermost place, which is shown beside it with the line."""
        far = f" ({self.at})" if self.at and not self.at.line else ""
        return ": ".join([*map(str, self.where[1:]), self.what]) + far


class RefusedError(CorpusError):
    """Refused for now: busy, frozen, not allowed."""

    exit_code = 3


class NotAllowedError(RefusedError):
    """The caller lacks the right; another account has it."""


class CredentialError(NotAllowedError):
    """No valid credential was presented."""

    kind = "credential"


class BusyError(RefusedError):
    """Too many of a kind at once; later it can work."""

    kind = "busy"


class NoDaemonError(RefusedError):
    """No daemon listens and none could be started."""


class BrokenError(CorpusError):
    """The rollback of a project failed; pushes are refused until `corpus repair`."""

    exit_code = 4
