"""The table of operations: all that can be asked of a host, the right it needs, and the doors that lead to it.

A row is all that an operation needs to be asked: over the socket by its name, over ssh by its word, by the command
`corpus` as the command of that name, or, where there is none, as one that is made from the row.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from corpushooks.core.project import NAME
from corpushooks.core.rights import ADMIN, HOST, PUSH, READ
from corpushooks.core.services import UNIT
from corpushooks.operations import words
from corpushooks.operations.words import ALL, JSON, Word

# doors, beside the socket, which leads to all
SSH, COMMAND = "ssh", "command"  # that of the API is in `routes`
BOTH = frozenset({SSH, COMMAND})

# what an operation is about, and so who is asked for its right
PROJECT = "project"  # one project
PROJECTS = "projects"  # one, or all that the caller may see
PROJECT_OR_HOST = "project or host"  # one, or all: for who has the right on every project
HOST_ITSELF = "host"  # the host
CALLER = "caller"  # the caller: anybody may ask

TALKING = frozenset({"Deployment", "Lines", "Ended", "Nothing"})  # what is given when something has come to its end


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
    word: Word = words.OF_PROJECT
    begins: bool = False  # also on a host that has nothing yet
    alone: bool = False  # it waits until nothing else is at work in the project
    several: bool = False  # it gives a list of these,
    named_gives_one: bool = False  # but one where a project is named
    part_of: str = ""  # the command that asks for it with a flag, or for want of something

    @property
    def asks(self) -> type[Any]:
        """What it asks."""
        return _type("asks", self.asked)

    @property
    def gives(self) -> type[Any]:
        """What it gives."""
        return dict if self.given == "dict" else _type("gives", self.given)

    @property
    def talks(self) -> bool:
        """Whether it goes on for a while and is heard meanwhile; the others are answered by a report."""
        return self.given in TALKING


def _type(module: str, name: str) -> type[Any]:
    found: type[Any] = getattr(importlib.import_module(f"corpushooks.protocol.{module}"), name)
    return found


def _flags(*names: str) -> frozenset[str]:
    return frozenset({JSON, *names})


OPERATIONS: Mapping[str, Operation] = {
    row.name: row
    for row in (
        # the connection
        Operation("ping", "", "Nothing", "Daemon", "whether the daemon answers", CALLER),
        Operation("admit", "", "Admit", "Admitted", "let a session of ssh in", CALLER),
        Operation("whoami", "", "Nothing", "Whoami", "who asks, and their rights", CALLER),
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
            words.OF_PROJECTS,
            several=True,
            named_gives_one=True,
        ),
        Operation(
            "history",
            READ,
            "History",
            "OfHistory",
            "the deployments of a project, or what was run in it (right: push)",
            doors=BOTH,
            word=Word((words.A_PROJECT,), 1, _flags("--commands")),
            several=True,
        ),
        Operation("deployment", READ, "OfDeployment", "OfHistory", "one deployment of a project"),
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
            word=Word((words.A_PROJECT, ("NUMBER", words.NUMBER)), 1, _flags("-f")),
        ),
        Operation(
            "app-log",
            PUSH,
            "AppLog",
            "Lines",
            "what the application writes; -f follows it",
            doors=BOTH,
            word=Word((words.A_PROJECT,), 1, _flags("-f"), values={"-n": ("LINES", words.NUMBER)}),
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
            words.OF_PROJECTS,
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
            word=Word((words.A_PROJECT,), 1, _flags("--origin")),
        ),
        Operation(
            "diff",
            PUSH,
            "Diff",
            "Difference",
            "what differs between two deployments",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("OLD", words.NUMBER), ("NEW", words.NUMBER)), 1, _flags()),
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
            word=Word((words.A_PROJECT, ("REV", words.REVISION)), 1, _flags("--confirm"), values=words.HELD),
        ),
        Operation(
            "plan",
            PUSH,
            "Deploy",
            "Deployment",
            "what would change",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("REV", words.REVISION)), 1, _flags(), more=("deploy", "--dry-run")),
            part_of="deploy",
        ),
        Operation(
            "rollback",
            PUSH,
            "Rollback",
            "Deployment",
            "return to an earlier deployment (--confirm: hold it)",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("NUMBER", words.NUMBER)), 1, _flags("--confirm"), values=words.HELD),
        ),
        Operation(
            "task",
            PUSH,
            "Task",
            "Deployment",
            "run a task",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("TASK", words.TASK)), 2, _flags()),
        ),
        Operation(
            "restart",
            PUSH,
            "Restart",
            "Deployment",
            "restart the units of a project, or some of them",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("UNIT", UNIT)), 1, _flags(), again=True),
        ),
        Operation("backup", PUSH, "OfRequest", "Deployment", "keep the data of a project", doors=BOTH),
        Operation(
            "drill",
            PUSH,
            "Drill",
            "Deployment",
            "prove that the newest backup comes back, or another",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("NUMBER", words.NUMBER)), 1, _flags()),
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
            word=Word((words.A_PROJECT, ("NUMBER", words.NUMBER)), 2, _flags()),
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
            word=Word((words.A_PROJECT, ("KEY=VALUE", words.PAIR)), 1, _flags("--no-deploy"), many=True),
        ),
        Operation(
            "unset",
            PUSH,
            "Assign",
            "Deployment",
            "take that back, and deploy (--no-deploy: not yet)",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("KEY", words.KEY)), 2, _flags("--no-deploy"), many=True),
        ),
        Operation(
            "run",
            ADMIN,
            "Run",
            "Ended",
            "run a command as the application; a terminal: ssh -t",
            doors=BOTH,
            word=Word((words.A_PROJECT,), 1, rest="COMMAND..."),
        ),
        Operation(
            "freeze",
            ADMIN,
            "Freeze",
            "Frozen",
            "refuse to deploy until it thaws",
            PROJECT_OR_HOST,
            BOTH,
            Word((words.A_PROJECT, ("REASON", words.REASON)), 2, _flags(ALL), text=True),
        ),
        Operation(
            "thaw",
            ADMIN,
            "OfProjectOrHost",
            "Thawed",
            "deploy again",
            PROJECT_OR_HOST,
            BOTH,
            Word((words.A_PROJECT,), 1, _flags(ALL)),
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
                (words.A_PROJECT,),
                1,
                _flags("--ssh-key"),
                values={
                    "--env": ("ENV", words.CALLED),
                    "--branch": ("BRANCH", words.REVISION),
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
            word=Word((words.A_PROJECT,), 1, _flags("--purge")),
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
            word=Word((words.A_PROJECT, ("BRANCH", words.REVISION)), 2, _flags()),
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
                (("NAME", words.CALLED), ("FILE", words.STDIN)),
                2,
                _flags("--read", "--push", "--admin", "--host", "--authority"),
                values=words.OF_KEY,
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
                (("NAME", words.CALLED),),
                1,
                _flags("--read", "--push", "--admin", "--host", "--every-project"),
                values=words.OF_KEY,
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
            Word((("NAME", words.CALLED),), 1, _flags()),
        ),
        Operation(
            "key test",
            HOST,
            "KeyTest",
            "Rights",
            "what a key may with a project, and why",
            HOST_ITSELF,
            BOTH,
            Word((("NAME", words.CALLED), words.A_PROJECT), 2, _flags()),
        ),
        Operation(
            "token list",
            HOST,
            "Nothing",
            "Token",
            "list the tokens of the API",
            HOST_ITSELF,
            BOTH,
            Word((), 0, _flags()),
            several=True,
        ),
        Operation(
            "token add",
            HOST,
            "TokenAdd",
            "NewToken",
            "make a token for the API; it is shown once",
            HOST_ITSELF,
            BOTH,
            Word(
                (("NAME", words.CALLED),),
                1,
                _flags("--read", "--push", "--admin", "--host"),
                values={flag: words.OF_KEY[flag] for flag in ("--project", "--expires")},
            ),
        ),
        Operation(
            "token revoke",
            HOST,
            "OfToken",
            "Token",
            "revoke a token; its running deployments continue",
            HOST_ITSELF,
            BOTH,
            Word((("NAME", words.CALLED),), 1, _flags()),
        ),
    )
}


def by_door(door: str) -> dict[str, Operation]:
    """Return the operations to which a door leads."""
    return {name: row for name, row in OPERATIONS.items() if door in row.doors}
