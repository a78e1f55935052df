"""Change one setting of a project in the text of the settings; all other lines stay as they are, comments too.

The text is changed where the parser says that the value is, then read again: it must say what was wanted and nothing
else, or it is left to people.
"""

from __future__ import annotations

import json
import textwrap
from typing import Any

import yaml

from corpushooks.core.errors import UsageError

PROJECTS = "projects"
UNSET = object()


def changed(text: str, project: str, key: str, value: Any) -> str:
    """Return the text of the settings with a setting of a project, or with UNSET without it; raise UsageError."""
    before = yaml.safe_load(text) or {}
    wanted = _wanted(before, project, key, value)
    new = text if wanted == before else _edited(text, project, key, value, wanted)
    try:
        if (yaml.safe_load(new) or {}) == wanted:
            return new
    except yaml.YAMLError:
        pass
    raise UsageError("the file is written in a way that cannot be changed by a program")


def _wanted(before: dict[str, Any], project: str, key: str, value: Any) -> dict[str, Any]:
    """Return what the settings are to say."""
    projects = dict(before.get(PROJECTS) or {})
    own = {**(projects.get(project) or {}), key: value}
    own = {name: each for name, each in own.items() if each is not UNSET}
    if value is UNSET and key not in (projects.get(project) or {}):
        return before
    projects = {**projects, project: own} if own else {name: one for name, one in projects.items() if name != project}
    return {**before, PROJECTS: projects} if projects else {n: v for n, v in before.items() if n != PROJECTS}


def _edited(text: str, project: str, key: str, value: Any, wanted: dict[str, Any]) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    projects, left = _under(root, PROJECTS), wanted.get(PROJECTS, {})
    own = _under(projects[1], project) if projects else None
    found = _under(own[1], key) if own else None
    line = f"{key}: {json.dumps(value) if value is not UNSET else ''}"
    if not projects:
        end = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{end}\n{PROJECTS}:\n  {project}:\n    {line}\n"
    if not left:
        return _without(text, projects)
    if not _is_block(projects[1]):
        return _anew(text, projects, left)
    if not own:
        return _added(text, projects[1], f"{project}:\n  {line}")
    if project not in left:
        return _without(text, own)
    if not _is_block(own[1]):
        return _anew(text, own, left[project])
    if not found:
        return _added(text, own[1], line)
    return _without(text, found) if value is UNSET else _replaced(text, found, json.dumps(value))


Pair = tuple[yaml.Node, yaml.Node]


def _under(node: yaml.Node | None, name: str) -> Pair | None:
    """Return the key and the value of a name in a mapping."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((pair for pair in pairs if pair[0].value == name), None)


def _end(node: yaml.Node) -> int:
    """Return where a value ends in the text; the marks of blocks are at what follows them."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _replaced(text: str, pair: Pair, value: str) -> str:
    end = _end(pair[1])
    newline = "\n" if text[pair[1].start_mark.index : end].endswith("\n") else ""  # of a text of several lines
    return f"{text[: pair[0].end_mark.index]}: {value}{newline}{text[end:]}"


def _is_block(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode) and not node.flow_style and bool(node.value)


def _added(text: str, node: yaml.Node, lines: str) -> str:
    """Return the text with lines at the beginning of a mapping."""
    first = node.value[0][0].start_mark
    begin = first.index - first.column
    return f"{text[:begin]}{textwrap.indent(lines, ' ' * first.column)}\n{text[begin:]}"


def _anew(text: str, pair: Pair, wanted: Any) -> str:
    """Return the text with a mapping that is empty, or in one line, written anew."""
    whole = yaml.safe_dump(wanted, default_flow_style=False, sort_keys=False, allow_unicode=True).rstrip()
    indent = " " * (pair[0].start_mark.column + 2)
    return f"{text[: pair[0].end_mark.index]}:\n{textwrap.indent(whole, indent)}{text[_end(pair[1]) :]}"


def _without(text: str, pair: Pair) -> str:
    """Return the text without the lines of a key and its value."""
    begin, end = pair[0].start_mark.index - pair[0].start_mark.column, _end(pair[1])
    if not text[:end].endswith("\n"):
        end = text.find("\n", end) + 1 or len(text)
    return text[:begin] + text[end:]
