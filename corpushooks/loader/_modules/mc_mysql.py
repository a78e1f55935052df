# ruff: noqa: F821  (Salt fills in the names with underscores)
"""MySQL as SLS files written for makina-states know it: on Debian it is MariaDB."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills it in

DEFAULTS: dict[str, Any] = {
    "service": "mariadb",
    "root_passwd": "",
    "host": "localhost",
    "port": "3306",
    "packages": ["default-mysql-server"],
}


def settings() -> dict[str, Any]:
    """Return what MySQL is called here; the host's configuration, pillar and grains may say otherwise."""
    found: dict[str, Any] = __salt__["mc_utils.defaults"]("makina-states.services.db.mysql", DEFAULTS)
    return found
