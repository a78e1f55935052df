"""The table of operations: all that can be asked of a host, the right it needs, and the doors that lead to it.

A row is all that an operation needs to be asked: over the socket by its name, over ssh by its word, by the command
`corpus` as the command of that name, or, where there is none, as one that is made from the row.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from corpushooks.keys import ADMIN, HOST, PUSH, READ
from corpushooks.project import NAME
from corpushooks.services import UNIT

# doors, beside the socket, which leads to all
SSH, COMMAND = "ssh", "command"
BOTH = frozenset({SSH, COMMAND})

# what an operation is about, and so who is asked for its right
PROJECT = "project"  # one project
PROJECTS = "projects"  # one, or all that the caller may see
PROJECT_OR_HOST = "project or host"  # one, or all: for who has the right on every project
HOST_ITSELF = "host"  # the host
CALLER = "caller"  # the caller: anybody may ask

SHORT = 32  # characters of a usage in a list
ALL = "--all"  # in the place of a project

TOPIC = re.compile(r"[a-z][a-z-]{0,30}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./~^-]*")
_NUMBER = re.compile(r"[0-9]{1,9}")
_TASK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_REASON = re.compile(r".*\S.*")
_PAIR = re.compile(r"[^-].*", re.DOTALL)  # whether it is one the command says
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,5}d|never")
_STDIN = re.compile("-")


@dataclass(frozen=True)
class Word:
    """How an operation is asked for in words: what may follow its name, and what that looks like."""

    takes: tuple[tuple[str, re.Pattern[str]], ...] = ()  # what people call it (the field, in capitals), and its look
    needs: int = 0  # how many of these must be there
    flags: frozenset[str] = frozenset()
    more: tuple[str, ...] = ()  # the command that does it, where that is not its name
    rest: str = ""  # what people call all that follows, which is the caller's own: nothing in it is ours to judge
    many: bool = False  # of the last of these any number, and nobody else sees them
    again: bool = False  # of the last of these any number
    text: bool = False  # the last that it takes is all the rest of the line: ssh passes on no quotes
    values: Mapping[str, tuple[str, re.Pattern[str]]] = field(default_factory=dict)  # of flags that have one

    @property
    def short(self) -> str:
        """How it is used, in a list of all."""
        return self.usage if len(self.usage) <= SHORT else f"{' '.join(name for name, _ in self.takes)} [OPTION...]"

    @property
    def usage(self) -> str:
        names = [name if place < self.needs else f"[{name}]" for place, (name, _) in enumerate(self.takes)]
        if ALL in self.flags:
            names[0] = f"{names[0]}|{ALL}"
        names[-1:] = [f"{name}..." if self.many or self.again else name for name in names[-1:]]
        given = [f"[{flag} {value}]" for flag, (value, _) in self.values.items() if flag not in self.flags]
        rest = [self.rest] if self.rest else []
        flags = (f"[{flag}]" for flag in sorted(self.flags - {JSON, "--no-deploy", ALL, *self.values}))
        return " ".join([*names, *flags, *given, *rest])


JSON = "--json"
_PROJECT = ("PROJECT", NAME)
_OF_PROJECT = Word((_PROJECT,), 1, frozenset({JSON}))
_HELD = {"--confirm": ("SECONDS", _NUMBER)}
_OF_PROJECTS = Word((_PROJECT,), 0, frozenset({JSON}))


@dataclass(frozen=True)
class Operation:
    """One thing that can be asked. By default only the socket leads to it."""

    name: str
    right: str
    asked: str  # a type of `operations.asks`, by its name: most who read the table do not need it, and it takes time
    given: str  # one of `operations.gives`, or a mapping
    does: str
    about: str = PROJECT
    doors: frozenset[str] = frozenset()
    word: Word = _OF_PROJECT
    begins: bool = False  # also on a host that has nothing yet
    alone: bool = False  # it waits until nothing else is at work in the project
    several: bool = False  # it gives a list of these
    part_of: str = ""  # the command that asks for it with a flag, or for want of something

    @property
    def asks(self) -> type[Any]:
        """What it asks."""
        return _type("asks", self.asked)

    @property
    def gives(self) -> type[Any]:
        """What it gives."""
        return dict if self.given == "dict" else _type("gives", self.given)


def _type(module: str, name: str) -> type[Any]:
    found: type[Any] = getattr(importlib.import_module(f"corpushooks.operations.{module}"), name)
    return found


def _flags(*names: str) -> frozenset[str]:
    return frozenset({JSON, *names})


OPERATIONS: Mapping[str, Operation] = {
    row.name: row
    for row in (
        # the connection
        Operation("ping", "", "Nothing", "Daemon", "whether the daemon answers", CALLER),
        Operation("admit", "", "Admit", "Admitted", "let a session of ssh in", CALLER),
        # what git's hook asks
        Operation("push", PUSH, "Push", "Nothing", "judge a push, and deploy it"),
        # look
        Operation(
            "status",
            READ,
            "Status",
            "Status",
            "what is live, and what runs",
            PROJECTS,
            BOTH,
            _OF_PROJECTS,
            several=True,
        ),
        Operation(
            "history",
            READ,
            "History",
            "OfHistory",
            "the deployments of a project, or what was run in it (right: push)",
            doors=BOTH,
            word=Word((_PROJECT,), 1, _flags("--commands")),
            several=True,
        ),
        Operation(
            "commands",
            PUSH,
            "History",
            "Command",
            "the commands that were run in a project",
            doors=frozenset({COMMAND}),
            part_of="history",
            several=True,
        ),
        Operation("open", READ, "Open", "Addresses", "the addresses where a project answers", doors=BOTH),
        Operation(
            "log",
            READ,
            "Follow",
            "Deployment",
            "the log of a deployment; -f follows it",
            doors=BOTH,
            word=Word((_PROJECT, ("NUMBER", _NUMBER)), 1, _flags("-f")),
        ),
        Operation(
            "app-log",
            PUSH,
            "AppLog",
            "Lines",
            "what the application writes; -f follows it",
            doors=BOTH,
            word=Word((_PROJECT,), 1, _flags("-f"), values={"-n": ("LINES", _NUMBER)}),
        ),
        Operation("archives", READ, "OfProject", "Archive", "list the archives of a project", doors=BOTH, several=True),
        Operation("backups", READ, "History", "Backup", "list the backups of a project", doors=BOTH, several=True),
        Operation(
            "stats",
            READ,
            "OfProjects",
            "Statistics",
            "say how often deployments succeed, and how long they take",
            PROJECTS,
            BOTH,
            _OF_PROJECTS,
            several=True,
        ),
        Operation(
            "metrics",
            READ,
            "OfProjects",
            "Metrics",
            "print what Prometheus reads",
            PROJECTS,
            BOTH,
            Word((), 0, _flags()),
        ),
        Operation(
            "config",
            PUSH,
            "Config",
            "dict",
            "the configuration that SLS files see",
            doors=BOTH,
            word=Word((_PROJECT,), 1, _flags("--origin")),
        ),
        Operation(
            "diff",
            PUSH,
            "Diff",
            "Difference",
            "what differs between two deployments",
            doors=BOTH,
            word=Word((_PROJECT, ("OLD", _NUMBER), ("NEW", _NUMBER)), 1, _flags()),
        ),
        Operation(
            "variables",
            PUSH,
            "OfProject",
            "dict",
            "what is set in a project",
            doors=frozenset({COMMAND}),
            part_of="set",
        ),
        # deploy
        Operation(
            "deploy",
            PUSH,
            "Deploy",
            "Deployment",
            "deploy what is live again, or a commit (--confirm: hold it)",
            doors=BOTH,
            word=Word((_PROJECT, ("REV", _REVISION)), 1, _flags("--confirm"), values=_HELD),
        ),
        Operation(
            "plan",
            PUSH,
            "Deploy",
            "Deployment",
            "what would change",
            doors=BOTH,
            word=Word((_PROJECT, ("REV", _REVISION)), 1, _flags(), more=("deploy", "--dry-run")),
            part_of="deploy",
        ),
        Operation(
            "rollback",
            PUSH,
            "Rollback",
            "Deployment",
            "return to an earlier deployment (--confirm: hold it)",
            doors=BOTH,
            word=Word((_PROJECT, ("NUMBER", _NUMBER)), 1, _flags("--confirm"), values=_HELD),
        ),
        Operation(
            "task",
            PUSH,
            "Task",
            "Deployment",
            "run a task",
            doors=BOTH,
            word=Word((_PROJECT, ("TASK", _TASK)), 2, _flags()),
        ),
        Operation(
            "restart",
            PUSH,
            "Restart",
            "Deployment",
            "restart the units of a project, or some of them",
            doors=BOTH,
            word=Word((_PROJECT, ("UNIT", UNIT)), 1, _flags(), again=True),
        ),
        Operation("backup", PUSH, "OfRequest", "Deployment", "keep the data of a project", doors=BOTH),
        Operation(
            "drill",
            PUSH,
            "Drill",
            "Deployment",
            "prove that the newest backup comes back, or another",
            doors=BOTH,
            word=Word((_PROJECT, ("NUMBER", _NUMBER)), 1, _flags()),
        ),
        Operation(
            "restore",
            ADMIN,
            "Restore",
            "Deployment",
            "bring back what a backup has",
            doors=frozenset({COMMAND}),
        ),
        Operation("repair", PUSH, "OfRequest", "Deployment", "repair a project whose roll back failed", doors=BOTH),
        Operation(
            "confirm",
            PUSH,
            "Confirm",
            "Deployment",
            "confirm a deployment that is held",
            doors=BOTH,
            word=Word((_PROJECT, ("NUMBER", _NUMBER)), 2, _flags()),
        ),
        Operation("cancel", PUSH, "OfProject", "Deployment", "stop what runs or waits", doors=BOTH),
        Operation("watch", PUSH, "Watch", "Nothing", "deploy what is edited in place", doors=frozenset({COMMAND})),
        Operation(
            "set",
            PUSH,
            "Assign",
            "Deployment",
            "set variables and deploy (--no-deploy: not yet), or list them",
            doors=BOTH,
            word=Word((_PROJECT, ("KEY=VALUE", _PAIR)), 1, _flags("--no-deploy"), many=True),
        ),
        Operation(
            "unset",
            PUSH,
            "Assign",
            "Deployment",
            "take that back, and deploy (--no-deploy: not yet)",
            doors=BOTH,
            word=Word((_PROJECT, ("KEY", _KEY)), 2, _flags("--no-deploy"), many=True),
        ),
        Operation(
            "run",
            ADMIN,
            "Run",
            "Ended",
            "run a command as the application; a terminal: ssh -t",
            doors=BOTH,
            word=Word((_PROJECT,), 1, rest="COMMAND..."),
        ),
        Operation(
            "freeze",
            ADMIN,
            "Freeze",
            "Frozen",
            "refuse to deploy until it thaws",
            PROJECT_OR_HOST,
            BOTH,
            Word((_PROJECT, ("REASON", _REASON)), 2, _flags(ALL), text=True),
        ),
        Operation(
            "thaw",
            ADMIN,
            "OfProjectOrHost",
            "Thawed",
            "deploy again",
            PROJECT_OR_HOST,
            BOTH,
            Word((_PROJECT,), 1, _flags(ALL)),
        ),
        # the host
        Operation(
            "init",
            HOST,
            "Init",
            "Made",
            "make a project, or repair one; print where to push",
            HOST_ITSELF,
            BOTH,
            Word(
                (_PROJECT,),
                1,
                _flags("--ssh-key"),
                values={
                    "--env": ("ENV", _NAME),
                    "--branch": ("BRANCH", _REVISION),
                    "--installer": ("INSTALLER", NAME),
                    "--object-format": ("FORMAT", NAME),
                },
            ),
            begins=True,
        ),
        Operation(
            "remove",
            HOST,
            "Remove",
            "Removed",
            "forget a project; --purge removes its files too, but data/",
            doors=BOTH,
            word=Word((_PROJECT,), 1, _flags("--purge")),
        ),
        Operation("link", HOST, "OfProject", "Linked", "let Salt see a project", doors=BOTH, alone=True),
        Operation(
            "unlink",
            HOST,
            "OfProject",
            "Linked",
            "take a project out of Salt's sight, until it is deployed",
            doors=BOTH,
            alone=True,
        ),
        Operation(
            "rename-branch",
            HOST,
            "RenameBranch",
            "Renamed",
            "rename the branch that deploys",
            doors=BOTH,
            alone=True,
            word=Word((_PROJECT, ("BRANCH", _REVISION)), 2, _flags()),
        ),
        Operation(
            "key list",
            HOST,
            "Nothing",
            "Key",
            "list the keys that are let in",
            HOST_ITSELF,
            BOTH,
            Word((), 0, _flags()),
            several=True,
        ),
        Operation(
            "key add",
            HOST,
            "KeyAdd",
            "Changed",
            "add the public key that is typed in (-)",
            HOST_ITSELF,
            BOTH,
            Word(
                (("NAME", _NAME), ("FILE", _STDIN)),
                2,
                _flags("--read", "--push", "--admin", "--host", "--authority"),
                values={"--project": ("P", NAME), "--expires": ("DAY", _DAY), "--principal": ("PRINCIPAL", _NAME)},
            ),
        ),
        Operation(
            "key set",
            HOST,
            "KeySet",
            "Changed",
            "change what a key may",
            HOST_ITSELF,
            BOTH,
            Word(
                (("NAME", _NAME),),
                1,
                _flags("--read", "--push", "--admin", "--host", "--every-project"),
                values={"--project": ("P", NAME), "--expires": ("DAY", _DAY), "--principal": ("PRINCIPAL", _NAME)},
            ),
        ),
        Operation(
            "key remove",
            HOST,
            "OfKey",
            "Key",
            "revoke a key; its running deployments continue",
            HOST_ITSELF,
            BOTH,
            Word((("NAME", _NAME),), 1, _flags()),
        ),
        Operation(
            "key test",
            HOST,
            "KeyTest",
            "Rights",
            "what a key may with a project, and why",
            HOST_ITSELF,
            BOTH,
            Word((("NAME", _NAME), _PROJECT), 2, _flags()),
        ),
    )
}


def by_door(door: str) -> dict[str, Operation]:
    """Return the operations to which a door leads."""
    return {name: row for name, row in OPERATIONS.items() if door in row.doors}
