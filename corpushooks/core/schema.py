"""A mapping of settings as a dataclass: its fields declare the keys, their checks and their documentation."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from corpushooks.core.errors import ConfigError, UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """A type of values: in words, as a check, and as a conversion (which can raise UsageError)."""

    words: str
    accepts: Callable[[Any], bool]
    take: Callable[[Any], Any] = lambda value: value
    secret: bool = False  # errors do not show the value


@dataclass(frozen=True)
class Key:
    """One key of a mapping; `per_project` if `projects.NAME` can override it."""

    name: str
    kind: Kind
    default: Any
    doc: str
    per_project: bool


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)  # in Python, true is an int


def is_positive(value: Any) -> bool:
    return (is_whole(value) or isinstance(value, float)) and 0 < value < math.inf


def is_mapping(value: Any) -> bool:
    return value is None or isinstance(value, dict)  # an empty `minion:` is what commenting out leaves


def one_of(*choices: str) -> Kind:
    return Kind(" or ".join(choices), lambda value: value in choices)


BOOLEAN = Kind("true or false", lambda value: isinstance(value, bool))
SECONDS = Kind("a positive number of seconds", is_positive)
PROGRAM = Kind(
    "an absolute path, or null",
    lambda value: value is None or (isinstance(value, str) and value.startswith("/")),
    lambda value: value and Path(value),
)


def setting(default: T, kind: Kind, doc: str, per_project: bool = False) -> T:
    """Declare one key; mypy sees its default, Python a dataclass field."""
    about = {"kind": kind, "default": default, "doc": doc, "per_project": per_project}
    return dataclasses.field(default_factory=lambda: copy.deepcopy(default), metadata=about)


def keys_of(mapping: type) -> dict[str, Key]:
    """Return the keys of a mapping by name, in the order of the documentation."""
    return {field.name: Key(name=field.name, **field.metadata) for field in dataclasses.fields(mapping)}


def taken(keys: Mapping[str, Key], body: Mapping[Any, Any], above: str = "") -> dict[str, Any]:
    """Check the values of a mapping, whose path is `above`, and return them converted."""
    return {name: _converted(keys, name, value, above) for name, value in body.items()}


def _converted(keys: Mapping[str, Key], name: Any, value: Any, above: str) -> Any:
    if name not in keys:
        from difflib import get_close_matches  # here: it takes time and memory, and nearly all keys are known

        near = get_close_matches(str(name), keys, 1)
        guess = f'; did you mean "{near[0]}"?' if near else ""
        raise ConfigError(f"unknown key {shown(name)}{guess}", where=(above[:-1],) if above else ())
    kind = keys[name].kind
    if not kind.accepts(value):
        got = "another value" if kind.secret else shown(value)
        raise ConfigError(f"expected {kind.words}, got {got}", where=(f"{above}{name}",))
    try:
        return kind.take(value)
    except ConfigError:
        raise  # it already names its key
    except UsageError as exc:
        raise ConfigError(exc.message, where=(f"{above}{name}",)) from exc


def shown(value: Any) -> str:
    """Return a wrong value as error messages show it."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple, set)):
        return "a list"
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def plain(value: Any) -> Any:
    """Return a copy of JSON types only; other values (dates) become text."""
    if isinstance(value, Mapping):
        return {key if isinstance(key, (str, int)) else str(key): plain(value[key]) for key in value}
    if isinstance(value, (list, tuple, set)):
        return [plain(inner) for inner in value]
    return value if value is None or isinstance(value, (int, float)) else str(value)
