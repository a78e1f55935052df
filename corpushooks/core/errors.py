"""The exception tree. Each error has an exit code and may carry a hint: the next command to run.

CorpusError                    1
├── StoppingError              1  the daemon stops: the next one goes on from here
├── StepError                  1  a step of a deployment failed
│   └── CancelledError         1  somebody cancelled it, or its time was over
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
│   └── ProcessError
├── UsageError                 2  wrong usage or configuration
│   ├── UnknownError           there is no such project, deployment, …
│   └── ConfigError
├── RefusedError               3  refused: busy, frozen, not allowed, no daemon
│   ├── NotAllowedError
│   │   └── CredentialError    no valid credential was presented
│   ├── BusyError              too many at once
│   └── NoDaemonError
└── BrokenError                4  the roll back failed; a person is needed
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
    """Something that was found wrong, and the command that repairs it."""

    what: str
    repair: Advice


@dataclass(frozen=True)
class Place:
    """Where something is written: a file as people call it, and the line where that is known."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.file} line {self.line}" if self.line else self.file


class CorpusError(Exception):
    """Say what is wrong in one line, and in `hint` which command helps. `summary` says it in a few words, as git does.

    That is the whole message, but where an error knows better.
    """

    exit_code = 1
    kind = ""  # as the daemon answers it, where callers need to know more than the exit code

    def __init__(self, message: str, hint: Advice = "") -> None:
        super().__init__(message)
        self.message = self.summary = message
        self.hint = Hint(hint)

    def within(self: Error, step: str) -> Error:
        """Return the same error, of which it is said first in which step it was met."""
        found = self.reworded(lambda text: f"{step}: {text}")
        found.summary = f"{step} failed"
        return found

    def reworded(self: Error, change: Callable[[str], str]) -> Error:
        """Return the same error in other words, such as without secrets; what else it carries stays."""
        found = copy.copy(self)
        found.message, found.summary = change(self.message), change(self.summary)
        found.args = (found.message,)
        return found


class StoppingError(CorpusError):
    """The daemon stops: what is held is left to the next one."""


class StepError(CorpusError):
    """A step of a deployment failed: `what` failed, and `why`."""

    def __init__(self, what: str, hint: Advice = "", *, why: str = "") -> None:
        super().__init__(f"{what}: {why}" if why else what, hint)
        self.summary = what


class CancelledError(StepError):
    """A deployment was cancelled, or its time was over."""


class DoorError(CorpusError):
    """Something outside failed: a program, a file, a store."""

    said = ""  # the last words of a program, as it said them


class GitError(DoorError):
    """git, or a repository, failed."""


class SaltError(DoorError):
    """Salt could not be started, or did not answer."""


class SourceError(SaltError):
    """A file that Salt reads is wrong: `what` says how, and `at` where."""

    def __init__(self, what: str, hint: Advice = "", at: Place | None = None) -> None:
        super().__init__(f"{at}: {what}" if at else what, hint)
        self.what = what
        self.at = at


class StoreError(DoorError):
    """The store cannot be read or written."""


class StateError(StoreError):
    """A deployment cannot go from the state that it is in to the one that was asked for."""


class LostStoreError(StoreError):
    """The store is gone or damaged: `corpus rebuild` makes it anew, from what is left."""


class LogError(DoorError):
    """The log of a deployment cannot be made."""


class TreeError(DoorError):
    """A tree of files cannot be read or made."""


class WatchError(DoorError):
    """What changes in a tree of files cannot be watched."""


class ProcessError(DoorError):
    """A program could not be started, or exited with an error."""


class UsageError(CorpusError):
    """Wrong usage: an unknown name, option or argument."""

    exit_code = 2


class UnknownError(UsageError):
    """There is no such project, deployment or token."""

    kind = "unknown"


class ConfigError(UsageError):
    """A configuration is wrong: `what` says how.

    `where` leads to it from the outside: a file or a layer of cfg, then keys. `at` is where that is written, once
    somebody has looked.
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
        """Return an error as one of a configuration, within an outer place."""
        if isinstance(exc, ConfigError):
            return cls(exc.what, hint or exc.hint, (*outer, *exc.where), at=exc.at)
        return cls(exc.message, hint or exc.hint, outer)

    @property
    def line(self) -> int | None:
        """Return the line of the file that it is about, where that is known."""
        places = (self.at, *self.where)
        return next((place.line for place in places if isinstance(place, Place)), None)

    @property
    def inner(self) -> str:
        """Return what is said of it below the outermost place, which is shown beside it, with the line."""
        far = f" ({self.at})" if self.at and not self.at.line else ""
        return ": ".join([*map(str, self.where[1:]), self.what]) + far


class RefusedError(CorpusError):
    """Refused as things are now: busy, frozen, not allowed."""

    exit_code = 3


class NotAllowedError(RefusedError):
    """Refused to this caller: another account has the right to do it."""


class CredentialError(NotAllowedError):
    """No valid credential was presented."""

    kind = "credential"


class BusyError(RefusedError):
    """Too many of a kind at once; later it can work."""

    kind = "busy"


class NoDaemonError(RefusedError):
    """No daemon listens and none could be started."""


class BrokenError(CorpusError):
    """The roll back of a project failed; pushes wait for `corpus repair`."""

    exit_code = 4
