# ruff: noqa: F821  (Salt fills in the names with underscores)
"""The group of files, for SLS files written for makina-states."""

from __future__ import annotations

from typing import Any

__opts__: dict[str, Any]  # Salt's loader fills it in


def settings() -> dict[str, Any]:
    """Return the group of the deployed project, or else the common group of makina-states."""
    return {"group": dict(__opts__.get("ms_project", {})).get("group", "editor")}
