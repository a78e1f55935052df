# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Modules of Apache, switched on and off as Debian has it: by links in mods-enabled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills these in
__opts__: dict[str, Any]

MPMS = ("mpm_event", "mpm_prefork", "mpm_worker")


def include_module(name: str, modules: Sequence[str], **_given: Any) -> dict[str, Any]:
    """Have modules switched on. Salt gives whatever else an SLS says."""
    return _switched(name, modules, "a2enmod", on=True)


def exclude_module(name: str, modules: Sequence[str], **_given: Any) -> dict[str, Any]:
    """Have modules switched off. Salt gives whatever else an SLS says."""
    return _switched(name, modules, "a2dismod", on=False)


def deployed(name: str, **_given: Any) -> dict[str, Any]:
    """Be there, for others to stand before: Debian's configuration stays as it is."""
    return {"name": name, "result": True, "changes": {}, "comment": ""}


def _switched(name: str, modules: Sequence[str], program: str, *, on: bool) -> dict[str, Any]:
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
    """Return the processing modules that are on, where another is wanted: Apache takes one."""
    if not any(each in MPMS for each in wanted):
        return []
    return [each for each in MPMS if each not in wanted and __salt__["mc_files.exists"](str(folder / f"{each}.load"))]
