# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Where things lie on this host, for SLS files written for makina-states."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

__opts__: dict[str, Any]  # Salt's loader fills it in


def settings() -> dict[str, str]:
    """Return the places of a Debian host, of the projects, and of the program `resetperms`."""
    projects = dict(__opts__.get("ms_project", {})).get("projects_dir", "/srv/projects")
    ours = __opts__.get("corpushooks", {}).get("resetperms", "")
    return {
        "resetperms": ours or shutil.which("resetperms") or "resetperms",
        "projects_dir": projects,
        "srv_dir": str(Path(projects).parent),
        "conf_dir": "/etc",
        "initd_dir": "/etc/init.d",
        "var_lib_dir": "/var/lib",
        "var_log_dir": "/var/log",
    }
