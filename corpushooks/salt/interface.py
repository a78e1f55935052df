"""The interface of engines and their sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from corpushooks.core.redaction import Redactor
from corpushooks.salt.problems import Problem
from corpushooks.salt.results import Compiled, Facts, Minion, Result, State


class Listener(Protocol):
    """Receives what happens, in the thread that uses the session."""

    @property
    def redactor(self) -> Redactor:
        """Return the redactor for results and for Salt's own log."""

    def child(self, pid: int, start: int, group: int) -> None:
        """Note a new process, which does nothing before this returns. `start` is in clock ticks since boot."""

    def state(self, state: State) -> None:
        """Receive a state that ended."""

    def output(self, data: bytes) -> None:
        """Receive output of commands, if the engine reports it live."""


class Session(Protocol):
    """One deployment's use of Salt. After a SaltError that ends it, open another."""

    def __enter__(self) -> Session: ...

    def __exit__(self, *exc: object) -> None: ...

    def prepare(self) -> None:
        """Start to prepare for the first questions, without waiting."""

    def syntax(self, files: Sequence[Path]) -> list[Problem]:
        """Parse the Jinja of each file, or load its YAML if it has no Jinja; render nothing."""

    def facts(self, sample: Path | None, *, timeout: float | None = None) -> Facts:
        """Return grains, pillar and PILLAR.sample without cfg, within `timeout` seconds.

        Raise SaltError with the position.
        """

    def configure(
        self, cfg: Mapping[str, Any], pillar_defaults: Mapping[str, Any], above: Mapping[str, Any] | None = None
    ) -> None:
        """Set `cfg` for all further SLS files; merge `pillar_defaults` under their pillar, and `above` over it."""

    def run(self, sls: str, *, test: bool = False, timeout: float | None = None) -> Result:
        """Run one SLS; `timeout` is in seconds. Raise SaltError if its result is unknown."""

    def check(self, sls: Sequence[str], *, timeout: float | None = None) -> list[list[Problem]]:
        """Render and compile SLS files within `timeout` seconds, without running states; return their problems."""

    def compile(self, sls: Sequence[str], *, timeout: float | None = None) -> list[Compiled]:
        """Do the same, and also return the states. Commands in Jinja are not run, but returned."""

    def stop(self) -> None:
        """Stop the session's process group, from any thread; a running question raises SaltError."""

    def command(self, sls: str) -> str:
        """Return the command line that runs the SLS by hand."""


class Engine(Protocol):
    """A way to run Salt."""

    def session(self, minion: Minion, listener: Listener) -> Session:
        """Open a session; raise SaltError if Salt is not available."""

    def warm(self) -> None:
        """Prepare in the background."""

    def close(self) -> None:
        """Stop idle processes; open sessions continue."""
