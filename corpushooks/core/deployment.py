"""Projects and deployments as values: requests, rows of the store, states and their transitions. Values only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

QUEUED, RUNNING, HELD, ROLLING_BACK = "queued", "running", "held", "rolling_back"
DEPLOYED, DONE, REFUSED, CANCELLED, FAILED = "deployed", "done", "refused", "cancelled", "failed"
ROLLED_BACK, BROKEN = "rolled_back", "broken"
# Two rows of the journal mark the progress of a deployment: before the first nothing was touched; interrupted before
# the second it is rolled back, and from then on it is completed.
TOUCHES, HOLDS, DECIDES = "sync", "hold", "publish"
PREPARED = "prepared"  # the row of a node that waits for its controller, before anything is touched
MARK = "CORPUS_DEPLOYMENT"  # in the environment of all processes of a deployment: the project's folder # its number
AS_SET = -1  # a request to hold: for the time in the settings


@dataclass(frozen=True)
class State:
    """One state of a deployment: its word for people, the exit code of commands that end in it, and its successors."""

    name: str
    word: str
    exit: int = 1
    next: frozenset[str] = frozenset()  # empty: it is final
    succeeded: bool = False
    failed: bool = False  # something was tried and failed; a refusal tried nothing


STATES: Mapping[str, State] = {
    state.name: state
    for state in (
        State(QUEUED, "queued", 0, frozenset({RUNNING, REFUSED, CANCELLED})),
        State(RUNNING, "running", 1, frozenset({DEPLOYED, DONE, HELD, REFUSED, ROLLING_BACK, FAILED})),
        State(HELD, "held", 1, frozenset({RUNNING, ROLLING_BACK})),  # it awaits a confirmation
        State(ROLLING_BACK, "rolling back", 1, frozenset({ROLLED_BACK, BROKEN})),
        State(DEPLOYED, "deployed", 0, succeeded=True),
        State(DONE, "done", 0, succeeded=True),
        State(REFUSED, "refused", 3),
        State(CANCELLED, "cancelled"),
        State(FAILED, "failed", failed=True),
        State(ROLLED_BACK, "rolled back", failed=True),
        State(BROKEN, "broken", 4, failed=True),
    )
}
TRANSITIONS: Mapping[str, frozenset[str]] = {each.name: each.next for each in STATES.values() if each.next}
SUCCEEDED = frozenset(each.name for each in STATES.values() if each.succeeded)
FAILURES = tuple(each.name for each in STATES.values() if each.failed)
TRIED = tuple(each.name for each in STATES.values() if each.succeeded or each.failed)  # neither refused nor cancelled


def state_of(name: str) -> State:
    """Return a state by its name; the name of an unknown one (of a newer version) is shown as it is."""
    return STATES.get(name, State(name, name))


@dataclass(frozen=True)
class Kind:
    """One kind of request: what it does to a project, and who can ask for it."""

    name: str
    noun: str = ""  # its name for people, before a number; empty: `name`
    usual: bool = False  # the default kind
    releases: bool = False  # another release goes live: it has an archive, and a failure is rolled back
    returns: bool = False  # it restores the result of an earlier deployment, its target
    edits: bool = False  # edits in place go live
    dry: bool = False  # it only shows what would change; a refusal becomes a warning
    repairs: bool = False  # it repairs a broken project
    restarts: bool = False  # it restarts units and does nothing else
    keeps: bool = False  # it makes a backup
    beside: bool = False  # deployments wait for it for some time only, and then run beside it
    restores: bool = False  # it restores a backup; interrupted, it completes or undoes that itself
    changes: bool = False  # it changes what runs, so it is refused while a project is frozen
    asked: bool = True  # it comes from a command or a push; otherwise from the daemon itself


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("deploy", "deployment", usual=True, releases=True, changes=True),
        Kind("rollback", releases=True, returns=True, changes=True),
        Kind("task", changes=True),
        Kind("restart", restarts=True),  # of the same release, so allowed while frozen
        Kind("plan", dry=True),
        Kind("repair", repairs=True),
        Kind("backup", keeps=True, beside=True),  # it changes nothing, so allowed while frozen
        Kind("drill"),  # likewise
        Kind("prune", beside=True),
        Kind("check", beside=True),  # of the whole repository of backups
        Kind("restore", restores=True, changes=True),
        Kind("edit", "deployment", edits=True, changes=True, asked=False),
    )
}
RELEASING = frozenset(kind.name for kind in KINDS.values() if kind.releases)
DEPLOYING = frozenset(kind.name for kind in KINDS.values() if kind.releases or kind.edits)


def kind_of(name: str) -> Kind:
    """Return a kind of request by its name; an unknown one (of a newer version) has no properties."""
    return KINDS.get(name, Kind(name, asked=False))


PILLAR = "pillar"  # the repository of the configuration; the other one has the code


class Revision(NamedTuple):
    """A commit of the code and one of the pillar: deployed, wanted, archived or compared."""

    code: str | None = None
    pillar: str | None = None

    def of(self, repo: str) -> str | None:
        """Return the commit of a repository."""
        return self.pillar if repo == PILLAR else self.code


@dataclass(frozen=True)
class Request:
    """A request, stored as it came."""

    kind: str = "deploy"  # deploy, rollback, task, restart, plan, repair, backup, drill, restore, edit
    repo: str = "project"  # the repository that was pushed to: project or pillar
    ref: str = ""  # the ref as pushed; empty for a request of the command
    old: str = ""  # what the pushed ref was
    new: str = ""  # the commit to deploy; empty: the live one
    who: str = ""
    key: str = ""  # the name of the ssh key that it came with
    via: str = ""  # push, command, token, page, set or watch
    token: str = ""
    task: str = ""
    units: tuple[str, ...] = ()  # restart: empty: all of the project
    target: int = 0  # rollback: the deployment whose result is restored; restore, drill: the backup (0: the newest)
    parts: tuple[str, ...] = ()  # restore: data, pillar, database:NAME
    to: str = ""  # restore: into this folder instead of the original places
    dry: bool = False  # restore: a plan only
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()  # edit: the files that changed
    force: bool = False  # overwrite edits on the server, and live commits
    insist: bool = False  # override a freeze, with the right to; `force` does so too
    confirm: int = 0  # how many seconds it is held, or AS_SET; 0: as in the settings
    connection: str = ""  # the process of sshd that it came through; empty: not over ssh
    nowait: bool = False
    progress: bool = False
    nodes: tuple[str, ...] = ()  # of a controller: only these
    rollout: int = 0  # on a node: the number of the order of its controller
    epoch: int = 0  # and of that
    pillar: str = ""  # the commit of the pillar, which comes with the order
    lease: float = 0.0  # seconds without a word of the controller after which it goes back
    keeps: bool = False  # it does not, once it is held
    node: str = ""  # the name of this node, for cfg
    peers: tuple[str, ...] = ()  # of all nodes of the project
    labels: tuple[str, ...] = ()  # of this one
    run_once: bool = False  # migrations run on this one

    @property
    def sort(self) -> Kind:
        """Its kind."""
        return kind_of(self.kind)

    def is_again(self, other: Request) -> bool:
        """Return whether another request repeats this one; of a push, for the same commit."""
        mine, theirs = (
            (
                one.who,
                one.via,
                one.kind,
                one.repo,
                one.ref,
                one.task,
                one.units,
                one.target,
                one.parts,
                one.to,
                one.dry,
                one.nodes,
                one.via == "push" and one.new,
            )
            for one in (self, other)
        )
        return mine == theirs

    @classmethod
    def load(cls, text: str) -> Request:
        """Read a request; unknown fields (of a newer version) are ignored. Raise TypeError for a wrong type."""
        found: dict[str, Any] = json.loads(text)
        values: dict[str, Any] = {}
        if not isinstance(found, dict):
            raise TypeError("not a mapping")
        for known in fields(cls):
            if known.name in found:
                value = found[known.name]
                values[known.name] = tuple(value) if isinstance(value, list) else value
                words = value if isinstance(value, list) else [""]
                if type(values[known.name]) is not type(known.default) or not all(isinstance(w, str) for w in words):
                    raise TypeError(f"{known.name}: {value!r}")
        return cls(**values)


@dataclass(frozen=True)
class ProjectRow:
    """A project in the store."""

    name: str
    environment: str
    branch: str
    created: float
    live: int | None = None
    code: str | None = None
    pillar: str | None = None
    tree_code: str | None = None
    tree_pillar: str | None = None
    broken: str | None = None
    broken_by: int | None = None

    @property
    def deployed(self) -> Revision:
        """The live revision."""
        return Revision(self.code, self.pillar)

    @property
    def tree(self) -> Revision:
        """The revision in the trees: in dev, possibly one that failed."""
        return Revision(self.tree_code, self.tree_pillar)


@dataclass(frozen=True)
class Deployment:
    """A deployment in the store."""

    project: str
    number: int
    token: str
    state: str
    request: Request
    old_code: str | None = None
    new_code: str | None = None
    old_pillar: str | None = None
    new_pillar: str | None = None
    archive: str | None = None
    queued: float = 0.0
    started: float | None = None
    decided: float | None = None
    ended: float | None = None
    reason: str = ""
    summary: str = ""  # the reason in a few words
    cancelled: str | None = None
    lease: float | None = None  # how many seconds it is held at most
    held: float | None = None  # since when
    boot: str | None = None  # the boot in which `until` counts
    until: float | None = None
    answered: float | None = None  # when the hold ended
    confirmed: str | None = None  # by whom
    backup: str | None = None  # the name of the backup that was made before it

    @property
    def took(self) -> float | None:
        """How many seconds it ran, without the hold; None: it has not started, or not ended."""
        if not self.decided or not self.started:
            return None
        waited = max(0.0, self.answered - self.held) if self.answered and self.held else 0.0
        return max(0.0, self.decided - self.started - waited)

    @property
    def old(self) -> Revision:
        """The revision that was live before."""
        return Revision(self.old_code, self.old_pillar)

    @property
    def new(self) -> Revision:
        """The revision that it deploys."""
        return Revision(self.new_code, self.new_pillar)

    @property
    def succeeded(self) -> bool:
        return self.state in SUCCEEDED

    @property
    def final(self) -> bool:
        return self.state not in TRANSITIONS

    def as_json(self) -> dict[str, Any]:
        """Return a deployment as --json shows it."""
        shown = asdict(self)
        request = shown.pop("request")
        for internal in ("token", "boot", "until"):
            shown.pop(internal)
        asked = {"kind": request["kind"], "by": request["who"], "key": request["key"], "via": request["via"]}
        return {**shown, "took": self.took, **asked}


def newest_tried(found: Iterable[Deployment], kinds: Set[str]) -> Deployment | None:
    """Return the first deployment of some kinds that ran to its end; one that was refused tried nothing."""
    return next((one for one in found if one.request.kind in kinds and one.state in TRIED), None)


@dataclass(frozen=True)
class Freeze:
    """A freeze of one project, or ("") of all: why, and by whom."""

    project: str
    reason: str
    who: str
    at: float

    def __str__(self) -> str:
        return f"{self.project or 'this host'} is frozen by {self.who}: {self.reason}"


@dataclass(frozen=True)
class ChildRow:
    """A process that a deployment started, identified by pid and start time."""

    pid: int
    start: int
    pgid: int


def enabled(request: Request, step: str) -> bool:
    """Return whether a request includes a step."""
    return (not request.only or step in request.only) and step not in request.skip
