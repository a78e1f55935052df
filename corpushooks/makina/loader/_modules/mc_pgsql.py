# ruff: noqa: F821  (Salt fills in the names with underscores)
"""PostgreSQL for SLS files written for makina-states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills it in

DEFAULTS: dict[str, Any] = {
    "user": "postgres",
    "version": "15",
    "defaultPgVersion": "{version}",
    "versions": ["15"],
    "xenial_onward": True,  # packages have their current names
    "encoding": "UTF8",
    "locale": "",
    "service": "postgresql",
    "postgis_db": "postgis",
    "packages": ["postgresql"],
    "client_packages": ["postgresql-client"],
}


def settings() -> dict[str, Any]:
    """Return the settings of PostgreSQL; the host's configuration, pillar and grains can override them."""
    found: dict[str, Any] = __salt__["mc_utils.defaults"]("makina-states.services.db.postgresql", DEFAULTS)
    return found
