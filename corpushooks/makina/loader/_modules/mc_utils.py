# ruff: noqa: F821  (Salt fills in the names with underscores)
"""mc_utils for SLS files written for makina-states: JSON, stored passwords, settings, checks of types."""

from __future__ import annotations

import contextlib
import copy
import fcntl
import hashlib
import json
import numbers
import os
import secrets
import string
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import salt.utils.dictupdate
import salt.utils.pycrypto
from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills these in
__opts__: dict[str, Any]
__pillar__: dict[str, Any]
__grains__: dict[str, Any]

LETTERS = string.ascii_letters + string.digits
ROUNDS = 100  # after which references are considered circular
DEEP = 3  # levels of settings that refer to others
PLACEHOLDER = "not-generated-yet"  # if nothing can be written


def json_dump(data: Any, pretty: bool = False) -> str:
    """Return JSON: in one line, for use in YAML, unless `pretty`."""
    return json.dumps(data, default=str, indent=4 if pretty else None)


def json_load(data: Any) -> Any:
    """Return the value of a JSON text; other values unchanged."""
    return json.loads(data) if isinstance(data, (str, bytes)) else data


# passwords


def generate_stored_password(key: str, length: int = 16, force: bool = False, value: str | None = None) -> str:
    """Return the password stored under a key; generate and store one (or `value`) if it is missing, or with `force`.

    Only root can read them. If nothing can be written (a plan, a check), a missing one is replaced by a placeholder.
    """
    place = __opts__.get("corpushooks", {}).get("passwords")
    if not place:
        raise CommandExecutionError("stored passwords are only available in a project")
    path = Path(place)
    if not __opts__["corpushooks"].get("writes"):
        return _stored(path).get(key, PLACEHOLDER)
    with _locked(path):
        known = _stored(path)
        if force or key not in known:
            known[key] = value or "".join(secrets.choice(LETTERS) for _ in range(length))
            _store(path, known)
        return known[key]


def _stored(path: Path) -> dict[str, str]:
    try:
        found = __salt__["mc_files.look"](str(path), follow=True)
        return dict(json.loads(found[0])) if found else {}
    except ValueError as exc:
        raise CommandExecutionError(f"cannot read the passwords in {path}: {exc}") from exc


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path.with_name(f".{path.name}.lock"), flags, 0o600), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _store(path: Path, known: dict[str, str]) -> None:
    """Write a file readable by root only; it is the only copy of the passwords."""
    __salt__["mc_files.write"](str(path), json.dumps(known, indent=1).encode(), 0o600)


def unix_crypt(passwd: str) -> str:
    """Return the hash of a password for /etc/shadow."""
    return str(salt.utils.pycrypto.gen_hash(password=passwd, algorithm="sha512"))


# settings


def get(key: str, default: Any = None) -> Any:
    """Return a dotted key, flat or nested, from the minion's configuration, the pillar or the grains."""
    for place in (__opts__, __pillar__, __grains__):
        found = _nested_value(place, key.split("."))
        if found is not None:
            return found
    return default


def _nested_value(place: Any, words: list[str]) -> Any:
    """Look up a key in nested mappings whose keys can contain dots."""
    if not words:
        return place
    for end in range(len(words), 0, -1):
        key = ".".join(words[:end])
        if hasattr(place, "get") and key in place:
            found = _nested_value(place[key], words[end:])
            if found is not None:
                return found
    return None


def defaults(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return settings: `values` overridden by the host's under `prefix`, with {key} replaced by other settings."""
    merged = copy.deepcopy(values)
    said = get(prefix)
    own = dict(said) if hasattr(said, "keys") else {}
    for key in {*values, *own}:
        found = get(f"{prefix}.{key}")
        both = hasattr(found, "keys") and isinstance(merged.get(key), dict)
        if found is not None:
            merged[key] = dictupdate(merged[key], copy.deepcopy(dict(found))) if both else copy.deepcopy(found)
    return {key: _resolved(value, merged) for key, value in merged.items()}


def _resolved(value: Any, settings: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _resolved(each, settings) for key, each in value.items()}
    if not isinstance(value, str):
        return value
    for _ in range(DEEP if "{" in value else 0):
        for key, said in settings.items():
            if isinstance(said, (str, int, float)):
                value = value.replace(f"{{{key}}}", str(said))
    return value


def format_resolve(value: Any, original_dict: Any = None, additional_namespace: Any = None) -> Any:
    """Return a value with each {key} in its texts replaced by that first-level key of a mapping; unknown ones stay."""
    known = {**dict(additional_namespace or {}), **dict(original_dict or (value if isinstance(value, dict) else {}))}
    for _ in range(ROUNDS):
        resolved = _formatted(value, known)
        if resolved == value:
            break
        value = resolved
    return value


def _formatted(value: Any, known: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _formatted(each, known) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_formatted(each, known) for each in value]
    if not isinstance(value, str) or "{" not in value:
        return value
    for key, said in known.items():
        if value == f"{{{key}}}" and isinstance(said, (dict, list)):
            return copy.deepcopy(said)
        value = value.replace(f"{{{key}}}", str(said))
    return value


def purge_memoize_cache() -> None:
    """Do nothing: there is no cache."""


# values


def is_a_str(value: Any) -> bool:
    """Return whether a value is text."""
    return isinstance(value, str)


def is_a_bool(value: Any) -> bool:
    """Return whether a value is true or false."""
    return isinstance(value, bool)


def is_a_int(value: Any) -> bool:
    """Return whether a value is a whole number."""
    return isinstance(value, int)


def is_a_float(value: Any) -> bool:
    """Return whether a value is a fraction."""
    return isinstance(value, float)


def is_a_number(value: Any) -> bool:
    """Return whether a value is a number."""
    return isinstance(value, numbers.Number)


def is_a_dict(value: Any) -> bool:
    """Return whether a value is a mapping."""
    return isinstance(value, dict)


def is_a_list(value: Any) -> bool:
    """Return whether a value is a list."""
    return isinstance(value, list)


def is_a_tuple(value: Any) -> bool:
    """Return whether a value is a tuple."""
    return isinstance(value, tuple)


def is_a_set(value: Any) -> bool:
    """Return whether a value is a set."""
    return isinstance(value, set)


def is_a_iter(value: Any) -> bool:
    """Return whether a value is a collection."""
    return isinstance(value, (tuple, list, dict, set))


def uniquify(seq: Iterable[Any]) -> list[Any]:
    """Return the members without duplicates, in order."""
    found: list[Any] = []
    for member in seq:
        if member not in found:
            found.append(member)
    return found


def dictupdate(dict1: dict[Any, Any], dict2: dict[Any, Any]) -> Any:
    """Merge the second mapping into the first, and return that; lists are replaced."""
    return salt.utils.dictupdate.update(dict1, dict2)


def odict(instance: Any = True) -> Any:
    """Return an empty mapping that keeps its order, one of given items, or (False) the class, to be called."""
    if isinstance(instance, bool):
        return OrderedDict() if instance else OrderedDict
    return OrderedDict(instance)


def deepcopy(value: Any) -> Any:
    """Return a deep copy."""
    return copy.deepcopy(value)


def hash(string: Any, typ: str = "md5", func: str = "hexdigest") -> Any:
    """Return a hash of a text."""
    data = string if isinstance(string, bytes) else str(string).encode()
    return getattr(hashlib.new(typ, data, usedforsecurity=False), func)()
