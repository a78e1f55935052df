"""Attempts to sign in that failed, counted for each account and each address, in memory.

Failing on purpose locks nobody out: refused attempts do not count, and attempts from an address where a person has
signed in before are counted separately.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from corpushooks.core.errors import BusyError, CredentialError

OF_ACCOUNT, OF_ADDRESS = 10, 20  # failures …
BEGUN = 60  # sign-ins at a provider that are begun from an address
WHILE = 300.0  # … within so many seconds
KEPT = 20_000  # accounts and addresses that are remembered
WAIT = BusyError("too many failed attempts to sign in", hint="wait five minutes")
MANY = BusyError("too many sign-ins were begun from this address", hint="wait five minutes")

Counted = tuple[str, ...]


@dataclass
class Attempts:
    """The failures of a while."""

    _failed: OrderedDict[Counted, deque[float]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def attempt(self, account: str, address: str, *, familiar: bool) -> Iterator[None]:
        """Make an attempt, which counts as failed if the block raises CredentialError; raise BusyError after too many.

        It counts from its beginning, so that many at once are not more than one after the other.
        """
        near = network(address)
        limits: dict[Counted, int] = {("address", near): OF_ADDRESS}
        if account:
            limits[("account", account, near if familiar else "")] = OF_ACCOUNT
        now = time.monotonic()
        with self._lock:
            for counted, limit in limits.items():
                if self._recent(counted, now) >= limit:
                    raise WAIT
            for counted in limits:
                self._note(counted, now)
        try:
            yield
        except CredentialError:
            raise
        except BaseException:
            self._forget(limits, now)  # a failure of ours says nothing of the password
            raise
        self._forget(limits, now)

    def begin(self, address: str) -> None:
        """Count a sign-in that is begun elsewhere; raise BusyError after too many from an address."""
        counted, now = ("begun", network(address)), time.monotonic()
        with self._lock:
            if self._recent(counted, now) >= BEGUN:
                raise MANY
            self._note(counted, now)

    def _forget(self, limits: Iterable[Counted], now: float) -> None:
        """Count an attempt no longer."""
        with self._lock:
            for counted in limits:
                times = self._failed.get(counted)
                if times and now in times:
                    times.remove(now)

    def _recent(self, counted: Counted, now: float) -> int:
        times = self._failed.get(counted, deque())
        while times and now - times[0] > WHILE:
            times.popleft()
        return len(times)

    def _note(self, counted: Counted, now: float) -> None:
        self._failed.setdefault(counted, deque()).append(now)
        self._failed.move_to_end(counted)
        while len(self._failed) > KEPT:
            self._failed.popitem(last=False)


def network(address: str) -> str:
    """Return what counts as one address: of IPv6 the 64 bits that one customer has; what is none counts as one."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found), 64), strict=False))
    return str(found)


def is_loopback(address: str) -> bool:
    """Say whether an address is of this machine."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
