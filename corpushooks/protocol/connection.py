"""The daemon's end of its socket: listen, identify the caller, read one request, answer in lines of JSON."""

from __future__ import annotations

import errno
import grp
import json
import os
import pwd
import select
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from corpushooks.core.errors import BusyError, RefusedError, UsageError
from corpushooks.core.rights import Accounts, Caller
from corpushooks.protocol.answers import VERSION
from corpushooks.protocol.messages import Asked, not_understood

T = TypeVar("T")

BACKLOG = 1024
PEER_GROUPS = 59  # SO_PEERGROUPS of Linux, which Python does not define
OTHERS = -1  # not a uid
WAIT = "wait for some of them to end"


class PeerGone(Exception):
    """The peer disconnected; its request continues."""


@dataclass(frozen=True)
class Limits:
    """The limits of one connection."""

    line: int = 4 << 20  # bytes of a request
    parts: int = 200_000  # values in a request: an empty list needs 25 times its length in memory
    text: int = 64 << 10  # bytes of a request without the refs of a push
    hello: float = 30.0  # seconds for a request to arrive
    answer: float = 30.0  # seconds to send a line


@dataclass
class Semaphores:
    """Limits of simultaneous connections, so that no caller can block others or use up all descriptors."""

    own: int = 256  # for root, and as many for the daemon's user
    each: int = 128  # for any other uid
    others: int = 192  # for all others together
    key: int = 32  # for one ssh key or token, since all of them share a uid
    commands: int = 0  # running now
    _taken: Counter[int] = field(default_factory=Counter)
    _keys: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, uid: int, *, own: bool) -> bool:
        """Count a new connection; return False if there are too many."""
        with self._lock:
            if self._taken[uid] >= (self.own if own else self.each) or (not own and self._taken[OTHERS] >= self.others):
                return False
            self._taken.update((uid,) if own else (uid, OTHERS))
            return True

    def leave(self, uid: int, *, own: bool) -> None:
        """Count the end of a connection."""
        with self._lock:
            self._taken.subtract((uid,) if own else (uid, OTHERS))
            self._taken = +self._taken  # drops those with none

    @contextmanager
    def of_key(self, name: str) -> Iterator[None]:
        """Count a connection of a key or token; raise BusyError if it has too many."""
        with self._lock:
            if self._keys[name] >= self.key:
                raise BusyError(f"too many connections at once with {name}", hint=WAIT)
            self._keys[name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._keys[name] -= 1
                self._keys = +self._keys

    @contextmanager
    def of_command(self, limit: int) -> Iterator[None]:
        """Count a running command; raise BusyError if there are too many."""
        with self._lock:
            if self.commands >= limit:
                raise BusyError(f"too many commands at once: {limit} (max_commands)", hint=WAIT)
            self.commands += 1
        try:
            yield
        finally:
            with self._lock:
                self.commands -= 1

    def busy(self) -> bool:
        """Return whether there are connections."""
        with self._lock:
            return bool(self._taken)


@dataclass
class Connection:
    """A connection of one peer, which the kernel identifies."""

    link: socket.socket
    limits: Limits = Limits()
    keyed: bool = False  # over ssh, with a key
    number: int | None = None  # of the deployment that the answer is about
    _answered: bool = False

    @cached_property
    def uid(self) -> int:
        return self._credentials()[1]

    @cached_property
    def pid(self) -> int:
        return self._credentials()[0]

    @cached_property
    def caller(self) -> Caller:
        """The account that connected, with its groups at that time."""
        _, uid, gid = self._credentials()
        name = _known(lambda: pwd.getpwuid(uid).pw_name)
        return Caller(uid, name or str(uid), frozenset({gid, *self._groups(name, gid)}))

    @property
    def who(self) -> str:
        """The name of the account that called."""
        return self.caller.name

    def _credentials(self) -> tuple[int, int, int]:
        """Return pid, uid and gid of the peer."""
        pid, uid, gid = struct.unpack("iII", self.link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return pid, uid, gid

    def _groups(self, name: str | None, gid: int) -> list[int]:
        """Return the supplementary groups; if there are too many for Python, those of the account."""
        try:
            data = self.link.getsockopt(socket.SOL_SOCKET, PEER_GROUPS, 1024)
        except OSError as exc:
            return os.getgrouplist(name, gid) if name and exc.errno == errno.ERANGE else []
        return list(struct.unpack(f"{len(data) // 4}I", data))

    def read(self) -> Asked:
        """Read the request; raise UsageError if it is invalid."""
        end, data = time.monotonic() + self.limits.hello, bytearray()
        while not data.endswith(b"\n"):
            chunk = self._receive(end - time.monotonic())
            data += chunk
            if not chunk:
                raise PeerGone
            if len(data) > self.limits.line:
                raise UsageError("the request is too long")
        self.link.settimeout(self.limits.answer)
        return Asked(self._parsed(data), self.limits.text)

    def _receive(self, seconds: float) -> bytes:
        try:
            if seconds <= 0:
                raise TimeoutError
            self.link.settimeout(seconds)
            return self.link.recv(65536)
        except TimeoutError:
            raise RefusedError("timed out waiting for the request") from None
        except OSError as exc:
            raise PeerGone from exc

    def _parsed(self, data: bytearray) -> dict[str, Any]:
        if sum(data.count(sign) for sign in (b",", b"[", b"{")) > self.limits.parts:
            raise UsageError("the request is too long")
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise not_understood()
        return found

    def send(self, **said: Any) -> None:
        """Send one line, the first with the version of the protocol; raise PeerGone if that fails."""
        first = {} if self._answered else {"v": VERSION}
        self._answered = True
        self.number = said.get("number", self.number)
        try:
            self.link.sendall(json.dumps({**first, **said}).encode() + b"\n")
        except OSError as exc:
            raise PeerGone from exc

    def descriptors(self, count: int) -> list[int]:
        """Receive descriptors from the peer, which the caller must close; raise UsageError."""
        try:
            said, found, *_ = socket.recv_fds(self.link, 1, count, socket.MSG_CMSG_CLOEXEC)
        except OSError as exc:
            raise PeerGone from exc
        if len(found) == count:
            return found
        for each in found:
            os.close(each)
        if not said:
            raise PeerGone
        raise not_understood("descriptors")

    def check(self) -> None:
        """Raise PeerGone if the peer has disconnected."""
        poll = select.poll()
        poll.register(self.link, select.POLLIN)
        if poll.poll(0):  # the peer sends nothing more, so this is the end
            raise PeerGone


class Bell:
    """Wakes the thread that waits for callers; usable in a signal handler.

    Signals ring it, too: Python runs a handler only once the main thread runs again. A signal that comes just before
    that thread waits would be seen only after the wait.
    """

    def __init__(self) -> None:
        self.wire = self._cord = -1
        self._rung = self._by_signals = False

    def __enter__(self) -> Bell:
        self.wire, self._cord = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._by_signals = threading.current_thread() is threading.main_thread()
        if self._by_signals:
            signal.set_wakeup_fd(self._cord, warn_on_full_buffer=False)
        if self._rung:
            self.ring()
        return self

    def __exit__(self, *_: object) -> None:
        if self._by_signals:
            signal.set_wakeup_fd(-1)
        ends, self.wire, self._cord = (self.wire, self._cord), -1, -1
        for end in ends:
            os.close(end)

    def ring(self) -> None:
        """Wake the waiting thread; a later wait returns at once."""
        self._rung = True
        if self._cord >= 0:
            with suppress(BlockingIOError):  # it was rung often enough
                os.write(self._cord, b"\0")


def accounts() -> Accounts:
    """Return the accounts of this machine."""
    return Accounts(
        user=lambda name: _known(lambda: pwd.getpwnam(name).pw_uid),
        group=lambda name: _known(lambda: grp.getgrnam(name).gr_gid),
        group_name=lambda gid: _known(lambda: grp.getgrgid(gid).gr_name),
    )


def _known(look: Callable[[], T]) -> T | None:
    try:
        return look()
    except (KeyError, ValueError):  # it does not exist, or the name is invalid
        return None


def listen(path: Path) -> socket.socket:
    """Listen on a socket in the file system, whose path can be longer than a socket address.

    Anyone can connect: rights depend on the identity that the kernel reports.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
    path.chmod(0o666)
    listener.listen(BACKLOG)
    return listener
