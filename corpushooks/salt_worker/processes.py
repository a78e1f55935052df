"""Processes and signals: groups, forks, and waiting for a child while its owner lives."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
import types
from pathlib import Path
from typing import NoReturn

GRACE = 3.0  # seconds between TERM and KILL; less than our owner's patience
CHUNK = 65536


class Stopped(BaseException):
    """Our owner is gone, or told us to stop. Not an Exception, which Salt would make the result of a state."""


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot. Source: proc(5), field 22 of stat."""
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])


def others(group: int) -> bool:
    """Return whether a process group has a living member besides us."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                if int(fields[2]) == group and fields[0] not in (b"Z", b"X"):
                    return True
    return False


def stop_group(group: int) -> None:
    """Stop a process group; if it is our own, and a member ignores TERM, we are killed with it."""
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
    """Make SIGTERM raise Stopped."""

    def handler(_number: int, _frame: types.FrameType | None) -> NoReturn:
        raise Stopped

    signal.signal(signal.SIGTERM, handler)


def wake_on_child() -> socket.socket:
    """Return a socket that becomes readable when a child ends."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # without a handler nothing is written
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    return reader


def fork() -> int:
    """Fork; in the child signals have their default actions from the start."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    return pid


def take_stdin() -> socket.socket:
    """Return the socket of descriptor 0, not inheritable; 0 becomes /dev/null."""
    taken = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return taken


def attend(sock: socket.socket, wake: socket.socket, pid: int) -> int:
    """Wait for a child; return its wait status. Raise Stopped when our owner closes the socket."""
    watched = [sock.fileno(), wake.fileno()]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if sock.fileno() in ready:
            if not sock.recv(1, socket.MSG_PEEK):
                raise Stopped
            watched.remove(sock.fileno())  # the next message of our owner
        elif wake.fileno() in ready:
            wake.recv(CHUNK)
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return status


def sweep(group: int) -> int:
    """Stop a process group whose leader was killed, in a separate process, since that can take seconds."""
    pid = fork()
    if pid == 0:
        os.closerange(3, 65536)
        stop_group(group)
        os._exit(0)
    return pid
