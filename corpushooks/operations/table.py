"""The table of operations: everything a host can be asked, the right it needs, and the doors that lead to it.

A row is all that an operation needs: the socket calls it by its name, ssh by its word, and `corpus` by the command of
that name, which is generated from the row if `cli` has none.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from corpushooks.core.project import NAME
from corpushooks.core.rights import ADMIN, HOST, NODE, PUSH, READ
from corpushooks.core.services import UNIT
from corpushooks.operations import words
from corpushooks.operations.words import ALL, JSON, Word

# doors, besides the socket, which leads to all
SSH, COMMAND = "ssh", "command"  # that of the API is in `routes`
BOTH = frozenset({SSH, COMMAND})

# what an operation concerns, and so where its right is needed
PROJECT = "project"  # one project
PROJECTS = "projects"  # one, or all that the caller can see
PROJECT_OR_HOST = "project or host"  # one, or all; all needs the right on every project
HOST_ITSELF = "host"  # the host
CALLER = "caller"  # the caller; needs no right

TALKING = frozenset(
    {"Deployment", "Lines", "Ended", "LogPart", "Nothing", "Ordered"}
)  # what is given when something has come to its end


@dataclass(frozen=True)
class Operation:
    """One operation. By default only the socket leads to it."""

    name: str
    right: str
    asked: (
        str  # a type of `protocol.asks`, by name: importing it takes time, and most readers of the table do not need it
    )
    given: str  # one of `protocol.gives`, or dict
    does: str
    about: str = PROJECT
    doors: frozenset[str] = frozenset()
    word: Word = words.OF_PROJECT
    begins: bool = False  # also works on a host without a store
    alone: bool = False  # it waits until nothing else runs in the project
    several: bool = False  # it gives a list of these,
    named_gives_one: bool = False  # but one where a project is named
    node: bool = False  # also a controller can ask for it, of a project of its own
    part_of: str = ""  # the command that runs it with a flag, or without arguments
    looks: bool = False  # it changes nothing, though it needs more than the right to read

    @property
    def asks(self) -> type[Any]:
        """The type of the request."""
        return _type("asks", self.asked)

    @property
    def gives(self) -> type[Any]:
        """The type of the result."""
        return dict if self.given == "dict" else _type("gives", self.given)

    @property
    def acts(self) -> bool:
        """Whether it changes something, and so is in the audit."""
        return not (self.looks or self.right == READ or self.about == CALLER)

    @property
    def talks(self) -> bool:
        """Whether it goes on for a while and is heard meanwhile; the others are answered by a report."""
        return self.given in TALKING


def _type(module: str, name: str) -> type[Any]:
    found: type[Any] = getattr(importlib.import_module(f"corpushooks.protocol.{module}"), name)
    return found


def _flags(*names: str) -> frozenset[str]:
    return frozenset({JSON, *names})


A_NODE = ("NAME", words.CALLED)
OF_NODE = Word((A_NODE,), 1, _flags())
ON_NODE = Word((A_NODE, words.A_PROJECT), 2, _flags())

OPERATIONS: Mapping[str, Operation] = {
    row.name: row
    for row in (
        # the connection
        Operation("ping", "", "Nothing", "Daemon", "check that the daemon answers", CALLER),
        Operation("admit", "", "Admit", "Admitted", "admit an ssh session", CALLER),
        Operation("whoami", "", "Nothing", "Whoami", "show the caller and their rights", CALLER),
        Operation("sign-in", "", "SignIn", "SignedIn", "begin a session of the pages", CALLER),
        Operation("sign-in ways", "", "Nothing", "Ways", "show by what people can sign in", CALLER),
        Operation("sign-in begin", "", "Begin", "Begun", "begin a sign-in by the provider", CALLER),
        Operation("sign-out", "", "Nothing", "dict", "end a session of the pages", CALLER),
        Operation("one-time-link", "", "OfLink", "Link", "show whose a one-time link is", CALLER),
        Operation("set-password", "", "SetPassword", "SignedIn", "set a password by a one-time link", CALLER),
        # what git's hook asks
        Operation("push", PUSH, "Push", "Nothing", "judge a push, and deploy it", node=True),
        # reports
        Operation(
            "status",
            READ,
            "Status",
            "Status",
            "show what is live in each project, and what is running",
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
            "list the deployments of a project (--commands: commands in it)",
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
            "list the commands that were run in a project",
            doors=frozenset({COMMAND}),
            part_of="history",
            several=True,
            looks=True,
        ),
        Operation("open", READ, "Open", "Addresses", "print the addresses of a project", doors=BOTH),
        Operation(
            "log",
            READ,
            "Follow",
            "Deployment",
            "show the log of a deployment, or of a node (-f: follow it)",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("NUMBER", words.NUMBER)), 1, _flags("-f"), values=words.ON_NODE),
        ),
        Operation(
            "tests",
            READ,
            "OfDeployment",
            "Suite",
            "show the results of tests that a task left (default: the newest)",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("NUMBER", words.NUMBER)), 1, _flags()),
            several=True,
        ),
        Operation(
            "app-log",
            PUSH,
            "AppLog",
            "Lines",
            "show the log of the application (-f: follow it)",
            doors=BOTH,
            word=Word((words.A_PROJECT,), 1, _flags("-f"), values={"-n": ("LINES", words.NUMBER)}),
            looks=True,
        ),
        Operation("archives", READ, "OfProject", "Archive", "list the archives of a project", doors=BOTH, several=True),
        Operation("storage", READ, "OfProject", "Storage", "show how much disk space a project takes"),
        Operation("tasks", READ, "OfProject", "TaskOf", "list the tasks of a project", several=True),
        Operation(
            "names", READ, "OfProject", "NameOf", "show whether the names of a project lead to this host", several=True
        ),
        Operation("backups", READ, "History", "Backup", "list the backups of a project", doors=BOTH, several=True),
        Operation(
            "stats",
            READ,
            "OfProjects",
            "Statistics",
            "show success rates and durations of deployments",
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
            "print metrics for Prometheus",
            PROJECTS,
            BOTH,
            words.NOTHING,
        ),
        Operation(
            "audit",
            ADMIN,
            "Audit",
            "Audited",
            "show who did what, from where",
            PROJECTS,
            BOTH,
            Word(
                (words.A_PROJECT,),
                0,
                _flags(),
                values={"--who": ("WHO", words.WHO), "--since": ("DAY", words.DAY), "--limit": ("N", words.NUMBER)},
            ),
            several=True,
            looks=True,
        ),
        Operation(
            "config",
            PUSH,
            "Config",
            "dict",
            "print the cfg: the configuration that SLS files see",
            doors=BOTH,
            word=Word((words.A_PROJECT,), 1, _flags("--origin")),
            looks=True,
        ),
        Operation(
            "diff",
            PUSH,
            "Diff",
            "Difference",
            "show the differences between two deployments",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("OLD", words.NUMBER), ("NEW", words.NUMBER)), 1, _flags()),
            looks=True,
        ),
        Operation(
            "variables",
            PUSH,
            "OfProject",
            "dict",
            "list the variables that are set in a project",
            doors=frozenset({COMMAND}),
            part_of="set",
            looks=True,
        ),
        # deploy
        Operation(
            "deploy",
            PUSH,
            "Deploy",
            "Deployment",
            "deploy a commit, or the live one again (--confirm: hold it)",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("REV", words.REVISION)), 1, _flags("--confirm"), values=words.HELD),
        ),
        Operation(
            "plan",
            PUSH,
            "Deploy",
            "Deployment",
            "show what a deployment would change",
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
            word=Word((words.A_PROJECT, ("TASK", words.TASK)), 2, _flags(), values=words.ON_NODE),
        ),
        Operation(
            "restart",
            PUSH,
            "Restart",
            "Deployment",
            "restart the systemd units of a project, or some of them",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("UNIT", UNIT)), 1, _flags(), again=True),
        ),
        Operation("backup", PUSH, "OfRequest", "Deployment", "back up a project", doors=BOTH),
        Operation(
            "drill",
            PUSH,
            "Drill",
            "Deployment",
            "test that a backup can be restored (default: the newest)",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("NUMBER", words.NUMBER)), 1, _flags()),
        ),
        Operation("prune", ADMIN, "OfRequest", "Deployment", "remove the expired backups of a project", doors=BOTH),
        Operation(
            "check-backups",
            ADMIN,
            "OfRequest",
            "Deployment",
            "check the whole backup repository for damage",
            doors=BOTH,
        ),
        Operation(
            "restore",
            ADMIN,
            "Restore",
            "Deployment",
            "restore parts of a backup",
            doors=BOTH,
            word=Word(
                (words.A_PROJECT, ("NUMBER", words.NUMBER)),
                1,
                _flags("--data", "--pillar", "--dumps", "--dry-run", "--force"),
                values={"--database": ("DATABASE", words.DATABASE), "--folder": ("FOLDER", words.FOLDER)},
            ),
        ),
        Operation("repair", PUSH, "OfRequest", "Deployment", "repair a project whose rollback failed", doors=BOTH),
        Operation(
            "confirm",
            PUSH,
            "Confirm",
            "Deployment",
            "confirm a held deployment",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("NUMBER", words.NUMBER)), 2, _flags()),
        ),
        Operation(
            "cancel",
            PUSH,
            "OfProject",
            "Deployment",
            "cancel the running deployment, or the next one waiting",
            doors=BOTH,
        ),
        Operation(
            "watch", PUSH, "Watch", "Nothing", "deploy edits in place as they are saved", doors=frozenset({COMMAND})
        ),
        Operation(
            "set",
            PUSH,
            "Assign",
            "Deployment",
            "set variables and deploy (--no-deploy: only commit) or list them",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("KEY=VALUE", words.PAIR)), 1, _flags("--no-deploy"), many=True),
        ),
        Operation(
            "unset",
            PUSH,
            "Assign",
            "Deployment",
            "unset variables and deploy (--no-deploy: only commit)",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("KEY", words.KEY)), 2, _flags("--no-deploy"), many=True),
        ),
        Operation(
            "run",
            ADMIN,
            "Run",
            "Ended",
            "run a command as the application (for a terminal: ssh -t)",
            doors=BOTH,
            word=Word((words.A_PROJECT,), 1, rest="COMMAND..."),
        ),
        Operation(
            "setting list",
            PUSH,
            "OfProject",
            "Setting",
            "list the settings of a project",
            doors=BOTH,
            word=words.OF_PROJECT,
            several=True,
            looks=True,
        ),
        Operation(
            "setting set",
            ADMIN,
            "SettingSet",
            "Setting",
            "change a setting of a project",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("NAME", words.KEY), ("VALUE", words.REASON)), 3, _flags(), text=True),
        ),
        Operation(
            "setting unset",
            ADMIN,
            "OfSetting",
            "Setting",
            "use the setting of the host again",
            doors=BOTH,
            word=Word((words.A_PROJECT, ("NAME", words.KEY)), 2, _flags()),
        ),
        Operation(
            "freeze",
            ADMIN,
            "Freeze",
            "Frozen",
            "refuse deployments until thawed",
            PROJECT_OR_HOST,
            BOTH,
            Word((words.A_PROJECT, ("REASON", words.REASON)), 2, _flags(ALL), text=True),
        ),
        Operation(
            "thaw",
            ADMIN,
            "OfProjectOrHost",
            "Thawed",
            "end a freeze",
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
            "create or repair a project, and print where to push",
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
            "remove a project (--purge: also its files, except data/)",
            doors=BOTH,
            word=Word((words.A_PROJECT,), 1, _flags("--purge")),
        ),
        Operation(
            "remove-archive",
            ADMIN,
            "OfArchive",
            "Archive",
            "remove an archive, unless it is the newest or needed",
            doors=BOTH,
            alone=True,
            word=Word((words.A_PROJECT, ("NUMBER", words.NUMBER)), 2, _flags()),
        ),
        Operation(
            "host",
            HOST,
            "Nothing",
            "HostOf",
            "show how this host is reached, and what it runs",
            HOST_ITSELF,
            looks=True,
        ),
        Operation("doctor", HOST, "Nothing", "Examined", "check this host", HOST_ITSELF, several=True, looks=True),
        Operation("link", HOST, "OfProject", "Linked", "make a project visible to Salt", doors=BOTH, alone=True),
        Operation(
            "unlink",
            HOST,
            "OfProject",
            "Linked",
            "hide a project from Salt until its next deployment",
            doors=BOTH,
            alone=True,
        ),
        Operation(
            "rename-branch",
            HOST,
            "RenameBranch",
            "Renamed",
            "rename the branch that is deployed",
            doors=BOTH,
            alone=True,
            word=Word((words.A_PROJECT, ("BRANCH", words.REVISION)), 2, _flags()),
        ),
        Operation(
            "key list",
            HOST,
            "Nothing",
            "Key",
            "list the ssh keys",
            HOST_ITSELF,
            BOTH,
            words.NOTHING,
            several=True,
            looks=True,
        ),
        Operation(
            "key add",
            HOST,
            "KeyAdd",
            "Changed",
            "add the public key on standard input (-)",
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
            "change the rights of a key",
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
            words.NAMED,
        ),
        Operation(
            "key test",
            HOST,
            "KeyTest",
            "Rights",
            "show what a key can do with a project, and why",
            HOST_ITSELF,
            BOTH,
            Word((("NAME", words.CALLED), words.A_PROJECT), 2, _flags()),
            looks=True,
        ),
        Operation(
            "node add",
            HOST,
            "NodeAdd",
            "Node",
            "add a node, or change its address and labels",
            HOST_ITSELF,
            BOTH,
            Word(
                (A_NODE, ("ADDRESS", words.ADDRESS)),
                2,
                _flags(),
                values={"--label": ("L", words.LABEL), "--fingerprint": ("SHA256:...", words.FINGERPRINT)},
            ),
        ),
        Operation(
            "node accept",
            HOST,
            "NodeAccept",
            "Node",
            "accept a node that waits at the Salt master, and add it",
            HOST_ITSELF,
            BOTH,
            Word(
                (A_NODE,),
                1,
                _flags(),
                values={"--label": ("L", words.LABEL), "--fingerprint": ("AA:BB:...", words.MINION)},
            ),
        ),
        Operation(
            "node list",
            HOST,
            "Nothing",
            "Node",
            "list the nodes, and what each says of itself",
            HOST_ITSELF,
            BOTH,
            words.NOTHING,
            looks=True,
            several=True,
        ),
        Operation("node show", HOST, "OfNode", "Node", "show a node", HOST_ITSELF, BOTH, OF_NODE, looks=True),
        Operation(
            "node link",
            HOST,
            "OnNode",
            "LinkedNode",
            "deploy a project to a node",
            doors=BOTH,
            word=ON_NODE,
        ),
        Operation(
            "node unlink",
            HOST,
            "OnNode",
            "LinkedNode",
            "stop deploying a project to a node",
            doors=BOTH,
            word=ON_NODE,
        ),
        Operation(
            "node sync",
            HOST,
            "NodeSync",
            "Deployment",
            "bring a node to what is live here, over drift and edits",
            doors=BOTH,
            word=ON_NODE,
        ),
        Operation("node drain", HOST, "OfNode", "Node", "take a node out of rollouts", HOST_ITSELF, BOTH, OF_NODE),
        Operation("node resume", HOST, "OfNode", "Node", "take a node into rollouts again", HOST_ITSELF, BOTH, OF_NODE),
        Operation("node remove", HOST, "OfNode", "RemovedNode", "remove a node", HOST_ITSELF, BOTH, OF_NODE),
        Operation(
            "node key",
            HOST,
            "Nothing",
            "ControllerKey",
            "print the public key of this controller, for its nodes",
            HOST_ITSELF,
            BOTH,
            words.NOTHING,
            looks=True,
        ),
        Operation(
            "node release",
            HOST,
            "OfProject",
            "Released",
            "take a project from the controller that deploys it",
            doors=BOTH,
        ),
        # what a controller asks of its nodes
        Operation(
            "node hello", NODE, "Nothing", "Condition", "say what this node is, and runs", HOST_ITSELF, looks=True
        ),
        Operation("node meet", NODE, "Meet", "NodeKey", "record where the controller is", HOST_ITSELF),
        Operation("node fetch", NODE, "Fetch", "Fetched", "fetch the commits of a rollout from the controller"),
        Operation("node adopt", NODE, "Adopt", "OnNode", "place a project under a controller", HOST_ITSELF),
        Operation("node prepare", NODE, "Prepare", "Ordered", "check and archive for a rollout, and wait"),
        Operation("node request", NODE, "NodeRequest", "Ordered", "run a plan or a task for the controller"),
        Operation("node switch", NODE, "Switch", "Ordered", "switch to what was prepared, and hold it"),
        Operation("node confirm", NODE, "OfOrder", "Ordered", "make what is held live"),
        Operation("node revoke", NODE, "OfOrder", "Ordered", "return to what was live before"),
        Operation("node outcome", NODE, "Outcome", "Ordered", "say what became of an order", looks=True),
        Operation("node log", NODE, "NodeLog", "LogPart", "give a part of the log of an order", looks=True),
        Operation(
            "token list",
            HOST,
            "Nothing",
            "Token",
            "list the tokens of the API",
            HOST_ITSELF,
            BOTH,
            words.NOTHING,
            several=True,
            looks=True,
        ),
        Operation(
            "token add",
            HOST,
            "TokenAdd",
            "NewToken",
            "create a token for the API, and print it once",
            HOST_ITSELF,
            BOTH,
            words.GRANTED,
        ),
        Operation(
            "token revoke",
            HOST,
            "OfToken",
            "Token",
            "revoke a token; its running deployments continue",
            HOST_ITSELF,
            BOTH,
            words.NAMED,
        ),
        Operation(
            "account list",
            HOST,
            "Nothing",
            "Account",
            "list the accounts of the pages",
            HOST_ITSELF,
            BOTH,
            words.NOTHING,
            several=True,
            looks=True,
        ),
        Operation(
            "account add",
            HOST,
            "AccountAdd",
            "LinkedAccount",
            "create an account, and print a link to set its password",
            HOST_ITSELF,
            BOTH,
            words.GRANTED,
        ),
        Operation(
            "account link",
            HOST,
            "OfAccount",
            "LinkedAccount",
            "print a new link to set the password of an account",
            HOST_ITSELF,
            BOTH,
            words.NAMED,
        ),
        Operation(
            "session list",
            HOST,
            "OfPersons",
            "SessionOf",
            "list who is signed in to the pages",
            HOST_ITSELF,
            BOTH,
            Word((("WHO", words.WHO),), 0, _flags(), text=True),
            several=True,
            looks=True,
        ),
        Operation(
            "session end",
            HOST,
            "OfPerson",
            "SessionOf",
            "end the sessions of somebody",
            HOST_ITSELF,
            BOTH,
            Word((("WHO", words.WHO),), 1, _flags(), text=True),
            several=True,
        ),
        Operation(
            "account revoke",
            HOST,
            "OfAccount",
            "Account",
            "revoke an account; its running deployments continue",
            HOST_ITSELF,
            BOTH,
            words.NAMED,
        ),
    )
}


def by_door(door: str) -> dict[str, Operation]:
    """Return the operations to which a door leads."""
    return {name: row for name, row in OPERATIONS.items() if door in row.doors}
