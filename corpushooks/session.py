"""The session of Salt that a deployment uses, what it sees in it, and what that reports."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from corpushooks.config import Cfg
from corpushooks.deadline import Deadline
from corpushooks.progress import Progress
from corpushooks.redaction import Redactor
from corpushooks.release import Release
from corpushooks.salt import Engine, Session
from corpushooks.settings import Settings
from corpushooks.sls import Result, State, redacted
from corpushooks.voice import Voice

Register = Callable[[int, int, int], None]  # pid, start, group


@dataclass
class Salted:
    """One deployment's use of Salt; it listens to its session."""

    engine: Engine
    settings: Settings
    mark: str  # in the environment of all that it starts
    voice: Voice
    deadline: Deadline
    register: Register
    session: Session | None = None
    release: Release | None = None
    cfg: Cfg | None = None
    progress: Progress | None = None  # the SLS that runs
    touched: set[str] = field(default_factory=set)  # paths that states say they changed
    again: list[str] = field(default_factory=list)  # SLS that ran since the tree was restored
    _sessions: ExitStack = field(default_factory=ExitStack)

    def open(self, release: Release) -> Session:
        """Return the session in which SLS run, which sees the live trees as they are now."""
        self.release, self.cfg = release, None
        if self.session is None:
            minion = replace(release.minion(self.settings), mark=self.mark)
            self.use(self.engine.session(minion, self)).prepare()
        assert self.session is not None
        return self.session

    def use(self, session: Session) -> Session:
        """Make a session ours: it is stopped with us, also where that was asked for before it was there."""
        self.session = self._sessions.enter_context(session)
        if self.deadline.cuts:
            session.stop()
        return session

    def stop(self) -> None:
        """Stop what runs in the session, from another thread."""
        session = self.session
        if session is not None:
            session.stop()

    def close(self) -> None:
        """Let the session go: the trees it has seen change, or nothing is left to do."""
        self.session = self.cfg = self.release = None
        self._sessions.close()

    # what a session reports

    @property
    def redactor(self) -> Redactor:
        return self.voice.redactor

    def child(self, pid: int, start: int, group: int) -> None:
        """Record a process before it does anything."""
        self.register(pid, start, group)

    def state(self, state: State) -> None:
        """Tell that a state ended."""
        if self.progress:
            (hidden,) = redacted(Result("", (state,), (), True, ""), self.redactor).states
            self.progress.state(hidden)

    def output(self, data: bytes) -> None:
        """Tell what a command wrote."""
        if self.progress:
            self.progress.output(data)
