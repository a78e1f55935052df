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
        "prefix": str(Path(projects).parent),
        "srv_dir": str(Path(projects).parent),
        "root_dir": "/",
        "bin_dir": "/bin",
        "conf_dir": "/etc",
        "home_dir": "/home",
        "initd_dir": "/etc/init.d",
        "lib_dir": "/lib",
        "sbin_dir": "/sbin",
        "share_dir": "/usr/share",
        "tmp_dir": "/tmp",
        "upstart_dir": "/etc/init",
        "users_home_dir": "/home",
        "usr_dir": "/usr",
        "var_dir": "/var",
        "var_cache_dir": "/var/cache",
        "var_lib_dir": "/var/lib",
        "var_log_dir": "/var/log",
        "var_run_dir": "/run",
        "var_spool_dir": "/var/spool",
        "var_tmp_dir": "/var/tmp",
    }
