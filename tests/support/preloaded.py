"""Daemons and commands, without the half second that loading Python's modules takes each time.

One process has loaded everything, and forks a daemon or a command when asked. What is forked is a child of whoever runs
the tests, as if that had started it. A hook starts a daemon too: its interpreter (`tests.support.box`) runs this file
as a small program that asks for a daemon and stays until it ends, with its exit code.

    python -m tests.support.preloaded FD       the process that has loaded everything; it ends when FD is closed
    python -IS preloaded.py SOCKET ROOT        for a hook: an embedded daemon
    python -IS preloaded.py SOCKET -- WORDS    for a shell: the command
"""

from __future__ import annotations

import array
import json
import os
import socket
import sys

if False:  # a hook's program loads little
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

KEPT = 3  # standard streams
LATER = (  # what a daemon loads for its first request and its first push
    "corpushooks.operations.does", "corpushooks.operations.looks", "corpushooks.operations.serving",
    "dulwich.worktree", "encodings.idna", "jinja2.ext",
)  # fmt: skip
CLONE = {"x86_64": 56, "aarch64": 220}  # the number of the system call
CLONE_PARENT, SIGCHLD = 0x8000, 17  # linux/sched.h: the child has our parent, not us


def ask(path: str, streams: Sequence[int], env: Mapping[str, str], **asked: object) -> socket.socket | None:
    """Ask for a process with these standard streams; return the connection, or None if nobody answers."""
    link = socket.socket(socket.AF_UNIX)
    try:
        link.connect(path)
        umask = os.umask(0o022)
        os.umask(umask)
        about = json.dumps({"env": dict(env), "umask": umask, **asked}).encode()
        fds = array.array("i", streams).tobytes()
        link.sendmsg([len(about).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        link.sendall(about)
    except OSError:
        link.close()
        return None
    return link


def exactly(link: socket.socket, size: int) -> bytes:
    """Read so many bytes; fewer at the end."""
    data = b""
    while len(data) < size and (chunk := link.recv(size - len(data))):
        data += chunk
    return data


def for_another(path: str, first: str, *words: str) -> None:
    """Have an embedded daemon or a command forked, and be it to our parent: end as it does."""
    if first == "--":
        asked, module = {"command": words, "cwd": os.getcwd()}, ["corpushooks", *words]
    else:
        asked, module = {"daemon": [first, "--embedded"]}, ["tests.support.fake_daemon", first, "--embedded"]
    link = ask(path, range(KEPT), os.environ, sibling=False, **asked)
    if link is None:  # whoever ran the tests is gone
        os.execv(sys.executable, [sys.executable, "-m", *module])
    code = exactly(link, 1)
    os._exit(code[0] if code else 1)


# the process that has loaded everything


def _asked(link: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Read a request and its streams."""
    head, ancillary, _, _ = link.recvmsg(4, socket.CMSG_LEN(KEPT * 4))
    streams = array.array("i")
    for _, _, data in ancillary:
        streams.frombytes(data)
    return json.loads(exactly(link, int.from_bytes(head, "big"))), list(streams)


def _fork_sibling() -> int:
    """Fork as os.fork does, but a child of our parent; return its pid, or 0 in it."""
    import ctypes

    python = ctypes.pythonapi  # keeps the lock of the interpreter, as a fork must
    number = CLONE[os.uname().machine]
    python.PyOS_BeforeFork()
    pid = ctypes.PyDLL(None).syscall(number, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0)
    python.PyOS_AfterFork_Child() if pid == 0 else python.PyOS_AfterFork_Parent()
    return int(pid)


def _fork_guarded(link: socket.socket) -> int:
    """Fork a process that forks a daemon and tells its exit code; return 0 in the daemon."""
    import signal

    if os.fork():
        return 1
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if pid := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        link.send(bytes([code if code >= 0 else 128 - code]))
        os._exit(0)
    return 0


def _load_web() -> None:
    """Load what `corpus web` needs, which most tests do not, once."""
    import gc

    if "corpushooks.web.server" not in sys.modules:
        import corpushooks.web.server  # noqa: F401

        gc.collect()
        gc.freeze()


def serve(life: socket.socket, listener: socket.socket) -> dict[str, Any] | None:
    """Fork until `life` ends; return in what was forked, with what was asked."""
    import select

    while listener in select.select([life, listener], [], [])[0]:
        link, _ = listener.accept()
        asked, streams = _asked(link)
        if "limits" in asked:
            _load_web()
        pid = _fork_sibling() if asked["sibling"] else _fork_guarded(link)
        if not pid:
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            return asked
        if asked["sibling"]:
            link.sendall(pid.to_bytes(4, "big"))
        link.close()
        for stream in streams:
            os.close(stream)
    return None


def main() -> None:
    """Load everything, and fork what is asked for."""
    import gc
    import importlib
    import shutil
    import signal
    import tempfile

    import tests.support.fake_daemon  # noqa: F401
    from corpushooks.cli.commands import whole
    from corpushooks.cli.main import corpus

    whole(corpus)
    for name in LATER:
        importlib.import_module(name)

    life = socket.socket(fileno=int(sys.argv[1]))
    folder = tempfile.mkdtemp(prefix="corpushooks-preloaded-")
    path = f"{folder}/socket"
    listener = socket.create_server(path, family=socket.AF_UNIX)
    life.sendall(path.encode() + b"\n")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for what guards a daemon
    gc.collect()
    gc.freeze()  # so that no child copies all of it when it collects
    asked = serve(life, listener)
    if asked is None:
        shutil.rmtree(folder)
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.closerange(KEPT, os.sysconf("SC_OPEN_MAX"))
    life.detach(), listener.detach()
    os.setsid()
    os.umask(asked["umask"])
    os.environ.clear()
    os.environ.update(asked["env"])
    end(lambda: become(asked))


def become(asked: Mapping[str, Any]) -> None:
    """Be what was asked for."""
    import importlib
    from pathlib import Path

    if "daemon" in asked:
        from tests.support import fake_daemon

        root, *flags = asked["daemon"]
        sys.argv = ["fake_daemon", root, *flags]
        fake_daemon.main(Path(root), embedded="--embedded" in flags)
    else:
        from corpushooks import __main__

        for name, value in asked.get("limits", {}).items():
            module, _, limit = name.partition(".")
            setattr(importlib.import_module(f"corpushooks.web.{module}"), limit, value)
        sys.argv = [__main__.__file__, *asked["command"]]
        os.chdir(asked["cwd"])
        __main__.main()


def end(run: Callable[[], None]) -> None:
    """Run something and end as Python does, but for taking apart all that was loaded: a fifth of a second."""
    import atexit
    import signal
    import threading
    import traceback

    code, interrupted = 0, False
    try:
        run()
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
        if code == 1 and exc.code != 1:
            print(exc.code, file=sys.stderr)
    except BaseException as exc:
        traceback.print_exc()
        code, interrupted = 1, isinstance(exc, KeyboardInterrupt)
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except OSError:
        code = 120
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code)


if __name__ == "__main__":
    for_another(*sys.argv[1:]) if len(sys.argv) > 2 else main()
