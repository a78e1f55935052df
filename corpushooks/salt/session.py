"""The common part of the sessions of both engines."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from corpushooks.core.errors import SaltError
from corpushooks.core.text import clean, excerpt, lines, shortened
from corpushooks.salt.child import Child, death, ignore
from corpushooks.salt.configuration import configuration, private, write_configuration
from corpushooks.salt.interface import Listener, Session
from corpushooks.salt.problems import Problem, source
from corpushooks.salt.results import Compiled, Facts, Minion, Result, compiled_of, facts_of, redacted, result_of

SAID_LINES = 100  # lines that are kept of one message of Salt's log


class AnySession:
    """The common part of the sessions of both engines: the questions."""

    def __init__(self, minion: Minion, listener: Listener, salt_call: Path) -> None:
        self.minion = minion
        self.listener = listener
        self.salt_call = salt_call
        self._given: dict[str, Any] | None = None  # the configuration with cfg in it
        self._written = configuration(minion, None, {})  # written by the engine
        self._child: Child | None = None
        self._over = ""  # why the session has ended

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        """Close; processes that an SLS left running continue."""
        self._over = self._over or "the session is closed"

    def prepare(self) -> None:
        """Do nothing: each salt-call starts anew."""

    def syntax(self, files: Sequence[Path]) -> list[Problem]:
        told = self._ask("syntax", [str(file) for file in files])
        return [Problem(file, line, message, "syntax") for file, line, message in told]

    def facts(self, sample: Path | None, *, timeout: float | None = None) -> Facts:
        self._write(configuration(self.minion, None, {}))  # also since the trees can have changed
        try:
            return facts_of(self.minion, sample, self._ask("facts", str(sample or ""), timeout))
        finally:
            self._redact_passwords()
            if self._given is not None:
                self._write(self._given)

    def configure(
        self, cfg: Mapping[str, Any], pillar_defaults: Mapping[str, Any], above: Mapping[str, Any] | None = None
    ) -> None:
        self._given = configuration(self.minion, cfg, pillar_defaults, above)
        self._write(self._given)

    def run(self, sls: str, *, test: bool = False, timeout: float | None = None) -> Result:
        told, reported = self._run(sls, test, timeout)
        self._redact_passwords()
        result = result_of(self.minion, sls, told, test)
        late = {tag: each for tag, each in told.items() if tag not in reported} if result.states else {}
        for state in result_of(self.minion, sls, late, test).states:
            self.listener.state(state)
        return redacted(result, self.listener.redactor)

    def check(self, sls: Sequence[str], *, timeout: float | None = None) -> list[list[Problem]]:
        return [each.problems for each in self.compile(sls, timeout=timeout)]

    def compile(self, sls: Sequence[str], *, timeout: float | None = None) -> list[Compiled]:
        files = [[each, str(source(each, self.minion.states) or "")] for each in sls]
        told = self._ask("check", files, timeout) if sls else []
        return [compiled_of(self.minion, each, seen) for each, seen in zip(sls, told, strict=True)]

    def stop(self) -> None:
        self._over = self._over or "Salt was stopped"
        if self._child:
            self._child.stop()

    def command(self, sls: str) -> str:
        return shlex.join([str(self.salt_call), "--local", "--config-dir", str(self.minion.dir), "state.sls", sls])

    def _write(self, content: dict[str, Any]) -> None:
        if content != self._written:
            write_configuration(self.minion, content)
            self._written = content

    def _redact_passwords(self) -> None:
        """Hide the generated passwords, before any output is shown."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            known = json.loads(self.minion.passwords.read_text()) if self.minion.passwords else {}
            self.listener.redactor.know(map(str, known.values()))

    def _keep_log(self, path: Path, text: str) -> None:
        """Append a message to a log of Salt's, without secrets and control characters."""
        found = excerpt(lines(self.listener.redactor.redact(text)), SAID_LINES)
        kept = self.listener.redactor.redact("\n".join(shortened(clean(line)) for line in found))
        with contextlib.suppress(OSError), open(path, "a", encoding="utf-8", opener=private) as file:
            file.write(f"{kept}\n" if kept else "")

    def _ask(self, function: str, argument: Any, timeout: float | None = None) -> Any:
        """Return the answer of a function of salt/loader/_modules/corpushooks.py."""
        raise NotImplementedError

    def _run(self, sls: str, test: bool, timeout: float | None) -> tuple[Any, set[str]]:
        """Return the answer of state.sls, and the tags of the states that were reported live."""
        raise NotImplementedError

    def _await(
        self,
        child: Child,
        wanted: str,
        timeout: float | None,
        heard: Callable[[dict[str, Any]], None] = ignore,
    ) -> dict[str, Any]:
        """Wait for the answer to a question; if the process died or was stopped, stop its group and raise SaltError."""
        try:
            told = child.answer(timeout, {wanted}, heard)
            if not told or ("ended" in told and wanted != "ended"):
                self._over = self._over or death(told.get("ended"))
        except TimeoutError:
            self._over = self._over or f"Salt was stopped: timed out after {timeout:g} s"
        except BaseException:
            self._over = self._over or "the session was aborted"
            child.stop()
            raise
        if self._over:
            child.stop()
            raise SaltError(self._over)
        if "error" in told:
            raise SaltError(told["error"])
        return told
