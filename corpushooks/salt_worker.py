"""Run Salt in processes that are registered before they act and stopped when their owner ends.

Stands alone: the standard library and (for `serve`) Salt, under Salt's own interpreter, started with
`-I -B` (without -I, `import salt` would find our salt.py beside this file; -B since a module that was
removed would still load from its bytecode). Descriptor 0 is always a socket:

    salt_worker.py serve             each datagram brings the socket of a session and its configuration's
                                     path; fork a child for each session, and a grandchild for each question
    salt_worker.py keep PROGRAM...   fd 0 is the socket of one program, which runs in our group

On the socket of a session (or a kept program) go lines of JSON. We begin with {"child": [pid, start,
group]} and do nothing before {"go": true}. A session is then asked {"do": "configure" | "run" | "ask" |
"close", ...}; a question gives {"state": ...}, {"output": ...} and {"log": ...} as it goes, at last {"answer": ...}
or {"error": text}; or {"ended": wait status} where the process died first. Where the socket ends, or SIGTERM
comes, the whole group is stopped: TERM, then KILL. After "close" it is left alone: services that states
started live on.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import logging
import os
import select
import selectors
import signal
import site
import socket
import subprocess
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

GRACE = 3.0  # seconds between TERM and KILL; less than our owner's patience
CHUNK = 65536
HOLD = 0.5  # seconds: package managers run hundreds of short queries, whose output nobody wants to follow
DRAIN = 1.0  # seconds: a service that a command started may hold the command's pipes for ever
ANSWERED = 77  # exit code of a question's process that gave its answer: no program exits so by chance
KEEP = 4 << 20  # bytes of a command's output that are kept, half of it from each end
LOG_LINE = logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")


class Stopped(BaseException):
    """Our owner is gone, or told us to stop. No Exception: Salt would make it the result of a state."""


# Processes and signals


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot. Source: proc(5), field 22 of stat."""
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])


def others(group: int) -> bool:
    """Say whether a process group has a living member besides us."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                if int(fields[2]) == group and fields[0] not in (b"Z", b"X"):
                    return True
    return False


def stop_group(group: int) -> None:
    """Stop a process group; where it is our own, and somebody of it is deaf to TERM, we die with it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for sig in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, sig)
        end = time.monotonic() + GRACE
        while others(group) and time.monotonic() < end:
            time.sleep(0.01)
        if not others(group):
            return


def stop_on_term() -> None:
    """Let SIGTERM raise Stopped."""

    def handler(_number: int, _frame: types.FrameType | None) -> NoReturn:
        raise Stopped

    signal.signal(signal.SIGTERM, handler)


def wake_on_child() -> socket.socket:
    """Return a socket that becomes readable whenever a child of ours has ended."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # without a handler nothing is written
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    return reader


def fork() -> int:
    """Fork; in the child signals do what a program expects, from its first moment on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    return pid


def take_stdin() -> socket.socket:
    """Return the socket that descriptor 0 is, as one that no program inherits; 0 becomes /dev/null."""
    taken = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return taken


# What goes over a session's socket


def encode(message: dict[str, Any]) -> bytes:
    """Return one line; what JSON does not know becomes text."""
    return json.dumps(message, default=plain, skipkeys=True).encode() + b"\n"


def plain(value: Any) -> Any:
    """Return what stands for a value that JSON does not know."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return list(value) if isinstance(value, (set, frozenset)) else str(value)


def lines(sock: socket.socket) -> Iterator[dict[str, Any]]:
    """Yield what our owner says, to the end of the socket."""
    buffer = b""
    while data := sock.recv(CHUNK):
        *whole, buffer = (buffer + data).split(b"\n")
        yield from (json.loads(line) for line in whole)


def register(sock: socket.socket) -> Iterator[dict[str, Any]]:
    """Say who we are; return what our owner says after its leave to go on, or raise Stopped."""
    pid = os.getpid()
    sock.sendall(encode({"child": [pid, start_time(pid), os.getpgid(0)]}))
    said = lines(sock)
    if not next(said, {}).get("go"):
        raise Stopped
    return said


def attend(sock: socket.socket, wake: socket.socket, pid: int, pipe: int | None) -> int:
    """Wait for a child, forwarding what it writes to `pipe`; return its wait status.

    Raise Stopped when our owner's end is closed.
    """
    watched = [sock.fileno()]
    while True:
        ready, _, _ = select.select([*watched, wake.fileno(), *([] if pipe is None else [pipe])], [], [])
        if sock.fileno() in ready:
            if not sock.recv(1, socket.MSG_PEEK):
                raise Stopped
            watched = []  # our owner has its answer already, and speaks of the next thing
        elif pipe is not None and pipe in ready:  # before `wake`: what the child wrote is read to its end first
            data = os.read(pipe, CHUNK)
            sock.sendall(data)
            pipe = pipe if data else None
        elif wake.fileno() in ready:
            wake.recv(CHUNK)
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return status


# The modes


def keep(program: Sequence[str]) -> None:
    """Run one program, in our own process group, for the owner at the other end of descriptor 0."""
    sock, wake = take_stdin(), wake_on_child()
    os.umask(0o022)
    stop_on_term()
    try:
        register(sock)
        pid = fork()
        if pid == 0:
            try:
                os.execvp(program[0], list(program))
            finally:
                os._exit(127)
        sock.sendall(encode({"ended": attend(sock, wake, pid, None)}))
    except (Stopped, OSError):
        stop_group(os.getpgid(0))


def serve() -> None:
    """Load Salt once, then be the parent of sessions, until the daemon at the other end of fd 0 ends."""
    control, wake = take_stdin(), wake_on_child()
    os.chdir("/")
    problem = load_salt()
    children: dict[int, socket.socket | None] = {}  # our end of a session's socket, to tell how it died
    while True:
        ready, _, _ = select.select([control, wake], [], [])
        if wake in ready:
            wake.recv(CHUNK)
            reap(children)
        if control in ready:
            data, fds, _, _ = socket.recv_fds(control, CHUNK, 1)
            if not data:
                return
            sock = socket.socket(fileno=fds[0])
            if problem:
                refuse(sock, problem)
                continue
            pid = fork()
            if pid == 0:
                for other in (control, wake, *children.values()):
                    if other:
                        other.close()
                be_session(sock, json.loads(data))
            children[pid] = sock


def refuse(sock: socket.socket, problem: str) -> None:
    """Tell who wants a session why there is none."""
    hint = f"install it: {sys.executable} -m pip install 'salt>=3007'"
    with sock, contextlib.suppress(OSError):
        sock.sendall(encode({"error": problem, "hint": hint}))


def reap(children: dict[int, socket.socket | None]) -> None:
    """Let go of the sessions that ended; where one was killed, say so to its owner and stop what it left."""
    for pid in list(children):
        done, status = os.waitpid(pid, os.WNOHANG)
        if not done:
            continue
        sock = children.pop(pid)
        if sock is None:
            continue
        if os.WIFSIGNALED(status):
            with contextlib.suppress(OSError):  # a line may have been cut: begin a new one
                sock.send(b"\n" + encode({"ended": status}), socket.MSG_DONTWAIT)
        sock.close()
        if os.WIFSIGNALED(status):
            children[sweep(pid)] = None


def sweep(group: int) -> int:
    """Stop a process group whose leader was killed, in a process of its own, since that may take seconds."""
    pid = fork()
    if pid == 0:
        os.closerange(3, 65536)
        stop_group(group)
        os._exit(0)
    return pid


def load_salt() -> str:
    """Import what sessions need, so that they inherit it; return what is wrong, or nothing."""
    try:
        from salt.version import __saltstack_version__ as version
    except ImportError as exc:
        return f"Salt is not installed for {sys.executable} ({exc})"
    if version.major < 3006:
        return f"Salt {version.string} of {sys.executable} is too old; 3006 is the oldest that works"
    for name in ("config", "loader", "pillar", "state", "template", "utils.jinja", "utils.timed_subprocess"):
        importlib.import_module(f"salt.{name}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LOG_LINE)
    handler.setLevel(logging.WARNING)
    logging.getLogger().handlers[:] = [handler]  # Salt's own keep what they saw, and repeat it in each child
    return ""


# One session


def be_session(sock: socket.socket, given: dict[str, str]) -> NoReturn:
    """Be the child that owns one deployment's process group, to its end."""
    try:
        os.setsid()
        os.umask(0o022)
        name, _, value = given["mark"].partition("=")
        if name:
            os.environ[name] = value
        wake = wake_on_child()
        stop_on_term()
        converse(sock, wake, register(sock), given["config"])
    except (Stopped, ConnectionError):
        stop_group(os.getpgid(0))
    except Exception as exc:  # the edge: whoever asks next is told
        traceback.print_exc()
        sock.sendall(encode({"error": f"{type(exc).__name__}: {exc}"}))
    finally:
        sys.stderr.flush()
        os._exit(0)


def converse(sock: socket.socket, wake: socket.socket, said: Iterator[dict[str, Any]], config: str) -> None:
    """Answer questions until "close"; raise Stopped where the socket ends without."""
    runner: Runner | None = None
    for question in said:
        if question["do"] == "close":
            return
        if question["do"] == "configure":
            runner = None
        elif question.get("function") == "corpushooks.syntax":
            inquire(sock, wake, None, question)
        else:
            runner = runner or Runner(config)
            inquire(sock, wake, runner, question)
            runner.new = False
    raise Stopped


def inquire(sock: socket.socket, wake: socket.socket, runner: Runner | None, question: dict[str, Any]) -> None:
    """Answer one question in a process forked from what was prepared, which itself never runs anything."""
    reader, writer = os.pipe()
    pid = fork()
    if pid == 0:
        sock.close()
        wake.close()
        os.close(reader)
        answer(runner, question, Report(writer))
    os.close(writer)
    status = attend(sock, wake, pid, reader)
    os.close(reader)
    if not (os.WIFEXITED(status) and os.WEXITSTATUS(status) == ANSWERED):
        sock.sendall(b"\n" + encode({"ended": status}))
        raise Stopped  # commands of that SLS may still run


def answer(runner: Runner | None, question: dict[str, Any], report: Report) -> NoReturn:
    """Answer one question and exit; whatever happens stays in this process."""
    be_silent()
    try:
        if runner is None:
            report.send({"answer": json.loads(syntax(*question["args"]))})
        else:
            report.send({"answer": asked(runner, question, report)})
    except BaseException as exc:  # the edge: modules raise anything, SystemExit included
        report.send({"log": traceback.format_exc()})
        report.send({"error": f"{type(exc).__name__}: {exc}"})
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ANSWERED)


def be_silent() -> None:
    """Say nothing where we were started to: it is a log, and what Salt and its modules print may be secret."""
    sys.stdout.flush()
    sys.stderr.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)


def asked(runner: Runner, question: dict[str, Any], report: Report) -> Any:
    """Return the answer to a question about the minion."""
    runner.fresh()
    if cover := runner.state.opts.get("corpushooks_overlay"):
        overlay(**cover)
    if question["do"] == "run":
        logging.getLogger().handlers[:] = [LogReport(report)]
        stream_commands(report)
        return runner.run(question["sls"], question["test"], report)
    return json.loads(runner.state.functions[question["function"]](*question["args"]))


def syntax(files: Sequence[str]) -> str:
    """Answer the one question that needs Salt's Jinja and YAML, but no minion."""
    path = Path(__file__).parent / "loader/_modules/corpushooks.py"
    module = types.ModuleType("syntax")
    exec(compile(path.read_text(), path, "exec"), module.__dict__)
    return str(module.syntax(files))


def overlay(target: str, upper: str, work: str) -> None:
    """See the folder `upper` laid over `target`, in this process and its children only; raise OSError.

    Source: mount(2), and the kernel's documentation of overlayfs. The folders are named by descriptor, since
    a comma or a colon in a path would end an option.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    new_namespace, private = 0x00020000, 0x4000 | 0x40000  # CLONE_NEWNS; MS_REC | MS_PRIVATE
    failed = libc.unshare(new_namespace) or libc.mount(b"none", b"/", None, private, None)
    names = [f"/proc/self/fd/{os.open(path, os.O_PATH | os.O_DIRECTORY)}" for path in (target, upper, work)]
    options = "lowerdir={},upperdir={},workdir={}".format(*names).encode()
    if failed or libc.mount(b"overlay", target.encode(), b"overlay", 0, options):
        raise OSError(ctypes.get_errno(), f"overlay over {target}: {os.strerror(ctypes.get_errno())}")


class Report:
    """The way from a question's process to the session, for that process only, not for its children."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.pid = os.getpid()

    def send(self, message: dict[str, Any]) -> None:
        """Send one message; parallel states, which are processes of their own, say nothing."""
        if os.getpid() == self.pid:
            data = memoryview(encode(message))
            while data:
                data = data[os.write(self.fd, data) :]

    def output(self, data: bytes) -> None:
        """Send what a command wrote."""
        self.send({"output": data.decode("latin-1")})


class LogReport(logging.Handler):
    """Gives Salt's own log to our owner, who knows which secrets to take out of it."""

    def __init__(self, report: Report) -> None:
        super().__init__(logging.WARNING)
        self.report = report
        self.setFormatter(LOG_LINE)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one message."""
        self.report.send({"log": self.format(record)})


class Runner:
    """A HighState that is prepared once and never used: each question forks, refreshes and uses its copy."""

    def __init__(self, config: str) -> None:
        import salt.config
        import salt.loader
        import salt.pillar
        import salt.state

        opts = salt.config.minion_config(config)
        opts["grains"] = salt.loader.grains(opts)
        self.pillar = salt.pillar.get_pillar(opts, opts["grains"], opts["id"], "base")
        self.high = salt.state.HighState(opts, initial_pillar={"compiled": "by fresh()"})
        self.state = self.high.state
        self.new = True  # nothing has run since

    def fresh(self) -> None:
        """Compile the pillar, and see what the SLS before may have changed: grains, modules, packages."""
        import salt.loader

        if not self.new:
            importlib.reload(site)  # a package in a folder that is new to sys.path
            importlib.invalidate_caches()
            grains = salt.loader.grains(self.state.opts)
            self.state.opts["grains"] = self.pillar.grains = self.pillar.opts["grains"] = grains
        self.pillar.opts.pop("pillar", None)  # else merged into the new one
        self.state.opts["pillar"] = self.pillar.compile_pillar()
        self.state.load_modules()

    def run(self, sls: str, test: bool, report: Report) -> Any:
        """Run one SLS; return what state.sls returns: a mapping of results, or a list of errors."""
        errors = self.state.opts["pillar"].get("_errors")
        if errors:
            return ["Pillar failed to render with the following messages:", *errors]
        self.state.opts["test"] = test
        report_states(self.state, report)
        self.high.push_active()
        high, errors = self.high.render_highstate({"base": [sls]})
        return errors or self.state.call_high(high)


# What is followed while an SLS runs


def report_states(state: Any, report: Report) -> None:
    """Make a salt.state.State report each state as it ends; those that run in parallel are in the result."""
    call_chunk = state.call_chunk
    seen: set[str] = set()

    def call_and_report(low: Any, running: dict[str, Any], chunks: Any, depth: int = 0) -> Any:
        result = call_chunk(low, running, chunks, depth)
        for tag in [tag for tag in running if tag not in seen]:
            seen.add(tag)
            if isinstance(running[tag], dict) and not low.get("parallel"):
                report.send({"state": [tag, running[tag]]})
        return result

    state.call_chunk = call_and_report


def stream_commands(report: Report | None) -> None:
    """Make every command that Salt runs report its output, unless the state asked for quiet, and keep it bounded.

    With no report it is only that: so does salt-call, for which loader/_grains/corpushooks.py calls us.
    """
    from salt.utils.timed_subprocess import TimedProc

    original = TimedProc.run

    def run(proc: Any) -> Any:
        caller = sys._getframe(1)  # cmdmod._run; nothing else says whether the output may be shown
        called_by = caller.f_back.f_locals if caller.f_back else {}
        quiet = caller.f_locals.get("output_loglevel", 0) is None or called_by.get("hide_output")
        if not proc.with_communicate:
            return original(proc)
        return follow(proc, (lambda _data: None) if quiet or report is None else report.output)

    TimedProc.run = run


class Kept:
    """The output of a command, of which the middle is forgotten when it is too long."""

    def __init__(self) -> None:
        self.head, self.tail, self.lost = bytearray(), bytearray(), 0

    def add(self, data: bytes) -> None:
        """Keep `data`."""
        room = KEEP // 2 - len(self.head)
        self.head += data[:room] if room > 0 else b""
        self.tail += data[max(room, 0) :]
        if len(self.tail) > KEEP:
            self.lost += len(self.tail) - KEEP // 2
            del self.tail[: -KEEP // 2]

    def whole(self) -> bytes:
        """Return what is kept; where something is lost, of whole lines: half a secret would not be known as one."""
        head, tail = bytes(self.head), bytes(self.tail)
        if not self.lost:
            return head + tail
        head = head[: head.rfind(b"\n", len(head) - CHUNK) + 1 or None]
        tail = tail[tail.find(b"\n", 0, CHUNK) + 1 :]
        lost = self.lost + len(self.head) - len(head) + len(self.tail) - len(tail)
        return head + b"\n[... %d bytes are left out ...]\n" % lost + tail


def follow(proc: Any, sink: Callable[[bytes], None]) -> int:
    """Do what Salt's TimedProc.run does, reporting the output and never waiting for a service.

    Raise TimedProcTimeoutError as it does.
    """
    from salt.exceptions import TimedProcTimeoutError

    end = time.monotonic() + proc.timeout if proc.timeout else None
    kept = {name: Kept() for name in ("stdout", "stderr") if getattr(proc.process, name)}
    try:
        transfer(proc, kept, Held(sink), end)
        proc.process.wait(None if end is None else max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        proc.process.kill()
        proc.process.wait()
        raise TimedProcTimeoutError(f"{proc.command} : Timed out after {proc.timeout} seconds") from None
    finally:
        for name in kept:
            getattr(proc.process, name).close()
    proc.stdout, proc.stderr = (kept[name].whole() if name in kept else None for name in ("stdout", "stderr"))
    return int(proc.process.returncode)


class Held:
    """A sink that gives nothing on until its command has run for a moment."""

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self.sink, self.until, self.held = sink, time.monotonic() + HOLD, bytearray()

    def add(self, data: bytes) -> None:
        """Give `data` on, now or later; call it with nothing from time to time."""
        self.held += data
        if self.held and time.monotonic() >= self.until:
            self.sink(bytes(self.held))
            self.held.clear()
        elif len(self.held) > CHUNK:
            self.until = 0.0


def transfer(proc: Any, kept: dict[str, Kept], held: Held, end: float | None) -> None:
    """Move a command's input and output, until its pipes end or, after the command itself, DRAIN is over."""
    process, ended = proc.process, None
    data = memoryview(proc.stdin or b"")
    with selectors.DefaultSelector() as selector:
        for name in kept:
            selector.register(getattr(process, name), selectors.EVENT_READ, name)
        if process.stdin:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE, "stdin")
        while selector.get_map():
            for key, _ in selector.select(0.1):
                if key.data == "stdin":
                    data = feed(selector, process.stdin, data)
                elif got := os.read(key.fd, CHUNK):
                    kept[key.data].add(got)
                    held.add(got)
                else:
                    selector.unregister(key.fileobj)
            held.add(b"")
            now = time.monotonic()
            if end is not None and now > end:
                raise subprocess.TimeoutExpired(proc.command, proc.timeout)
            ended = ended or (now if process.poll() is not None else None)
            if ended is not None and now - ended > DRAIN:
                return


def feed(selector: selectors.BaseSelector, pipe: Any, data: memoryview) -> memoryview:
    """Write some of `data` to a command; return the rest, and close its input after the last."""
    try:
        rest = data[os.write(pipe.fileno(), data[:CHUNK]) :] if data else data
    except BrokenPipeError:
        rest = data[:0]
    if not rest:
        selector.unregister(pipe)
        pipe.close()
    return rest


if __name__ == "__main__":
    if sys.argv[1] == "keep":
        keep(sys.argv[2:])
    else:
        serve()
