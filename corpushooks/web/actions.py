"""What can be done from a page: each asks for an operation, and is said before it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from corpushooks.core.errors import UsageError
from corpushooks.core.rights import RIGHTS
from corpushooks.operations.table import OPERATIONS

TEXT, AREA, CHECK, CHOICE, WORDS = "text", "area", "check", "choice", "words"  # how a field is filled in
Form = Mapping[str, str]


@dataclass(frozen=True)
class Field:
    """Something that an action wants to know: a field of what is asked."""

    name: str
    label: str
    kind: str = TEXT
    needed: bool = True
    choices: tuple[str, ...] = ()
    note: str = ""

    def value(self, form: Form) -> Any:
        """Return what a form has for it; None where it is left out. Raise UsageError."""
        text = form.get(self.name, "").strip()
        if self.kind == CHECK:
            return bool(text)
        if not text:
            if self.needed:
                raise UsageError(f"{self.label.lower()} is missing")
            return None
        if self.choices and text not in self.choices:
            raise UsageError(f"unknown choice {text[:40]!r}")
        return text.split() if self.kind == WORDS else text


@dataclass(frozen=True)
class Action:
    """One thing that can be done with a project, one of its deployments, or the host."""

    name: str
    operation: str
    label: str
    says: str  # what it will do
    numbered: bool = False  # it is about a deployment, an archive or a backup
    fields: tuple[Field, ...] = ()
    once: bool = False  # sent twice it is done once
    typed: str = ""  # it destroys: the field, or "project", whose value has to be typed again
    tells: bool = False  # what it gives is shown, and only then
    back: str = ""  # the page of the project that is shown then; empty: its first
    asks: Callable[[dict[str, Any]], dict[str, Any]] = dict  # makes what is asked of the fields

    @property
    def right(self) -> str:
        return OPERATIONS[self.operation].right

    def wanted(self, form: Form, project: str) -> dict[str, Any]:
        """Return what is asked, from a form; raise UsageError."""
        values = {each.name: each.value(form) for each in self.fields}
        if self.typed and form.get("typed", "").strip() != self.sure(form, project):
            raise UsageError(f"type {self.sure(form, project)} to confirm", hint="nothing was done")
        return self.asks({name: value for name, value in values.items() if value is not None})

    def sure(self, form: Form, project: str) -> str:
        """Return what has to be typed again."""
        return project if self.typed == "project" else form.get(self.typed, "").strip()


def _pair(values: dict[str, Any]) -> dict[str, Any]:
    return {"pairs": [[values["key"], values["text"], "stdin" if values["secret"] else ""]], "deploy": values["deploy"]}


REASON = Field("reason", "Reason")
NAME, PROJECTS = Field("name", "Name"), Field("projects", "Projects", WORDS, needed=False, note="none: all")
RIGHT = Field("right", "Right", CHOICE, choices=RIGHTS)
EXPIRES = Field("expires", "Expires", needed=False, note="a day like 2027-01-31, or 90d")
DEPLOY = Field("deploy", "Deploy at once", CHECK)


def _table(*rows: Action) -> Mapping[str, Action]:
    return {row.name: row for row in rows}


ACTIONS = _table(  # of a project
    Action("redeploy", "deploy", "Deploy again",
           "Deploys the live commit of {project} again: archive, install and health checks run, and services may"
           " restart. If it fails, it is rolled back.", once=True),
    Action("plan", "plan", "Plan", "Shows what a deployment of {project} would change: each file, and each state."
           " Nothing is changed.", once=True,
           fields=(Field("rev", "Commit", needed=False, note="a branch, a tag or a commit; none: the live one"),)),
    Action("rollback", "rollback", "Roll back to",
           "Returns {project} to the result of deployment {number}: its code, its configuration, its services."
           " data/ stays as it is.", numbered=True, once=True),
    Action("confirm", "confirm", "Confirm",
           "Confirms deployment {number} of {project}: it becomes final.", numbered=True),
    Action("cancel", "cancel", "Cancel",
           "Cancels what runs or waits in {project}. What a running deployment did is rolled back."),
    Action("task", "task", "Run a task", "Runs a task of {project}, on what is live. A task is not rolled back.",
           once=True, fields=(Field("task", "Task"),)),
    Action("restart", "restart", "Restart", "Restarts the units of {project}.", once=True),
    Action("repair", "repair", "Repair", "Repairs {project}, whose rollback failed.", once=True),
    Action("backup", "backup", "Back up", "Backs up {project}: data, databases and what is live.", once=True),
    Action("drill", "drill", "Test backup", "Restores backup {number} of {project} aside and compares it. What is live"
           " is not touched.", numbered=True, once=True),
    Action("prune", "prune", "Remove expired backups", "Removes the backups of {project} that are older than this host"
           " keeps them, for good.", once=True),
    Action("check-backups", "check-backups", "Check the backups", "Reads the whole backup repository of this host. That"
           " can take hours; deployments wait for some minutes at most.", once=True),
    Action("set", "set", "Set a variable", "Sets a variable of {project}, in a commit of its pillar.", once=True,
           fields=(Field("key", "Variable"), Field("text", "Value"), Field("secret", "It is a secret", CHECK), DEPLOY),
           asks=_pair),
    Action("unset", "unset", "Unset a variable", "Unsets a variable of {project}, in a commit of its pillar.",
           once=True, fields=(Field("keys", "Variable", WORDS), DEPLOY)),
    Action("set-setting", "setting set", "Change a setting", "Changes a setting of {project}, in the file of the"
           " settings. It counts from the next deployment on: what runs goes on with the old value.",
           fields=(Field("name", "Setting"), Field("value", "Value", note="as in the file: 5, true, [a, b]")),
           back="settings"),
    Action("unset-setting", "setting unset", "Use the host's setting", "Takes a setting of {project} out of the file:"
           " that of the host counts again.", fields=(Field("name", "Setting"),), back="settings"),
    Action("remove-archive", "remove-archive", "Remove archive", "Removes archive {number} of {project} from the disk,"
           " for good. Rollbacks to what it keeps are no longer possible.", numbered=True, typed="project"),
    Action("freeze", "freeze", "Freeze",
           "Refuses deployments, rollbacks and tasks of {project} until somebody thaws it. Anyone who is refused"
           " sees the reason and your name.", fields=(REASON,)),
    Action("thaw", "thaw", "Thaw", "Accepts deployments of {project} again."),
    Action("remove", "remove", "Remove the project", "Removes {project}: nobody can push to it any more. data/ stays.",
           fields=(Field("purge", "Also remove its files, except data/", CHECK),), typed="project", tells=True),
)  # fmt: skip
HOST_ACTIONS = _table(
    Action("create", "init", "Create a project", "Creates a project, with its repositories. What exists is repaired.",
           fields=(Field("project", "Name"), Field("env", "Environment", needed=False, note="none: that of the host"),
                   Field("branch", "Branch", needed=False, note="none: that of the host"),
                   Field("installer", "Installer", needed=False, note="static, python, php …; none: an empty project")),
           tells=True),
    Action("add-key", "key add", "Add an ssh key", "Lets an ssh key in, with a right.",
           fields=(NAME, Field("key", "Public key", AREA), RIGHT, PROJECTS, EXPIRES), tells=True),
    Action("set-key", "key set", "Change a key", "Changes the rights of an ssh key, from now on.",
           fields=(NAME, Field("right", "Right", CHOICE, needed=False, choices=RIGHTS, note="empty: as it was"),
                   Field("projects", "Projects", WORDS, needed=False, note="none: as they were"),
                   Field("every_project", "All projects", CHECK),
                   Field("expires", "Expires", needed=False, note="a day, 90d or never; none: as it was")),
           tells=True),
    Action("test-key", "key test", "Test a key", "Shows what a key can do with a project, and why.",
           fields=(NAME, Field("project", "Project")), tells=True),
    Action("revoke-key", "key remove", "Revoke a key", "Revokes a key. What it started goes on.", fields=(NAME,),
           typed="name"),
    Action("add-token", "token add", "Add a token", "Creates a token for the API and these pages. It is shown once.",
           fields=(NAME, RIGHT, PROJECTS, EXPIRES), tells=True),
    Action("revoke-token", "token revoke", "Revoke a token", "Revokes a token. What it started goes on.",
           fields=(NAME,), typed="name"),
    Action("end-sessions", "session end", "Sign somebody out", "Ends all sessions of one person. The account or token"
           " stays: to keep somebody out, revoke it.", fields=(Field("who", "Who"),), back="sessions"),
    Action("freeze-all", "freeze", "Freeze the host", "Refuses deployments of all projects until somebody thaws the"
           " host.", fields=(REASON,), asks=lambda values: {**values, "project": ""}),
    Action("thaw-all", "thaw", "Thaw the host", "Accepts deployments again, of what is not frozen itself.",
           asks=lambda values: {"project": ""}),
)  # fmt: skip
LISTED = ("redeploy", "plan", "restart", "cancel", "repair", "freeze", "thaw")  # on the page of a project
