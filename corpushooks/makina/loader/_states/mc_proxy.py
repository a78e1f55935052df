# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Hooks: states that do nothing, for others to stand before or behind."""

from __future__ import annotations

from typing import Any

__opts__: dict[str, Any]  # Salt's loader fills it in


def hook(name: str, **_given: Any) -> dict[str, Any]:
    """Be there. Salt gives whatever an SLS says beside the name."""
    return {"name": name, "result": True, "changes": {}, "comment": ""}


def mod_watch(name: str, **_given: Any) -> dict[str, Any]:
    """Report a change, since something that is watched has changed: so it reaches who watches this hook."""
    return {"name": name, "result": True, "changes": {name: "triggered"}, "comment": "triggered"}


def missing(name: str, what: str) -> dict[str, Any]:
    """Say what an SLS counts on that is not here, where the deployment can do without."""
    return {"name": name, "result": True, "changes": {}, "comment": f"{what}; see: corpus help makina-states"}


def forced(name: str, **_given: Any) -> dict[str, Any]:
    """Report a change, whatever was before: so it reaches who watches this. Salt gives whatever else an SLS says."""
    result = None if __opts__["test"] else True
    return {"name": name, "result": result, "changes": {name: "forced"}, "comment": "forced"}
