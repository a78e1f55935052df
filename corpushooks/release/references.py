"""References: the text `{K}` in a configuration, replaced by the value of K. Values only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PASSES = 100
TEXT_LIMIT = 1 << 16  # characters; references that multiply would exhaust the memory before the last pass
REFERENCE = re.compile(r"\{([^{}]+)\}")


def resolve(values: Any, references: Mapping[Any, Any]) -> Any:
    """Return `values` with the text `{K}`, K a key of `references`, replaced in every string, at any depth.

    A string that is exactly `{K}` becomes the list or mapping K; anything else becomes text. This repeats until
    nothing changes, at most 100 times. Other braces stay, as do cyclic references.
    """
    known = {str(key): value for key, value in references.items()}
    leads = {key: _mentioned(value) & known.keys() for key, value in known.items()}
    return _expand(values, {key: value for key, value in known.items() if not _is_cyclic(key, leads)})


def _is_cyclic(key: str, leads: Mapping[str, set[str]]) -> bool:
    """Say whether the references of `key`, followed, lead back to it."""
    seen: set[str] = set()
    todo = [key]
    while todo and key not in seen:
        found = leads[todo.pop()] - seen
        todo.extend(found)
        seen |= found
    return key in seen


def _mentioned(value: Any) -> set[str]:
    """Return the names of all references in `value`."""
    if isinstance(value, str):
        return set(REFERENCE.findall(value))
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {name for part in inner for name in _mentioned(part)}


def _expand(value: Any, known: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _expand(inner, known) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expand(inner, known) for inner in value]
    return _expand_text(value, known) if isinstance(value, str) else value


def _expand_text(text: str, known: dict[str, Any]) -> Any:
    """Replace until nothing changes, because a replacement can contain or complete another reference."""
    for _ in range(PASSES):
        whole = REFERENCE.fullmatch(text)
        if whole and isinstance(known.get(whole[1]), (dict, list)):
            return _referred(whole, known)
        new = REFERENCE.sub(lambda match: str(_referred(match, known)), text)
        if new == text or len(new) > TEXT_LIMIT:
            break
        text = new
    return text


def _referred(match: re.Match[str], known: dict[str, Any]) -> Any:
    """Return the value of a reference; an unknown one stays as it is."""
    value = known.get(match[1], match[0])
    if not isinstance(value, (dict, list)):
        return value
    # Without itself: text composed of other references could still name it, endlessly.
    return _expand(value, {key: other for key, other in known.items() if key != match[1]})
