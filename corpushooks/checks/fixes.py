"""Automatic fixes of files: names of packages, duplicate packages, options of resetperms."""

from __future__ import annotations

import re
from collections.abc import Collection

from corpushooks.checks import packages, texts


def fix(text: str, known: Collection[str] | None) -> str:
    """Return the fixed text of an SLS file or a sample; `known` are packages that exist here."""
    lines = text.splitlines(keepends=True)
    gone: set[int] = set()
    seen: set[tuple[int, str]] = set()
    for each in packages.declared(text):
        name = _renamed(each.name, known)
        index = each.line - 1
        if name != each.name:
            lines[index] = _replaced(lines[index], each.name, name)
        if not each.conditional and (each.block, name) in seen and not each.version:
            if _is_alone(lines[index]):
                gone.add(index)
            else:
                lines[index] = _without_last(lines[index], name)
        if not each.conditional:
            seen.add((each.block, name))
    for number, option in texts.options(text):
        if full := texts.whole(option):
            lines[number - 1] = _replaced(lines[number - 1], option, full)
    return "".join(line for index, line in enumerate(lines) if index not in gone)


def _renamed(name: str, known: Collection[str] | None) -> str:
    found = packages.successor(name)
    if not found or (known is not None and (name in known or found not in known)):
        return name
    return found


def _replaced(line: str, old: str, new: str) -> str:
    return re.sub(rf"(?<![\w.+-]){re.escape(old)}(?![\w.+-])", lambda _: new, line, count=1)


def _without_last(line: str, name: str) -> str:
    """Return a line with a list, without the last item of a name."""
    return re.sub(rf"^(.*\b{re.escape(name)}\b.*),\s*['\"]?{re.escape(name)}['\"]?(?=\s*[,\]])", r"\1", line, count=1)


def _is_alone(line: str) -> bool:
    """Return whether a line has exactly one item of a list."""
    return bool(re.fullmatch(r"\s*-\s+['\"]?[\w.+:-]+['\"]?\s*(#.*)?\n?", line))
