"""The Salt session of a deployment, the release it sees, and its reports."""

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
    """A deployment's use of Salt; it receives the reports of its session."""

    engine: Engine
    settings: Settings
    mark: str  # in the environment of all its processes
    voice: Voice
    deadline: Deadline
    register: Register
    env: dict[str, str] = field(default_factory=dict)  # more of that, of sessions that are opened from now on
    release: Release | None = None
    cfg: Cfg | None = None
    progress: Progress | None = None  # of the running SLS
    touched: set[str] = field(default_factory=set)  # paths that states reported as changed
    again: list[str] = field(default_factory=list)  # SLS that ran since the tree was restored
    _session: Session | None = None
    _opening: Future[Session] | None = None
    _sessions: ExitStack = field(default_factory=ExitStack)

    @property
    def session(self) -> Session | None:
        """The session, if one was opened; wait for it. Raise its error."""
        opening, self._opening = self._opening, None
        if opening:
            self.use(opening.result())
        return self._session

    def begin(self, release: Release) -> None:
        """Open a session on the live trees as they are now, in the background."""
        self.release, self.cfg = release, None
        if self._session is None and self._opening is None:
            minion = replace(release.minion(self.settings), mark=self.mark, env=dict(self.env))
            self._opening = beside(lambda: self._opened(minion))

    def open(self, release: Release) -> Session:
        """Open a session and wait for it."""
        self.begin(release)
        session = self.session
        assert session is not None
        return session

    def _opened(self, minion: Minion) -> Session:
        session = self.engine.session(minion, self)
        session.prepare()
        return session

    def use(self, session: Session) -> Session:
        """Take over a session: it is stopped with us, even if a cancellation came first."""
        self._session = self._sessions.enter_context(session)
        if self.deadline.cuts:
            session.stop()
        return session

    def stop(self) -> None:
        """Stop the session, from another thread."""
        session = self._session
        if session is not None:
            session.stop()

    def close(self) -> None:
        """Close the session: the trees it has seen change, or nothing is left to do."""
        with suppress(CorpusError):  # it never opened
            _ = self.session
        self._session = self.cfg = self.release = None
        self._sessions.close()

    # reports of the session

    @property
    def redactor(self) -> Redactor:
        return self.voice.redactor

    def child(self, pid: int, start: int, group: int) -> None:
        """Record a process before it starts its work."""
        self.register(pid, start, group)

    def state(self, state: State) -> None:
        """Report that a state ended."""
        if self.progress:
            (hidden,) = redacted(Result("", (state,), (), True, ""), self.redactor).states
            self.progress.state(hidden)

    def output(self, data: bytes) -> None:
        """Report output of a command."""
        if self.progress:
            self.progress.output(data)
