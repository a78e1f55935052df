# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Questions about a project that need Salt but run no states.

Both engines call these functions. Each returns JSON text, since Salt's outputters and loaders alter other values.
"""

from __future__ import annotations

import base64
import functools
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator
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
from jinja2 import nodes
from salt.exceptions import SaltRenderError

__opts__: dict[str, Any]  # Salt's loader fills these in
__salt__: dict[str, Any]
__grains__: dict[str, Any]
__pillar__: dict[str, Any]
__context__: dict[str, Any]

LOADING = f"{Path(salt.loader.__file__).parent}/"
JINJA = re.compile(r"{[{%#]")
WRONG, LATER = "", "later"  # kinds of errors
COMMANDS = [  # Salt functions that run commands
    f"cmd.{name}"
    for name in (
        "run",
        "run_all",
        "run_stdout",
        "run_stderr",
        "retcode",
        "shell",
        "script",
        "script_retcode",
        "exec_code",
    )
]
ELSEWHERE = re.compile(r"\bwin_|\bmac|windows|darwin|solaris|bsd|proxy", re.IGNORECASE)  # no package would help


def facts(sample: str = "") -> str:
    """Return grains, pillar and the rendered PILLAR.sample at the path `sample`, as JSON types.

    "odd" lists other values, which become text: [["pillar" or "sample", key, type]].
    If one does not render: {"where": "pillar" or "sample", "errors": [texts]}.
    """
    if __pillar__.get("_errors"):
        return _json({"where": "pillar", "errors": __pillar__["_errors"]})
    try:
        rendered = _render(sample) if sample else {}
    except SaltRenderError as exc:
        return _json({"where": "sample", "errors": [str(exc)]})
    if not isinstance(rendered, dict):
        return _json({"where": "sample", "errors": [f"expected a mapping, got a {type(rendered).__name__}"]})
    odd: list[list[str]] = []
    pillar, given = _json_copy(dict(__pillar__), ("pillar",), odd), _json_copy(rendered, ("sample",), odd)
    return _json({"grains": dict(__grains__), "pillar": pillar, "sample": given, "odd": odd})


def _json_copy(value: Any, path: tuple[str, ...], odd: list[list[str]]) -> Any:
    """Return a copy in JSON types; other values become text, and are added to `odd`."""
    if isinstance(value, dict):
        return {_key(key): _json_copy(inner, (*path, str(_key(key))), odd) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_json_copy(inner, path, odd) for inner in value]
    what = ""
    if isinstance(value, bytes):
        what = "binary"
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            what, value = "binary, as base64", base64.b64encode(value).decode("ascii")
    elif isinstance(value, float) and not math.isfinite(value):
        what, value = "not a finite number", f".{value}"
    elif hasattr(value, "isoformat"):
        what, value = "a date or a time", value.isoformat()
    if what:
        odd.append([path[0], ".".join(path[1:]), what])
    return value


def _key(key: Any) -> Any:
    if isinstance(key, str | int | float | bool) or key is None:
        return key
    return key.isoformat() if hasattr(key, "isoformat") else str(key)


def syntax(files: list[str]) -> str:
    """Parse each file; return the errors: [[file, line or None, message]]."""
    found = []
    for file in files:
        with open(file, encoding="utf-8", errors="surrogateescape", opener=_no_link) as handle:
            found += [[file, *error] for error in _parse(handle.read())]
    return _json(found)


def check(sls: list[list[str]]) -> str:
    """Render and compile SLS files ([name, path] each) one by one, without running them.

    Return for each {"errors": [[kind, text]], "states": [[id, function, arguments, SLS]], "commands": [[line, text]]
    that its Jinja would run}. The kind is LATER if a state or function can become available by an installation.
    """
    if __pillar__.get("_errors"):
        errors = ["Pillar failed to render with the following messages:", *__pillar__["_errors"]]
        return _json([{"errors": _as_problems(errors), "states": [], "commands": []}] * len(sls))
    with salt.state.HighState(__opts__, context=dict(__context__), initial_pillar=dict(__pillar__)) as high:
        high.push_active()
        try:
            unrun = Unrun(high.state.functions)
            return _json([_compile(high, name, path, unrun) for name, path in sls])
        finally:
            high.pop_active()


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


class Unrun:
    """Replaces the functions that run commands for calls from Jinja: records the commands instead of running them."""

    def __init__(self, functions: Any) -> None:
        self.found: list[list[Any]] = []
        for name in COMMANDS:
            if name in functions:
                functions[name] = self._replacement(name, functions[name].func)

    def _replacement(self, name: str, original: Any) -> Any:
        @functools.wraps(original)
        def called(*words: Any, **given: Any) -> Any:
            caller = sys._getframe(1)
            while caller.f_code.co_filename.startswith(LOADING) and caller.f_back:
                caller = caller.f_back
            if "/jinja2/" not in caller.f_code.co_filename:
                return original(*words, **given)  # a module of Salt, which examines the host
            self.found.append([_line(caller), str(words[0] if words else given.get("cmd", name))])
            if name in ("cmd.run_all", "cmd.script"):
                return {"pid": 0, "retcode": 0, "stdout": "", "stderr": ""}
            return 0 if "retcode" in name else ""

        return called


def _line(frame: Any) -> int | None:
    """Return the line of the SLS that is being rendered in a frame; None if that is another file."""
    while frame is not None:
        template = frame.f_globals.get("__jinja_template__")
        if template is not None and template.name is None:
            return int(template.get_corresponding_lineno(frame.f_lineno))
        frame = frame.f_back
    return None


def _render(path: str) -> Any:
    rend = salt.loader.render(__opts__, __salt__)
    black, white = __opts__["renderer_blacklist"], __opts__["renderer_whitelist"]
    return salt.template.compile_template(path, rend, __opts__["renderer"], black, white, sls="PILLAR.sample")


def _parse(text: str) -> list[tuple[int | None, str]]:
    """Return [(line, message)] of one file; renderers other than Jinja and YAML are skipped."""
    first = text.split("\n", 1)[0]
    pipe = first[2:].split("|") if first.startswith("#!") else ["jinja", "yaml"]
    words = [word.split()[0] for word in pipe if word.strip()]
    if "jinja" in words and JINJA.search(text):
        return _parse_jinja(text)
    return _parse_yaml(text) if words in (["yaml"], ["jinja", "yaml"]) else []


def _parse_jinja(text: str) -> list[tuple[int | None, str]]:
    try:
        _environment().parse(text)
    except jinja2.TemplateSyntaxError as exc:
        return [(exc.lineno, f"Jinja: {exc.message}")]
    return []


def _environment() -> jinja2.Environment:
    extensions = ["jinja2.ext.do", "jinja2.ext.loopcontrols", salt.utils.jinja.SerializerExtension]
    return jinja2.Environment(extensions=extensions)


def _parse_yaml(text: str) -> list[tuple[int | None, str]]:
    try:
        yaml.load(text, Loader=salt.utils.yamlloader.SaltYamlSafeLoader)
    except yaml.MarkedYAMLError as exc:
        return [(exc.problem_mark.line + 1 if exc.problem_mark else None, f"YAML: {exc.problem}")]
    except yaml.YAMLError as exc:
        return [(None, f"YAML: {exc}")]
    return []


def _compile(high: Any, sls: str, path: str, unrun: Unrun) -> dict[str, Any]:
    """Do what State.call_high does before it runs states, and stop where it would stop."""
    high.building_highstate = type(high.building_highstate)()  # discard earlier results
    unrun.found = []
    data, errors = high.render_highstate({"base": [sls]})
    states = [_described(each) for each in _states(data)]
    errors = _as_problems(errors) if errors else _compiled(high.state, data)
    return {"errors": errors + _absent(high.state.functions, path, errors), "states": states, "commands": unrun.found}


def _as_problems(errors: Iterable[str]) -> list[list[str]]:
    return [[WRONG, text] for text in errors]


def _compiled(state: Any, data: Any) -> list[list[str]]:
    data, errors = state.reconcile_extend(data)
    errors = errors + state.verify_high(data)
    if not errors:
        data, errors = state.requisite_in(data)
    if errors:
        return _as_problems(errors)
    chunks, errors = state.compile_high_data(state.apply_exclude(data))
    if errors:
        return _as_problems(errors)
    return [error for low in chunks for error in _verified(state, low)]


def _states(data: Any) -> Iterator[tuple[str, str, list[Any], str]]:
    """Yield the rendered states, even if there are errors: id, kind, arguments, SLS."""
    for state_id, body in data.items() if isinstance(data, dict) else ():
        for kind, said in body.items() if isinstance(body, dict) else ():
            if not str(kind).startswith("__") and isinstance(said, list):
                yield str(state_id), str(kind), said, str(body.get("__sls__", ""))


def _described(state: tuple[str, str, list[Any], str]) -> list[Any]:
    """Return a state as plain values."""
    state_id, kind, said, sls = state
    arguments: dict[str, Any] = {}
    function = next((each for each in said if isinstance(each, str)), "")
    for each in said:
        if isinstance(each, dict):
            arguments.update({str(key): value for key, value in each.items()})
    return [state_id, f"{kind}.{function}", json.loads(_json(arguments)), sls]


def _absent(functions: Any, path: str, errors: list[list[str]]) -> list[list[str]]:
    """Find missing templates and functions in a file, even if an earlier error stops its rendering.

    Conditional parts are skipped, and so is everything that `errors` already name.
    """
    try:
        with open(path, encoding="utf-8", opener=_no_link) as handle:
            tree = _environment().parse(handle.read())
    except (OSError, UnicodeDecodeError, jinja2.TemplateError):
        return []
    said = "\n".join(text.partition("\n---")[0] for _, text in errors)  # without the excerpt of the file
    found: list[list[str]] = []
    for node in _unconditional(tree):
        name = _template(node) or _function(node)
        if not name or name in said or any(f"{name}; line" in text for _, text in found):
            continue
        if isinstance(node, (nodes.Import, nodes.FromImport, nodes.Include)):
            if not _is_file(name):
                found.append([WRONG, f"Jinja error: {name}; line {node.lineno}"])
        elif name not in functions:
            found.append(_no_function(functions, name, node.lineno))
    return found


def _unconditional(node: Any) -> Iterator[Any]:
    """Yield the unconditional nodes of a template."""
    for inner in node.iter_child_nodes():
        if not isinstance(inner, (nodes.If, nodes.CondExpr, nodes.For, nodes.Macro, nodes.And, nodes.Or)):
            yield inner
            yield from _unconditional(inner)


def _template(node: Any) -> str:
    """Return the template that a node imports, if it is a literal and must exist."""
    if not isinstance(node, (nodes.Import, nodes.FromImport, nodes.Include)) or getattr(node, "ignore_missing", False):
        return ""
    name = node.template.value if isinstance(node.template, nodes.Const) else ""
    return name if isinstance(name, str) and not name.startswith(".") else ""


def _function(node: Any) -> str:
    """Return the Salt function that a node uses: salt['a.b'], or salt.a.b."""
    if isinstance(node, nodes.Getitem) and _is_salt(node.node) and isinstance(node.arg, nodes.Const):
        return node.arg.value if isinstance(node.arg.value, str) and "." in node.arg.value else ""
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Getattr) and _is_salt(node.node.node):
        return f"{node.node.attr}.{node.attr}"
    return ""


def _is_salt(node: Any) -> bool:
    return isinstance(node, nodes.Name) and node.name == "salt"


def _is_file(name: str) -> bool:
    return any(os.path.isfile(os.path.join(root, name)) for root in __opts__["file_roots"]["base"])


def _no_function(functions: Any, name: str, line: int) -> list[str]:
    module = name.partition(".")[0]
    reason = functions.missing_modules.get(module)
    if isinstance(reason, str) and not ELSEWHERE.search(f"{module} {reason}"):
        return [LATER, f"{name} is not available yet: {' '.join(reason.split())}; line {line}"]
    return [WRONG, f"Jinja variable 'salt' has no attribute '{name}'; line {line}"]


def _verified(state: Any, low: dict[str, Any]) -> list[list[str]]:
    """Return the errors of one state; LATER if only a program that it needs is missing."""
    errors = state.verify_data(low)
    name, function = low["state"], low.get("fun")
    reason = state.states.missing_modules.get(name)
    if not errors or not isinstance(reason, str) or ELSEWHERE.search(f"{name} {reason}"):
        return _as_problems(f"{text} in state [{low['__id__']}]" for text in errors)
    if not _defines(name, function):
        return _as_problems([f"State '{name}.{function}' was not found in state [{low['__id__']}]"])
    why = " ".join(reason.split())
    return [[LATER, f"{name}.{function} in state [{low['__id__']}] is not available yet: {why}"]]


def _defines(name: str, function: Any) -> bool:
    """Return whether Salt defines a state function, available or not."""
    virtual = re.compile(rf"^__virtualname__ = [\"']{re.escape(name)}[\"']$", re.MULTILINE)
    defined = re.compile(rf"^(def )?{re.escape(str(function))}(\(| = )", re.MULTILINE)
    for path in Path(salt.states.__file__).parent.glob(f"*{name}*.py"):
        text = path.read_text(encoding="utf-8")
        if (path.stem == name or virtual.search(text)) and defined.search(text):
            return True
    return False


def _json(value: Any) -> str:
    return json.dumps(value, default=_json_default, skipkeys=True)


def _json_default(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return list(value) if isinstance(value, set | frozenset) else str(value)
