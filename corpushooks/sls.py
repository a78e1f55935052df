"""What Salt is told and what it answers, and the reading of its texts: results, and problems with their place.

Values, but for looks into the SLS files that the texts speak of.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from corpushooks.errors import Place, SaltError, SourceError
from corpushooks.redaction import Redactor
from corpushooks.text import shown

SIZE = 8 << 20  # bytes of a file that are looked at
_RENDERING = re.compile(r"Rendering SLS '?(?:base:)?([^' ]+?)'? failed(?:, render error)?:\s*(.*)", re.S)
_NAMED = re.compile(r"\b(?:in SLS|SLS|for) '?\[?([\w-]+(?:\.[\w-]+)+)")
# How Salt names what it complains of, the surest first: the id of a state, an SLS or a file that is included.
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
_CALLED = re.compile(r"\n?\(called from line (\d+)\)")  # our Jinja renderer says so of what failed in another file
_OURS = re.compile(r"/cache/files/base/(makina-states/\S+?)\(\d+\):")
_LINE = re.compile(r"; line (\d+)\s*")
_FOREIGN = re.compile(  # what of makina-states is not here, in the words of Salt and of our own files
    r"Specified SLS '?(makina-states\.[\w.-]+)|Jinja error: (makina-states/\S+)|has no attribute '(mc_[\w.]+)"
    r"|State '(mc_[\w.]+)' was not found|(?:Jinja error: |^)(\S+) is not supported here"
)
_UNSUPPORTED = re.compile(r" is not supported here\b")  # our files say so, from within Jinja
_INSTEAD = re.compile(r" is not supported here(: use [^;\n]+)")
_ABSENT = re.compile(r"Specified SLS '([^']+)' in environment \S+ is not available")
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


CFG = "cfg.json"  # in a minion's folder: what Salt had last as cfg


@dataclass(frozen=True)
class Minion:
    """What one session of Salt sees.

    `dir` takes the generated configuration, cache, keys and logs; one session at a time may use it. `states`
    and `pillars` are the roots of base, of which the first that has a file wins. `modules` holds the
    project's own loader folders (_modules, _states…); it may be missing.
    """

    name: str
    dir: Path
    states: tuple[Path, ...]
    pillars: tuple[Path, ...]
    modules: Path
    id: str = ""  # empty: the host's name
    config: Mapping[str, Any] = field(default_factory=dict)  # more minion configuration
    mark: str = ""  # NAME=value in the environment of all that is started: it finds what left its process group
    passwords: Path | None = None  # where generated ones lie; None: there can be none
    writes: bool = True  # whether one may be generated


@dataclass(frozen=True)
class State:
    """One state as it ended."""

    id: str
    name: str
    function: str  # file.managed
    result: bool | None  # None: would change (test=True)
    changes: Mapping[str, Any]
    comment: str
    seconds: float
    sls: str  # the stem of the SLS it comes from, or the whole id of somebody else's
    line: int | None  # of its id in that file
    skipped: bool = False  # it did not run, since a requisite failed


@dataclass(frozen=True)
class Result:
    """One SLS as it ended; `errors` say why it could not be rendered or compiled, and then no state ran."""

    sls: str
    states: tuple[State, ...]
    errors: tuple[str, ...]
    ok: bool
    warning: str = ""


@dataclass(frozen=True)
class Problem:
    """What is wrong in a file."""

    file: str
    line: int | None
    message: str
    kind: str = "compile"  # that of the finding: syntax, missing, later, compile

    @property
    def at(self) -> Place:
        return Place(shown(Path(self.file).name), self.line)

    @property
    def brief(self) -> str:
        """The message without Salt's excerpt of the file, where the line is known."""
        return self.message.partition("\n---")[0].strip() if self.line else self.message

    def __str__(self) -> str:
        return f"{self.at}: {self.message}"


@dataclass(frozen=True)
class Planned:
    """One state of an SLS that was rendered and not run."""

    id: str
    function: str
    arguments: dict[str, Any]
    sls: str  # where it is written: the SLS itself, or one that it includes


@dataclass(frozen=True)
class Compiled:
    """An SLS as Salt compiled it: what is wrong, the states in it, and the commands that its Jinja would have run."""

    problems: list[Problem]
    states: tuple[Planned, ...] = ()
    commands: tuple[tuple[int | None, str], ...] = ()  # line, command


@dataclass(frozen=True)
class Facts:
    """What cfg is computed from: plain values, mapping keys are text."""

    grains: dict[str, Any]
    pillar: dict[str, Any]
    sample: dict[str, Any]
    odd: tuple[tuple[str, str, str], ...] = ()  # "pillar" or "sample", key, what of it is text here


def problem(text: str, file: Path, roots: Sequence[Path]) -> Problem:
    """Return what one of Salt's error texts says, with its place: in `file`, unless it names another."""
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
    if named and named[1].startswith("makina-states.") and (foreign := _foreign(message)):
        return Problem(str(file), _line_of(foreign, file), unsupported(foreign, message))
    file = (source(named[1], roots) if named else None) or file
    called = _CALLED.search(message)
    message = _CALLED.sub("", message).rstrip()
    if foreign := _foreign(message):
        line = _TOP.search(text) or _LINE.search(text)
        return Problem(str(file), int(line[1]) if line else _line_of(foreign, file), unsupported(foreign, message))
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
    """Return the line of what a message is about: where the state begins that it names, or what else it names."""
    names = [found[1] for pattern in _ABOUT if (found := pattern.search(message))]
    lines = (find(text, name) for find in (id_line, _mention) for name in names)
    return next((line for line in lines if line), None)


def _mention(text: str, name: str) -> int | None:
    """Return the one line on which a name stands among others, whole, or made by Jinja."""
    found = [n for n, line in enumerate(text.splitlines(), 1) if any(_may_be(w, name) for w in _WORD.findall(line))]
    return found[0] if len(found) == 1 else None


def _may_be(word: str, name: str) -> bool:
    """Say whether a word of an SLS file can become a name, whatever the expressions of Jinja in it are; but not all."""
    parts = _EXPRESSION.split(word)
    return any(parts) and bool(re.fullmatch(".+".join(map(re.escape, parts)), name))


def _foreign(text: str) -> str:
    """Return the name of what makina-states has and we do not, where that is what an error is about."""
    found = _FOREIGN.search(text)
    return next(filter(None, found.groups())) if found else ""


def unsupported(name: str, told: str = "") -> str:
    """Return that something is not here, and what to use instead where that was told."""
    instead = found[1] if (found := _INSTEAD.search(told)) else ""
    return f"{name} is not supported here{instead}; see: corpus help makina-states"


def _line_of(name: str, file: Path) -> int | None:
    """Return the line on which a file speaks of what has that name."""
    lines = text_of(file).splitlines()
    return next((n for n, line in enumerate(lines, 1) if re.search(rf"{re.escape(name)}(?![\w.])", line)), None)


def _yaml_problem(file: Path, rendered: int, message: str) -> Problem:
    """Find the line of the file that became line `rendered` of the rendered text, if only one can have."""
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
    """Return the line on which the state `state_id` begins: written as it is, or the only one that can become it."""
    found = re.search(rf"^(['\"]?){re.escape(state_id)}\1\s*:", text, re.M)
    if found or "{{" not in text:
        return text.count("\n", 0, found.start()) + 1 if found else None
    begins = [(n, re.match(r"(['\"]?)(.*\{\{.*)\1\s*:\s*$", line)) for n, line in enumerate(text.splitlines(), 1)]
    made = [n for n, begin in begins if begin and not begin[2].startswith((" ", "#")) and _may_be(begin[2], state_id)]
    return made[0] if len(made) == 1 else None


def key_line(text: str, key: str) -> int | None:
    """Return the line on which a YAML key stands first, at whatever level; of a key with dots the whole, or an end."""
    for part in (key, *reversed(key.split("."))):
        if found := re.search(rf"^[ ]*(['\"]?)(?:[\w.-]*\.)?{re.escape(part)}\1[ ]*:", text, re.M):
            return text.count("\n", 0, found.start()) + 1
    return None


def text_of(file: Path) -> str:
    """Return what a file says, as far as it is text, of a very large one the beginning; nothing where it is no file."""
    try:
        with open(file, "rb", opener=_opened) as opened:
            return (
                opened.read(SIZE).decode("utf-8", "replace") if stat.S_ISREG(os.fstat(opened.fileno()).st_mode) else ""
            )
    except OSError:
        return ""


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait for who writes


def state_of(minion: Minion, sls: str, tag: str, told: Mapping[str, Any]) -> State:
    """Return a state as Salt tells of it while it runs `sls`: `tag` is kind_|-id_|-name_|-function."""
    kind, tag_id, tag_name, function = tag.split("_|-")[0], *tag.split("_|-")[1:3], tag.split("_|-")[-1]
    own = str(told.get("__sls__") or sls)
    state_id = str(told.get("__id__") or tag_id)
    file = source(own, minion.states)
    changes = told.get("changes") or {}
    comment = str(told.get("comment") or "").strip()
    return State(
        id=state_id,
        name=str(told.get("name") or tag_name),
        function=f"{kind}.{function}",
        result=told.get("result"),
        changes=changes if isinstance(changes, dict) else {"changes": changes},
        comment=unsupported(foreign, comment) if (foreign := _foreign(comment)) else comment,
        seconds=float(told.get("duration") or 0) / 1000,
        sls=own.removeprefix(f"makina-projects.{minion.name}."),
        line=id_line(text_of(file), state_id) if file else None,
        skipped=told.get("result") is False and told.get("__state_ran__") is False,
    )


def result_of(minion: Minion, sls: str, told: Any, test: bool) -> Result:
    """Return what state.sls told: states or a list of errors; raise SaltError at anything else."""
    if isinstance(told, list):
        texts = [text for text in told if not str(text).startswith("Pillar failed to render")]
        roots = minion.pillars if len(texts) < len(told) else minion.states
        file = source(sls, roots) or Path(sls.rpartition(".")[2] + ".sls")
        errors = [str(problem(str(text), file, roots)) for text in texts]
        if roots is minion.pillars:  # what follows shows the pillar as it was rendered
            errors = [error.partition("\n")[0] for error in errors]
        return Result(sls, (), tuple(errors), ok=False)
    if not isinstance(told, dict) or not all(isinstance(each, dict) for each in told.values()):
        raise SaltError(f"{sls}: Salt gave no result: {told}")
    ended = sorted(told.items(), key=lambda item: int(item[1].get("__run_num__", 0)))
    states = tuple(state_of(minion, sls, tag, each) for tag, each in ended)
    ok = all(state.result is True or (test and state.result is None) for state in states)
    return Result(sls, states, (), ok, "" if states else "no state in it")


def redacted(result: Result, redactor: Redactor) -> Result:
    """Return a result without secrets, before anything of it is shown or cut."""
    hide = redactor.redact
    states = tuple(
        replace(
            state, id=hide(state.id), name=hide(state.name), function=hide(state.function),
            changes=redactor.within(state.changes), comment=hide(state.comment),
        )
        for state in result.states
    )  # fmt: skip
    return replace(result, states=states, errors=tuple(map(hide, result.errors)))


def facts_of(minion: Minion, sample: Path | None, told: Mapping[str, Any]) -> Facts:
    """Return what the loader module's `facts` told; raise SaltError with the place of what is wrong."""
    if "errors" in told:
        if absent := _ABSENT.search(str(told["errors"][0])):
            lacks = _include_problem(minion, absent[1])
            raise SourceError(lacks.message, at=lacks.at)
        of_sample = told["where"] == "sample" and sample
        file = sample if of_sample and sample else minion.pillars[0] / "top.sls"
        found = problem(str(told["errors"][0]), file, () if of_sample else minion.pillars)
        raise SourceError("".join(found.message.splitlines()[:1]), at=found.at)
    odd = tuple((where, key, what) for where, key, what in told.get("odd", []))
    return Facts(told["grains"], told["pillar"], told["sample"], odd)


def _include_problem(minion: Minion, wanted: str) -> Problem:
    """Return what is wrong where a pillar includes what is not there: the line that does, and how it is written."""
    own = f"makina-projects.{minion.name}"
    stem, init = wanted.removeprefix(f"{own}."), source(own, minion.pillars)
    beside = sorted(init.parent.rglob("*.sls")) if init else []
    found = ((file, _line_of(stem, file)) for file in beside)
    file, line = next(((file, line) for file, line in found if line), (minion.pillars[0] / "top.sls", None))
    there = stem == wanted and any(one.stem == stem for one in beside)
    how = (
        f"write .{stem} for the file beside this one"
        if there
        else f"expected {stem.replace('.', '/')}.sls in the pillar"
    )
    return Problem(str(file), line, f"include: {wanted!r} not found: {how}")


def compiled_of(minion: Minion, sls: str, told: Mapping[str, Any]) -> Compiled:
    """Return what the loader module's `check` told of an SLS."""
    aside = ("Pillar failed to render", "Reason:")
    roots = (*minion.states, *minion.pillars)
    file = source(sls, roots) or Path(sls.rpartition(".")[2] + ".sls")
    problems = [_of_kind(kind, text, file, roots) for kind, text in told["errors"] if not text.startswith(aside)]
    states = tuple(Planned(*each) for each in told["states"])
    return Compiled(problems, states, tuple((line, text) for line, text in told["commands"]))


def _of_kind(kind: str, text: str, file: Path, roots: Sequence[Path]) -> Problem:
    found = problem(text, file, roots)
    return replace(found, kind=kind) if kind else found
