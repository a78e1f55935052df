"""Starts daemons and commands: forked from a process that has loaded everything."""

from __future__ import annotations

import atexit
import functools
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from corpushooks.system.process import Child, Output, clean_env, spawn
from tests.support import preloaded
from tests.support.places import TOP


class Forked(subprocess.Popen[bytes]):
    """A child that another process forked for us."""

    def __init__(self, pid: int) -> None:
        self.pid, self.returncode, self.args = pid, None, ["forked"]  # type: ignore[assignment]
        self.stdin = self.stdout = self.stderr = None
        self._child_created, self._waitpid_lock = True, threading.Lock()
        self._input, self._communication_started, self._sigint_wait_secs = None, False, 0.25
        self.text_mode = self.encoding = self.errors = None  # type: ignore[assignment]


@functools.cache
def _loaded() -> tuple[str, socket.socket, Child[bytes]]:
    """Start the process that has loaded everything, once: its socket, and what is kept so that it goes on."""
    ours, its = socket.socketpair()
    with its:
        words = [sys.executable, "-m", preloaded.__name__, str(its.fileno())]
        child = spawn(words, cwd=TOP, stderr=2, pass_fds=[its.fileno()])
    atexit.register(_end, ours, child)
    with ours.makefile("r") as file:
        return file.readline().strip(), ours, child


def _end(ours: socket.socket, child: Child[bytes]) -> None:
    ours.close()
    child.wait()


def socket_of_loaded() -> str:
    """Return the path of the socket on which daemons are asked for."""
    return _loaded()[0]


def start(root: Path, log: int, *, salt: bool) -> Child[bytes]:
    """Start a daemon that writes to a log."""
    with open(os.devnull, "rb") as null:
        streams = [null.fileno(), log, log]
        if salt:
            return _forked(streams, command=["--root", str(root), "daemon"], cwd=str(TOP))
        return _forked(streams, daemon=[str(root)])


def begin(words: Sequence[str], streams: Sequence[int]) -> Child[bytes]:
    """Start the command with these standard streams."""
    return _forked(streams, command=list(words), cwd=os.getcwd())


def web(root: Path, port: int, log: int, limits: Mapping[str, float]) -> Child[bytes]:
    """Start the web process of a host, with other limits of its modules."""
    with open(os.devnull, "rb") as null:
        words = ["--root", str(root), "web", "--port", str(port)]
        return _forked([null.fileno(), log, log], command=words, cwd=str(TOP), limits=dict(limits))


def command(words: Sequence[str], seconds: float, stdin: bytes = b"") -> Output:
    """Run the command to its end; raise TimeoutExpired."""
    (its_in, our_in), (our_out, its_out), (our_err, its_err) = (os.pipe() for _ in range(3))
    with open(our_in, "wb") as giving, open(our_out, "rb") as out, open(our_err, "rb") as err:
        its = (its_in, its_out, its_err)
        try:
            child = begin(words, its)
        finally:
            for end in its:
                os.close(end)
        child.stdin, child.stdout, child.stderr = giving, out, err
        try:
            said, complained = child.communicate(stdin, seconds)
        finally:
            child.kill()  # nothing, if it has ended
        return Output(child.wait(), said, complained)


def _forked(streams: Sequence[int], **asked: object) -> Forked:
    link = preloaded.ask(_loaded()[0], streams, clean_env(), sibling=True, **asked)
    assert link
    with link:
        return Forked(int.from_bytes(preloaded.exactly(link, 4), "big"))
