# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Paths on this host, for SLS files written for makina-states."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

__opts__: dict[str, Any]  # Salt's loader fills these in
__salt__: dict[str, Callable[..., Any]]


def settings() -> dict[str, Any]:
    """Return the paths of a Debian host, of the projects, and of the program `resetperms`."""
    projects = dict(__opts__.get("ms_project", {})).get("projects_dir", "/srv/projects")
    ours = __opts__.get("corpushooks", {}).get("resetperms", "")
    return {
        "resetperms": ours or shutil.which("resetperms") or "resetperms",
        "projects_dir": projects,
        "srv_dir": str(Path(projects).parent),
        "conf_dir": "/etc",
        "initd_dir": __salt__["mc_utils.get"]("makina-states.localsettings.locations.initd_dir") or "/etc/init.d",
        "var_lib_dir": "/var/lib",
        "var_log_dir": "/var/log",
    }
