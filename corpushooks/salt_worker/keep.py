"""Run one program in our own process group, for the owner at the other end of descriptor 0."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .processes import Stopped, attend, fork, stop_group, stop_on_term, take_stdin, wake_on_child
from .wire import encode, register


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
        sock.sendall(encode({"ended": attend(sock, wake, pid)}))
    except (Stopped, OSError):
        stop_group(os.getpgid(0))
