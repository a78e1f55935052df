# ruff: noqa: F821  (Salt fills in the names with underscores)
"""PostgreSQL as SLS files written for makina-states know it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills it in

DEFAULTS: dict[str, Any] = {
    "user": "postgres",
    "version": "15",
    "defaultPgVersion": "{version}",
    "versions": ["15"],
    "xenial_onward": True,  # the names of packages are those of today
    "encoding": "UTF8",
    "locale": "",
    "service": "postgresql",
    "postgis_db": "postgis",
    "packages": ["postgresql"],
    "client_packages": ["postgresql-client"],
}


def settings() -> dict[str, Any]:
    """Return what PostgreSQL is called here; the host's configuration, pillar and grains may say otherwise."""
    found: dict[str, Any] = __salt__["mc_utils.defaults"]("makina-states.services.db.postgresql", DEFAULTS)
    return found
