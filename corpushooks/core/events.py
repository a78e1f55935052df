"""What a deployment tells while it runs: a closed list of events, each a value with fields.

The log keeps them, screen turns them into lines, and whoever counts or decides reads their fields. Names and fields
are for good: logs are read by later versions, and programs read them over the API. What is added has a default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from corpushooks.core import records

VERSION = 1  # of the log: it stands in the first line of each
ITEMS = 1000  # of a list that are kept


@dataclass(frozen=True)
class Detail:
    """What came of a step: a number of things, of how many, and what else there is to say."""

    count: int | None = None
    noun: str = ""
    of: int | None = None
    note: str = ""

    def __bool__(self) -> bool:
        return self != NOTHING


NOTHING = Detail()
LEFT_OUT = Detail(note="left out")  # the request says so


@dataclass(frozen=True)
class Item:
    """One entry of a list."""

    text: str
    mark: str = ""  # of a file: A, M or D
    detail: str = ""


@dataclass(frozen=True)
class Began:
    """A deployment began: from which commits to which, or what was asked for."""

    project: str
    environment: str
    number: int
    kind: str
    by: str = ""  # the ssh key that it came with
    old: str | None = None
    new: str | None = None
    old_pillar: str | None = None
    new_pillar: str | None = None
    commits: int = 0
    task: str = ""
    edited: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepBegan:
    """A step of the procedure began; `undo`: one of the rollback."""

    step: str
    index: int = 0
    total: int = 0
    undo: bool = False


@dataclass(frozen=True)
class StepEnded:
    """A step of the procedure ended well; `undo`: one of the rollback."""

    step: str
    index: int = 0
    total: int = 0
    detail: Detail = NOTHING
    seconds: float | None = None
    undo: bool = False


@dataclass(frozen=True)
class Held:
    """A deployment is held: all is installed, nothing is final, until somebody confirms it."""

    seconds: float  # that are left
    until: float  # in seconds since the epoch, as the clock of the host is set
    command: str  # that confirms it


@dataclass(frozen=True)
class HealthAsked:
    """A health check ended; `wrong` says what was not as it should be."""

    check: str
    seconds: float
    wrong: str = ""


@dataclass(frozen=True)
class UnitRestarted:
    """A unit of systemd was restarted, and how it is then; of one that does not run, what it wrote last."""

    unit: str
    state: str
    ok: bool
    seconds: float | None = None
    output: str = ""


@dataclass(frozen=True)
class BackedUp:
    """A backup is whole in the repository: bytes in all and those that are new there, and what it has."""

    name: str
    files: int
    size: int
    added: int
    databases: int = 0
    changed: int = 0  # files that changed while they were read


@dataclass(frozen=True)
class Drilled:
    """A backup was brought back aside, compared with what it was, and its dumps were loaded."""

    name: str
    files: int
    databases: int = 0
    tables: int = 0


@dataclass(frozen=True)
class Listed:
    """Things were named, each of one sort (`what`). Of very many the first and the last 500 are kept."""

    what: str
    items: tuple[Item, ...]
    total: int  # how many there are
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
    """A line that a command of a running state wrote."""

    text: str


@dataclass(frozen=True)
class StateEnded:
    """A state ended; `result` None: it would change something."""

    id: str
    function: str
    result: bool | None
    name: str = ""
    changed: bool = False
    skipped: bool = False  # it did not run, since a requisite failed
    comment: str = ""
    diff: str = ""
    output: str = ""  # of its command
    exit: int | None = None
    seconds: float = 0.0
    sls: str = ""
    line: int | None = None  # of its id in that file
    unsure: bool = False  # of a plan: it looked at the old tree


@dataclass(frozen=True)
class SlsEnded:
    """An SLS ended; `errors` say why no state of it ran."""

    sls: str
    role: str
    ok: bool
    states: int = 0
    changed: int = 0
    errors: tuple[str, ...] = ()
    seconds: float | None = None
    command: str = ""  # by which a person runs it


@dataclass(frozen=True)
class Warned:
    """Something is not as it should be, and the deployment goes on; `aside`: only in the whole log."""

    text: str
    aside: bool = False


@dataclass(frozen=True)
class Complained:
    """Something is wrong; what comes of it follows."""

    text: str


@dataclass(frozen=True)
class Noted:
    """What else was done."""

    text: str


@dataclass(frozen=True)
class Traced:
    """Where in our own code something went wrong."""

    text: str


@dataclass(frozen=True)
class Cut:
    """What was not kept, since the log is too long."""

    lines: int
    characters: int


@dataclass(frozen=True)
class Verdict:
    """The outcome is final: whoever follows stops here."""

    state: str
    kind: str
    project: str
    number: int
    how: str = ""  # left: the failed tree stays; late: said by a later daemon; fault: an error of our own
    reason: str = ""
    hint: str = ""
    see_log: str = ""  # the command that shows the whole log, for who does not read it
    commit: str | None = None  # that is in project/ now
    branch: str = ""
    task: str = ""
    live: str | None = None  # left: what the branch names
    kept: bool = False  # the failed tree is in the archive
    seconds: float | None = None
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Text:
    """A line of a log that an older version wrote, or one that cannot be read."""

    text: str
    more: bool = False
    brief: bool = False
    end: bool = False


Event = (
    Began | StepBegan | StepEnded | Held | HealthAsked | UnitRestarted | BackedUp | Drilled | Listed | SlsBegan
    | Output | StateEnded | SlsEnded | Warned | Complained | Noted | Traced | Cut | Verdict | Text
)  # fmt: skip


@dataclass(frozen=True)
class Recorded:
    """An event as it is in a log; `at` in seconds since the epoch, `offset` is where the next one begins, in bytes."""

    event: Event
    at: float
    offset: int

    @property
    def end(self) -> bool:
        """Whether the outcome is final with this one."""
        return isinstance(self.event, Verdict) or (isinstance(self.event, Text) and self.event.end)


NAMES: dict[str, type[Any]] = {
    "began": Began, "step_began": StepBegan, "step": StepEnded, "held": Held, "health": HealthAsked,
    "restart": UnitRestarted, "backup": BackedUp, "drill": Drilled, "list": Listed, "sls_began": SlsBegan,
    "output": Output, "state": StateEnded, "sls": SlsEnded, "warning": Warned, "error": Complained, "note": Noted,
    "trace": Traced, "cut": Cut, "verdict": Verdict, "text": Text,
}  # fmt: skip
NAME_OF = {kind: name for name, kind in NAMES.items()}


def listed(what: str, items: Sequence[Item], *, about: str = "", total: int | None = None) -> Listed:
    """Return a list as an event, of very many things the first and the last."""
    kept = items if len(items) <= ITEMS else [*items[: ITEMS // 2], *items[-ITEMS // 2 :]]
    return Listed(what, tuple(kept), len(items) if total is None else total, about)


def as_record(event: Event) -> dict[str, Any]:
    """Return an event as the log has it: its name and what is not as by default."""
    return {"event": NAME_OF[type(event)], **records.brief(event)}


def of_record(record: dict[str, Any]) -> Event:
    """Return an event from the log; raise ValueError where it is none that is known here."""
    name = record.get("event")
    if not isinstance(name, str) or name not in NAMES:
        raise ValueError(f"unknown event {name!r}")
    found: Event = records.typed({key: value for key, value in record.items() if key != "event"}, NAMES[name])
    return found
