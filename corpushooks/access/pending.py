"""Sign-ins for which a browser was sent to a provider: each can be finished once, by that browser, for a while.

They are in memory: after a restart of the daemon one begins again.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from corpushooks.access.attempts import network

LASTS = 600.0  # seconds
MOST, EACH = 5000, 20  # in all, and of one address: the oldest go
BYTES = 32


@dataclass(frozen=True)
class Begun:
    """A sign-in that was begun."""

    state: str  # what the provider sends back
    binding: str  # what the browser keeps
    nonce: str  # what the token must have
    verifier: str  # of PKCE
    after: str  # the path to go to
    near: str
    at: float


@dataclass
class Pending:
    """The sign-ins that were begun."""

    _begun: OrderedDict[str, Begun] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, after: str, address: str) -> Begun:
        """Begin a sign-in."""
        state, binding, nonce, verifier = (secrets.token_urlsafe(BYTES) for _ in range(4))
        made = Begun(state, binding, nonce, verifier, after, network(address), time.monotonic())
        with self._lock:
            same = [each.state for each in self._begun.values() if each.near == made.near]
            for each in same[: max(0, len(same) - EACH + 1)]:
                del self._begun[each]
            self._begun[state] = made
            while len(self._begun) > MOST:
                self._begun.popitem(last=False)
        return made

    def finish(self, state: str, binding: str) -> Begun | None:
        """Return a pending sign-in, once, to the browser that began it; None if there is none."""
        with self._lock:
            found = self._begun.pop(state, None)
        if found is None or time.monotonic() - found.at > LASTS:
            return None
        return found if hmac.compare_digest(binding.encode(), found.binding.encode()) else None
