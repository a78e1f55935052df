# ruff: noqa: F821  (Salt fills in the names with underscores)
"""The retention that SLS files written for makina-states read of db_smart_backup, which is not here."""

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
    """Return a retention, for no kind of database; the host's configuration, pillar and grains may say otherwise."""
    found: dict[str, Any] = __salt__["mc_utils.defaults"]("makina-states.services.backup.dbsmartbackup", DEFAULTS)
    return found
