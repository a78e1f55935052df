# ruff: noqa: F821  (Salt fills in the names with underscores)
"""What SLS files and their templates ask of a project: its cfg."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import salt.utils.yaml
from salt.exceptions import CommandExecutionError

__opts__: dict[str, Any]  # Salt's loader fills it in


def get_configuration(name: str = "") -> dict[str, Any]:
    """Return the cfg of a project, by default of the one that is deployed; of another, as it was deployed last."""
    own = __opts__.get("ms_project_name", "")
    if name in ("", own) and own:
        return copy.deepcopy(dict(__opts__["ms_project"]))
    conf = Path(__opts__["conf_file"]).parents[1] / name / "minion" if name else None
    try:
        found = salt.utils.yaml.safe_load(conf.read_text()) if conf else {}
    except OSError:
        found = {}
    if not found.get("ms_project"):
        raise CommandExecutionError(f"mc_project.get_configuration: there is no project {name!r}, or none was deployed")
    return dict(found["ms_project"])


def get_configuration_item(name: str, item: str) -> Any:
    """Return one first-level value of the cfg of a project."""
    found = get_configuration(name)
    if item not in found:
        raise CommandExecutionError(f"mc_project.get_configuration_item: the cfg of {name} has no {item!r}")
    return found[item]
