# ruff: noqa: F821  (Salt fills in the names with underscores)
"""The group that SLS files written for makina-states give their files to."""

from __future__ import annotations

from typing import Any

__opts__: dict[str, Any]  # Salt's loader fills it in


def settings() -> dict[str, Any]:
    """Return the group of the project that is deployed, else the one that makina-states had for all."""
    return {"group": dict(__opts__.get("ms_project", {})).get("group", "editor")}
