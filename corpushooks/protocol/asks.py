"""The request of each operation, field by field. Values only.

Requests are strictly checked against these (`messages.Asked.typed`): a text is UTF-8 without NUL and of limited
length, a number fits into the store. A field that is `raw()` can have bytes that are not text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

RAW = "raw"  # in the metadata of a field: words of git or a shell, which need not be UTF-8
LONG = "long"  # limited only by the length of the request


def raw(*, long: bool = False) -> Any:
    """Return a field of words that need not be UTF-8."""
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
    """One project, or ("") all that the caller can read."""

    project: str = ""


@dataclass(frozen=True, kw_only=True)
class Admit:
    """Admit a session of ssh: the key that sshd accepted, and its purpose."""

    key: str
    right: str
    project: str
    mark: str = ""  # identifies the key: another one can have its name by now
    certificate: str = ""
    repo: str = "project"


@dataclass(frozen=True, kw_only=True)
class Push(OfProject):
    """The input of git's hook."""

    repo: str
    token: str
    commands: tuple[tuple[str, str, str], ...] = raw(long=True)  # old commit, new commit, ref
    options: tuple[str, ...] = raw()
    atomic: bool = False
    number: int = 0  # of the deployment, from an earlier connection
    offset: int = 0  # in its log: up to where it was read


@dataclass(frozen=True, kw_only=True)
class OfOrder(OfProject):
    """One rollout of a controller."""

    epoch: int
    number: int


@dataclass(frozen=True, kw_only=True)
class Prepare(OfOrder):
    """An order to prepare a release: the commits, and up to when it can be carried out."""

    not_after: float
    code: str
    pillar: str = ""
    lease: float = 60.0
    keeps: bool = False
    who: str = ""
    node: str = ""  # the name of the node, for cfg; then all nodes of the project, and the labels of this one
    nodes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    run_once: bool = False  # migrations run on this node
    force: bool = False  # overwrite what was edited there


@dataclass(frozen=True, kw_only=True)
class Switch(OfOrder):
    """The order to switch to what was prepared."""

    not_after: float


@dataclass(frozen=True, kw_only=True)
class Outcome(OfOrder):
    """What became of an order; asked with `wait`, the answer comes when it is no longer `seen`, or that late."""

    seen: str = ""
    wait: float = 0.0


@dataclass(frozen=True, kw_only=True)
class NodeRequest(OfOrder):
    """A plan of commits, or a task, for a node to run by itself; and, for cfg, as in an order to prepare."""

    kind: str
    not_after: float
    task: str = ""
    code: str = ""
    pillar: str = ""
    who: str = ""
    node: str = ""
    nodes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    run_once: bool = False


@dataclass(frozen=True, kw_only=True)
class NodeLog(OfOrder):
    """A part of the log of an order, from an offset on; with `wait` for something new, or the end."""

    offset: int = 0
    wait: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Adopt(OfProject):
    """A project that a controller places on this node, which is created if it does not exist."""

    environment: str
    branch: str
    epoch: int
    node: str
    address: str = ""  # of the controller, for people
    nodes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    object_format: str = ""  # of the controller's repositories: git cannot send to another


@dataclass(frozen=True, kw_only=True)
class Meet:
    """Where the controller is, for a node that fetches there: ACCOUNT@HOST[:PORT], and its host key."""

    address: str
    host_key: str


@dataclass(frozen=True, kw_only=True)
class Fetch(OfProject):
    """The commits of a rollout that a node shall fetch from its controller; an empty one is none."""

    number: int
    code: str
    pillar: str = ""


@dataclass(frozen=True, kw_only=True)
class OfNode:
    """One node."""

    name: str


@dataclass(frozen=True, kw_only=True)
class NodeAdd(OfNode):
    """The address of a node and its labels; the fingerprint of its host key, if it must have that one."""

    address: str
    labels: tuple[str, ...] = ()
    fingerprint: str = ""


@dataclass(frozen=True, kw_only=True)
class NodeAccept(OfNode):
    """A node whose minion waits at the Salt master, its labels, and the fingerprint that it must have."""

    fingerprint: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OnNode(OfProject):
    """A project, and a node for it."""

    name: str


@dataclass(frozen=True, kw_only=True)
class OfRequest(OfProject):
    """The common fields of requests for deployments."""

    token: str = ""  # identifies a repeated request
    nowait: bool = False
    progress: bool = False  # a terminal that can rewrite a line
    force: bool = False
    insist: bool = False


@dataclass(frozen=True, kw_only=True)
class NodeSync(OfRequest):
    """A project, and the node that is to run what is live here."""

    name: str


@dataclass(frozen=True, kw_only=True)
class OfRelease(OfRequest):
    """A request for another release; `confirm`: held for so many seconds (0: as in the settings), or not."""

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
    """Run a task; of a project with nodes on one of them, or ("") on all."""

    task: str
    node: str = ""


@dataclass(frozen=True, kw_only=True)
class Restart(OfRequest):
    """Restart units (empty: all of the project)."""

    units: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Drill(OfRequest):
    """Test a backup (0: the newest) by restoring it aside."""

    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Restore(OfRequest):
    """Restore parts of a backup (0: the newest), in place or to a new folder; `dry`: only show what that would do."""

    number: int = 0
    data: bool = False
    pillar: bool = False
    dumps: bool = False
    databases: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    to: str = ""
    dry: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts, as stored in a request."""
        databases = (f"database:{name}" for name in self.databases)
        folders = (f"folder:{path}" for path in self.folders)
        flags = {"data": self.data, "pillar": self.pillar, "dumps": self.dumps}
        return (*(name for name, wanted in flags.items() if wanted), *databases, *folders)


@dataclass(frozen=True, kw_only=True)
class Confirm(OfProject):
    """Confirm a deployment."""

    number: int


@dataclass(frozen=True, kw_only=True)
class Assign(OfProject):
    """Set variables, each with its text and the source of that ("stdin" or ""), and unset others."""

    pairs: tuple[tuple[str, str, str], ...] = raw()
    keys: tuple[str, ...] = raw()
    deploy: bool = True
    token: str = ""
    progress: bool = False


@dataclass(frozen=True, kw_only=True)
class Follow(OfProject):
    """Read the log of a deployment (0: the newest) from an offset to its end, waiting for it if necessary."""

    number: int = 0
    offset: int = 0
    whole: bool = False  # including what the terminal of a push does not show
    events: bool = False  # with their fields
    follow: bool = True  # else only what is there
    progress: bool = False
    node: str = ""  # of a rollout: the log of this node


@dataclass(frozen=True, kw_only=True)
class OfDeployment(OfProject):
    """One deployment (0: the newest)."""

    number: int = 0


@dataclass(frozen=True, kw_only=True)
class OfArchive(OfProject):
    """The archive of one deployment."""

    number: int


@dataclass(frozen=True, kw_only=True)
class Watch(OfProject):
    """Deploy edits as they are saved, with some or all of the install SLS files."""

    steps: tuple[str, ...] = ()
    progress: bool = False


@dataclass(frozen=True, kw_only=True)
class AppLog(OfProject):
    """Read the newest log lines of an application, and with `follow` new ones."""

    lines: int = 100
    follow: bool = False
    json: bool = False
    offset: int = 0  # µs since the epoch: earlier lines were read


@dataclass(frozen=True, kw_only=True)
class Run(OfProject):
    """Run a command as the application."""

    words: tuple[str, ...] = raw()
    term: str = ""
    lang: str = ""


@dataclass(frozen=True, kw_only=True)
class Status(OfProjects):
    """What is live; with `urls` also the addresses for pushes and of the application."""

    urls: bool = False


@dataclass(frozen=True, kw_only=True)
class Open(OfProject):
    """The addresses of a project; `needed`: having none is an error."""

    needed: bool = False


@dataclass(frozen=True, kw_only=True)
class History(OfProject):
    """The newest deployments, or commands, up to a limit."""

    limit: int = 20


@dataclass(frozen=True, kw_only=True)
class Config(OfProject):
    """The configuration; with `origin` the source of each value, with `secrets` unmasked."""

    origin: bool = False
    secrets: bool = False


@dataclass(frozen=True, kw_only=True)
class Diff(OfProject):
    """Two deployments to compare (0: the live one, and what it replaced)."""

    old: int = 0
    new: int = 0


@dataclass(frozen=True, kw_only=True)
class OfProjectOrHost:
    """One project, or ("") the whole host; required."""

    project: str


@dataclass(frozen=True, kw_only=True)
class OfSetting(OfProject):
    """One setting of a project."""

    name: str


@dataclass(frozen=True, kw_only=True)
class SettingSet(OfSetting):
    """A new value of a setting, as one writes it into the file."""

    value: str


@dataclass(frozen=True, kw_only=True)
class OfPersons:
    """Somebody, as deployments and the audit call them, or all."""

    who: str = ""


@dataclass(frozen=True, kw_only=True)
class OfPerson:
    """Somebody, as deployments and the audit call them."""

    who: str


@dataclass(frozen=True, kw_only=True)
class Freeze(OfProjectOrHost):
    """The reason of a freeze."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class KeyAdd:
    """A public key, its name, and its rights."""

    name: str
    key: str
    right: str = "push"
    projects: tuple[str, ...] = ()  # empty: all
    expires: str = ""  # a date, or 90d
    authority: bool = False
    principals: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class KeySet:
    """New rights of a key. Fields that are not given stay unchanged."""

    name: str
    right: str = ""
    projects: tuple[str, ...] = ()
    every_project: bool = False
    expires: str = ""  # a date, 90d or never
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
class Granted:
    """A name, and the rights that go with it."""

    name: str
    right: str = "read"
    projects: tuple[str, ...] = ()  # none: all
    expires: str = ""  # a day, or 90d


@dataclass(frozen=True, kw_only=True)
class TokenAdd(Granted):
    """The name of a token, and its rights."""


@dataclass(frozen=True, kw_only=True)
class OfToken:
    """One token."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was asked for: in one project or all, by somebody, since a day."""

    project: str = ""
    who: str = ""
    since: str = ""  # a date, or 90d
    limit: int = 100


@dataclass(frozen=True, kw_only=True)
class AccountAdd(Granted):
    """The name of an account, and its rights."""


@dataclass(frozen=True, kw_only=True)
class OfAccount:
    """One account."""

    name: str


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """What somebody presents: a name with a password, a token, or a link."""

    name: str = ""
    password: str = ""
    bearer_token: str = ""
    link: str = ""
    code: str = ""  # of a provider,
    state: str = ""  # for the sign-in that was begun,
    binding: str = ""  # by this browser,
    issuer: str = ""  # as the provider says who it is


@dataclass(frozen=True, kw_only=True)
class Begin:
    """The path to go to after a sign-in by a provider."""

    after: str = "/"


@dataclass(frozen=True, kw_only=True)
class OfLink:
    """A one-time link."""

    link: str


@dataclass(frozen=True, kw_only=True)
class SetPassword(OfLink):
    """A one-time link, and the password to set by it."""

    password: str


@dataclass(frozen=True, kw_only=True)
class Init:
    """A project to create or repair. Fields that are not given stay unchanged, or are as in the settings."""

    project: str
    env: str = ""
    branch: str = ""
    installer: str = ""
    object_format: str = ""
    ssh_key: bool = False


@dataclass(frozen=True, kw_only=True)
class Remove(OfProject):
    """A project to remove, with `purge` also its files."""

    purge: bool = False


@dataclass(frozen=True, kw_only=True)
class RenameBranch(OfProject):
    """The new name of the branch that deploys."""

    branch: str
