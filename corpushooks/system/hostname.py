"""What this machine calls itself, where others should find it by that."""

from __future__ import annotations

import socket

LOCAL = ("localhost", "ip6-localhost", "ip6-loopback")  # what /etc/hosts calls every machine


def fqdn(said: str = "") -> str:
    """Return the full name of this machine: the first that is not localhost of what is said, and of its own."""
    names = (said, socket.getfqdn(), socket.gethostname())
    return next((name for name in names if name and name.lower().partition(".")[0] not in LOCAL), "localhost")
