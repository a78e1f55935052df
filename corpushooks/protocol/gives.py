"""The result of each operation, as JSON, key by key. Values only.

Times are seconds since 1970. New keys are added here and on the page; existing ones never change.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from corpushooks.core.rollouts import Condition, OnNode, Ordered

__all__ = ["Condition", "OnNode", "Ordered"]  # what a node answers is a value of its controller, too


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """Nothing: the output was sent before."""


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """The daemon that answers."""

    pid: int
    busy: bool


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """An admitted session of ssh, and the path of the repository for git."""

    admission: str
    who: str
    may: str
    expires: float | None
    path: str = ""
    entrance: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ControllerKey:
    """The public key of this controller, for its nodes."""

    key: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class NodeKey:
    """The public key that a node fetches with."""

    key: str


@dataclass(frozen=True, kw_only=True)
class LogPart:
    """Records of the log of a node, each with the `offset` at which the next one begins; `ended`: none follow."""

    records: list[dict[str, Any]]
    ended: bool


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """The commits that a node has fetched for a rollout."""

    project: str
    number: int


@dataclass(frozen=True, kw_only=True)
class ProjectOnNode:
    """What a node runs of a project, and how that compares with what its controller has live.

    `state`: current, behind (an older rollout), drift (something else), broken, busy, released (from this controller),
    or unknown (the node does not answer).
    """

    project: str
    state: str
    environment: str
    code: str
    pillar: str
    rollout: int


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node; what it says of itself is null while it does not answer, and then `wrong` says why."""

    name: str
    address: str
    labels: list[str]
    host_key: str  # its fingerprint
    drained: bool
    added: float
    by: str
    seen: float | None
    wrong: str
    version: str | None
    environment: str | None
    clock: float | None  # seconds that it is ahead of ours
    places: int | None
    free: int | None  # of these
    memory: int | None
    disk: int | None
    machine: str | None
    projects: list[ProjectOnNode]


@dataclass(frozen=True, kw_only=True)
class LinkedNode:
    """Whether a project is on a node."""

    name: str
    project: str
    linked: bool


@dataclass(frozen=True, kw_only=True)
class RemovedNode:
    """A node that was removed."""

    name: str
    address: str


@dataclass(frozen=True, kw_only=True)
class Released:
    """A project that no controller deploys any more."""

    project: str
    controller: str


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A deployment: its request, and its result."""

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
    backup: str | None
    by: str
    key: str
    via: str


@dataclass(frozen=True, kw_only=True)
class NodeOutcome:
    """What became of a deployment on a node, as the node said last; `before`: the commit that it ran until then."""

    node: str
    phase: str
    reason: str
    before: str


@dataclass(frozen=True, kw_only=True)
class OfHistory(Deployment):
    """A deployment, whether it is live, and what became of it on each node."""

    live: bool
    nodes: list[NodeOutcome] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Open(Deployment):
    """An unfinished deployment; of a held one, the seconds left to confirm it."""

    left: float | None


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The result of `set` without a deployment."""

    state: str
    commit: str | None


@dataclass(frozen=True, kw_only=True)
class Health:
    """The last health check of a live release."""

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
    """A problem, and the command that repairs it."""

    what: str
    repair: str


@dataclass(frozen=True, kw_only=True)
class ProjectNode:
    """A node of a project: what it said last that it runs, and its phase in the rollout that runs now."""

    name: str
    state: str
    code: str
    pillar: str
    rollout: int
    seen: float | None
    drained: bool
    phase: str | None


@dataclass(frozen=True, kw_only=True)
class Status:
    """What is live in a project, what is running or queued, and problems with its files."""

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
    nodes: list[str] = field(default_factory=list)
    frozen_host: bool = False
    frozen_itself: str | None = None
    on_nodes: list[ProjectNode] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """The addresses of a project."""

    project: str
    urls: list[str]


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command run as an application."""

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
    """The archive of a deployment: the tree before it."""

    number: int
    name: str
    path: str
    whole: bool
    commit: str | None
    failed: str | None


@dataclass(frozen=True, kw_only=True)
class Weight:
    """How much an archive takes on the disk, in bytes."""

    number: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Storage:
    """How much the parts of a project take on the disk, and how much is free there, in bytes."""

    project: str
    tree: int
    data: int
    archives: list[Weight]
    free: int
    total: int
    at: float | None = None  # when it was measured; free and total are of now


@dataclass(frozen=True, kw_only=True)
class TaskOf:
    """A task of the live release, and the newest deployment that ran it."""

    task: str
    last: Deployment | None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting of a project: its value and default as JSON; `origin`: project, host or default."""

    name: str
    value: str
    default: str
    origin: str
    expects: str
    says: str


@dataclass(frozen=True, kw_only=True)
class SessionOf:
    """A session of somebody who signed in to the pages."""

    who: str
    source: str
    address: str
    began: float
    seen: float


@dataclass(frozen=True, kw_only=True)
class CaseOf:
    """One test; `result`: passed, failed, error or skipped."""

    name: str
    group: str
    result: str
    seconds: float | None
    message: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A suite of tests that a task ran; of very many cases those that failed are kept."""

    file: str
    suite: str
    tests: int
    failed: int
    errors: int
    skipped: int
    seconds: float | None
    cases: list[CaseOf]


@dataclass(frozen=True, kw_only=True)
class NameOf:
    """A name of a project: where it leads, and whether that is this host."""

    name: str
    addresses: list[str]
    here: bool
    wrong: str


@dataclass(frozen=True, kw_only=True)
class HostOf:
    """A host: how it is reached, what runs there, and the room on its disk in bytes."""

    name: NameOf
    ssh: str
    version: str
    python: str
    git: str
    salt: str
    engine: str
    system: str
    projects: int
    frozen: str | None
    free: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What a check of the host found."""

    check: str
    faults: list[Fault]
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A complete or a failed backup."""

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
    """Statistics of deployments."""

    project: str
    deployments: int
    succeeded: int
    success_rate: float | None
    median: float | None
    p95: float | None
    slowest: list[tuple[str, float]]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Metrics for Prometheus."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The differences between two deployments."""

    old: int = field(metadata={"key": "from"})
    new: int = field(metadata={"key": "to"})
    files: list[tuple[str, str]]
    cfg: list[str]


@dataclass(frozen=True, kw_only=True)
class Lines:
    """How many log lines of an application were shown, and how many notes on what could not be."""

    lines: int
    notes: int


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The end of a command."""

    code: int
    wrong: str = ""


@dataclass(frozen=True, kw_only=True)
class Freeze:
    """A freeze of a project ("": the host): why and by whom."""

    project: str
    reason: str
    who: str
    at: float


@dataclass(frozen=True, kw_only=True)
class Frozen(Freeze):
    """A freeze, and the one that it replaced."""

    before: Freeze | None


@dataclass(frozen=True, kw_only=True)
class Thawed:
    """What was unfrozen, and the freeze of the host if that still applies."""

    thawed: str
    still: Freeze | None


@dataclass(frozen=True, kw_only=True)
class Made:
    """A created or repaired project, and the addresses for pushes."""

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
    """A removed project, and what is left of it."""

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
    """A right on some projects, or (empty) on all."""

    right: str
    projects: list[str]


@dataclass(frozen=True, kw_only=True)
class Key:
    """An ssh key, and its rights."""

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
    """A key, and the one that it replaced."""

    before: Key | None


@dataclass(frozen=True, kw_only=True)
class Rights:
    """The rights of a key on a project."""

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
class Account:
    """A person who signs in with a password, and until when their one-time link can be used."""

    name: str
    right: str
    projects: list[str]
    expires: float | None
    added: float
    by: str
    password: bool
    link_ends: float | None


@dataclass(frozen=True, kw_only=True)
class LinkedAccount(Account):
    """An account, and its one-time link, which is shown once."""

    link: str


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What somebody asked for, and what came of it."""

    id: int
    at: float
    who: str
    via: str
    origin: str
    operation: str
    project: str
    number: int | None
    detail: dict[str, Any]
    outcome: str
    reason: str
    times: int


@dataclass(frozen=True, kw_only=True)
class Link:
    """Whose a one-time link is, and what it does: password or sign-in."""

    name: str
    does: str


@dataclass(frozen=True, kw_only=True)
class SignedIn:
    """A session, which the browser presents from then on, and whose it is."""

    session: str
    who: str
    after: str = "/"


@dataclass(frozen=True, kw_only=True)
class Begun:
    """Where a browser goes to sign in, and what it keeps meanwhile."""

    url: str
    binding: str


@dataclass(frozen=True, kw_only=True)
class Ways:
    """By what people can sign in, besides a password and a token."""

    provider: bool


@dataclass(frozen=True, kw_only=True)
class Whoami:
    """Who asks, what they may as people read it, and when that ends."""

    who: str
    may: str
    rights: list[Grant]
    expires: float | None


def keys(kind: type[Any]) -> dict[str, str]:
    """Return the keys of a result, each with its type as written here."""
    return {each.metadata.get("key", each.name): str(each.type) for each in fields(kind)}


def plain(value: Any) -> Any:
    """Return a result as JSON types."""
    if hasattr(value, "__dataclass_fields__"):
        return {each.metadata.get("key", each.name): plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, (str, int, float)) else str(value)
