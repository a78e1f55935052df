"""What engines and their sessions are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from corpushooks.core.redaction import Redactor
from corpushooks.salt.problems import Problem
from corpushooks.salt.results import Compiled, Facts, Minion, Result, State


class Listener(Protocol):
    """Who is told what happens, in the thread that uses the session."""

    @property
    def redactor(self) -> Redactor:
        """Return who knows the secrets: results, and what is kept of Salt's own log, go through it."""

    def child(self, pid: int, start: int, group: int) -> None:
        """Note a process, which does nothing before this returns. `start` is in clock ticks since boot."""

    def state(self, state: State) -> None:
        """Hear of a state that ended."""

    def output(self, data: bytes) -> None:
        """Hear what commands write, where the engine is live."""


class Session(Protocol):
    """One deployment's use of Salt. After a SaltError that says it ended, open another."""

    def __enter__(self) -> Session: ...

    def __exit__(self, *exc: object) -> None: ...

    def prepare(self) -> None:
        """Begin with what the first questions will need, and do not wait for it."""

    def syntax(self, files: Sequence[Path]) -> list[Problem]:
        """Parse the Jinja of each file, or load its YAML where it has no Jinja; render nothing."""

    def facts(self, sample: Path | None, *, timeout: float | None = None) -> Facts:
        """Return grains, pillar and PILLAR.sample as they are without cfg, within `timeout` seconds.

        Raise SaltError with the place.
        """

    def configure(
        self, cfg: Mapping[str, Any], pillar_defaults: Mapping[str, Any], above: Mapping[str, Any] | None = None
    ) -> None:
        """Give every SLS from now on `cfg`, and a pillar under which `pillar_defaults` lie, and `above` over it."""

    def run(self, sls: str, *, test: bool = False, timeout: float | None = None) -> Result:
        """Run one SLS; `timeout` is in seconds. Raise SaltError if its end is not known."""

    def check(self, sls: Sequence[str], *, timeout: float | None = None) -> list[list[Problem]]:
        """Render and compile SLS files, within `timeout` seconds, and run no state; say of each what is wrong in it."""

    def compile(self, sls: Sequence[str], *, timeout: float | None = None) -> list[Compiled]:
        """Do the same, and say too which states are in each. Commands of Jinja are not run, but named."""

    def stop(self) -> None:
        """Stop the session's process group, from any thread; what is being asked raises SaltError."""

    def command(self, sls: str) -> str:
        """Return the command line that runs the SLS by hand."""


class Engine(Protocol):
    """A way to run Salt."""

    def session(self, minion: Minion, listener: Listener) -> Session:
        """Open a session; raise SaltError if Salt cannot be had."""

    def warm(self) -> None:
        """Get ready in the background."""

    def close(self) -> None:
        """Let go of what waits; sessions that are open live on."""
