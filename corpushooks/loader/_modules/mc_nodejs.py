# ruff: noqa: F821  (Salt fills in the names with underscores)
"""node as SLS files written for makina-states know it: the one of Debian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills it in

DEFAULTS: dict[str, Any] = {
    "version": "18",
    "location": "/usr",
    "bin": "/usr/bin/node",
    "npm": "/usr/bin/npm",
    "packages": ["nodejs"],
    "npm_packages": ["npm"],
}


def settings() -> dict[str, Any]:
    """Return where node lies; the host's configuration, pillar and grains may say otherwise."""
    found: dict[str, Any] = __salt__["mc_utils.defaults"]("makina-states.localsettings.nodejs", DEFAULTS)
    return found


def ver(version: str = "") -> str:
    """Return the version of node: there is one, whichever is asked for."""
    return str(settings()["version"])
