# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Packages for SLS files written for makina-states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills these in
__grains__: dict[str, Any]


def settings() -> dict[str, Any]:
    """Return the settings of packages, and the name of this host's release."""
    name = __grains__.get("oscodename", "")
    given = {"installmode": "installed", "dist": name, "udist": name, "lts_dist": name, "ubuntu_lts": name}
    found: dict[str, Any] = __salt__["mc_utils.defaults"]("makina-states.localsettings.pkgs", given)
    return found
