"""The exception tree. Each error has an exit code and may carry a hint: the next command to run.

CorpusError                    1
├── StepError                  1  a step of a deployment failed
│   └── CancelledError         1  somebody cancelled it, or its time was over
├── DoorError                  1  something outside failed
│   ├── GitError
│   ├── SaltError
│   ├── StoreError
│   │   ├── StateError
│   │   └── LostStoreError
│   ├── LogError
│   ├── TreeError
│   ├── WatchError
│   └── ProcessError
├── UsageError                 2  wrong usage or configuration
│   └── ConfigError
├── RefusedError               3  refused: busy, frozen, not allowed, no daemon
│   ├── NotAllowedError
│   └── NoDaemonError
└── BrokenError                4  the roll back failed; a person is needed
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """Something that was found wrong, and the command that repairs it."""

    what: str
    repair: str


class CorpusError(Exception):
    """Say what is wrong in one line, and in `hint` which command helps."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class StepError(CorpusError):
    """A step of a deployment failed."""


class CancelledError(StepError):
    """A deployment was cancelled, or its time was over."""


class DoorError(CorpusError):
    """Something outside failed: a program, a file, a store."""


class GitError(DoorError):
    """git, or a repository, failed."""


class SaltError(DoorError):
    """Salt could not be started, or did not answer."""


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


class ConfigError(UsageError):
    """A configuration file is wrong; the message names file and key."""


class RefusedError(CorpusError):
    """Refused as things are now: busy, frozen, not allowed."""

    exit_code = 3


class NotAllowedError(RefusedError):
    """Refused to this caller: another account has the right to do it."""


class NoDaemonError(RefusedError):
    """No daemon listens and none could be started."""


class BrokenError(CorpusError):
    """The roll back of a project failed; pushes wait for `corpus repair`."""

    exit_code = 4
