"""The events of a running deployment: a closed list, each a value with fields.

The log stores them, screen turns them into lines, and everything else reads their fields. Names and fields never
change: later versions read old logs, and programs read them over the API. New fields have a default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from corpushooks.core import records

VERSION = 1  # of the log, in its first line
ITEMS = 1000  # that are kept of a list


@dataclass(frozen=True)
class Detail:
    """The result of a step: a number of things, of how many, and a note."""

    count: int | None = None
    noun: str = ""
    of: int | None = None
    note: str = ""

    def __bool__(self) -> bool:
        return self != NOTHING


NOTHING = Detail()
LEFT_OUT = Detail(note="skipped")  # as requested


@dataclass(frozen=True)
class Item:
    """One entry of a list."""

    text: str
    mark: str = ""  # of a file: A, M or D
    detail: str = ""


@dataclass(frozen=True)
class Began:
    """A deployment began: from which commits to which, or what was requested."""

    project: str
    environment: str
    number: int
    kind: str
    by: str = ""  # the ssh key that was used
    old: str | None = None
    new: str | None = None
    old_pillar: str | None = None
    new_pillar: str | None = None
    commits: int = 0
    task: str = ""
    edited: tuple[str, ...] = ()
    nodes: int = 0  # that it is rolled out to
    how: str = ""  # of a rollout: the settings that are not the usual ones


@dataclass(frozen=True)
class StepBegan:
    """A step of the procedure began; `undo`: one of the rollback."""

    step: str
    index: int = 0
    total: int = 0
    undo: bool = False


@dataclass(frozen=True)
class StepEnded:
    """A step of the procedure succeeded; `undo`: one of the rollback."""

    step: str
    index: int = 0
    total: int = 0
    detail: Detail = NOTHING
    seconds: float | None = None
    undo: bool = False


@dataclass(frozen=True)
class Held:
    """A deployment is held: everything is installed, nothing is final until it is confirmed."""

    seconds: float  # left
    until: float  # in seconds since the epoch, by the clock of the host
    command: str  # that confirms it; empty: its controller does


@dataclass(frozen=True)
class HealthAsked:
    """A health check ended; `wrong` says why it failed, if it did."""

    check: str
    seconds: float
    wrong: str = ""


@dataclass(frozen=True)
class UnitRestarted:
    """A systemd unit was restarted, with its state after that; if it does not run, with its last output."""

    unit: str
    state: str
    ok: bool
    seconds: float | None = None
    output: str = ""


@dataclass(frozen=True)
class BackedUp:
    """A backup is complete in the repository: its size, how much of that is new there, and its content."""

    name: str
    files: int
    size: int
    added: int
    databases: int = 0
    changed: int = 0  # files that changed while they were read


@dataclass(frozen=True)
class Drilled:
    """A backup was restored aside and compared, and its dumps were loaded."""

    name: str
    files: int
    databases: int = 0
    tables: int = 0
    battletest: bool = False  # the project's own test of it has passed


@dataclass(frozen=True)
class NodeCame:
    """A node of a rollout came to a phase; on a failure with the lines of its log about it."""

    node: str
    phase: str
    about: str = ""  # its step, or why
    lines: tuple[str, ...] = ()
    seconds: float | None = None
    canary: bool = False


@dataclass(frozen=True)
class NodesDid:
    """Nodes gave the same answer to a plan or a task: why it failed, or how many states it would change."""

    nodes: tuple[str, ...]
    kind: str
    reason: str = ""
    changes: int = 0
    failed: int = 0  # states of a plan that would fail
    lines: tuple[str, ...] = ()  # of their logs
    more: int = 0  # that are not here


@dataclass(frozen=True)
class Listed:
    """A list of things of one sort (`what`). Of a very long one the first and last 500 are kept."""

    what: str
    items: tuple[Item, ...]
    total: int  # with those that are not kept
    about: str = ""


@dataclass(frozen=True)
class SlsBegan:
    """An SLS began; its states follow. `role`: install, again (in a rollback), task, plan or hook."""

    sls: str
    role: str
    index: int = 0
    total: int = 0
    first: bool = True  # of its step


@dataclass(frozen=True)
class Output:
    """A line of output of a command of a running state."""

    text: str


@dataclass(frozen=True)
class StateEnded:
    """A state ended; `result` None: it would make changes."""

    id: str
    function: str
    result: bool | None
    name: str = ""
    changed: bool = False
    skipped: bool = False  # a requisite failed
    comment: str = ""
    diff: str = ""
    output: str = ""  # of its command
    exit: int | None = None
    seconds: float = 0.0
    sls: str = ""
    line: int | None = None  # of its id in that file
    unsure: bool = False  # in a plan: it was tested against the old tree


@dataclass(frozen=True)
class SlsEnded:
    """An SLS ended; `errors`: why none of its states ran."""

    sls: str
    role: str
    ok: bool
    states: int = 0
    changed: int = 0
    errors: tuple[str, ...] = ()
    seconds: float | None = None
    command: str = ""  # that runs it by hand


@dataclass(frozen=True)
class Case:
    """One test of a suite; `result`: passed, failed, error or skipped."""

    name: str
    group: str = ""  # its class, or file
    result: str = "passed"
    seconds: float | None = None
    message: str = ""
    text: str = ""


@dataclass(frozen=True)
class SuiteEnded:
    """A suite of tests that a task ran, from a JUnit file that it left. Of many `cases` those that failed are kept."""

    file: str
    suite: str
    tests: int
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    seconds: float | None = None
    cases: tuple[Case, ...] = ()


@dataclass(frozen=True)
class Warned:
    """A warning; the deployment continues. `aside`: only in the whole log."""

    text: str
    aside: bool = False


@dataclass(frozen=True)
class Complained:
    """An error; its consequences follow."""

    text: str


@dataclass(frozen=True)
class Noted:
    """A note on what was done."""

    text: str


@dataclass(frozen=True)
class Traced:
    """A traceback of an internal error."""

    text: str


@dataclass(frozen=True)
class Cut:
    """Output that was dropped because the log is too long."""

    lines: int
    characters: int


@dataclass(frozen=True)
class Verdict:
    """The final outcome: followers stop here."""

    state: str
    kind: str
    project: str
    number: int
    how: str = ""  # left: the failed tree stays; late: by a later daemon; fault: an internal error; nodes: of all nodes
    reason: str = ""
    hint: str = ""
    see_log: str = ""  # the command that shows the whole log
    commit: str | None = None  # that is in project/ now
    branch: str = ""
    task: str = ""
    live: str | None = None  # left: the commit of the branch
    kept: bool = False  # the failed tree is in the archive
    seconds: float | None = None
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Text:
    """A line of a log of an older version, or one that cannot be read."""

    text: str
    more: bool = False
    brief: bool = False
    end: bool = False


Event = (
    Began | StepBegan | StepEnded | Held | HealthAsked | UnitRestarted | BackedUp | Drilled | NodeCame
    | NodesDid | Listed | SlsBegan | Output | StateEnded | SlsEnded | SuiteEnded
    | Warned | Complained | Noted | Traced | Cut | Verdict | Text
)  # fmt: skip


@dataclass(frozen=True)
class Recorded:
    """An event in a log; `at` in seconds since the epoch, `offset`: where the next one begins, in bytes."""

    event: Event
    at: float
    offset: int

    @property
    def end(self) -> bool:
        """Whether this is the last event."""
        return isinstance(self.event, Verdict) or (isinstance(self.event, Text) and self.event.end)


NAMES: dict[str, type[Any]] = {
    "began": Began, "step_began": StepBegan, "step": StepEnded, "held": Held, "health": HealthAsked,
    "restart": UnitRestarted, "backup": BackedUp, "drill": Drilled, "node": NodeCame, "nodes": NodesDid, "list": Listed,
    "sls_began": SlsBegan, "output": Output, "state": StateEnded, "sls": SlsEnded, "tests": SuiteEnded,
    "warning": Warned, "error": Complained, "note": Noted,
    "trace": Traced, "cut": Cut, "verdict": Verdict, "text": Text,
}  # fmt: skip
NAME_OF = {kind: name for name, kind in NAMES.items()}


def listed(what: str, items: Sequence[Item], *, about: str = "", total: int | None = None) -> Listed:
    """Return a list as an event; of a very long one the first and last."""
    kept = items if len(items) <= ITEMS else [*items[: ITEMS // 2], *items[-ITEMS // 2 :]]
    return Listed(what, tuple(kept), len(items) if total is None else total, about)


def as_record(event: Event) -> dict[str, Any]:
    """Return an event as a record of the log: its name, and the fields without their default."""
    return {"event": NAME_OF[type(event)], **records.brief(event)}


def of_record(record: dict[str, Any]) -> Event:
    """Return the event of a record of the log; raise ValueError if it is unknown."""
    name = record.get("event")
    if not isinstance(name, str) or name not in NAMES:
        raise ValueError(f"unknown event {name!r}")
    found: Event = records.typed({key: value for key, value in record.items() if key != "event"}, NAMES[name])
    return found
