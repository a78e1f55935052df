"""Find unused keys of PILLAR.sample and of a pillar: of another project, misspelt, or unknown.

They are read as text, by indentation, so that Jinja need not be rendered, and each key has its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from corpushooks.checks.finding import Finding
from corpushooks.checks.texts import uncommented

PROJECTS, STATES = "makina-projects", "makina-states"
CLOSE = 0.75  # similarity from which a word counts as a misspelling of another
_KEY = re.compile(r"^(\s*)(['\"]?)([\w.@/+-]+(?: [\w.-]+)*|\{\{.*?\}\}[\w.-]*)\2\s*:(?:\s+(.*))?$")
_TEXT = re.compile(r"[|>][+-]?\d?\s*(#.*)?$")


@dataclass(frozen=True)
class Key:
    """A key of a mapping, by its path."""

    line: int
    path: tuple[str, ...]


def keys(text: str) -> list[Key]:
    """Return the keys of the block mappings of a text."""
    return list(_keys(uncommented(text)))


def _keys(text: str) -> Iterator[Key]:
    open_: list[tuple[int, str]] = []
    skip = -1  # the indentation of a block of text, in which nothing is a key
    for number, line in enumerate(text.splitlines(), 1):
        indent = len(line) - len(line.lstrip())
        if not line.strip() or (skip >= 0 and indent > skip):
            continue
        skip = -1
        if line.lstrip().startswith(("#", "{%", "{#", "-")):
            continue
        if found := _KEY.match(line):
            while open_ and open_[-1][0] >= indent:
                open_.pop()
            open_.append((indent, found[3]))
            yield Key(number, tuple(name for _, name in open_))
            if found[4] and _TEXT.search(found[4]):
                skip = indent


def owned(key: Key) -> tuple[str, tuple[str, ...]] | None:
    """Return the project of a key, and the path in its configuration; None if it has none."""
    first, *rest = key.path
    if first == PROJECTS:
        return (rest[0], tuple(rest[1:])) if rest else None
    if first.startswith(f"{PROJECTS}."):
        name, *inner = first[len(PROJECTS) + 1 :].split(".")
        return name, (*inner, *rest)
    return None


@dataclass(frozen=True)
class Readers:
    """The readers of keys: this project, cfg, and the files of .salt."""

    project: str
    known: Collection[str]  # first-level keys of cfg
    mentioned: Callable[[str], bool]  # whether a file of .salt contains a word
    data: Collection[str] = ()  # the keys of the sample's data


def unread(file: str, text: str, readers: Readers, *, any_project: bool) -> list[Finding]:
    """Find unused keys of a file; `any_project`: it is a sample, in which every project counts as this one."""
    found = keys(text)
    said = [each for key in found for each in _unread(file, key, readers, any_project)]
    top = {key.path[0] for key in found if key.path[0] != "include"}
    dead = [key for key in found if len(key.path) == 1 and (_is_misspelt(key) or _foreign(key, readers, any_project))]
    dead_names = {key.path[0] for key in dead}
    nested = {key.path[1] for key in found if key.path[0] == PROJECTS and len(key.path) == 2}
    if nested and readers.project not in nested and not any_project:
        dead_names.add(PROJECTS)
    whole = not re.search(r"\{[{%]", text) and not any(key.path[0] == "include" for key in found)
    if dead_names and dead_names == top and whole:
        what = f"it has nothing for the project {readers.project}"
        said.append(Finding("foreign", file, None, what, f"use the key {PROJECTS}.{readers.project}"))
    return said


def _is_misspelt(key: Key) -> bool:
    """Return whether a first-level key is probably a misspelt makina-projects."""
    first = key.path[0].partition(".")[0]
    if first in (PROJECTS, STATES):
        return False
    return bool(get_close_matches(first.replace("_", "-").lower(), [PROJECTS], 1, 0.8))


def _foreign(key: Key, readers: Readers, any_project: bool) -> bool:
    found = owned(key)
    return found is not None and not any_project and found[0] != readers.project


def _unread(file: str, key: Key, readers: Readers, any_project: bool) -> Iterator[Finding]:
    if len(key.path) == 1 and _is_misspelt(key):
        right = f"{PROJECTS}.{readers.project}" if "." in key.path[0] else PROJECTS
        yield Finding("unread", file, key.line, f"nothing reads {key.path[0]}", f"did you mean {right}?")
    elif (found := owned(key)) and not any_project and found[0] != readers.project:
        if len(found[1]) == 0:
            yield Finding(
                "unread", file, key.line, f"nothing reads {PROJECTS}.{found[0]}: this project is {readers.project}",
                f"rename it to {PROJECTS}.{readers.project}",
            )  # fmt: skip
    elif found and len(found[1]) == 1:
        yield from _first_level(file, key, found[1][0], readers)
    elif found and len(found[1]) == 2 and found[1][0] == "data":
        yield from _data(file, key, found[1][1], readers)


def _first_level(file: str, key: Key, name: str, readers: Readers) -> Iterator[Finding]:
    if name in readers.known or name.partition(".")[0] in readers.known or readers.mentioned(name):
        return
    near = get_close_matches(name, list(readers.known), 1, CLOSE) or get_close_matches(name, ["data"], 1, 0.6)
    help_ = f"did you mean {near[0]}?" if near else "variables of the project belong below data"
    yield Finding("unread", file, key.line, f"nothing reads the key {name}", help_)


def _data(file: str, key: Key, name: str, readers: Readers) -> Iterator[Finding]:
    """Find a variable that nothing mentions and that has a similar name to another."""
    if name in readers.data or readers.mentioned(name):
        return
    if near := get_close_matches(name, list(readers.data), 1, CLOSE):
        yield Finding("unread", file, key.line, f"nothing reads data.{name}", f"did you mean {near[0]}?")


def unread_data(file: str, text: str, readers: Readers) -> list[Finding]:
    """Find unused variables in the file of `corpus set` with a similar name to another."""
    found = [key for key in keys(text) if len(key.path) == 2 and key.path[0] == "data"]
    return [each for key in found for each in _data(file, key, key.path[1], readers)]


BELOW = ("env_defaults", "os_defaults", "node_defaults")  # tables whose values have variables


def data_keys(text: str) -> set[str]:
    """Return the names of the variables in a sample or a pillar."""
    found = [each[1] for each in map(owned, keys(text)) if each]
    return {path[1] for path in found if len(path) == 2 and path[0] in ("data", "env_defaults")} | {
        path[2] for path in found if len(path) == 3 and path[0] in BELOW
    }
