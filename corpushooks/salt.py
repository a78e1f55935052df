"""The door to Salt: two engines behind one interface.

A session is one deployment's use of Salt. Every process it starts has registered with the listener before it
does anything, leads a process group, and stops that group when we are gone (salt_worker sees to both).
Both engines read one generated minion configuration, `dir/minion`, so that salt-call by hand gives the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

from corpushooks import run
from corpushooks.errors import ProcessError, SaltError
from corpushooks.redaction import Redactor
from corpushooks.sls import Facts, Minion, Problem, Result, State, facts_of, problems_of, redacted, result_of, state_of
from corpushooks.text import clean, excerpt, lines, shortened

WORKER = Path(__file__).with_name("salt_worker")
LOADER = Path(__file__).with_name("loader")
EXTENSION = Path(__file__).with_name("salt_extension")  # what stock Salt loads of us, too
STATES = Path(__file__).with_name("states")  # what SLS files written for makina-states include
CFG = ("ms_project", "ms_project_name", "ext_pillar")  # what a configuration has more when cfg is known
SAID = 1 << 16  # bytes of what salt-call says beside its answer that are kept,
SAID_LINES = 100  # and lines of one message of Salt's log
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
OPEN_LIMIT = 60.0  # seconds that a process may take to load Salt and register


# What engines are


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

    def configure(self, cfg: Mapping[str, Any], pillar_defaults: Mapping[str, Any]) -> None:
        """Give every SLS from now on `cfg`, and a pillar under which `pillar_defaults` lie."""

    def run(self, sls: str, *, test: bool = False, timeout: float | None = None) -> Result:
        """Run one SLS; `timeout` is in seconds. Raise SaltError where its end is not known."""

    def check(self, sls: str) -> list[Problem]:
        """Render and compile one SLS, and run no state of it."""

    def stop(self) -> None:
        """Stop the session's process group, from any thread; what is being asked raises SaltError."""

    def command(self, sls: str) -> str:
        """Return the command line that runs the SLS by hand."""


class Engine(Protocol):
    """A way to run Salt."""

    def session(self, minion: Minion, listener: Listener) -> Session:
        """Open a session; raise SaltError where Salt cannot be had."""

    def warm(self) -> None:
        """Get ready in the background."""

    def close(self) -> None:
        """Let go of what waits; sessions that are open live on."""


# The generated configuration


def configuration(minion: Minion, cfg: Mapping[str, Any] | None, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the minion configuration of a session; without `cfg` no SLS sees any."""
    own: dict[str, Any] = {
        "id": minion.id or socket.getfqdn(),
        "file_client": "local",
        "local": True,  # else each refresh of modules waits a second for a master
        "master_type": "disable",
        "root_dir": str(minion.dir),
        "cachedir": str(minion.dir / "cache"),
        "pki_dir": str(minion.dir / "pki"),
        "sock_dir": str(minion.dir / "run"),
        "log_file": str(minion.dir / "log/minion"),
        "log_level_logfile": "quiet",  # it would have secrets: what SLS files render and run
        "extension_modules": str(minion.dir / "cache/extmods"),
        "file_roots": {"base": [str(path) for path in (*minion.states, STATES)]},
        "pillar_roots": {"base": [str(path) for path in minion.pillars]},
        "module_dirs": [str(minion.modules), str(LOADER), str(EXTENSION)],
        "__fs_update": True,  # else all state roots are walked again and again, for events that nobody hears
        "fileserver_list_cache_time": 0,  # else files that a deployment changed are not seen for 20 s
        "lazy_loader_strict_matching": True,  # else an unknown state function costs a second
        "pillar_safe_render_error": False,  # say what is wrong, it is our own pillar
        "cython_enable": False,  # modules are Python; to look for others takes time
        "enable_zip_modules": False,
        "enable_fqdns_grains": False,  # no name service
        "enable_gpu_grains": False,
        "autoload_dynamic_modules": False,
        "corpushooks": {  # for loader/_modules
            "passwords": str(minion.passwords or ""),
            "writes": minion.writes,
            "resetperms": str(Path(sys.executable).with_name("resetperms")),
        },
    }
    if cfg is not None:
        own |= {"ms_project": cfg, "ms_project_name": minion.name}
        own["ext_pillar"] = [{"corpushooks": [defaults]}, *minion.config.get("ext_pillar", [])]
    return _plain({**minion.config, **own})


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping as every reader of it shall find it: no aliases, no subclasses, no dates."""
    return dict(json.loads(json.dumps(content)))


def _write_configuration(minion: Minion, content: dict[str, Any]) -> None:
    """Write `dir/minion` aside, for our eyes only, and rename it."""
    aside = minion.dir / ".minion.new"
    with open(aside, "w", encoding="ascii", opener=_private) as file:
        yaml.dump(content, file, Dumper=DUMPER, sort_keys=False)
    aside.rename(minion.dir / "minion")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _prepare(minion: Minion) -> None:
    minion.dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (minion.dir / "log").mkdir(mode=0o700, exist_ok=True)
    for cache in minion.modules.glob("*/__pycache__"):  # salt-call by hand left it; removed modules load from it
        shutil.rmtree(cache, ignore_errors=True)
    _write_configuration(minion, configuration(minion, None, {}))


# A registered process


class _Child:
    """A process that registered before it acted, its group, and our socket to it."""

    def __init__(self, sock: socket.socket, listener: Listener) -> None:
        self.sock = sock
        self._buffer = b""
        try:
            first = self.answer(OPEN_LIMIT, {"child"}, _ignore)
        except TimeoutError:
            raise SaltError(f"the Salt worker does not start: nothing in {OPEN_LIMIT:g} s") from None
        if "child" not in first:
            raise SaltError(first.get("error") or _death(first.get("ended")), first.get("hint", ""))
        pid, start, self.group = first["child"]
        listener.child(pid, start, self.group)
        self.send({"go": True})

    def send(self, message: Mapping[str, Any]) -> None:
        """Say something; whether it was heard shows in the answer."""
        with contextlib.suppress(OSError):
            self.sock.sendall(json.dumps(message).encode() + b"\n")

    def answer(
        self, timeout: float | None, wanted: set[str], heard: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]:
        """Return the message that has a key of `wanted` (or that tells of an end), {} where the socket ends.

        Any other is handed to `heard`. Raise TimeoutError after `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (line := self._line(deadline)) is not None:
            message = _message(line)
            if message.keys() & {"error", "ended", *wanted}:
                return message
            heard(message)
        return {}

    def _line(self, deadline: float | None) -> bytes | None:
        while b"\n" not in self._buffer:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            self.sock.settimeout(left)
            data = b""
            with contextlib.suppress(ConnectionError):
                data = self.sock.recv(65536)
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def stop(self) -> None:
        """Stop the group."""
        run.stop_group(self.group)


def _message(line: bytes) -> dict[str, Any]:
    """Return a message; {} for a line that is empty, or was cut when its writer was killed."""
    try:
        return dict(json.loads(line))
    except ValueError:
        return {}


def _ignore(_message: dict[str, Any]) -> None:
    """Hear nothing."""


def _death(status: int | None) -> str:
    return "the Salt worker died" + (f" ({_ending(status)})" if status is not None else "")


def _ending(status: int) -> str:
    """Say how a process ended, from its wait status."""
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit code {code}"


# Sessions


class _Session:
    """What the sessions of both engines have in common: the questions."""

    def __init__(self, minion: Minion, listener: Listener, salt_call: Path) -> None:
        self.minion = minion
        self.listener = listener
        self.salt_call = salt_call
        self._given: dict[str, Any] | None = None  # the configuration with cfg in it
        self._written = configuration(minion, None, {})  # by whoever opened us
        self._child: _Child | None = None
        self._over = ""  # why there is nothing to be had any more

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        """Close; what an SLS left running lives on."""
        self._over = self._over or "the session is closed"

    def prepare(self) -> None:
        """Do nothing: each salt-call begins by itself."""

    def syntax(self, files: Sequence[Path]) -> list[Problem]:
        told = self._ask("syntax", [str(file) for file in files])
        return [Problem(file, line, message) for file, line, message in told]

    def facts(self, sample: Path | None, *, timeout: float | None = None) -> Facts:
        self._write(configuration(self.minion, None, {}))  # also since the trees may be others than a moment ago
        try:
            return facts_of(self.minion, sample, self._ask("facts", str(sample or ""), timeout))
        finally:
            self._know_passwords()
            if self._given is not None:
                self._write(self._given)

    def configure(self, cfg: Mapping[str, Any], pillar_defaults: Mapping[str, Any]) -> None:
        self._given = configuration(self.minion, cfg, pillar_defaults)
        self._write(self._given)

    def run(self, sls: str, *, test: bool = False, timeout: float | None = None) -> Result:
        told, reported = self._run(sls, test, timeout)
        self._know_passwords()
        result = result_of(self.minion, sls, told, test)
        late = {tag: each for tag, each in told.items() if tag not in reported} if result.states else {}
        for state in result_of(self.minion, sls, late, test).states:
            self.listener.state(state)
        return redacted(result, self.listener.redactor)

    def check(self, sls: str) -> list[Problem]:
        return problems_of(self.minion, sls, self._ask("check", sls))

    def stop(self) -> None:
        self._over = self._over or "Salt was stopped"
        if self._child:
            self._child.stop()

    def command(self, sls: str) -> str:
        return shlex.join([str(self.salt_call), "--local", "--config-dir", str(self.minion.dir), "state.sls", sls])

    def _write(self, content: dict[str, Any]) -> None:
        if content != self._written:
            _write_configuration(self.minion, content)
            self._written = content

    def _know_passwords(self) -> None:
        """Have those that were generated hidden, before anything is shown of what generated them."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            known = json.loads(self.minion.passwords.read_text()) if self.minion.passwords else {}
            self.listener.redactor.know(map(str, known.values()))

    def _keep_log(self, path: Path, text: str) -> None:
        """Add to a log of Salt's what it said, without secrets and harmless."""
        found = excerpt(lines(self.listener.redactor.redact(text)), SAID_LINES)
        kept = self.listener.redactor.redact("\n".join(shortened(clean(line)) for line in found))
        with contextlib.suppress(OSError), open(path, "a", encoding="utf-8", opener=_private) as file:
            file.write(f"{kept}\n" if kept else "")

    def _ask(self, function: str, argument: Any, timeout: float | None = None) -> Any:
        """Return what a function of loader/_modules/corpushooks.py answers."""
        raise NotImplementedError

    def _run(self, sls: str, test: bool, timeout: float | None) -> tuple[Any, set[str]]:
        """Return what state.sls answers, and the tags of the states that were reported live."""
        raise NotImplementedError

    def _await(
        self,
        child: _Child,
        wanted: str,
        timeout: float | None,
        heard: Callable[[dict[str, Any]], None] = _ignore,
    ) -> dict[str, Any]:
        """Return how a question ended; where the process died or was stopped, stop its group: SaltError."""
        try:
            told = child.answer(timeout, {wanted}, heard)
            if not told or ("ended" in told and wanted != "ended"):
                self._over = self._over or _death(told.get("ended"))
        except TimeoutError:
            self._over = self._over or f"Salt was stopped: no end after {timeout:g} s"
        except BaseException:
            self._over = self._over or "the session was given up"
            child.stop()
            raise
        if self._over:
            child.stop()
            raise SaltError(self._over)
        if "error" in told:
            raise SaltError(told["error"])
        return told


class _WarmSession(_Session):
    """A child of the worker, which answers from what it has loaded."""

    def __init__(self, minion: Minion, listener: Listener, salt_call: Path, sock: socket.socket, log: Path) -> None:
        super().__init__(minion, listener, salt_call)
        self._sock = sock
        self._log = log
        self._child: _Child = _Child(sock, listener)
        self.prepared = 0  # how often everything was, known at the end

    def prepare(self) -> None:
        self._child.send({"do": "prepare"})

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        self._child.send({"do": "close"})
        with contextlib.suppress(TimeoutError):
            self.prepared = self._child.answer(5.0, {"prepared"}, _ignore).get("prepared", 0)
        self._sock.close()

    def _write(self, content: dict[str, Any]) -> None:
        self._child.send({"do": "renew", "cfg": {key: content.get(key) for key in CFG}})
        super()._write(content)  # for those who are prepared later, and salt-call by hand

    def _ask(self, function: str, argument: Any, timeout: float | None = None) -> Any:
        question = {"do": "ask", "function": f"corpushooks.{function}", "args": [argument]}
        return self._question(question, timeout, _ignore)

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


class _CallSession(_Session):
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
            raise SaltError(f"salt-call gave no result, {_ending(status)}: {last}") from None
        finally:
            answer.unlink(missing_ok=True)

    def _keep(self, program: list[str], out: int, timeout: float | None) -> tuple[int, int]:
        """Run a program to its end under a keeper; return its group and its wait status. `out` takes what it says."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                words: list[str | Path] = [sys.executable, "-I", "-B", WORKER, "keep", *program]
                process = _spawn(words, theirs, out, self.minion.mark)
            try:
                self._child = child = _Child(ours, self.listener)
                if self._over:  # stopped before there was something to stop
                    child.stop()
                return child.group, int(self._await(child, "ended", timeout)["ended"])
            finally:
                self._child = None
                ours.close()
                process.wait()


def _end_of(descriptor: int) -> str:
    """Return the last lines of what a program said into a file; whole ones, so that no secret is cut."""
    size = os.fstat(descriptor).st_size
    end = os.pread(descriptor, SAID, max(0, size - SAID)).decode("utf-8", "replace")
    return end if size <= SAID else end.partition("\n")[2]


def _spawn(argv: Sequence[str | Path], sock: socket.socket, log: int, mark: str = "") -> run.Child[bytes]:
    """Start salt_worker with `sock` as its descriptor 0 and `mark` in its environment; raise SaltError."""
    name, _, value = mark.partition("=")
    try:
        # a module that was removed would still load from its bytecode
        env = {"PYTHONDONTWRITEBYTECODE": "1", **({name: value} if name else {})}
        return run.spawn(argv, cwd=Path("/"), env=env, stdin=sock.fileno(), stdout=log, stderr=log)
    except ProcessError as exc:
        raise SaltError(exc.message) from exc


# Engines


class SaltCallEngine:
    """A salt-call for each SLS: slower, and independent of what Salt is inside."""

    def __init__(self, salt_call: Path | None = None) -> None:
        self._salt_call = salt_call or Path(sys.executable).with_name("salt-call")

    def session(self, minion: Minion, listener: Listener) -> Session:
        if not os.access(self._salt_call, os.X_OK):
            hint = f"install it: {sys.executable} -m pip install 'salt>=3007'"
            raise SaltError(f"Salt is not installed: there is no {self._salt_call}", hint)
        _prepare(minion)
        return _CallSession(minion, listener, self._salt_call)

    def warm(self) -> None:
        """Do nothing: each salt-call loads Salt for itself."""

    def close(self) -> None:
        """Do nothing: nothing waits."""


class WarmEngine:
    """One worker that has Salt loaded and forks for each session; started when needed, again if it died."""

    def __init__(self, python: Path, *, log: Path) -> None:
        self._python = python
        self._log = log
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: run.Child[bytes] | None = None

    def session(self, minion: Minion, listener: Listener) -> Session:
        _prepare(minion)
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._pass(theirs, minion)
            return _WarmSession(minion, listener, self._python.with_name("salt-call"), ours, self._log)
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

    def _pass(self, sock: socket.socket, minion: Minion) -> None:
        """Give the worker the socket of a session, starting the worker where there is none."""
        message = json.dumps({"config": str(minion.dir / "minion"), "mark": minion.mark}).encode()
        with self._lock:
            for _ in range(2):
                control = self._start()
                with contextlib.suppress(OSError):
                    socket.send_fds(control, [message], [sock.fileno()])
                    return
                self._end()  # it died between two sessions
        raise SaltError(f"{self._python}: the Salt worker does not start")

    def _start(self) -> socket.socket:
        if self._control and self._process and self._process.poll() is None:
            return self._control
        self._end()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = control
        try:
            with theirs, open(self._log, "ab", opener=_private) as log:
                self._process = _spawn([self._python, "-I", "-B", WORKER, "serve"], theirs, log.fileno())
        except BaseException:
            self._end()
            raise
        return control

    def _end(self) -> None:
        if self._control:
            self._control.close()
        if self._process:
            self._process.terminate()
            self._process.wait()
        self._control = self._process = None
