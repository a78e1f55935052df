"""What each operation asks, field by field. Values only.

What comes over the socket is read as one of these, strictly (`wire.typed`): a text is UTF-8 without NUL and of limited
length, a number is one that the store takes. A field that is `raw()` may have bytes that are not text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

RAW = "raw"  # in the metadata of a field: words of git or of a shell, which need not be UTF-8
LONG = "long"  # limited only by the length of a request


def raw(*, long: bool = False) -> Any:
    """Return a field of words that need not be text."""
    return field(default=(), metadata={RAW: True, LONG: long})


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """Nothing."""


@dataclass(frozen=True, kw_only=True)
class OfProject:
    """One project."""

    project: str


@dataclass(frozen=True, kw_only=True)
class OfProjects:
    """One project, or ("") all that one may see."""

    project: str = ""


@dataclass(frozen=True, kw_only=True)
class Admit:
    """Let a session of ssh in: the key that sshd accepted, and what it is for."""

    key: str
    right: str
    project: str
    mark: str = ""  # which key it is: its name may be another's by now
    certificate: str = ""
    repo: str = "project"


@dataclass(frozen=True, kw_only=True)
class Push(OfProject):
    """What git's hook was told."""

    repo: str
    token: str
    commands: tuple[tuple[str, str, str], ...] = raw(long=True)  # old commit, new commit, ref
    options: tuple[str, ...] = raw()
    atomic: bool = False
    number: int = 0  # of the deployment that an earlier connection was given
    offset: int = 0  # in its log: what was heard


@dataclass(frozen=True, kw_only=True)
class OfRequest(OfProject):
    """What every deployment that is asked for by a command says of itself."""

    token: str = ""  # the same one again is the same request
    nowait: bool = False
    progress: bool = False  # a terminal that can rewrite a line
    force: bool = False
    insist: bool = False


@dataclass(frozen=True, kw_only=True)
class OfRelease(OfRequest):
    """What brings another release; held before it is final for `confirm` seconds (0: as the settings say), or not."""

    confirm: int | None = None


@dataclass(frozen=True, kw_only=True)
class Deploy(OfRelease):
    """Deploy a commit ("": the live one)."""

    rev: str = ""
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rollback(OfRelease):
    """Return to the result of a deployment (0: the one before)."""

    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Task(OfRequest):
    """Run a task."""

    task: str


@dataclass(frozen=True, kw_only=True)
class Restart(OfRequest):
    """Restart units (none named: all of the project)."""

    units: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Drill(OfRequest):
    """Bring a backup (0: the newest) back aside."""

    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Restore(OfRequest):
    """Bring back parts of a backup (0: the newest), in place or to a new folder; `dry`: say what that would do."""

    number: int = 0
    data: bool = False
    pillar: bool = False
    databases: tuple[str, ...] = ()
    to: str = ""
    dry: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """What is asked for, as a request has it."""
        databases = (f"database:{name}" for name in self.databases)
        return (*(["data"] * self.data), *(["pillar"] * self.pillar), *databases)


@dataclass(frozen=True, kw_only=True)
class Confirm(OfProject):
    """The deployment that is confirmed."""

    number: int


@dataclass(frozen=True, kw_only=True)
class Assign(OfProject):
    """Set variables, each with its text and where that is from ("stdin" or ""), and unset others."""

    pairs: tuple[tuple[str, str, str], ...] = raw()
    keys: tuple[str, ...] = raw()
    deploy: bool = True
    token: str = ""
    progress: bool = False


@dataclass(frozen=True, kw_only=True)
class Follow(OfProject):
    """Read the log of a deployment (0: the newest) from an offset on, to its end, which may be to come."""

    number: int = 0
    offset: int = 0
    whole: bool = False  # also what the terminal of a push does not show
    events: bool = False  # with their fields
    follow: bool = True  # else only what is there
    progress: bool = False


@dataclass(frozen=True, kw_only=True)
class OfDeployment(OfProject):
    """One deployment (0: the newest)."""

    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Watch(OfProject):
    """Deploy what is edited, with some of the install SLS files or all."""

    steps: tuple[str, ...] = ()
    progress: bool = False


@dataclass(frozen=True, kw_only=True)
class AppLog(OfProject):
    """Read the newest lines of an application, and with `follow` those that come."""

    lines: int = 100
    follow: bool = False
    json: bool = False
    offset: int = 0  # µs since the epoch: what came before was read


@dataclass(frozen=True, kw_only=True)
class Run(OfProject):
    """Run a command as the application."""

    words: tuple[str, ...] = raw()
    term: str = ""
    lang: str = ""


@dataclass(frozen=True, kw_only=True)
class Status(OfProjects):
    """What is live, with `urls` also where to push and where it answers."""

    urls: bool = False


@dataclass(frozen=True, kw_only=True)
class Open(OfProject):
    """Where a project answers; `needed`: it is an error where that is nowhere."""

    needed: bool = False


@dataclass(frozen=True, kw_only=True)
class History(OfProject):
    """So many of the newest deployments, or commands."""

    limit: int = 20


@dataclass(frozen=True, kw_only=True)
class Config(OfProject):
    """The configuration, with `origin` where each value is from, with `secrets` also what is masked."""

    origin: bool = False
    secrets: bool = False


@dataclass(frozen=True, kw_only=True)
class Diff(OfProject):
    """Two deployments to compare (0: the live one, and what it replaced)."""

    old: int = 0
    new: int = 0


@dataclass(frozen=True, kw_only=True)
class OfProjectOrHost:
    """One project, or ("") the whole host; which one is always said."""

    project: str


@dataclass(frozen=True, kw_only=True)
class Freeze(OfProjectOrHost):
    """Why that is frozen."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class KeyAdd:
    """A public key, its name, and what it may."""

    name: str
    key: str
    right: str = "push"
    projects: tuple[str, ...] = ()  # none: all
    expires: str = ""  # a day, or 90d
    authority: bool = False
    principals: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class KeySet:
    """What a key may from now on. What is not given stays as it is."""

    name: str
    right: str = ""
    projects: tuple[str, ...] = ()
    every_project: bool = False
    expires: str = ""  # a day, 90d or never
    principals: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OfKey:
    """One key."""

    name: str


@dataclass(frozen=True, kw_only=True)
class KeyTest(OfKey):
    """One key, and a project."""

    project: str


@dataclass(frozen=True, kw_only=True)
class TokenAdd:
    """The name of a token, and its rights."""

    name: str
    right: str = "read"
    projects: tuple[str, ...] = ()  # none: all
    expires: str = ""  # a day, or 90d


@dataclass(frozen=True, kw_only=True)
class OfToken:
    """One token."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Init:
    """A project to make or to repair. What is not given stays as it is, or is as the settings say."""

    project: str
    env: str = ""
    branch: str = ""
    installer: str = ""
    object_format: str = ""
    ssh_key: bool = False


@dataclass(frozen=True, kw_only=True)
class Remove(OfProject):
    """A project to forget, with `purge` also its files."""

    purge: bool = False


@dataclass(frozen=True, kw_only=True)
class RenameBranch(OfProject):
    """The new name of the branch that deploys."""

    branch: str
