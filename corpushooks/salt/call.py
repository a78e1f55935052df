"""The engine that runs a salt-call for each SLS."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from corpushooks.core.errors import SaltError
from corpushooks.salt.child import WORKER, Child, ending, spawn
from corpushooks.salt.configuration import prepare
from corpushooks.salt.interface import Listener, Session
from corpushooks.salt.results import Minion
from corpushooks.salt.session import AnySession
from corpushooks.system import distribution
from corpushooks.system import process as run

KEEPER = 15.0  # seconds for a keeper to stop its group
SAID = 1 << 16  # bytes that are kept of the messages of salt-call


class SaltCallEngine:
    """A salt-call for each SLS: slower, but independent of Salt's internals."""

    def __init__(self, salt_call: Path | None = None) -> None:
        self._salt_call = salt_call or Path(sys.executable).with_name("salt-call")

    def session(self, minion: Minion, listener: Listener) -> Session:
        if not os.access(self._salt_call, os.X_OK):
            hint = distribution.with_salt(self._salt_call)
            raise SaltError(f"Salt is not installed: {self._salt_call} is missing", hint)
        prepare(minion)
        return CallSession(minion, listener, self._salt_call)

    def warm(self) -> None:
        """Do nothing: each salt-call loads Salt itself."""

    def close(self) -> None:
        """Do nothing: there is no process between sessions."""


class CallSession(AnySession):
    """A session that runs a salt-call for each question, under a keeper."""

    def _ask(self, function: str, argument: Any, timeout: float | None = None) -> Any:
        return json.loads(self._call([f"corpushooks.{function}", json.dumps(argument)], timeout))

    def _run(self, sls: str, test: bool, timeout: float | None) -> tuple[Any, set[str]]:
        return self._call(["state.sls", sls, f"test={test}"], timeout), set()

    def _call(self, words: list[str], timeout: float | None) -> Any:
        """Run salt-call once; return its answer, if it wrote a valid one."""
        if self._over:
            raise SaltError(self._over)
        answer, log = self.minion.dir / "answer.json", self.minion.dir / "log/salt-call"
        answer.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
        options = ["--local", "--config-dir", str(self.minion.dir), "--retcode-passthrough", "--log-level=warning"]
        output = ["--no-color", "--out=json", "--out-file", str(answer)]
        program = [str(self.salt_call), *options, *output, *words]
        with tempfile.TemporaryFile(dir=self.minion.dir) as file:  # without a name: it can contain secrets
            try:
                group, status = self._keep(program, file.fileno(), timeout)
            finally:
                said = _end_of(file.fileno())
                if words[0] == "state.sls":  # earlier, not all secrets are known
                    self._keep_log(log, said)
        try:
            return json.loads(answer.read_bytes())["local"]
        except (OSError, ValueError, KeyError):
            run.stop_group(group)  # commands that it ran when it died
            last = (said.strip().splitlines() or ["no output"])[-1]
            raise SaltError(f"salt-call returned no result, {ending(status)}: {last}") from None
        finally:
            answer.unlink(missing_ok=True)

    def _keep(self, program: list[str], out: int, timeout: float | None) -> tuple[int, int]:
        """Run a program to its end under a keeper; return its group and wait status. `out` is for its output."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                words: list[str | Path] = [sys.executable, "-I", "-B", WORKER, "keep", *program]
                process = spawn(words, theirs, out, self.minion.mark, self.minion.env)
            try:
                self._child = child = Child(ours, self.listener)
                if self._over:  # stopped before the child existed
                    child.stop()
                return child.group, int(self._await(child, "ended", timeout)["ended"])
            finally:
                self._child = None
                ours.close()
                run.reap(process, KEEPER)


def _end_of(descriptor: int) -> str:
    """Return the last lines of output in a file; whole lines, so that secrets are not cut."""
    size = os.fstat(descriptor).st_size
    end = os.pread(descriptor, SAID, max(0, size - SAID)).decode("utf-8", "replace")
    return end if size <= SAID else end.partition("\n")[2]
