"""Starts daemons with the fake engine: forked from a process that has loaded everything (tests.support.preloaded)."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from corpushooks.system.process import Child, clean_env, spawn
from tests.support import preloaded
from tests.support.places import TOP


class Forked(subprocess.Popen[bytes]):
    """A child that another process forked for us."""

    def __init__(self, pid: int) -> None:
        self.pid, self.returncode, self.args = pid, None, ["fake_daemon"]  # type: ignore[assignment]
        self.stdin = self.stdout = self.stderr = None
        self._child_created, self._waitpid_lock = True, threading.Lock()
        self._input, self._communication_started = None, False


@functools.cache
def _loaded() -> tuple[str, socket.socket, Child[bytes]]:
    """Start the process that has loaded everything, once: its socket, and what is kept so that it goes on."""
    ours, its = socket.socketpair()
    with its:
        words = [sys.executable, "-m", preloaded.__name__, str(its.fileno())]
        child = spawn(words, cwd=TOP, stderr=2, pass_fds=[its.fileno()])
    with ours.makefile("r") as file:
        return file.readline().strip(), ours, child


def socket_of_loaded() -> str:
    """Return the path of the socket on which daemons are asked for."""
    return _loaded()[0]


def start(root: Path, log: int) -> Child[bytes]:
    """Start a daemon that writes to a log."""
    with open(os.devnull, "rb") as null:
        streams = [null.fileno(), log, log]
        link = preloaded.ask(_loaded()[0], streams, clean_env(), root=str(root), embedded=False, sibling=True)
    assert link
    with link:
        return Forked(int.from_bytes(preloaded.exactly(link, 4), "big"))
