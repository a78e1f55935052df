# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Redis as SLS files written for makina-states know it: Debian's, which has no password and answers its host."""

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
    """Return how Redis is reached; the host's configuration, pillar and grains say so where it is another one."""
    found: dict[str, Any] = __salt__["mc_utils.defaults"]("makina-states.services.db.redis", DEFAULTS)
    return found
