"""The keys of cfg: their defaults and their types. No effects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corpushooks.core.errors import ConfigError
from corpushooks.core.project import Project
from corpushooks.core.rollouts import Placed
from corpushooks.core.schema import shown

STEPS = ("deploy", "archive", "release_sync", "install", "rotate_archives", "rollback", "fixperms", "notify")
TABLES = ("env_defaults", "os_defaults", "node_defaults")
MAPPINGS = ("data", "defaults", *TABLES)
TEXTS = ("default_env", "fqdn", "group", "installer", "remote_host", "user")
FLAGS = ("no_user", "no_default_includes", "raw_console_return", "rollback")
SKIPS = tuple(f"skip_{step}" for step in STEPS)
SHORT_FORM = ("keep_archives", "no_user", "no_default_includes")
FIXED = (
    "name", "project_dir", "project_root", "data_root", "archives_root", "current_archive_dir", "chrono",
    "dump_root", "drill", "node", "nodes", "node_labels", "run_once",
)  # fmt: skip


def builtin(
    project: Project,
    environment: str,
    *,
    minion_id: str,
    fqdn: str,
    archive_dir: Path,
    chrono: str,
    keep_archives: int = 3,
) -> dict[str, Any]:
    """Return the lowest layer: every key that projects of the original can read.

    `environment` and `keep_archives` are the host's; `archive_dir` is the archive folder of this deployment, and
    `chrono` its name.
    """
    return {
        "name": project.name,
        "minion_id": minion_id,
        "default_env": environment,
        "user": project.user,
        "group": project.group,
        "groups": [project.group],
        "keep_archives": keep_archives,
        "chrono": chrono,
        "current_archive_dir": str(archive_dir),
        **_builtin_paths(project),
        **dict.fromkeys(("fqdn", "this_host", "this_localhost"), fqdn),
        **_unset(),
    }


def _unset() -> dict[str, Any]:
    """Return the defaults that are the same in every project."""
    return {
        "this_port": 22,
        "remote_host": "{fqdn}",
        "remote_less": False,  # every project has its two repositories here
        "api_version": "2",
        "installer": "generic",
        **dict.fromkeys(("only", "only_steps", "deploy_summary")),
        **dict.fromkeys((*FLAGS, *SKIPS, "force_reload"), False),
        **dict.fromkeys(("skip_notify", "cfg_is_prepared", "cfg_is_loaded"), True),
        **{key: {} for key in (*MAPPINGS, "backup", "drill", "deploy_ret", "sls_default_pillar")},
        "env_defaults": {"prod": {}, "dev": {}, "qa": {}},
        "ignored_keys": [],
        **Placed().cfg,
        **{key: [] for key in ("health", "urls", "ports", "units", "logs")},  # ours alone
    }


def _builtin_paths(project: Project) -> dict[str, Any]:
    remote_projects = project.host.projects_dir.with_name("remote-projects")
    paths = {
        "projects_dir": project.host.projects_dir,
        "project_dir": project.dir,
        "project_root": project.tree,
        "pillar_root": project.pillar,
        "data_root": project.data,
        "archives_root": project.archives,
        "dump_root": project.dumps,
        "git_root": project.git_dir,
        "salt_root": project.tree / ".salt",
        "project_git_root": project.code_git,
        "pillar_git_root": project.pillar_git,
        "git_deploy_hook": project.code_git / "hooks/proc-receive",
        "deploy_marker": project.tree / ".tmp_deploy",
        "wired_salt_root": project.wired_salt,
        "wired_pillar_root": project.wired_pillar,
        "installer_path": project.host.salt_dir / "makina-states/projects/{api_version}/{installer}",
        "remote_projects_dir": remote_projects,
        "remote_pillar_dir": remote_projects / "{remote_host}" / project.name / "pillar",
        "remote_project_dir": remote_projects / "{remote_host}" / project.name / "project",
        "push_pillar_url": f"ssh://root@{{this_host}}:{{this_port}}{project.pillar_git}",
        "push_salt_url": f"ssh://root@{{this_host}}:{{this_port}}{project.code_git}",
    }
    return {key: str(path) for key, path in paths.items()}


def check(layer: str, body: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first value of a wrong type."""
    for key, value in body.items():
        if wanted := _wanted(key, value):
            raise ConfigError(f"expected {wanted}, got {shown_kind(value)}", where=(layer, key))


def _wanted(key: str, value: Any) -> str:
    """Return the type wanted for `key` in words, or '' if the value has it."""
    names = isinstance(value, list) and all(isinstance(name, str) for name in value)
    rules = (
        (MAPPINGS, "a mapping", isinstance(value, Mapping)),
        (TEXTS, "text", isinstance(value, str) and value != ""),
        (FLAGS + SKIPS, "true or false", isinstance(value, bool)),
        (("keep_archives",), "a positive whole number", type(value) is int and value > 0),
        (("groups",), "a list of names", names),
        (("urls", "ports"), "a list", isinstance(value, (list, str, int)) and not isinstance(value, bool)),
        (("units", "logs"), "a list", isinstance(value, (list, str))),
        (("backup",), "a mapping", isinstance(value, Mapping)),
        (("health",), "a mapping or a list of mappings", isinstance(value, (Mapping, list))),
        (
            ("only", "only_steps"),
            "a name or a list of names",
            value is None or isinstance(value, str) or names,
        ),
    )
    return next((words for keys, words, fits in rules if key in keys and not fits), "")


def shown_kind(value: Any) -> str:
    """Return a value for display, or only its type if it is text, which may be a secret."""
    return "text" if isinstance(value, str) and value else shown(value)
