"""The daemon's end of its socket: listen, ask the kernel who calls, hear one request, answer in lines of JSON."""

from __future__ import annotations

import errno
import grp
import json
import os
import pwd
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
PEER_GROUPS = 59  # SO_PEERGROUPS of Linux, which Python has no name for
OTHERS = -1  # no uid
WAIT = "wait for some of them to end"


class PeerGone(Exception):
    """The peer left; what it asked for goes on."""


@dataclass(frozen=True)
class Limits:
    """What one connection may take of us."""

    line: int = 4 << 20  # bytes of a request
    parts: int = 200_000  # values in a request: an empty list takes 25 times as much memory as it is long
    text: int = 64 << 10  # bytes of what a request says beside the refs of a push
    hello: float = 30.0  # seconds for a request to arrive
    answer: float = 30.0  # seconds for a line of ours to be taken


@dataclass
class Semaphores:
    """The connections that callers hold at once: so many that no caller keeps others out, or takes all descriptors."""

    own: int = 256  # for root, and as many for whom the daemon runs as
    each: int = 128  # for any other uid
    others: int = 192  # for all the others together
    key: int = 32  # for one ssh key or token, since all of them share a uid
    commands: int = 0  # that run now
    _taken: Counter[int] = field(default_factory=Counter)
    _keys: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, uid: int, *, own: bool) -> bool:
        """Take a place; return False if there is none."""
        with self._lock:
            if self._taken[uid] >= (self.own if own else self.each) or (not own and self._taken[OTHERS] >= self.others):
                return False
            self._taken.update((uid,) if own else (uid, OTHERS))
            return True

    def leave(self, uid: int, *, own: bool) -> None:
        """Give a place back."""
        with self._lock:
            self._taken.subtract((uid,) if own else (uid, OTHERS))
            self._taken = +self._taken  # forgets who holds none

    @contextmanager
    def of_key(self, name: str) -> Iterator[None]:
        """Count a connection as one of a key meanwhile; raise BusyError if that has too many."""
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
        """Count a command that runs meanwhile; raise BusyError if there are too many."""
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
        """Return whether anybody has a place."""
        with self._lock:
            return bool(self._taken)


@dataclass
class Connection:
    """One peer. Who it is says the kernel."""

    link: socket.socket
    limits: Limits = Limits()
    keyed: bool = False  # it came by ssh, with a key
    _answered: bool = False

    @cached_property
    def uid(self) -> int:
        return self._credentials()[1]

    @cached_property
    def pid(self) -> int:
        return self._credentials()[0]

    @cached_property
    def caller(self) -> Caller:
        """Who connected, with the rights it had then."""
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
        """Return the supplementary groups; where Python cannot take them all, those that the account has."""
        try:
            data = self.link.getsockopt(socket.SOL_SOCKET, PEER_GROUPS, 1024)
        except OSError as exc:
            return os.getgrouplist(name, gid) if name and exc.errno == errno.ERANGE else []
        return list(struct.unpack(f"{len(data) // 4}I", data))

    def read(self) -> Asked:
        """Return the request; raise UsageError if it is none."""
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
            raise RefusedError("no request came in time") from None
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
        """Send one line, the first with the version of the protocol; raise PeerGone where nobody takes it."""
        first = {} if self._answered else {"v": VERSION}
        self._answered = True
        try:
            self.link.sendall(json.dumps({**first, **said}).encode() + b"\n")
        except OSError as exc:
            raise PeerGone from exc

    def descriptors(self, count: int) -> list[int]:
        """Return so many descriptors that the peer hands over, for whoever calls to close; raise UsageError."""
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
        """Raise PeerGone where the peer has left."""
        poll = select.poll()
        poll.register(self.link, select.POLLIN)
        if poll.poll(0):  # nothing more is ever sent to us: it can only be the end
            raise PeerGone


class Bell:
    """Wakes who waits for callers; from a signal handler, too."""

    def __init__(self) -> None:
        self.wire = -1
        self._rung = False

    def __enter__(self) -> Bell:
        self.wire = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        if self._rung:
            self.ring()
        return self

    def __exit__(self, *_: object) -> None:
        wire, self.wire = self.wire, -1
        os.close(wire)

    def ring(self) -> None:
        """Wake the thread that waits; a later wait returns at once."""
        self._rung = True
        if self.wire >= 0:
            os.eventfd_write(self.wire, 1)


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
    except (KeyError, ValueError):  # there is none, or no account can be called so
        return None


def listen(path: Path) -> socket.socket:
    """Listen on a socket in the file system, whose path may be longer than a socket address.

    Anybody may connect: the kernel says who it is, and that decides.
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
