"""Names and addresses: where a name leads, and whether that is this machine."""

from __future__ import annotations

import socket

from corpushooks.system.patience import Check, endless, within

SECONDS = 5.0  # for a name server to answer
MOST = 16  # addresses of a name


def look_up(name: str, check: Check = endless) -> tuple[list[str], str]:
    """Return the addresses of a name, or why there are none."""
    try:
        found = within(SECONDS, lambda: socket.getaddrinfo(name, None, type=socket.SOCK_STREAM), check)
    except TimeoutError:
        return [], f"no answer within {SECONDS:g} s"
    except (OSError, UnicodeError) as exc:
        return [], getattr(exc, "strerror", None) or "invalid name"
    return list(dict.fromkeys(str(each[4][0]) for each in found))[:MOST], ""


def is_here(address: str) -> bool:
    """Return whether an address is one of this machine: one can listen at those."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
