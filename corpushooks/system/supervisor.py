"""The door to whoever supervises us: a socket that listens already, and a word now and then that we live.

It speaks the protocols of systemd, sd_listen_fds(3) and sd_notify(3), which others speak too. What is said to us by
the environment is taken out of it: nothing that we start is meant.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import stat
import time
from dataclasses import dataclass, field

from corpushooks.core.errors import UsageError
from corpushooks.core.hints import Hint, command

FIRST = 3  # descriptor of the first socket that is handed over
PATIENCE = 5.0  # seconds for a word of ours to be taken
HINT = Hint("write it as `", command("setup"), "` does: one ListenStream= with an absolute path")


@dataclass
class Supervisor:
    """Who started us and wants to hear of us; by default nobody. `every` is in seconds: a sign of life is due."""

    address: str = ""
    every: float = math.inf
    sockets: int = 0
    _said: float = field(default=-math.inf)

    @property
    def watches(self) -> bool:
        """Say whether we are ended where we give no sign of life."""
        return self.every < math.inf

    def listener(self) -> socket.socket | None:
        """Return the socket that listens for us, or None where there is none; raise UsageError for any other."""
        if not self.sockets:
            return None
        if self.sockets != 1:
            raise UsageError(f"{self.sockets} sockets were handed over, we take one", HINT)
        os.set_inheritable(FIRST, False)
        if not stat.S_ISSOCK(os.fstat(FIRST).st_mode):
            raise UsageError("what was handed over is no socket", HINT)
        given = socket.socket(fileno=FIRST)
        if given.family != socket.AF_UNIX or given.type != socket.SOCK_STREAM:
            raise UsageError("the socket that was handed over is no unix stream socket", HINT)
        if not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise UsageError("the socket that was handed over does not listen", HINT)
        return given

    def say(self, word: str) -> None:
        """Say something, as READY=1; that nobody hears it is no fault of ours."""
        if self.address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
                link.settimeout(PATIENCE)
                link.sendto(word.encode(), self.address)

    def alive(self) -> None:
        """Give a sign of life where one is due."""
        now = time.monotonic()
        if self.watches and now - self._said >= self.every:
            self._said = now
            self.say("WATCHDOG=1")


def supervisor() -> Supervisor:
    """Return who supervises this process, and take what it said out of our environment."""
    said = {name: os.environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")}
    given = {name: os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    us = str(os.getpid())
    watched = said["WATCHDOG_USEC"].isdigit() and said["WATCHDOG_PID"] in ("", us)
    handed = given["LISTEN_FDS"].isdigit() and given["LISTEN_PID"] == us
    address = said["NOTIFY_SOCKET"]
    return Supervisor(
        address="\0" + address[1:] if address.startswith("@") else address,
        every=int(said["WATCHDOG_USEC"]) / 3e6 if watched else math.inf,  # three times in the time that we have
        sockets=int(given["LISTEN_FDS"]) if handed else 0,
    )
