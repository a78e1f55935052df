# ruff: noqa: F821  (Salt fills in the names with underscores)
"""The questions about a project that need Salt but run no state.

Both engines call these functions. Each answers with JSON text: the outputters and the loaders of Salt
change what is not plain.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import jinja2
import salt.loader
import salt.state
import salt.states
import salt.template
import salt.utils.jinja
import salt.utils.yamlloader
import yaml
from salt.exceptions import SaltRenderError

__opts__: dict[str, Any]  # Salt's loader fills these in
__salt__: dict[str, Any]
__grains__: dict[str, Any]
__pillar__: dict[str, Any]
__context__: dict[str, Any]

JINJA = re.compile(r"{[{%#]")
LATER = "later: "
ELSEWHERE = re.compile(r"\bwin_|\bmac|windows|darwin|solaris|bsd|proxy", re.IGNORECASE)  # no package changes that


def facts(sample: str = "") -> str:
    """Return grains, pillar and the rendered PILLAR.sample at the path `sample`.

    Where one does not render: {"where": "pillar" or "sample", "errors": [texts]}.
    """
    if __pillar__.get("_errors"):
        return _json({"where": "pillar", "errors": __pillar__["_errors"]})
    try:
        rendered = _render(sample) if sample else {}
    except SaltRenderError as exc:
        return _json({"where": "sample", "errors": [str(exc)]})
    if not isinstance(rendered, dict):
        return _json({"where": "sample", "errors": [f"not a mapping, but a {type(rendered).__name__}"]})
    return _json({"grains": dict(__grains__), "pillar": dict(__pillar__), "sample": rendered})


def syntax(files: list[str]) -> str:
    """Parse each file; return [[file, line or None, message]] of those that are wrong."""
    found = []
    for file in files:
        with open(file, encoding="utf-8", errors="surrogateescape", opener=_no_link) as handle:
            found += [[file, *error] for error in _parse(handle.read())]
    return _json(found)


def check(sls: list[str]) -> str:
    """Render and compile SLS files, each by itself, and run nothing of them; return the texts of what is wrong in each.

    One that begins with LATER is of a state that may be there once something is installed.
    """
    if __pillar__.get("_errors"):
        return _json([["Pillar failed to render with the following messages:", *__pillar__["_errors"]]] * len(sls))
    with salt.state.HighState(__opts__, context=dict(__context__), initial_pillar=dict(__pillar__)) as high:
        high.push_active()
        try:
            return _json([_compile(high, each) for each in sls])
        finally:
            high.pop_active()


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _render(path: str) -> Any:
    rend = salt.loader.render(__opts__, __salt__)
    black, white = __opts__["renderer_blacklist"], __opts__["renderer_whitelist"]
    return salt.template.compile_template(path, rend, __opts__["renderer"], black, white, sls="PILLAR.sample")


def _parse(text: str) -> list[tuple[int | None, str]]:
    """Return [(line, message)] of one file; renderers other than Jinja and YAML are left alone."""
    first = text.split("\n", 1)[0]
    pipe = first[2:].split("|") if first.startswith("#!") else ["jinja", "yaml"]
    words = [word.split()[0] for word in pipe if word.strip()]
    if "jinja" in words and JINJA.search(text):
        return _parse_jinja(text)
    return _parse_yaml(text) if words in (["yaml"], ["jinja", "yaml"]) else []


def _parse_jinja(text: str) -> list[tuple[int | None, str]]:
    extensions = ["jinja2.ext.do", "jinja2.ext.loopcontrols", salt.utils.jinja.SerializerExtension]
    try:
        jinja2.Environment(extensions=extensions).parse(text)
    except jinja2.TemplateSyntaxError as exc:
        return [(exc.lineno, f"Jinja: {exc.message}")]
    return []


def _parse_yaml(text: str) -> list[tuple[int | None, str]]:
    try:
        yaml.load(text, Loader=salt.utils.yamlloader.SaltYamlSafeLoader)
    except yaml.MarkedYAMLError as exc:
        return [(exc.problem_mark.line + 1 if exc.problem_mark else None, f"YAML: {exc.problem}")]
    except yaml.YAMLError as exc:
        return [(None, f"YAML: {exc}")]
    return []


def _compile(high: Any, sls: str) -> list[str]:
    """Do what State.call_high does before it runs something, and stop where it would stop."""
    state = high.state
    high.building_highstate = type(high.building_highstate)()  # which has what it rendered before
    data, errors = high.render_highstate({"base": [sls]})
    if not errors:
        data, errors = state.reconcile_extend(data)
        errors = errors + state.verify_high(data)
    if not errors:
        data, errors = state.requisite_in(data)
    if errors:
        return list(errors)
    chunks, errors = state.compile_high_data(state.apply_exclude(data))
    if errors:
        return list(errors)
    return [text for low in chunks for text in _verified(state, low)]


def _verified(state: Any, low: dict[str, Any]) -> list[str]:
    """Return what is wrong with one state; where only a program that it needs is missing, that it comes later."""
    errors = state.verify_data(low)
    name, function = low["state"], low.get("fun")
    reason = state.states.missing_modules.get(name)
    if not errors or not isinstance(reason, str) or ELSEWHERE.search(f"{name} {reason}"):
        return [f"{text} in state [{low['__id__']}]" for text in errors]
    if not _defines(name, function):
        return [f"State '{name}.{function}' was not found in state [{low['__id__']}]"]
    return [f"{LATER}{name}.{function} in state [{low['__id__']}] is not available yet: {' '.join(reason.split())}"]


def _defines(name: str, function: Any) -> bool:
    """Say whether Salt itself has a state function, whatever that needs."""
    virtual = re.compile(rf"^__virtualname__ = [\"']{re.escape(name)}[\"']$", re.MULTILINE)
    defined = re.compile(rf"^(def )?{re.escape(str(function))}(\(| = )", re.MULTILINE)
    for path in Path(salt.states.__file__).parent.glob(f"*{name}*.py"):
        text = path.read_text(encoding="utf-8")
        if (path.stem == name or virtual.search(text)) and defined.search(text):
            return True
    return False


def _json(value: Any) -> str:
    return json.dumps(value, default=_plain, skipkeys=True)


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return list(value) if isinstance(value, set | frozenset) else str(value)
