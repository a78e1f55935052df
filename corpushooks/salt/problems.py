"""Parse the error messages of Salt: problems with their kind and position.

Values, except that SLS files are read to find positions.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from corpushooks.core.errors import Place
from corpushooks.core.text import shown

SIZE = 8 << 20  # bytes of a file that are read
_RENDERING = re.compile(r"Rendering SLS '?(?:base:)?([^' ]+?)'? failed(?:, render error)?:\s*(.*)", re.S)
_NAMED = re.compile(r"\b(?:in SLS|SLS|for) '?\[?([\w-]+(?:\.[\w-]+)+)")
# How Salt names the subject of an error, most reliable first: a state id, an SLS, or an included file.
_ABOUT = tuple(
    re.compile(pattern, re.M)
    for pattern in (
        r"in state \[([^\]\s]+)",
        r"(?:in state|^State|^ID|extend ID) ['\"]([^'\"]+)['\"]",
        r"'ID': '([^']+)'",
        r"^Specified SLS (\S+)",
        r"^Jinja error: (\S+)$",
    )
)
_WORD = re.compile(r"(?:\{\{.*?\}\}|[^\s'\"\[\],:{}])+")
_EXPRESSION = re.compile(r"\{\{.*?\}\}")
_CACHED = re.compile(r"\n?\S*/cache/files/base/(\S+?)\((\d+)\):")
_CALLED = re.compile(r"\n?\(called from line (\d+)\)")  # from our Jinja renderer, for errors in another file
_OURS = re.compile(r"/cache/files/base/(makina-states/\S+?)\(\d+\):")
_LINE = re.compile(r"; line (\d+)\s*")
_FOREIGN = re.compile(  # missing parts of makina-states, in messages of Salt and of our own files
    r"Specified SLS '?(makina-states\.[\w.-]+)|Jinja error: (makina-states/\S+)|has no attribute '(mc_[\w.]+)"
    r"|State '(mc_[\w.]+)' was not found|(?:Jinja error: |^)(\S+) is not supported here"
)
_UNSUPPORTED = re.compile(r" is not supported here\b")  # from our own files, in Jinja
_INSTEAD = re.compile(r" is not supported here(: use [^;\n]+)")
_PLAIN = tuple(
    (re.compile(pattern), plain)
    for pattern, plain in (
        (
            r"Specified SLS (\S+) in saltenv base is not available on the salt master.*",
            r"included SLS \1 does not exist",
        ),
        (r"Jinja error: (\S+/\S+|\S+\.(?:jinja2?|sls|j2))(?=\n|$)", r"imported file \1 does not exist"),
        (r"Jinja variable \S* ?(?:object'|'salt') has no attribute '(\w+\.\w+)'", r"function \1 does not exist"),
    )
)
_TOP = re.compile(r'"<template>", line (\d+)')
_MARKED = re.compile(r"^(.*?)    <=====", re.M)


@dataclass(frozen=True)
class Problem:
    """An error in a file."""

    file: str
    line: int | None
    message: str
    kind: str = "compile"  # the kind of the finding: syntax, missing, later, compile

    @property
    def at(self) -> Place:
        return Place(shown(Path(self.file).name), self.line)

    @property
    def brief(self) -> str:
        """The message, without Salt's excerpt of the file if the line is known."""
        return self.message.partition("\n---")[0].strip() if self.line else self.message

    @property
    def headline(self) -> str:
        """The first line of the message."""
        return "".join(self.message.splitlines()[:1])

    def __str__(self) -> str:
        return f"{self.at}: {self.message}"


def problem(text: str, file: Path, roots: Sequence[Path]) -> Problem:
    """Parse an error message of Salt; its position is in `file` unless it names another."""
    found = _problem(text, file, roots)
    for pattern, plain in _PLAIN:
        if said := pattern.match(found.message):
            return replace(found, kind="missing", message=said.expand(plain) + found.message[said.end() :])
    if _UNSUPPORTED.search(found.message):
        return replace(found, kind="missing")
    return replace(found, kind="syntax") if found.message.startswith("YAML: ") else found


def _problem(text: str, file: Path, roots: Sequence[Path]) -> Problem:
    rendering = _RENDERING.match(text)
    named = rendering or _NAMED.search(text)
    message = (rendering[2] if rendering else text).partition("\nTraceback")[0].strip()
    if named and named[1].startswith("makina-states.") and (foreign := foreign_in(message)):
        return Problem(str(file), line_of(foreign, file), unsupported(foreign, message))
    file = (source(named[1], roots) if named else None) or file
    called = _CALLED.search(message)
    message = _CALLED.sub("", message).rstrip()
    if foreign := foreign_in(message):
        line = _TOP.search(text) or _LINE.search(text)
        return Problem(str(file), int(line[1]) if line else line_of(foreign, file), unsupported(foreign, message))
    if called and (ours := _OURS.search(message)):
        first = message.splitlines()[0].split("; line ")[0].strip()
        return Problem(str(file), int(called[1]), f"{first} (in {ours[1]})")
    if cached := _CACHED.search(message):
        file = next((root / cached[1] for root in roots if (root / cached[1]).is_file()), Path(cached[1]))
        return Problem(str(file), int(cached[2]), _CACHED.sub("\n", message))
    if line := _LINE.search(message):
        number = int(line[1])
        if message.startswith("YAML:"):
            return _yaml_problem(file, number, message)
        return Problem(str(file), number, _LINE.sub("\n", message, count=1))
    return Problem(str(file), _line_about(text_of(file), message), message)


def _line_about(text: str, message: str) -> int | None:
    """Return the line of the subject of a message: the state that it names, or anything else that it names."""
    names = [found[1] for pattern in _ABOUT if (found := pattern.search(message))]
    lines = (find(text, name) for find in (id_line, _only_line_with) for name in names)
    return next((line for line in lines if line), None)


def _only_line_with(text: str, name: str) -> int | None:
    """Return the only line with a name as a whole word, or as a possible result of Jinja."""
    found = [
        n for n, line in enumerate(text.splitlines(), 1) if any(_can_render_to(w, name) for w in _WORD.findall(line))
    ]
    return found[0] if len(found) == 1 else None


def _can_render_to(word: str, name: str) -> bool:
    """Return whether a word of an SLS file with Jinja expressions, but not only these, can render to a name."""
    parts = _EXPRESSION.split(word)
    return any(parts) and bool(re.fullmatch(".+".join(map(re.escape, parts)), name))


def foreign_in(text: str) -> str:
    """Return the unsupported part of makina-states that an error is about, or nothing."""
    found = _FOREIGN.search(text)
    return next(filter(None, found.groups())) if found else ""


def unsupported(name: str, told: str = "") -> str:
    """Return a message that something is not supported, and what to use instead if known."""
    instead = found[1] if (found := _INSTEAD.search(told)) else ""
    return f"{name} is not supported here{instead}; see: corpus help makina-states"


def line_of(name: str, file: Path) -> int | None:
    """Return the first line of a file that contains a name."""
    lines = text_of(file).splitlines()
    return next((n for n, line in enumerate(lines, 1) if re.search(rf"{re.escape(name)}(?![\w.])", line)), None)


def _yaml_problem(file: Path, rendered: int, message: str) -> Problem:
    """Find the line of the file that was rendered to line `rendered`, if it is unique."""
    marked = _MARKED.search(message)
    same = [n for n, line in enumerate(text_of(file).splitlines(), 1) if marked and line == marked[1]]
    line = rendered if rendered in same else same[0] if len(same) == 1 else None
    return Problem(str(file), line, _LINE.sub(f" (line {rendered} as rendered)\n", message, count=1))


def source(sls: str, roots: Sequence[Path]) -> Path | None:
    """Return the file of an SLS."""
    stem = sls.replace(".", "/")
    paths = (root / name for root in roots for name in (f"{stem}.sls", f"{stem}/init.sls"))
    return next((path for path in paths if path.is_file()), None)


def id_line(text: str, state_id: str) -> int | None:
    """Return the line of the state `state_id`: written literally, or the only one that can render to it."""
    found = re.search(rf"^(['\"]?){re.escape(state_id)}\1\s*:", text, re.M)
    if found or "{{" not in text:
        return text.count("\n", 0, found.start()) + 1 if found else None
    begins = [(n, re.match(r"(['\"]?)(.*\{\{.*)\1\s*:\s*$", line)) for n, line in enumerate(text.splitlines(), 1)]
    made = [
        n for n, begin in begins if begin and not begin[2].startswith((" ", "#")) and _can_render_to(begin[2], state_id)
    ]
    return made[0] if len(made) == 1 else None


def key_line(text: str, key: str) -> int | None:
    """Return the first line with a YAML key, at any level; of a dotted key the whole, or its last parts."""
    for part in (key, *reversed(key.split("."))):
        if found := re.search(rf"^[ ]*(['\"]?)(?:[\w.-]*\.)?{re.escape(part)}\1[ ]*:", text, re.M):
            return text.count("\n", 0, found.start()) + 1
    return None


def text_of(file: Path) -> str:
    """Return the text of a file, of a very large one the beginning; nothing if it is not a regular file."""
    try:
        with open(file, "rb", opener=_opened) as opened:
            return (
                opened.read(SIZE).decode("utf-8", "replace") if stat.S_ISREG(os.fstat(opened.fileno()).st_mode) else ""
            )
    except OSError:
        return ""


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait for a writer
