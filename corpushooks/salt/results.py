"""Values for Salt: the minion, and results, facts and compiled SLS files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from corpushooks.core.errors import SaltError, SourceError
from corpushooks.core.redaction import Redactor
from corpushooks.salt.problems import Problem, foreign_in, id_line, line_of, problem, source, text_of, unsupported

_ABSENT = re.compile(r"Specified SLS '([^']+)' in environment \S+ is not available")
CFG = "cfg.json"  # in a minion's folder: the last cfg


@dataclass(frozen=True)
class Minion:
    """The environment of one session.

    `dir` is for the generated configuration, cache, keys and logs; only one session at a time can use it. `states`
    and `pillars` are the roots of base; the first one with a file wins. `modules` has the project's own loader
    folders (_modules, _states…), and can be missing.
    """

    name: str
    dir: Path
    states: tuple[Path, ...]
    pillars: tuple[Path, ...]
    modules: Path
    id: str = ""  # empty: the host's name
    config: Mapping[str, Any] = field(default_factory=dict)  # more minion configuration
    mark: str = ""  # NAME=value in the environment of all processes, to find those that left their group
    env: Mapping[str, str] = field(default_factory=dict)  # more of that environment
    passwords: Path | None = None  # the file of generated passwords; None: not supported
    writes: bool = True  # whether passwords can be generated


@dataclass(frozen=True)
class State:
    """The result of one state."""

    id: str
    name: str
    function: str  # file.managed
    result: bool | None  # None: it would make changes (test=True)
    changes: Mapping[str, Any]
    comment: str
    seconds: float
    sls: str  # the stem of its SLS, or the full id if that is not the project's
    line: int | None  # of its id in that file
    skipped: bool = False  # a requisite failed


@dataclass(frozen=True)
class Result:
    """The result of one SLS; with `errors` it could not be rendered or compiled, and no state ran."""

    sls: str
    states: tuple[State, ...]
    errors: tuple[str, ...]
    ok: bool
    warning: str = ""


@dataclass(frozen=True)
class Planned:
    """One state of an SLS that was only rendered."""

    id: str
    function: str
    arguments: dict[str, Any]
    sls: str  # the SLS itself, or one that it includes


@dataclass(frozen=True)
class Compiled:
    """A compiled SLS: its problems, its states, and the commands that its Jinja would have run."""

    problems: list[Problem]
    states: tuple[Planned, ...] = ()
    commands: tuple[tuple[int | None, str], ...] = ()  # line, command


@dataclass(frozen=True)
class Facts:
    """The input of cfg: plain values, with text as mapping keys."""

    grains: dict[str, Any]
    pillar: dict[str, Any]
    sample: dict[str, Any]
    odd: tuple[tuple[str, str, str], ...] = ()  # "pillar" or "sample", key, type that was converted to text


def state_of(minion: Minion, sls: str, tag: str, told: Mapping[str, Any]) -> State:
    """Return the state of a return of Salt while it runs `sls`: `tag` is kind_|-id_|-name_|-function."""
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
        comment=unsupported(foreign, comment) if (foreign := foreign_in(comment)) else comment,
        seconds=float(told.get("duration") or 0) / 1000,
        sls=own.removeprefix(f"makina-projects.{minion.name}."),
        line=id_line(text_of(file), state_id) if file else None,
        skipped=told.get("result") is False and told.get("__state_ran__") is False,
    )


def result_of(minion: Minion, sls: str, told: Any, test: bool) -> Result:
    """Return the result of state.sls, from states or a list of errors; raise SaltError for anything else."""
    if isinstance(told, list):
        texts = [text for text in told if not str(text).startswith("Pillar failed to render")]
        roots = minion.pillars if len(texts) < len(told) else minion.states
        file = source(sls, roots) or Path(sls.rpartition(".")[2] + ".sls")
        errors = [str(problem(str(text), file, roots)) for text in texts]
        if roots is minion.pillars:  # the following lines show the rendered pillar
            errors = [error.partition("\n")[0] for error in errors]
        return Result(sls, (), tuple(errors), ok=False)
    if not isinstance(told, dict) or not all(isinstance(each, dict) for each in told.values()):
        raise SaltError(f"{sls}: Salt returned no result: {told}")
    ended = sorted(told.items(), key=lambda item: int(item[1].get("__run_num__", 0)))
    states = tuple(state_of(minion, sls, tag, each) for tag, each in ended)
    ok = all(state.result is True or (test and state.result is None) for state in states)
    return Result(sls, states, (), ok, "" if states else "it has no states")


def redacted(result: Result, redactor: Redactor) -> Result:
    """Return a result without secrets; must happen before anything of it is shown or cut."""
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
    """Return the answer of the loader module's `facts`; raise SaltError with the position of the error."""
    if "errors" in told:
        if absent := _ABSENT.search(str(told["errors"][0])):
            lacks = _include_problem(minion, absent[1])
            raise SourceError(lacks.message, at=lacks.at)
        of_sample = told["where"] == "sample" and sample
        file = sample if of_sample and sample else minion.pillars[0] / "top.sls"
        found = problem(str(told["errors"][0]), file, () if of_sample else minion.pillars)
        raise SourceError(found.headline, at=found.at)
    odd = tuple((where, key, what) for where, key, what in told.get("odd", []))
    return Facts(told["grains"], told["pillar"], told["sample"], odd)


def _include_problem(minion: Minion, wanted: str) -> Problem:
    """Describe a wrong include in a pillar: its line, and the right form."""
    own = f"makina-projects.{minion.name}"
    stem, init = wanted.removeprefix(f"{own}."), source(own, minion.pillars)
    beside = sorted(init.parent.rglob("*.sls")) if init else []
    found = ((file, line_of(stem, file)) for file in beside)
    file, line = next(((file, line) for file, line in found if line), (minion.pillars[0] / "top.sls", None))
    there = stem == wanted and any(one.stem == stem for one in beside)
    how = (
        f"write .{stem} for the file beside this one"
        if there
        else f"expected {stem.replace('.', '/')}.sls in the pillar"
    )
    return Problem(str(file), line, f"include: {wanted!r} not found: {how}")


def compiled_of(minion: Minion, sls: str, told: Mapping[str, Any]) -> Compiled:
    """Return the answer of the loader module's `check` for an SLS."""
    aside = ("Pillar failed to render", "Reason:")
    roots = (*minion.states, *minion.pillars)
    file = source(sls, roots) or Path(sls.rpartition(".")[2] + ".sls")
    problems = [
        _problem_of_kind(kind, text, file, roots) for kind, text in told["errors"] if not text.startswith(aside)
    ]
    states = tuple(Planned(*each) for each in told["states"])
    return Compiled(problems, states, tuple((line, text) for line, text in told["commands"]))


def _problem_of_kind(kind: str, text: str, file: Path, roots: Sequence[Path]) -> Problem:
    found = problem(text, file, roots)
    return replace(found, kind=kind) if kind else found
