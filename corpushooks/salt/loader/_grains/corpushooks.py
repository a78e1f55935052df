# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Put cfg into every template, let modules see the pillar, install doubled packages once, bound what commands print.

A grain, since both salt-call and our worker load the grains before they render anything.
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
    """Make a fresh copy of opts.ms_project the Jinja variable `cfg`; it is no grain."""
    if "ms_project" in __opts__:
        JinjaGlobal.salt_jinja_globals["cfg"] = copy.deepcopy(dict(__opts__["ms_project"]))
    else:
        JinjaGlobal.salt_jinja_globals.pop("cfg", None)
    return {}


def python() -> dict[str, Any]:
    """Let SLS files and templates in Python (`#!py`) see cfg, too: a copy of their own."""
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
    """Let a module's pillar.get answer: Salt 3008 gives it asterisks, Jinja and older ones the value."""
    with contextlib.suppress(ImportError, AttributeError):
        secret: Any = importlib.import_module("salt.utils.secret")
        if secret.mask_pillar.get():  # a value set now would be gone when this function returns
            secret.mask_pillar = contextvars.ContextVar("mask_pillar", default=False)
    return {}


def once() -> dict[str, Any]:
    """Have a package that a state names twice installed once: Salt 3008 refuses such a list."""
    original = salt.state.State.call
    if not hasattr(original, "corpushooks"):

        def call(state: Any, low: Any, *words: Any, **given: Any) -> Any:
            if low.get("state") == "pkg" and isinstance(low.get("pkgs"), list):
                low = {**low, "pkgs": _once(low["pkgs"], state.functions)}
            return original(state, low, *words, **given)

        call.corpushooks = True  # type: ignore[attr-defined]
        salt.state.State.call = call
    return {}


def _once(pkgs: list[Any], functions: Any) -> list[Any]:
    """Return a list of packages in which each has one name; of two alike the one with a version."""
    kept: dict[str, Any] = {}
    for each in pkgs:
        name, version = next(iter(each.items())) if isinstance(each, dict) and len(each) == 1 else (each, None)
        key = functions["pkg.normalize_name"](str(name)) if "pkg.normalize_name" in functions else str(name)
        known = kept.get(key)
        if isinstance(known, dict) and version is not None and known != each:
            return pkgs  # two versions: which one, nobody can say
        if known is None or not isinstance(known, dict):
            kept[key] = each
    return list(kept.values())


def bound() -> dict[str, Any]:
    """Keep of a command's output what our worker keeps of it: whoever reads the answer reads it whole."""
    name = "corpushooks_salt_worker.commands"  # as it is called in our worker, which sees to it itself
    if name not in sys.modules:
        path = Path(__file__).parents[3] / "salt_worker/commands.py"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec and spec.loader:
            sys.modules[name] = commands = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(commands)
            commands.stream_commands(None)
    return {}
