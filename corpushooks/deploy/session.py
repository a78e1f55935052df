"""The session of Salt that a deployment uses, what it sees in it, and what that reports."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace

from corpushooks.core.errors import CorpusError
from corpushooks.core.redaction import Redactor
from corpushooks.core.settings import Settings
from corpushooks.deploy.deadline import Deadline
from corpushooks.deploy.progress import Progress
from corpushooks.deploy.voice import Voice
from corpushooks.release.config import Cfg
from corpushooks.release.release import Release
from corpushooks.salt import Engine, Minion, Result, Session, State, redacted
from corpushooks.system.patience import beside

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
    release: Release | None = None
    cfg: Cfg | None = None
    progress: Progress | None = None  # the SLS that runs
    touched: set[str] = field(default_factory=set)  # paths that states say they changed
    again: list[str] = field(default_factory=list)  # SLS that ran since the tree was restored
    _session: Session | None = None
    _opening: Future[Session] | None = None
    _sessions: ExitStack = field(default_factory=ExitStack)

    @property
    def session(self) -> Session | None:
        """The session, if one was opened: it is awaited. Raise what came of that."""
        opening, self._opening = self._opening, None
        if opening:
            self.use(opening.result())
        return self._session

    def begin(self, release: Release) -> None:
        """Have a session opened, in which SLS run and which sees the live trees as they are now; do not wait for it."""
        self.release, self.cfg = release, None
        if self._session is None and self._opening is None:
            minion = replace(release.minion(self.settings), mark=self.mark)
            self._opening = beside(lambda: self._opened(minion))

    def open(self, release: Release) -> Session:
        """Return such a session."""
        self.begin(release)
        session = self.session
        assert session is not None
        return session

    def _opened(self, minion: Minion) -> Session:
        session = self.engine.session(minion, self)
        session.prepare()
        return session

    def use(self, session: Session) -> Session:
        """Make a session ours: it is stopped with us, also where that was asked for before it was there."""
        self._session = self._sessions.enter_context(session)
        if self.deadline.cuts:
            session.stop()
        return session

    def stop(self) -> None:
        """Stop what runs in the session, from another thread."""
        session = self._session
        if session is not None:
            session.stop()

    def close(self) -> None:
        """Let the session go: the trees it has seen change, or nothing is left to do."""
        with suppress(CorpusError):  # what is not there need not be let go
            _ = self.session
        self._session = self.cfg = self.release = None
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
