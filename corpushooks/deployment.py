"""What is said of projects and deployments: requests, rows of the store, states and their transitions. Values only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass, fields
from typing import Any

QUEUED, RUNNING, ROLLING_BACK = "queued", "running", "rolling_back"
DEPLOYED, DONE, REFUSED, CANCELLED, FAILED = "deployed", "done", "refused", "cancelled", "failed"
ROLLED_BACK, BROKEN = "rolled_back", "broken"

TRANSITIONS: Mapping[str, frozenset[str]] = {
    QUEUED: frozenset({RUNNING, REFUSED, CANCELLED}),
    RUNNING: frozenset({DEPLOYED, DONE, REFUSED, ROLLING_BACK, FAILED}),
    ROLLING_BACK: frozenset({ROLLED_BACK, BROKEN}),
}
SUCCEEDED = frozenset({DEPLOYED, DONE})
FAILURES = (FAILED, ROLLED_BACK, BROKEN)  # something was tried and did not work; a refusal tried nothing
TRIED = (DEPLOYED, DONE, *FAILURES)  # began, and came to an end: neither refused nor cancelled while it waited
DEPLOYING = frozenset({"deploy", "rollback", "edit"})  # the kinds by which another release, or an edit, goes live
CHANGING = frozenset({"deploy", "rollback", "task", "edit"})  # the kinds of request that change what runs


@dataclass(frozen=True)
class Request:
    """What somebody asks for; stored as it came."""

    kind: str = "deploy"  # deploy, rollback, task, plan, repair, edit
    repo: str = "project"  # the repository that was pushed to: project or pillar
    ref: str = ""  # the ref as pushed; empty for a request of the command
    old: str = ""  # what the pushed ref was
    new: str = ""  # the commit to deploy; empty: the live one
    who: str = ""
    key: str = ""  # the name of the ssh key that it came with
    via: str = ""  # push, command or watch
    token: str = ""
    task: str = ""
    target: int = 0  # rollback: the deployment whose result returns
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()  # of an edit: the files that were seen to change
    force: bool = False  # also over what was edited on the server, and over live commits
    insist: bool = False  # also what is frozen, by somebody who may; force of theirs does too
    nowait: bool = False
    progress: bool = False

    def is_again(self, other: Request) -> bool:
        """Say whether another request is this one, asked for again; of a push the commit is fixed, too."""
        mine, theirs = (
            (one.who, one.via, one.kind, one.repo, one.ref, one.task, one.target, one.via == "push" and one.new)
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
    cancelled: str | None = None

    @property
    def final(self) -> bool:
        return self.state not in TRANSITIONS

    def as_json(self) -> dict[str, Any]:
        """Return what --json shows of a deployment."""
        shown = asdict(self)
        request = shown.pop("request")
        shown.pop("token")
        return {**shown, "kind": request["kind"], "by": request["who"], "key": request["key"], "via": request["via"]}


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
