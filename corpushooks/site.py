"""A host at work, and one deployment at work on it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from corpushooks import claims, hostname, sockets
from corpushooks.checks.finding import Finding
from corpushooks.config import Cfg
from corpushooks.deployment import FAILED, REFUSED, ChildRow, Deployment, ProjectRow, Request
from corpushooks.endpoint import called, typed
from corpushooks.errors import CancelledError, CorpusError, RefusedError, StepError, UsageError
from corpushooks.events import Began, Verdict, Warned
from corpushooks.events import Event as Told
from corpushooks.history import History, open_store
from corpushooks.log import Log
from corpushooks.patience import Check
from corpushooks.progress import Progress
from corpushooks.project import Host, Project
from corpushooks.redaction import Redactor
from corpushooks.release import Release
from corpushooks.run import Child, spawn, start_time
from corpushooks.salt import Engine, SaltCallEngine, Session, WarmEngine
from corpushooks.settings import Settings, load
from corpushooks.sls import Result, State, redacted
from corpushooks.text import one_line

MARK = "CORPUS_DEPLOYMENT"  # in the environment of all that a deployment starts: the project's folder # its number

ASK = 0.5  # seconds after which the store is asked again whether somebody cancelled

Probe = Callable[[str, str], None]


Event = Callable[[str, Mapping[str, object]], None]


def no_event(event: str, about: Mapping[str, object]) -> None:
    """Tell nobody: only a daemon has a log of its own."""


def no_probe(label: str, when: str) -> None:
    """Do nothing where a crash test would."""


@dataclass
class Site:
    """A host at work: its settings, store and engine. `probe` is called around every effect, with its label."""

    host: Host
    settings: Settings
    history: History
    engine: Engine
    probe: Probe = no_probe
    event: Event = no_event  # is told what happens, for whoever runs the host
    stopping: bool = False
    running: dict[tuple[str, int], Run] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)  # what runs or waits

    def words(self, text: str, *, ssh: bool = False) -> str:
        """Return a text with the commands in it as one types them for this host, or over ssh."""
        if not ssh:
            return self.host.words(text)
        return self.host.words(typed(text, called(self.settings.account, self.settings.address or hostname.fqdn())))

    def known(self, name: str) -> ProjectRow:
        """Return what the store says of a project; raise UsageError where there is none."""
        row = self.history.project(self.host.project(name).name)
        if row is None:
            raise UsageError(f"there is no project {name!r}", hint=f"corpus init {name}")
        return row

    def settings_of(self, row: ProjectRow, *, needs_sound: bool = True) -> Settings:
        """Return the settings of a project: what `init` recorded wins over the host's.

        Where its own are wrong raise ConfigError, or, unless they must be sound, return those of the host.
        """
        settings = self.settings.for_project(row.name) if needs_sound else self.settings.sound(row.name)
        return replace(settings, environment=row.environment, branch=row.branch)

    def ports(self, project: Project) -> claims.Give:
        """Return what gives a project the ports that say auto: the same ones each time, once they are claimed."""
        busy = sockets.listening()
        return claims.giver(project.name, self.history.held(), lambda port: port not in busy)

    def tell(self) -> None:
        """Wake those who wait for their turn: something began, ended or was cancelled."""
        with self.changed:
            self.changed.notify_all()

    @contextmanager
    def effect(self, label: str) -> Iterator[None]:
        """Mark an effect, so that a test can fail or kill exactly there."""
        self.probe(label, "before")
        yield
        self.probe(label, "after")


@dataclass
class Run:
    """One deployment at work."""

    site: Site
    project: Project
    settings: Settings
    row: ProjectRow
    deployment: Deployment
    log: Log
    cancelled: threading.Event = field(default_factory=threading.Event)
    session: Session | None = None
    _sessions: ExitStack = field(default_factory=ExitStack)
    release: Release | None = None
    cfg: Cfg | None = None
    progress: Progress | None = None  # the SLS that runs
    touched: set[str] = field(default_factory=set)  # paths that states say they changed
    again: list[str] = field(default_factory=list)  # SLS that ran since the tree was restored
    named: set[tuple[str, int]] = field(default_factory=set)  # what processes that it left were said to be, by pid
    told: set[Finding] = field(default_factory=set)  # what was found and said already
    foresees: bool = False  # its SLS files are new: what Salt has against them is said before the first of them runs
    undoing: bool = False
    restored: Mapping[str, tuple[int, ...]] | None = None  # in dev: the edits that a roll back brought back
    owner: Deployment | None = None  # whose processes ours are, where that is another deployment
    since: float = field(default_factory=time.monotonic)
    warned: set[str] = field(default_factory=set)

    @property
    def request(self) -> Request:
        return self.deployment.request

    @property
    def in_dev(self) -> bool:
        """Whether people edit the trees by hand here, and what fails stays."""
        return self.row.environment == "dev"

    @property
    def archive(self) -> Path:
        """The folder of this deployment's archive."""
        return self.project.archives / (self.deployment.archive or "none")

    @property
    def mark(self) -> str:
        """What all that this deployment starts has in its environment, also what leaves its process group."""
        return f"{MARK}={self.project.dir}#{self.deployment.number}"

    @property
    def saved(self) -> Path:
        """The project tree as it was before this deployment."""
        return self.archive / "project"

    @property
    def redactor(self) -> Redactor:
        """What hides secrets: in the log, and in whatever else is kept."""
        return self.log.redactor

    def hide(self, text: str) -> str:
        """Return a text without the secrets that are known by now."""
        return self.redactor.redact(text)

    # the outcome and what is said of it

    def move(self, state: str, reason: str = "") -> None:
        """Change the state of the deployment."""
        self.deployment = self.site.history.move(self.deployment, state, one_line(self.hide(reason)))
        about = {"reason": self.deployment.reason} if self.deployment.reason else {}
        self.event("state", {"state": state, "kind": self.request.kind, "by": self.request.who, **about})

    def event(self, event: str, about: Mapping[str, object]) -> None:
        """Tell whoever runs the host what happens in this deployment."""
        self.site.event(event, {"project": self.project.name, "deployment": self.deployment.number, **about})

    def warn(self, *warnings: str) -> None:
        """Show warnings, each once, the first of many."""
        fresh = [warning for warning in dict.fromkeys(warnings) if warning not in self.warned]
        self.warned |= set(fresh)
        for warning in fresh[:20]:
            self.tell(Warned(warning))
        if len(fresh) > 20:
            self.tell(Warned(f"{len(fresh) - 20} more of this kind"))

    def tell(self, event: Told) -> None:
        """Tell what happens to those who follow this deployment, now or later."""
        self.log.tell(event)

    def began(self) -> Began:
        """Return the first event of a log."""
        done, asked = self.deployment, self.request
        return Began(
            done.project, self.row.environment, done.number, asked.kind, asked.who if asked.key else "",
            new=self.row.tree_code, task=asked.task or " ".join(asked.units), edited=asked.edited,
        )  # fmt: skip

    def verdict(self, reason: str = "", hint: str = "", *, see_log: bool = False) -> Verdict:
        """Return the last event of a log: the outcome is final, and whoever follows stops here.

        With `see_log` those who do not read the log now are told how.
        """
        done, asked = self.deployment, self.request
        where = f"corpus log {done.project} {done.number}" if see_log else ""
        hint, where = (self.site.words(text, ssh=bool(asked.key)) for text in (hint, where))
        return Verdict(
            done.state, asked.kind, done.project, done.number, reason=reason, hint=hint, see_log=where,
            commit=self.row.tree_code, branch=self.row.branch, task=asked.task,
        )  # fmt: skip

    def fail(self, exc: CorpusError) -> None:
        """End a run that changed nothing which could be rolled back."""
        self.move(REFUSED if isinstance(exc, (RefusedError, UsageError)) else FAILED, exc.message)
        self.tell(self.verdict(exc.message, exc.hint, see_log=isinstance(exc, StepError)))

    # what a session of Salt reports

    def child(self, pid: int, start: int, group: int) -> None:
        """Record a process before it does anything."""
        self.site.history.add_child(self.owner or self.deployment, ChildRow(pid, start, group))

    def start(self, words: Sequence[str]) -> Child[bytes]:
        """Start a command of this deployment, which is found and stopped where we are killed; raise ProcessError."""
        child = spawn(words, cwd=Path("/"), env=dict([self.mark.split("=", 1)]))
        self.child(child.pid, start_time(child.pid) or 0, child.pid)
        return child

    def state(self, state: State) -> None:
        """Show that a state ended, where its SLS takes long."""
        if self.progress:
            (hidden,) = redacted(Result("", (state,), (), True, ""), self.redactor).states
            self.progress.state(hidden)

    def output(self, data: bytes) -> None:
        """Show what a command wrote, where its SLS takes long."""
        if self.progress:
            self.progress.output(data)

    # its end

    def cancel(self) -> None:
        """Stop this deployment, from another thread: it rolls back."""
        self.cancelled.set()
        session = self.session
        if session is not None and not self.undoing:
            session.stop()

    def check_cancelled(self) -> None:
        """Raise CancelledError where somebody asked for the end, or the time is over."""
        if self.undoing:
            return
        row = self.site.history.deployment(self.project.name, self.deployment.number)
        if row.cancelled or self.cancelled.is_set():
            raise CancelledError(f"cancelled by {row.cancelled or 'somebody'}")
        if self.time_left() == 0:
            raise CancelledError(f"no end after {self.settings.timeout:g} s (timeout)")

    def patience(self) -> Check:
        """Return what a loop that begins now asks in each round, as often as it likes.

        It raises CancelledError where this deployment is cancelled or late, or the loop takes more than `step_timeout`.
        """
        step, began, asked = self.settings.step_timeout, time.monotonic(), 0.0

        def check() -> None:
            nonlocal asked
            now = time.monotonic()
            if self.undoing or (now < asked + ASK and not self.cancelled.is_set()):
                return
            asked = now
            self.check_cancelled()
            if step is not None and now > began + step:
                raise CancelledError(f"no end after {step:g} s (step_timeout)")

        return check

    def cause(self, exc: CorpusError) -> CorpusError:
        """Return why something ended: whatever it met then, that it was cancelled or late comes first."""
        try:
            self.check_cancelled()
        except CancelledError as asked:
            return asked
        return exc

    def time_left(self) -> float | None:
        """Return how many seconds the next SLS may take; None: any."""
        step, whole = self.settings.step_timeout, self.settings.timeout
        if whole is None or self.undoing:
            return step
        left = max(0.0, self.since + whole - time.monotonic())
        return left if step is None else min(step, left)

    def open_session(self, release: Release) -> Session:
        """Return the session of Salt that this deployment's SLS run in, which sees the live trees as they are now."""
        self.release, self.cfg = release, None
        if self.session is None:
            minion = replace(release.minion(self.settings), mark=self.mark)
            self.use(self.site.engine.session(minion, self)).prepare()
        assert self.session is not None
        return self.session

    def use(self, session: Session) -> Session:
        """Make a session ours: it is stopped with us, also where that was asked for before it was there."""
        self.session = self._sessions.enter_context(session)
        if self.cancelled.is_set() and not self.undoing:
            session.stop()
        return session

    def close_session(self) -> None:
        """Let the session go: the trees it has seen change, or nothing is left to do."""
        self.session = self.cfg = self.release = None
        self._sessions.close()


def make_engine(host: Host, settings: Settings) -> Engine:
    """Return the engine that the settings name."""
    if settings.engine == "salt-call":
        return SaltCallEngine(settings.salt_call)
    return WarmEngine(settings.salt_python or Path(sys.executable), log=host.state_dir / "salt-worker.log")


def open_site(host: Host) -> Site:
    """Return a host at work, as its settings say; raise ConfigError or StoreError."""
    settings = load(host.config_file)
    return Site(host, settings, open_store(host), make_engine(host, settings))
