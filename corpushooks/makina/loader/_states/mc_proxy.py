# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Hooks: states that do nothing, for others to run before or after."""

from __future__ import annotations

from typing import Any

__opts__: dict[str, Any]  # Salt's loader fills it in


def hook(name: str, **_given: Any) -> dict[str, Any]:
    """Do nothing. Salt passes all arguments of the SLS."""
    return {"name": name, "result": True, "changes": {}, "comment": ""}


def mod_watch(name: str, **_given: Any) -> dict[str, Any]:
    """Report a change, so that a change of a watched state reaches the states that watch this hook."""
    return {"name": name, "result": True, "changes": {name: "triggered"}, "comment": "triggered"}


def missing(name: str, what: str) -> dict[str, Any]:
    """Report something unsupported that an SLS expects but the deployment does not need."""
    return {"name": name, "result": True, "changes": {}, "comment": f"{what}; see: corpus help makina-states"}


def forced(name: str, **_given: Any) -> dict[str, Any]:
    """Report a change in any case, to the states that watch this. Salt passes all other arguments of the SLS."""
    result = None if __opts__["test"] else True
    return {"name": name, "result": result, "changes": {name: "forced"}, "comment": "forced"}
