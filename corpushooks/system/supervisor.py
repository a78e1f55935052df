"""The door to our supervisor: a listening socket from it, and watchdog messages to it.

It speaks the protocols of systemd, sd_listen_fds(3) and sd_notify(3), which others speak too. Their environment
variables are removed, since they are not meant for our children.
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

FIRST = 3  # descriptor of the first socket that is passed
PATIENCE = 5.0  # seconds to send a message
HINT = Hint("write it as `", command("setup"), "` does: one ListenStream= with an absolute path")
HINT_TCP = Hint(
    "write it as `", command("setup", "--web"), "` does: one ListenStream=, 127.0.0.1:8040; in a file that changes it,"
    " an empty ListenStream= comes first"
)  # fmt: skip


@dataclass
class Supervisor:
    """The supervisor that started us; by default none. `every` is the interval of watchdog messages, in seconds."""

    address: str = ""
    every: float = math.inf
    sockets: int = 0
    _said: float = field(default=-math.inf)

    @property
    def watches(self) -> bool:
        """Return whether the supervisor kills us without watchdog messages."""
        return self.every < math.inf

    def listener(self, *families: int) -> socket.socket | None:
        """Return the listening socket that was passed, or None; raise UsageError if it is not one we can use.

        It is a unix socket, or of one of these families.
        """
        if not self.sockets:
            return None
        hint = HINT_TCP if families else HINT
        if self.sockets != 1:
            raise UsageError(f"expected one socket from the supervisor, got {self.sockets}", hint)
        os.set_inheritable(FIRST, False)
        if not stat.S_ISSOCK(os.fstat(FIRST).st_mode):
            raise UsageError("the descriptor from the supervisor is not a socket", hint)
        given = socket.socket(fileno=FIRST)
        if given.family not in (families or (socket.AF_UNIX,)) or given.type != socket.SOCK_STREAM:
            raise UsageError(
                f"the socket from the supervisor is not a {'TCP' if families else 'unix stream'} socket", hint
            )
        if not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise UsageError("the socket from the supervisor is not listening", hint)
        return given

    def say(self, word: str) -> None:
        """Send a message, such as READY=1; errors are ignored."""
        if self.address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
                link.settimeout(PATIENCE)
                link.sendto(word.encode(), self.address)

    def alive(self) -> None:
        """Send a watchdog message if one is due."""
        now = time.monotonic()
        if self.watches and now - self._said >= self.every:
            self._said = now
            self.say("WATCHDOG=1")


def supervisor() -> Supervisor:
    """Return the supervisor of this process, and remove its variables from our environment."""
    said = {name: os.environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")}
    given = {name: os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    us = str(os.getpid())
    watched = said["WATCHDOG_USEC"].isdigit() and said["WATCHDOG_PID"] in ("", us)
    handed = given["LISTEN_FDS"].isdigit() and given["LISTEN_PID"] == us
    address = said["NOTIFY_SOCKET"]
    return Supervisor(
        address="\0" + address[1:] if address.startswith("@") else address,
        every=int(said["WATCHDOG_USEC"]) / 3e6 if watched else math.inf,  # three times per timeout
        sockets=int(given["LISTEN_FDS"]) if handed else 0,
    )
