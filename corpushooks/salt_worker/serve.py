"""Load Salt once, then fork sessions, until the daemon at the other end of descriptor 0 ends."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import socket
import sys
from typing import NoReturn

from .known import Answers
from .processes import CHUNK, fork, sweep, take_stdin, wake_on_child
from .runner import LOADED, packages
from .session import be_session
from .warm import load_salt, warm_up
from .wire import encode


def serve() -> None:
    """Load Salt once, then fork a child for each requested session."""
    control, wake, answers = take_stdin(), wake_on_child(), Answers()
    os.chdir("/")
    problem = load_salt()
    cold = late = not problem  # work for idle times
    children: dict[int, socket.socket | None] = {}  # our end of a session's socket, to report how it died
    while True:
        ready, _, _ = select.select([control, wake], [], [], 0 if cold or (late and not children) else None)
        if not ready:
            get_ready(answers, cold=cold)
            cold = late = False
        if wake in ready:
            wake.recv(CHUNK)
            reap(children)
        if control in ready:
            if packages() != LOADED and not children:
                begin_anew(control)
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
                be_session(sock, json.loads(data), answers)
            children[pid] = sock
            late = late or bool(answers.unknown())


def get_ready(answers: Answers, *, cold: bool) -> None:
    """Do in advance what sessions would do."""
    if cold:
        warm_up()
    answers.learn()
    gc.freeze()  # otherwise a collection in a child would copy all our memory


def begin_anew(control: socket.socket) -> NoReturn:
    """Load Salt again, since packages were installed that can make more imports possible."""
    print("packages were installed: reloading Salt", file=sys.stderr, flush=True)
    os.dup2(control.fileno(), 0)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def refuse(sock: socket.socket, problem: str) -> None:
    """Report why a session cannot be opened."""
    with sock, contextlib.suppress(OSError):
        sock.sendall(encode({"error": problem, "without_salt": sys.executable}))


def reap(children: dict[int, socket.socket | None]) -> None:
    """Reap sessions that ended; if one was killed, report it to its owner and stop its processes."""
    for pid in list(children):
        done, status = os.waitpid(pid, os.WNOHANG)
        if not done:
            continue
        sock = children.pop(pid)
        if sock is None:
            continue
        if os.WIFSIGNALED(status):
            with contextlib.suppress(OSError):  # start a new line, in case one was cut off
                sock.send(b"\n" + encode({"ended": status}), socket.MSG_DONTWAIT)
        sock.close()
        if os.WIFSIGNALED(status):
            children[sweep(pid)] = None
