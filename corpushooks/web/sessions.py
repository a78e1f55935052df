"""Sessions of browsers: a cookie, and in memory the token that it stands for.

A session ends with its token, after a while, or with this process. Nothing of it is on a disk.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from corpushooks.core.errors import BusyError, CredentialError
from corpushooks.core.rights import RIGHTS, Grant

COOKIE = "__Host-corpus"
MOST = 1000  # sessions
IDLE, LONGEST = 12 * 3600.0, 7 * 86400.0  # seconds without a request, and in all
TRIES, WHILE = 10, 60.0  # failures of one address within so many seconds
ADDRESSES = 10_000


@dataclass
class Session:
    """Somebody who is signed in."""

    token: str
    who: str
    rights: tuple[Grant, ...]
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    began: float = field(default_factory=time.monotonic)
    seen: float = field(default_factory=time.monotonic)

    def may(self, project: str, right: str) -> bool:
        """Say whether something is worth showing; whether it is done the daemon says."""
        best = [RIGHTS.index(each.right) for each in self.rights if each.covers(project)]
        return bool(best) and max(best) >= RIGHTS.index(right)

    def is_own(self, csrf: str) -> bool:
        """Say whether a form is one that we gave to this browser."""
        return hmac.compare_digest(csrf.encode(), self.csrf.encode())


@dataclass
class Sessions:
    """Those who are signed in."""

    _open: OrderedDict[str, Session] = field(default_factory=OrderedDict)  # the one that was seen last is the last

    def begin(self, token: str, who: str, rights: tuple[Grant, ...]) -> str:
        """Begin a session and return its cookie, always a new one; if there are too many, the oldest ends."""
        cookie = secrets.token_urlsafe(32)
        self._open[cookie] = Session(token, who, rights)
        while len(self._open) > MOST:
            self._open.popitem(last=False)
        return cookie

    def of(self, cookie: str) -> Session:
        """Return the session of a cookie; raise CredentialError."""
        found, now = self._open.get(cookie), time.monotonic()
        if found is None or now - found.seen > IDLE or now - found.began > LONGEST:
            self.end(cookie)
            raise CredentialError("you are not signed in")
        found.seen = now
        self._open.move_to_end(cookie)
        return found

    def end(self, cookie: str) -> None:
        """End a session."""
        self._open.pop(cookie, None)


@dataclass
class Tries:
    """Sign-ins that failed, by address."""

    _failed: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def check(self, address: str) -> None:
        """Raise BusyError for an address that fails too often."""
        times = self._failed.get(address, deque())
        while times and time.monotonic() - times[0] > WHILE:
            times.popleft()
        if len(times) >= TRIES:
            raise BusyError("too many sign-ins failed", hint="wait a minute")

    def failed(self, address: str) -> None:
        """Note a failure."""
        self._failed.setdefault(address, deque(maxlen=TRIES)).append(time.monotonic())
        self._failed.move_to_end(address)
        while len(self._failed) > ADDRESSES:
            self._failed.popitem(last=False)
