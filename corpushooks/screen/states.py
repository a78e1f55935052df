"""The states of an SLS as lines. Values only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from corpushooks.core.events import SlsEnded, StateEnded
from corpushooks.core.text import lines, middle, one_line
from corpushooks.screen.failure import condensed, failure
from corpushooks.screen.rows import FITS, SCREEN, WIDTH, cut, indent, tail
from corpushooks.screen.view import count

REQUIRED = re.compile(r"requisites? failed: (.*)", re.S)  # Salt's reason why a state was not run
COMMENT_LINES = 12  # of the comment of a state
FAILED = 20  # failed states
DIFFERENCE = 40  # lines of a diff, in a plan or of an SLS that failed


def summary(ended: SlsEnded) -> str:
    """Summarize an SLS in a few words."""
    if not ended.states:
        return "nothing to do"
    return count(ended.states, "state") + (f", {ended.changed} changed" if ended.changed else "")


def states(found: Sequence[StateEnded], *, test: bool = False, diffs: bool = False) -> list[str]:
    """Return the states of an SLS that changed something or failed, with details."""
    seen: Counter[str] = Counter()
    told = [state(one, seen, test=test, diffs=diffs) for one in found]
    return [line for one in told for line in one] + more(seen)


def state(found: StateEnded, seen: Counter[str], *, test: bool = False, diffs: bool = False) -> list[str]:
    """Return a state that changed something or failed, unless there were too many of its kind; nothing of others.

    With `diffs`, also what it changed: a later failure can be a consequence.
    """
    word = _word(found, test)
    seen[word] += 1
    if not word or seen[word] > _limit(word):
        return []
    said = cut(found.diff, DIFFERENCE) if diffs and word == "changed" else _failure_lines(word, found)
    return [*state_lines(word, found), *indent(said, 10)]


def changes(found: Sequence[StateEnded]) -> list[str]:
    """Return the diffs of states that were shown before a later one failed."""
    told = [(one, cut(one.diff, DIFFERENCE)) for one in found if _word(one, False) == "changed"]
    return [line for one, said in told if said for line in [*state_lines("diff", one), *indent(said, 10)]]


def more(seen: Counter[str]) -> list[str]:
    """Return how many states were omitted."""
    left = {word: number - _limit(word) for word, number in seen.items() if word and number > _limit(word)}
    return [f"        … {number} more {word}, in the whole log" for word, number in left.items()]


def _limit(word: str) -> int:
    return FAILED if word == "FAILED" else SCREEN


def _word(state: StateEnded, test: bool) -> str:
    """Return the word for the result of a state; nothing if it did nothing."""
    if state.skipped:
        return "not run"
    if state.result is False or (state.result is None and not test):
        return "FAILED"
    if state.changed or (test and state.result is None):
        return "would" if test else "changed"
    return ""


def _failure_lines(word: str, state: StateEnded) -> list[str]:
    if word == "FAILED":
        which = [f"name: {middle(one_line(state.name), FITS - 16)}"] if _says_more(state) else []
        return [*which, *tail(condensed(failure(state)), COMMENT_LINES), *cut(state.diff, DIFFERENCE)]
    if word != "would":
        return []
    return [
        *(["(unsure: tested with the old files in project/)"] if state.unsure else []),
        *(cut(state.diff, DIFFERENCE) or tail(state.comment, 4)),
    ]


def _says_more(state: StateEnded) -> bool:
    """Return whether the name of a state distinguishes it; of a command its output does."""
    return state.name != state.id and (not state.output or not state.function.startswith("cmd."))


def all_states(found: Sequence[StateEnded]) -> list[str]:
    """Return the states of an SLS with comment and changes, for the whole log: a multi-line text for each.

    Failed states that were shown completely before are omitted.
    """
    texts: list[str] = []
    failed = [state for state in found if state.result is False and not state.skipped][:FAILED]
    for state in found:
        if state in failed and _is_shown_whole(state):
            continue
        word = {True: "ok", False: "FAILED", None: "would"}[state.result]
        inner = [line for text in (state.comment, state.diff, state.output) for line in lines(text)]
        texts.append("\n".join([*state_lines(word, state), *indent(inner, 10)]))
    return texts


def _is_shown_whole(state: StateEnded) -> bool:
    """Return whether a failure was shown completely on the terminal."""
    known = [line for text in (failure(state), state.diff) for line in lines(text)]
    return set(known) <= set(_failure_lines("FAILED", state))


def errors(ended: SlsEnded) -> list[str]:
    """Return why no state of an SLS ran."""
    return indent(cut("\n".join(ended.errors)), 8)


def state_lines(word: str, state: StateEnded) -> list[str]:
    """Return one state as a line; its position or requisite can need a second one."""
    where = _where(word, state)
    took = f"{state.seconds:.1f} s" if word in ("changed", "ok") else ""
    room = FITS - 18 - len(state.function) - (10 if took else 0)
    left = f"        {word:<8} {middle(one_line(state.id), room):<12} {state.function}"
    if len(left) + 1 + len(where) > FITS:
        return [left, f"          {middle(where, FITS - 10)}"]
    left = f"{left} {where}".rstrip()
    return [f"{left:<{WIDTH - 8}}{took:>8}".rstrip()]


def _where(word: str, state: StateEnded) -> str:
    """Return the position of a failed state, or the requisites of one that was not run."""
    if word == "FAILED" and state.line:
        return f"({state.sls}.sls line {state.line})"
    found = REQUIRED.search(state.comment) if word == "not run" else None
    if not found:
        return ""
    names = [re.sub(r"^makina-projects\.[\w-]+\.", "", name.strip()) for name in one_line(found[1]).split(", ")]
    return f"(requires {', '.join(name.removeprefix(f'{state.sls}.') for name in names)})"
