"""Variables set by `corpus set`: a file of ours in the pillar, and the parsing of values. Values only.

The file is plain YAML and never rendered: `data`, merged over all other layers, and `secrets`, the keys of data whose
values came from standard input. A `{name}` in a value is not a reference.
"""

from __future__ import annotations

import copy
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from corpushooks.core.errors import ConfigError, CorpusError, Place, UsageError
from corpushooks.core.redaction import MARK as HIDDEN
from corpushooks.core.text import shown

FILE = "corpus-set.yaml"
LAYER = "corpus set"
FIRST = '# Written by "corpus set"'
HEAD = f"""\
{FIRST} and "corpus unset", which look for this line. Plain YAML, not rendered; it wins over init.sls.
"""
PART = re.compile(r"(?!\d+\Z)[A-Za-z0-9_][A-Za-z0-9_-]*")
KEY_LIMIT, DEPTH = 200, 20  # characters of a key, levels of a value
VALUE_LIMIT, FILE_LIMIT = 32 << 10, 128 << 10  # bytes
WORDS = 64 << 10  # characters of all pairs in one call
INT_LIMIT = 1 << 63
BRACES, GUARDED = "{}", "\ufdd0\ufdd1"  # noncharacters, which no text contains
GUARD, UNGUARD = str.maketrans(BRACES, GUARDED), str.maketrans(GUARDED, BRACES)
KEY_HINT = "use letters, digits, _ and -, with dots between levels: db.host"

Path = tuple[str, ...]


@dataclass(frozen=True)
class Given:
    """The content of the file of a project."""

    data: Mapping[str, Any] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()  # keys, with dots

    def hidden(self) -> Iterator[str]:
        """Yield the values that are secret regardless of their keys."""
        for key in sorted(self.secrets):
            yield from _texts(find(self.data, tuple(key.split("."))))

    def masked(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the data of a cfg with these values masked."""
        found: dict[str, Any] = copy.deepcopy(dict(data))
        for key in self.secrets:
            *above, last = key.split(".")
            inner = find(found, tuple(above))
            if isinstance(inner, dict) and last in inner:
                inner[last] = HIDDEN
        return found


@dataclass(frozen=True)
class Put:
    """A value for a key: `plain` if written as a bare word, `explicit` if the key was given with data. in front."""

    path: Path
    value: Any
    plain: bool = False
    explicit: bool = False
    secret: bool = False

    @property
    def key(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True)
class Change:
    """The keys that one call sets and unsets."""

    puts: tuple[Put, ...] = ()
    drops: tuple[Path, ...] = ()

    @property
    def message(self) -> str:
        """Return the subject of the commit: keys, without values."""
        words = [("Set", [each.key for each in self.puts]), ("Unset", [".".join(drop) for drop in self.drops])]
        return shown("; ".join(f"{word} {', '.join(keys)}" for word, keys in words if keys), 200)


# words


def change(puts: Sequence[Sequence[str]], drops: Sequence[str]) -> Change:
    """Parse a change: (KEY, TEXT, "stdin" or "") for each key to set, and the keys to unset; raise UsageError."""
    if sum(len(text) for _, text, _ in puts) > WORDS:
        raise UsageError("too much data in one call", hint="set some keys first, with --no-deploy")
    found = tuple(put(key, text, secret=source == "stdin") for key, text, source in puts)
    gone = tuple(map(path_of, drops))
    paths = [*(each.path for each in found), *gone]
    for path in paths:
        if twice := [other for other in paths if other[: len(path)] == path][1:]:
            what = "is given twice" if path in twice else f"contains {'.'.join(twice[0])}, which is also given"
            raise UsageError(f"{'.'.join(path)} {what}", hint="give each key once")
    return Change(found, gone)


def path_of(key: str) -> Path:
    """Return the path of a key below data, with or without data. in front; raise UsageError."""
    parts = tuple(key.split("."))
    parts = parts[1:] if parts[0] == "data" and len(parts) > 1 else parts
    if len(key) > KEY_LIMIT or len(parts) > DEPTH or not all(map(PART.fullmatch, parts)):
        raise UsageError(f"invalid key {shown(key, 60)!r}" if key else "empty key", hint=KEY_HINT)
    return parts


def put(key: str, text: str, *, secret: bool) -> Put:
    """Return the value of KEY=TEXT, or of text from standard input; raise UsageError."""
    path, explicit = path_of(key), key.startswith("data.")
    if len(text.encode("utf-8", "surrogatepass")) > VALUE_LIMIT:
        raise UsageError(f"the value of {key} is longer than {VALUE_LIMIT >> 10} KiB", hint="commit a file instead")
    value = text if secret else value_of(text)
    check(key, value)
    return Put(path, value, plain=value is text and not secret, explicit=explicit, secret=secret)


def of_input(key: str, data: bytes) -> str:
    """Return the value from standard input: text, without its last newline; raise UsageError."""
    text = data.decode("utf-8", "surrogateescape")
    text = text[:-1].removesuffix("\r") if text.endswith("\n") else text
    check(key, text)
    if not text:
        raise UsageError(f"standard input for {key} was empty", hint=f"for empty text use {key}= without the -")
    return text


def value_of(text: str) -> Any:
    """Return the value of JSON; any other text is itself.

    A number that JSON would write differently (1.10, 007, 1e5), or that needs more than 64 bits, is also text.
    """
    try:
        found = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text
    if isinstance(found, (str, list, dict)):
        return found
    return found if json.dumps(found) == text and _fits(found) else text


def _no_number(word: str) -> None:
    raise ValueError(word)


def written(value: Any) -> str:
    """Return a value as typed on a command line, on one line."""
    plain = isinstance(value, str) and value.isprintable() and value != "-" and value_of(value) is value
    text = value if plain else json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


def check(key: str, value: Any, depth: int = 0) -> None:
    """Raise UsageError for a value that JSON and YAML cannot hold, or that does not belong in the file."""
    if isinstance(value, str):
        if odd := next((c for c in value if _is_odd(c)), None):
            half = unicodedata.category(odd) == "Cs"
            what = "bytes that are not UTF-8" if half else f"the character U+{ord(odd):04X}"
            raise UsageError(
                f"{key} has {what} in its value", hint="values must be text in UTF-8; commit a file instead"
            )
    elif isinstance(value, (list, dict)):
        if depth > DEPTH:
            raise UsageError(f"{key} has more than {DEPTH} levels")
        for inner in value:
            name = f"{key}.{inner}" if isinstance(value, dict) else key
            if isinstance(value, dict) and not (isinstance(inner, str) and PART.fullmatch(inner)):
                raise UsageError(f"{key} has the invalid key {shown(str(inner), 60)!r}", hint=KEY_HINT)
            check(name, value[inner] if isinstance(value, dict) else inner, depth + 1)
    elif not (value is None or (isinstance(value, (bool, int, float)) and _fits(value))):
        raise UsageError(f"{key} must be text, a 64-bit number, true, false, null, a list or a mapping")


def _fits(value: Any) -> bool:
    return value is None or (math.isfinite(value) if isinstance(value, float) else -INT_LIMIT <= value < INT_LIMIT)


def _is_odd(sign: str) -> bool:
    """Say whether a character is invalid in text: control characters, surrogates, noncharacters."""
    if sign in "\t\n\r" or " " <= sign <= "~":
        return False
    code = ord(sign)
    return unicodedata.category(sign) in ("Cc", "Cs") or 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE


# the file


class _Loader(yaml.SafeLoader):
    """YAML without aliases, which could expand exponentially."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.get_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="found an alias", problem_mark=mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """YAML with one value or list item per line."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style='"' if "\n" in text or "\r" in text else None
    ),
)


def is_ours(content: bytes) -> bool:
    return content.startswith(FIRST.encode())


def load(content: bytes | None) -> Given:
    """Parse the file; return nothing set if there is none, or it is not ours. Raise ConfigError."""
    if content is None or not is_ours(content):
        return Given()
    if len(content) > FILE_LIMIT:
        raise ConfigError(f"longer than {FILE_LIMIT >> 10} KiB", where=(FILE,))
    try:
        found = yaml.load(content, _Loader)
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 1
        raise ConfigError(str(exc.problem), where=(Place(FILE, line), "YAML")) from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise ConfigError("unreadable YAML", where=(FILE,)) from exc
    return _checked(found)


def _checked(found: Any) -> Given:
    found = {} if found is None else found
    if not isinstance(found, dict) or set(found) - {"data", "secrets"}:
        raise ConfigError("expected only the keys data and secrets", where=(FILE,))
    data, secrets = found.get("data") or {}, found.get("secrets") or []
    if not isinstance(data, dict):
        raise ConfigError("expected a mapping", where=(FILE, "data"))
    if not isinstance(secrets, list) or not all(isinstance(key, str) for key in secrets):
        raise ConfigError("expected a list of keys", where=(FILE, "secrets"))
    try:
        check("data", data)
    except CorpusError as exc:
        raise ConfigError(exc.message, where=(FILE,)) from exc
    return Given(data, frozenset(secrets))


def dump(given: Given) -> bytes:
    """Return the content of the file; raise UsageError if it is too long."""
    body = {"data": given.data, **({"secrets": sorted(given.secrets)} if given.secrets else {})}
    text = yaml.dump(body, Dumper=_Dumper, allow_unicode=True, width=1 << 20, default_flow_style=False)
    content = (HEAD + text).encode()
    if len(content) > FILE_LIMIT:
        raise UsageError(
            f"all set variables together are longer than {FILE_LIMIT >> 10} KiB", hint="commit a file instead"
        )
    return content


# changes


def find(data: Any, path: Path) -> Any:
    """Return the value at a path, or None."""
    for part in path:
        if not isinstance(data, Mapping) or part not in data:
            return None
        data = data[part]
    return data


def is_there(data: Any, path: Path) -> bool:
    above = find(data, path[:-1])
    return isinstance(above, Mapping) and path[-1] in above


def changed(given: Given, change: Change) -> Given:
    """Return the content of the file after a change, whose unset keys must exist; raise UsageError."""
    data: dict[str, Any] = copy.deepcopy(dict(given.data))
    for drop in change.drops:
        _drop(data, drop)
    for each in change.puts:
        _put(data, each)
    secrets = given.secrets | {each.key for each in change.puts if each.secret}
    return Given(data, frozenset(key for key in secrets if is_there(data, tuple(key.split(".")))))


def _put(data: dict[str, Any], each: Put) -> None:
    refuse_place(data, each, lambda path: LAYER)
    for part in each.path[:-1]:
        inner = data.get(part)
        data[part] = inner if isinstance(inner, dict) else {}
        data = data[part]
    data[each.path[-1]] = each.value


def _drop(data: dict[str, Any], path: Path) -> None:
    """Remove the value at a path, and mappings above it that become empty."""
    inside = [data]
    for part in path[:-1]:
        inside.append(inside[-1][part])
    for inner, part in zip(reversed(inside), reversed(path), strict=True):
        del inner[part]
        if inner:
            break


def refuse_place(data: Mapping[str, Any], each: Put, origin: Callable[[Path], str]) -> None:
    """Refuse a key below a value that is not a mapping, and a plain value in place of a mapping."""
    for end in range(1, len(each.path)):
        above = find(data, each.path[:end])
        if above is not None and not isinstance(above, Mapping):
            name, layer = ".".join(each.path[:end]), origin(each.path[:end])
            raise UsageError(f"{each.key} cannot be set: {name} is {kind(above)} ({layer})", hint=f"set {name} itself")
    found = find(data, each.path)
    if isinstance(found, Mapping) and found and not isinstance(each.value, Mapping):
        keys = ", ".join(f"{each.key}.{name}" for name in list(found)[:5])
        raise UsageError(f"{each.key} is a mapping ({origin(each.path)})", hint=f"set keys in it: {keys}")


def kind(value: Any) -> str:
    """Return the type of a value in words; not the value, which may be a secret."""
    if isinstance(value, (bool, type(None))):
        return "null" if value is None else "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    return "text" if isinstance(value, str) else "a list" if isinstance(value, list) else "a mapping"


# cfg


def laid_over(given: Given, pillar: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the set variables in the form of Salt's pillar, in each form that it uses for the project."""
    if not given.data:
        return {}
    body, nested = {"data": dict(given.data)}, pillar.get("makina-projects")
    has_nested = isinstance(nested, Mapping) and isinstance(nested.get(name), Mapping)
    return {f"makina-projects.{name}": body, **({"makina-projects": {name: body}} if has_nested else {})}


def guarded(value: Any) -> Any:
    """Return a value with its braces hidden, while references are resolved."""
    return _translated(value, GUARD)


def unguarded(value: Any) -> Any:
    return _translated(value, UNGUARD)


def _translated(value: Any, table: dict[int, int]) -> Any:
    if isinstance(value, str):
        return value.translate(table)
    if isinstance(value, Mapping):
        return {key: _translated(inner, table) for key, inner in value.items()}
    return [_translated(inner, table) for inner in value] if isinstance(value, list) else value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, (Mapping, list)):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def lines(data: Mapping[str, Any], path: Path = ()) -> Iterator[str]:
    """Yield KEY=VALUE for each value, as typed on a command line."""
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from lines(value, (*path, key))
        else:
            yield f"{'.'.join((*path, key))}={written(value)}"
