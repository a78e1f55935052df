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

KEEPER = 15.0  # seconds that a keeper may take to stop its group
SAID = 1 << 16  # bytes of what salt-call says beside its answer that are kept


class SaltCallEngine:
    """A salt-call for each SLS: slower, and independent of what Salt is inside."""

    def __init__(self, salt_call: Path | None = None) -> None:
        self._salt_call = salt_call or Path(sys.executable).with_name("salt-call")

    def session(self, minion: Minion, listener: Listener) -> Session:
        if not os.access(self._salt_call, os.X_OK):
            hint = distribution.with_salt(self._salt_call)
            raise SaltError(f"Salt is not installed: there is no {self._salt_call}", hint)
        prepare(minion)
        return CallSession(minion, listener, self._salt_call)

    def warm(self) -> None:
        """Do nothing: each salt-call loads Salt for itself."""

    def close(self) -> None:
        """Do nothing: nothing waits."""


class CallSession(AnySession):
    """A salt-call for each question, each under a keeper."""

    def _ask(self, function: str, argument: Any, timeout: float | None = None) -> Any:
        return json.loads(self._call([f"corpushooks.{function}", json.dumps(argument)], timeout))

    def _run(self, sls: str, test: bool, timeout: float | None) -> tuple[Any, set[str]]:
        return self._call(["state.sls", sls, f"test={test}"], timeout), set()

    def _call(self, words: list[str], timeout: float | None) -> Any:
        """Run salt-call once; return the answer, if it wrote one that can be parsed."""
        if self._over:
            raise SaltError(self._over)
        answer, log = self.minion.dir / "answer.json", self.minion.dir / "log/salt-call"
        answer.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
        options = ["--local", "--config-dir", str(self.minion.dir), "--retcode-passthrough", "--log-level=warning"]
        output = ["--no-color", "--out=json", "--out-file", str(answer)]
        program = [str(self.salt_call), *options, *output, *words]
        with tempfile.TemporaryFile(dir=self.minion.dir) as file:  # without a name: it may have secrets
            try:
                group, status = self._keep(program, file.fileno(), timeout)
            finally:
                said = _end_of(file.fileno())
                if words[0] == "state.sls":  # before that not all secrets are known
                    self._keep_log(log, said)
        try:
            return json.loads(answer.read_bytes())["local"]
        except (OSError, ValueError, KeyError):
            run.stop_group(group)  # what it ran when it died
            last = (said.strip().splitlines() or ["it said nothing"])[-1]
            raise SaltError(f"salt-call gave no result, {ending(status)}: {last}") from None
        finally:
            answer.unlink(missing_ok=True)

    def _keep(self, program: list[str], out: int, timeout: float | None) -> tuple[int, int]:
        """Run a program to its end under a keeper; return its group and its wait status. `out` takes what it says."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                words: list[str | Path] = [sys.executable, "-I", "-B", WORKER, "keep", *program]
                process = spawn(words, theirs, out, self.minion.mark)
            try:
                self._child = child = Child(ours, self.listener)
                if self._over:  # stopped before there was something to stop
                    child.stop()
                return child.group, int(self._await(child, "ended", timeout)["ended"])
            finally:
                self._child = None
                ours.close()
                run.reap(process, KEEPER)


def _end_of(descriptor: int) -> str:
    """Return the last lines of what a program said into a file; whole ones, so that no secret is cut."""
    size = os.fstat(descriptor).st_size
    end = os.pread(descriptor, SAID, max(0, size - SAID)).decode("utf-8", "replace")
    return end if size <= SAID else end.partition("\n")[2]
