# ruff: noqa: F821  (Salt fills in the names with underscores)
"""The retention of db_smart_backup (not supported here), for SLS files written for makina-states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills it in

DEFAULTS: dict[str, Any] = {
    "types": [],
    "keep_lasts": 1,
    "keep_days": 2,
    "keep_weeks": 0,
    "keep_monthes": 0,
    "keep_logs": 7,
}


def settings() -> dict[str, Any]:
    """Return a retention without databases; the host's configuration, pillar and grains can override it."""
    found: dict[str, Any] = __salt__["mc_utils.defaults"]("makina-states.services.backup.dbsmartbackup", DEFAULTS)
    return found
