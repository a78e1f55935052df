# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Redis for SLS files written for makina-states: Debian's, without a password and for local clients only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills it in

DEFAULTS: dict[str, Any] = {
    "service": "redis-server",
    "packages": ["redis-server"],
    "admin": "",
    "password": "",
    "redis": {
        "bind": "127.0.0.1", "port": 6379, "unixsocket": "/run/redis/redis-server.sock", "databases": 16,
        "dir": "/var/lib/redis", "requirepass": "", "masterauth": "", "logfile": "/var/log/redis/redis-server.log",
        "pidfile": "/run/redis/redis-server.pid",
    },
}  # fmt: skip


def settings() -> dict[str, Any]:
    """Return the settings of Redis; the host's configuration, pillar and grains can override them."""
    found: dict[str, Any] = __salt__["mc_utils.defaults"]("makina-states.services.db.redis", DEFAULTS)
    return found
