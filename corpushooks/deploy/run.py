"""One running deployment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from corpushooks.checks.finding import Finding
from corpushooks.core.deployment import FAILED, MARK, REFUSED, ChildRow, Deployment, ProjectRow, Request
from corpushooks.core.errors import CorpusError, RefusedError, StepError, UsageError
from corpushooks.core.events import Began, Verdict
from corpushooks.core.hints import Advice, command
from corpushooks.core.project import Project
from corpushooks.core.settings import Settings
from corpushooks.core.text import one_line
from corpushooks.deploy.deadline import Deadline
from corpushooks.deploy.session import Salted
from corpushooks.deploy.voice import Voice
from corpushooks.host.site import Site
from corpushooks.notify import announce
from corpushooks.notify.announce import Subject
from corpushooks.store.log import Log
from corpushooks.system.process import DEVNULL, Account, Child, spawn, start_time


@dataclass
class Run:
    """One running deployment, with its voice, its deadline and its use of Salt."""

    site: Site
    project: Project
    settings: Settings
    row: ProjectRow
    deployment: Deployment
    voice: Voice
    deadline: Deadline
    salt: Salted
    owner: Deployment  # the deployment that owns our processes: another one, if that repairs this one
    apart: Callable[[], AbstractContextManager[None]] = nullcontext  # frees its slot of max_parallel meanwhile
    answered: threading.Event = field(default_factory=threading.Event)  # set when a held deployment was decided
    unsure: Callable[[Callable[[], None]], str] | None = None  # while nodes hold it: asks them; why they may not
    named: set[tuple[str, int]] = field(default_factory=set)  # warnings about left processes, with their pid
    told: set[Finding] = field(default_factory=set)  # findings already reported
    heard: float = field(default_factory=time.monotonic)  # when the controller of a rollout last asked for it
    foresees: bool = False  # its SLS files are new: compile all before the first of them runs
    restored: Mapping[str, tuple[int, ...]] | None = None  # in dev: the edits that a rollback restored

    @classmethod
    def of(
        cls, site: Site, row: ProjectRow, settings: Settings, deployment: Deployment, log: Log,
        owner: Deployment | None = None,
    ) -> Run:  # fmt: skip
        """Return a deployment with what it needs to run; with `owner`, for the rollback that `owner` repeats."""
        project, mine = site.host.project(deployment.project), owner or deployment
        voice = Voice(log)
        deadline = Deadline(
            site.history, project.name, deployment.number, settings.timeout, settings.step_timeout, owner is not None
        )

        def register(pid: int, start: int, group: int) -> None:
            site.history.add_child(mine, ChildRow(pid, start, group))

        mark = f"{MARK}={project.dir}#{deployment.number}"
        salt = Salted(site.engine, settings, mark, voice, deadline, register)
        return cls(site, project, settings, row, deployment, voice, deadline, salt, mine)

    @property
    def request(self) -> Request:
        return self.deployment.request

    @property
    def in_dev(self) -> bool:
        """Whether people edit the trees by hand here, and a failed tree stays."""
        return self.row.environment == "dev"

    @property
    def undoing(self) -> bool:
        """Whether it is rolling back."""
        return self.deadline.lifted

    @property
    def archive(self) -> Path:
        """The folder of this deployment's archive."""
        return self.project.archives / (self.deployment.archive or "none")

    @property
    def saved(self) -> Path:
        """The project tree as it was before this deployment."""
        return self.archive / "project"

    @property
    def mark(self) -> str:
        """The mark in the environment of all its processes, even outside its process group."""
        return self.salt.mark

    def start(
        self, words: Sequence[str | Path], *, cwd: Path = Path("/"), env: Mapping[str, str] | None = None,
        stdin: int = DEVNULL, stdout: int = DEVNULL, stderr: int = DEVNULL, account: Account | None = None,
    ) -> Child[bytes]:  # fmt: skip
        """Start a command of this deployment, recorded so that the next daemon can stop it; raise ProcessError."""
        marked = {**(env or {}), **dict([self.mark.split("=", 1)])}
        child = spawn(words, cwd=cwd, env=marked, stdin=stdin, stdout=stdout, stderr=stderr, account=account)
        self.salt.child(child.pid, start_time(child.pid) or 0, child.pid)
        return child

    def cancel(self) -> None:
        """Cancel this deployment, from another thread: it rolls back."""
        self.deadline.cancelled.set()
        if self.deadline.cuts:
            self.salt.stop()

    def look(self) -> Deployment:
        """Read this deployment from the store again, and return it."""
        self.deployment = self.site.history.deployment(self.project.name, self.deployment.number)
        return self.deployment

    # the outcome

    def move(self, state: str, why: CorpusError | None = None) -> None:
        """Change the state of the deployment; `why` is the reason for a failure."""
        reason, summary = (
            one_line(self.voice.hide(text)) for text in ((why.message, why.summary) if why else ("", ""))
        )
        self.deployment = self.site.history.move(self.deployment, state, reason, summary)
        about = {"reason": self.deployment.reason} if self.deployment.reason else {}
        self.event("state", {"state": state, "kind": self.request.kind, "by": self.request.who, **about})

    def event(self, event: str, about: Mapping[str, object]) -> None:
        """Log an event of this deployment for the operators of the host."""
        self.site.event(event, {"project": self.project.name, "deployment": self.deployment.number, **about})

    def began(self) -> Began:
        """Return the first event of a log."""
        done, asked = self.deployment, self.request
        return Began(
            done.project, self.row.environment, done.number, asked.kind, asked.who if asked.key else "",
            new=self.row.tree_code, task=asked.task or " ".join(asked.units or asked.parts), edited=asked.edited,
        )  # fmt: skip

    def spell(self, said: Advice) -> str:
        """Return advice as text, with commands spelled for the caller of this deployment."""
        return self.site.spell(said, ssh=bool(self.request.key))

    def verdict(self, reason: str = "", hint: Advice = "", *, see_log: bool = False) -> Verdict:
        """Return the last event of a log, with the outcome; followers stop here.

        With `see_log` it names the command that shows the log.
        """
        done, asked = self.deployment, self.request
        where = command("log", done.project, done.number) if see_log else ""
        hint, where = self.spell(hint), self.spell(where)
        return Verdict(
            done.state, asked.kind, done.project, done.number, reason=reason, hint=hint, see_log=where,
            commit=self.row.tree_code, branch=self.row.branch, task=asked.task,
        )  # fmt: skip

    def fail(self, exc: CorpusError) -> None:
        """End a run that has nothing to roll back."""
        self.move(REFUSED if isinstance(exc, (RefusedError, UsageError)) else FAILED, exc)
        self.voice.tell(self.verdict(exc.message, exc.hint, see_log=isinstance(exc, StepError)))

    @property
    def subject(self) -> Subject:
        """What notifications say about this deployment."""
        return Subject(self.site, self.settings, self.row, self.deployment, self.voice.log.path)

    def announce(self) -> int:
        """Send notifications of the outcome; return how many were sent. A failure is a warning."""
        told, wrong = announce.ended(self.subject)
        if wrong:
            self.voice.warn(wrong)
        return told
