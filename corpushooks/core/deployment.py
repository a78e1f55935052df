"""What is said of projects and deployments: requests, rows of the store, states and their transitions. Values only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

QUEUED, RUNNING, HELD, ROLLING_BACK = "queued", "running", "held", "rolling_back"
DEPLOYED, DONE, REFUSED, CANCELLED, FAILED = "deployed", "done", "refused", "cancelled", "failed"
ROLLED_BACK, BROKEN = "rolled_back", "broken"
# Two rows of the journal say how far a deployment came: before the first nothing was touched; before the second it goes
# back when it is interrupted, from that on it goes forward.
TOUCHES, HOLDS, DECIDES = "sync", "hold", "publish"
MARK = "CORPUS_DEPLOYMENT"  # in the environment of all that a deployment starts: the project's folder # its number
AS_SET = -1  # of a request to hold: as long as the settings say


@dataclass(frozen=True)
class State:
    """One state of a deployment: its word, the exit code of a command that ends in it, and what may follow it."""

    name: str
    word: str
    exit: int = 1
    next: frozenset[str] = frozenset()  # none: it is final
    succeeded: bool = False
    failed: bool = False  # something was tried and did not work; a refusal tried nothing


STATES: Mapping[str, State] = {
    state.name: state
    for state in (
        State(QUEUED, "waits", 0, frozenset({RUNNING, REFUSED, CANCELLED})),
        State(RUNNING, "runs", 1, frozenset({DEPLOYED, DONE, HELD, REFUSED, ROLLING_BACK, FAILED})),
        State(HELD, "held", 1, frozenset({RUNNING, ROLLING_BACK})),  # nothing is final: it awaits a confirmation
        State(ROLLING_BACK, "rolls back", 1, frozenset({ROLLED_BACK, BROKEN})),
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
    """Return a state by its name; one of a newer version is called as it is."""
    return STATES.get(name, State(name, name))


@dataclass(frozen=True)
class Kind:
    """One kind of request: what it does to a project, and who may ask for it."""

    name: str
    noun: str = ""  # what people call one, with its number; none: by its name
    usual: bool = False  # what is meant where none is said
    releases: bool = False  # another release goes live: it has an archive, and where it fails it is rolled back
    returns: bool = False  # to the result of an earlier deployment, its target
    edits: bool = False  # what was edited in place goes live
    dry: bool = False  # it only tells what would change: what would be refused is a warning
    repairs: bool = False  # what is broken is whole after it
    restarts: bool = False  # units, and nothing else
    keeps: bool = False  # a copy of what it has, elsewhere
    restores: bool = False  # what is kept elsewhere comes back: interrupted, it goes forward or back by itself
    changes: bool = False  # it changes what runs: refused while a project is frozen
    asked: bool = True  # by a command or a push; else the daemon itself asks


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("deploy", "deployment", usual=True, releases=True, changes=True),
        Kind("rollback", releases=True, returns=True, changes=True),
        Kind("task", changes=True),
        Kind("restart", restarts=True),  # of the same release, so also while it is frozen
        Kind("plan", dry=True),
        Kind("repair", repairs=True),
        Kind("backup", keeps=True),  # it changes nothing, so also while it is frozen
        Kind("drill"),  # it changes nothing either
        Kind("restore", restores=True, changes=True),
        Kind("edit", "deployment", edits=True, changes=True, asked=False),
    )
}
RELEASING = frozenset(kind.name for kind in KINDS.values() if kind.releases)
DEPLOYING = frozenset(kind.name for kind in KINDS.values() if kind.releases or kind.edits)


def kind_of(name: str) -> Kind:
    """Return a kind of request by its name; of one that a newer version knows nothing is known."""
    return KINDS.get(name, Kind(name, asked=False))


PILLAR = "pillar"  # the repository of the configuration; the other one is that of the code


class Revision(NamedTuple):
    """What is deployed, wanted, archived or compared: a commit of the code and one of the pillar."""

    code: str | None = None
    pillar: str | None = None

    def of(self, repo: str) -> str | None:
        """Return the commit of one of the two repositories."""
        return self.pillar if repo == PILLAR else self.code


@dataclass(frozen=True)
class Request:
    """What somebody asks for; stored as it came."""

    kind: str = "deploy"  # deploy, rollback, task, restart, plan, repair, backup, drill, restore, edit
    repo: str = "project"  # the repository that was pushed to: project or pillar
    ref: str = ""  # the ref as pushed; empty for a request of the command
    old: str = ""  # what the pushed ref was
    new: str = ""  # the commit to deploy; empty: the live one
    who: str = ""
    key: str = ""  # the name of the ssh key that it came with
    via: str = ""  # push, command or watch
    token: str = ""
    task: str = ""
    units: tuple[str, ...] = ()  # restart: none named: all of the project
    target: int = 0  # rollback: the deployment whose result returns; restore, drill: the backup (0: the newest)
    parts: tuple[str, ...] = ()  # restore: data, pillar, database:NAME
    to: str = ""  # restore: into this folder, instead of the places that things had
    dry: bool = False  # restore: a plan only
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()  # of an edit: the files that were seen to change
    force: bool = False  # also over what was edited on the server, and over live commits
    insist: bool = False  # also what is frozen, by somebody who may; force of theirs does too
    confirm: int = 0  # so many seconds it is held, or AS_SET; 0: where the settings say so
    connection: str = ""  # the process of sshd that it came by; none: it came by no ssh
    nowait: bool = False
    progress: bool = False

    @property
    def sort(self) -> Kind:
        """What its kind means."""
        return kind_of(self.kind)

    def is_again(self, other: Request) -> bool:
        """Say whether another request is this one, asked for again; of a push the commit is fixed, too."""
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
                one.via == "push" and one.new,
            )
            for one in (self, other)
        )
        return mine == theirs

    @classmethod
    def load(cls, text: str) -> Request:
        """Read a request; what a newer version wrote beside it is left out. Raise TypeError for a wrong type."""
        found: dict[str, Any] = json.loads(text)
        values: dict[str, Any] = {}
        if not isinstance(found, dict):
            raise TypeError("no mapping")
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
    """What the store says of a project."""

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
        """What is live."""
        return Revision(self.code, self.pillar)

    @property
    def tree(self) -> Revision:
        """What is in the trees: in dev, also what failed."""
        return Revision(self.tree_code, self.tree_pillar)


@dataclass(frozen=True)
class Deployment:
    """What the store says of one deployment."""

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
    lease: float | None = None  # how many seconds it is held before it is final
    held: float | None = None  # since when
    boot: str | None = None  # that, until when, by what only a reboot changes
    until: float | None = None
    answered: float | None = None  # when it was no longer held
    confirmed: str | None = None  # by whom

    @property
    def took(self) -> float | None:
        """How many seconds it worked, without those for which it was held; None: it has not worked, or works yet."""
        if not self.decided or not self.started:
            return None
        waited = max(0.0, self.answered - self.held) if self.answered and self.held else 0.0
        return max(0.0, self.decided - self.started - waited)

    @property
    def old(self) -> Revision:
        """What was live before."""
        return Revision(self.old_code, self.old_pillar)

    @property
    def new(self) -> Revision:
        """What it deploys."""
        return Revision(self.new_code, self.new_pillar)

    @property
    def succeeded(self) -> bool:
        return self.state in SUCCEEDED

    @property
    def final(self) -> bool:
        return self.state not in TRANSITIONS

    def as_json(self) -> dict[str, Any]:
        """Return what --json shows of a deployment."""
        shown = asdict(self)
        request = shown.pop("request")
        for internal in ("token", "boot", "until"):
            shown.pop(internal)
        asked = {"kind": request["kind"], "by": request["who"], "key": request["key"], "via": request["via"]}
        return {**shown, "took": self.took, **asked}


def newest_tried(found: Iterable[Deployment], kinds: Set[str]) -> Deployment | None:
    """Return the first of some kinds that began and ended; what was refused tried nothing and says nothing."""
    return next((one for one in found if one.request.kind in kinds and one.state in TRIED), None)


@dataclass(frozen=True)
class Freeze:
    """Why nothing is deployed for now, in one project or ("") in all, and who said so."""

    project: str
    reason: str
    who: str
    at: float

    def __str__(self) -> str:
        return f"{self.project or 'this host'} is frozen by {self.who}: {self.reason}"


@dataclass(frozen=True)
class ChildRow:
    """A process that a deployment started: its pid means it only together with its start time."""

    pid: int
    start: int
    pgid: int


def enabled(request: Request, step: str) -> bool:
    """Say whether a request wants a step."""
    return (not request.only or step in request.only) and step not in request.skip
