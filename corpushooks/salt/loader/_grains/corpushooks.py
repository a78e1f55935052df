# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Patch Salt: cfg in every template, the pillar for modules, duplicate packages once, limited output of commands.

This is a grain, since both salt-call and our worker load the grains before they render anything.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import importlib.util
import sys
from pathlib import Path
from typing import Any

import salt.state
import salt.utils.templates
from salt.utils.decorators.jinja import JinjaGlobal

__opts__: dict[str, Any]  # Salt's loader fills it in


def cfg() -> dict[str, Any]:
    """Make a fresh copy of opts.ms_project the Jinja variable `cfg`; return no grain."""
    if "ms_project" in __opts__:
        JinjaGlobal.salt_jinja_globals["cfg"] = copy.deepcopy(dict(__opts__["ms_project"]))
    else:
        JinjaGlobal.salt_jinja_globals.pop("cfg", None)
    return {}


def python() -> dict[str, Any]:
    """Give SLS files and templates in Python (`#!py`) their own copy of cfg."""
    original = salt.utils.templates.py
    if not hasattr(original, "corpushooks"):

        def rendered(sfn: str, string: bool = False, **given: Any) -> Any:
            known = JinjaGlobal.salt_jinja_globals
            own = {"cfg": copy.deepcopy(known["cfg"])} if "cfg" in known else {}
            return original(sfn, string, **{**own, **given})

        rendered.corpushooks = True  # type: ignore[attr-defined]
        salt.utils.templates.py = salt.utils.templates.TEMPLATE_REGISTRY["py"] = rendered
    return {}


def unmask() -> dict[str, Any]:
    """Make pillar.get return values to modules: Salt 3008 returns asterisks to them, but values to Jinja."""
    with contextlib.suppress(ImportError, AttributeError):
        secret: Any = importlib.import_module("salt.utils.secret")
        if secret.mask_pillar.get():  # a value set now would be gone when this function returns
            secret.mask_pillar = contextvars.ContextVar("mask_pillar", default=False)
    return {}


def once() -> dict[str, Any]:
    """Install a package that a state lists twice only once: Salt 3008 refuses such a list."""
    original = salt.state.State.call
    if not hasattr(original, "corpushooks"):

        def call(state: Any, low: Any, *words: Any, **given: Any) -> Any:
            if low.get("state") == "pkg" and isinstance(low.get("pkgs"), list):
                low = {**low, "pkgs": _without_duplicates(low["pkgs"], state.functions)}
            return original(state, low, *words, **given)

        call.corpushooks = True  # type: ignore[attr-defined]
        salt.state.State.call = call
    return {}


def _without_duplicates(pkgs: list[Any], functions: Any) -> list[Any]:
    """Return a list of packages without duplicates; one with a version is preferred."""
    kept: dict[str, Any] = {}
    for each in pkgs:
        name, version = next(iter(each.items())) if isinstance(each, dict) and len(each) == 1 else (each, None)
        key = functions["pkg.normalize_name"](str(name)) if "pkg.normalize_name" in functions else str(name)
        known = kept.get(key)
        if isinstance(known, dict) and version is not None and known != each:
            return pkgs  # two versions: ambiguous
        if known is None or not isinstance(known, dict):
            kept[key] = each
    return list(kept.values())


def bound() -> dict[str, Any]:
    """Limit the output of commands as our worker does, since the answer is read as a whole."""
    name = "corpushooks_salt_worker.commands"  # as in our worker, which does it itself
    if name not in sys.modules:
        path = Path(__file__).parents[3] / "salt_worker/commands.py"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec and spec.loader:
            sys.modules[name] = commands = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(commands)
            commands.stream_commands(None)
    return {}
