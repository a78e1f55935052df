"""What each operation gives, as JSON has it, key by key. Values only.

Times are seconds since 1970. A key that is added has a place here, and on the page; those that are here stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """Nothing: all was said meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """The daemon that answers."""

    pid: int
    busy: bool


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """A session of ssh that was let in, and where git finds a repository."""

    admission: str
    who: str
    may: str
    expires: float | None
    path: str = ""
    entrance: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A deployment: what was asked, and what came of it."""

    project: str
    number: int
    state: str
    kind: str
    old_code: str | None
    new_code: str | None
    old_pillar: str | None
    new_pillar: str | None
    archive: str | None
    queued: float
    started: float | None
    decided: float | None
    ended: float | None
    took: float | None
    reason: str
    summary: str
    cancelled: str | None
    lease: float | None
    held: float | None
    answered: float | None
    confirmed: str | None
    by: str
    key: str
    via: str


@dataclass(frozen=True, kw_only=True)
class OfHistory(Deployment):
    """A deployment, and whether it is live."""

    live: bool


@dataclass(frozen=True, kw_only=True)
class Open(Deployment):
    """A deployment that has not ended; of one that is held, the seconds that are left to confirm it."""

    left: float | None


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What `set` came to where there was no deployment."""

    state: str
    commit: str | None


@dataclass(frozen=True, kw_only=True)
class Health:
    """How a live release was when it was last asked."""

    state: str
    since: float
    times: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How the backups of a project are."""

    at: float | None
    proved: float | None
    wrong: str
    overdue: list[str]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong, and the command that repairs it."""

    what: str
    repair: str


@dataclass(frozen=True, kw_only=True)
class Status:
    """What is live in a project, what runs or waits, and what is wrong with its files."""

    project: str
    environment: str
    branch: str
    live: int | None
    since: float | None
    by: str | None
    commit: str | None
    branch_at: str | None
    branch_moved: bool
    tree: str | None
    pillar: str | None
    pillar_ahead: bool
    broken: str | None
    frozen: str | None
    open: list[Open]
    last: Deployment | None
    last_deployment: Deployment | None
    last_failure: Deployment | None
    drift: list[str] | None
    health: Health | None
    backup: Standing | None
    faults: list[Fault]
    code_url: str | None = None
    pillar_url: str | None = None
    urls: list[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where a project answers."""

    project: str
    urls: list[str]


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command that was run as an application."""

    number: int
    project: str
    who: str
    key: str
    words: str
    started: float
    ended: float | None
    code: int | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Archive:
    """What was before a deployment."""

    number: int
    name: str
    path: str
    whole: bool
    commit: str | None
    failed: str | None


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A backup that is whole, or that failed."""

    number: int
    project: str
    whole: bool
    reason: str
    at: float
    name: str | None
    code: str | None
    pillar: str | None
    files: int | None
    databases: int | None
    size: int | None
    added: int | None
    changed: int | None
    drilled: float | None
    wrong: str | None
    overtaken: int | None


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What many deployments come to."""

    project: str
    deployments: int
    succeeded: int
    success_rate: float | None
    median: float | None
    p95: float | None
    slowest: list[tuple[str, float]]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What Prometheus reads."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What differs between two deployments."""

    old: int = field(metadata={"key": "from"})
    new: int = field(metadata={"key": "to"})
    files: list[tuple[str, str]]
    cfg: list[str]


@dataclass(frozen=True, kw_only=True)
class Lines:
    """How many lines of an application were shown, and how many notes on what was not."""

    lines: int
    notes: int


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    wrong: str = ""


@dataclass(frozen=True, kw_only=True)
class Freeze:
    """What is frozen ("": the host), why and by whom."""

    project: str
    reason: str
    who: str
    at: float


@dataclass(frozen=True, kw_only=True)
class Frozen(Freeze):
    """What is frozen now, and what was said before."""

    before: Freeze | None


@dataclass(frozen=True, kw_only=True)
class Thawed:
    """What is no longer frozen, and the freeze of the host where that still holds."""

    thawed: str
    still: Freeze | None


@dataclass(frozen=True, kw_only=True)
class Made:
    """A project that was made or repaired, and where to push."""

    project: str
    environment: str
    branch: str
    code_url: str
    pillar_url: str
    new: bool
    notes: list[str]
    object_format: str
    changes: list[str]
    commit: str


@dataclass(frozen=True, kw_only=True)
class Removed:
    """A project that was forgotten, and what is left of it."""

    project: str
    left: list[str]


@dataclass(frozen=True, kw_only=True)
class Linked:
    """Whether Salt sees a project."""

    project: str
    linked: bool


@dataclass(frozen=True, kw_only=True)
class Renamed:
    """The branch that deploys."""

    project: str
    before: str
    branch: str


@dataclass(frozen=True, kw_only=True)
class Grant:
    """A right, on some projects, or (none named) on all."""

    right: str
    projects: list[str]


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key that is let in, and what it may."""

    name: str
    kind: str
    blob: str
    right: str
    projects: list[str]
    expires: float | None
    authority: bool
    principals: list[str]
    added: float
    by: str
    source: str
    seen: float | None
    person: str
    more: list[Grant]
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Changed(Key):
    """A key as it is now, and as it was."""

    before: Key | None


@dataclass(frozen=True, kw_only=True)
class Rights:
    """Which rights a key has on a project."""

    read: bool
    push: bool
    admin: bool
    host: bool


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token of the API, without its text."""

    name: str
    right: str
    projects: list[str]
    expires: float | None
    added: float
    by: str


@dataclass(frozen=True, kw_only=True)
class NewToken(Token):
    """A token that was made, and its text, which is shown once."""

    token: str


@dataclass(frozen=True, kw_only=True)
class Whoami:
    """Who asks, what they may as people read it, and when that ends."""

    who: str
    may: str
    rights: list[Grant]
    expires: float | None


def keys(kind: type[Any]) -> dict[str, str]:
    """Return the keys of what is given, each with its type as it is written here."""
    return {each.metadata.get("key", each.name): str(each.type) for each in fields(kind)}


def plain(value: Any) -> Any:
    """Return what is given as JSON has it."""
    if hasattr(value, "__dataclass_fields__"):
        return {each.metadata.get("key", each.name): plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, (str, int, float)) else str(value)
