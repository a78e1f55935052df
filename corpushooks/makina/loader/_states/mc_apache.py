# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Modules of Apache, enabled and disabled as on Debian: by links in mods-enabled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills these in
__opts__: dict[str, Any]

MPMS = ("mpm_event", "mpm_prefork", "mpm_worker")


def include_module(name: str, modules: Sequence[str], **_given: Any) -> dict[str, Any]:
    """Enable modules. Salt passes all other arguments of the SLS."""
    return _switch_module(name, modules, "a2enmod", on=True)


def exclude_module(name: str, modules: Sequence[str], **_given: Any) -> dict[str, Any]:
    """Disable modules. Salt passes all other arguments of the SLS."""
    return _switch_module(name, modules, "a2dismod", on=False)


def deployed(name: str, **_given: Any) -> dict[str, Any]:
    """Do nothing, as a requisite for others: Debian's configuration stays unchanged."""
    return {"name": name, "result": True, "changes": {}, "comment": ""}


def _switch_module(name: str, modules: Sequence[str], program: str, *, on: bool) -> dict[str, Any]:
    ended = {"name": name, "result": True, "changes": {}, "comment": ""}
    folder = Path(__salt__["mc_apache.settings"]()["basedir"]) / "mods-enabled"
    try:
        wrong = [each for each in modules if __salt__["mc_files.exists"](str(folder / f"{each}.load")) is not on]
        if not wrong:
            return ended
        if __opts__["test"]:
            return {**ended, "result": None, "comment": f"{program} {' '.join(wrong)} would run"}
        others = _other_mpms(folder, wrong) if on else []
        if others:
            __salt__["mc_services.run"](["a2dismod", "--quiet", *others])
        __salt__["mc_services.run"]([program, "--quiet", *wrong])
    except CommandExecutionError as exc:
        return {**ended, "result": False, "comment": str(exc)}
    changes = {**dict.fromkeys(others, "off"), **dict.fromkeys(wrong, "on" if on else "off")}
    return {**ended, "changes": changes}


def _other_mpms(folder: Path, wanted: Sequence[str]) -> list[str]:
    """Return other enabled processing modules if one is to be enabled: Apache allows only one."""
    if not any(each in MPMS for each in wanted):
        return []
    return [each for each in MPMS if each not in wanted and __salt__["mc_files.exists"](str(folder / f"{each}.load"))]
