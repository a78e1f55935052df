"""The name of this machine, by which others should be able to find it."""

from __future__ import annotations

import socket

LOCAL = ("localhost", "ip6-localhost", "ip6-loopback")  # every machine has these names in /etc/hosts


def fqdn(said: str = "") -> str:
    """Return the full name of this machine: the first of the given and its own names that is not localhost."""
    names = (said, socket.getfqdn(), socket.gethostname())
    return next((name for name in names if name and name.lower().partition(".")[0] not in LOCAL), "localhost")
