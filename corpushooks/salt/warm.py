"""The warm engine: a worker that has Salt loaded and forks."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corpushooks.core.errors import SaltError
from corpushooks.salt.child import WORKER, Child, ignore, spawn
from corpushooks.salt.configuration import prepare, private
from corpushooks.salt.interface import Listener, Session
from corpushooks.salt.results import Minion, state_of
from corpushooks.salt.session import AnySession
from corpushooks.system import process

ENDING = 5.0  # seconds for the worker to exit
CFG = ("ms_project", "ms_project_name", "ext_pillar")  # what cfg adds to a configuration


class WarmEngine:
    """A worker that has Salt loaded and forks for each session; started when needed, restarted if it died."""

    def __init__(self, python: Path, *, log: Path) -> None:
        self._python = python
        self._log = log
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: process.Child[bytes] | None = None

    def session(self, minion: Minion, listener: Listener) -> Session:
        prepare(minion)
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._pass_socket(theirs, minion)
            return WarmSession(minion, listener, self._python.with_name("salt-call"), ours, self._log)
        except SaltError as exc:
            ours.close()
            raise SaltError(exc.message, exc.hint or f"see {self._log}") from exc
        except BaseException:
            ours.close()
            raise

    def warm(self) -> None:
        with self._lock:
            self._start()

    def close(self) -> None:
        with self._lock:
            self._end()

    def _pass_socket(self, sock: socket.socket, minion: Minion) -> None:
        """Pass the socket of a session to the worker, starting the worker if necessary."""
        given = {"config": str(minion.dir / "minion"), "mark": minion.mark, "env": dict(minion.env)}
        message = json.dumps(given).encode()
        with self._lock:
            for _ in range(2):
                control = self._start()
                with contextlib.suppress(OSError):
                    socket.send_fds(control, [message], [sock.fileno()])
                    return
                self._end()  # it died since the last session
        raise SaltError(f"cannot start the Salt worker with {self._python}")

    def _start(self) -> socket.socket:
        if self._control and self._process and self._process.poll() is None:
            return self._control
        self._end()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = control
        try:
            with theirs, open(self._log, "ab", opener=private) as log:
                self._process = spawn([self._python, "-I", "-B", WORKER, "serve"], theirs, log.fileno())
        except BaseException:
            self._end()
            raise
        return control

    def _end(self) -> None:
        if self._control:
            self._control.close()
        if self._process:
            self._process.terminate()
            process.reap(self._process, ENDING)
        self._control = self._process = None


class WarmSession(AnySession):
    """A session in a child process of the worker."""

    def __init__(self, minion: Minion, listener: Listener, salt_call: Path, sock: socket.socket, log: Path) -> None:
        super().__init__(minion, listener, salt_call)
        self._sock = sock
        self._log = log
        self._child: Child = Child(sock, listener)
        self.prepared = 0  # how often the child prepared, known at the end

    def prepare(self) -> None:
        self._child.send({"do": "prepare"})

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        self._child.send({"do": "close"})
        with contextlib.suppress(TimeoutError):
            self.prepared = self._child.answer(5.0, {"prepared"}, ignore).get("prepared", 0)
        self._sock.close()

    def _write(self, content: dict[str, Any]) -> None:
        self._child.send({"do": "renew", "cfg": {key: content.get(key) for key in CFG}})
        super()._write(content)  # for children that prepare later, and for salt-call by hand

    def _ask(self, function: str, argument: Any, timeout: float | None = None) -> Any:
        question = {"do": "ask", "function": f"corpushooks.{function}", "args": [argument]}
        return self._question(question, timeout, ignore)

    def _run(self, sls: str, test: bool, timeout: float | None) -> tuple[Any, set[str]]:
        reported: set[str] = set()

        def heard(message: dict[str, Any]) -> None:
            if "output" in message:
                self.listener.output(message["output"].encode("latin-1"))
            elif "state" in message:
                reported.add(message["state"][0])
                self.listener.state(state_of(self.minion, sls, *message["state"]))
            elif "log" in message:
                self._keep_log(self._log, message["log"])

        return self._question({"do": "run", "sls": sls, "test": test}, timeout, heard), reported

    def _question(
        self, question: dict[str, Any], timeout: float | None, heard: Callable[[dict[str, Any]], None]
    ) -> Any:
        if self._over:
            raise SaltError(self._over)
        self._child.send(question)
        return self._await(self._child, "answer", timeout, heard)["answer"]
