"""Rows and columns: widths, and how lines are made. Values only."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from corpushooks.core.text import excerpt, lines, middle, shortened, shown

LABEL, WIDTH = 29, 66  # columns; git puts "remote: " in front, and terminals have 80
NAMED = 48  # columns of a name in an error
FITS = 72  # columns, the longest line of ours
# Limits of the terminal of a push; the whole log has more.
SCREEN = 200  # lines of an output or an error, states of one kind
COLUMNS = 400

BOTH, WHOLE, TERMINAL = "both", "whole", "terminal"  # where a line is shown: both, the whole log, the terminal


@dataclass(frozen=True)
class Line:
    """A line, and where it is shown."""

    text: str
    readers: str = BOTH


def both(texts: Sequence[str]) -> list[Line]:
    """Return lines for the terminal and the whole log."""
    return [Line(text) for text in texts]


def aside(*texts: str) -> list[Line]:
    """Return the lines of texts for the whole log only."""
    return [Line(line, WHOLE) for text in texts for line in text.split("\n")]


def row(label: str, detail: str, seconds: float | None) -> str:
    """Return one line of the procedure: a label, the result, the duration."""
    detail = middle(detail, FITS - 8 - LABEL)
    label = middle(label, max(LABEL - 1, WIDTH - 8 - 2 - len(detail)))
    left = f"{label:<{LABEL}}{detail}" if len(label) < LABEL else f"{label}  {detail}"
    took = "" if seconds is None else f"{seconds:.1f} s"
    return f"{left:<{WIDTH - 8}}{took:>8}".rstrip()


def row_of(label: str, text: str) -> list[str]:
    """Return a label and a text of any length, in as many lines as it takes."""
    label = f"{middle(label, LABEL - 1):<{LABEL}}"
    return textwrap.wrap(text, FITS, initial_indent=label, subsequent_indent=" " * LABEL, break_on_hyphens=False)


def step_label(index: int, total: int, name: str, part: str = "", *, first: bool = True) -> str:
    """Return the label of a step, or of a part of one: [4/8] install 00_app."""
    mark = f"[{index}/{total}] " if first else " " * len(f"[{index}/{total}] ")
    return f"{mark}{name} {part}".rstrip()


def file_row(letter: str, path: str, counts: str) -> str:
    """Return the line of a file that a plan would change."""
    room = FITS - 10 - len(counts)
    return f"      {letter} {middle(path, room)}  {counts}".rstrip()


def heartbeat(what: str, since: str, last: str) -> str:
    """Return the line of a step that still runs, with the last output of its command."""
    line = f"      … {middle(what, NAMED)}, {since}"
    room = FITS - len(line) - 2
    return f"{line}: {shown(last.strip(), room)}" if last.strip() and room > 8 else line


def complaint(word: str, text: str) -> str:
    """Return an error or a warning, of which errors are wrapped for a terminal."""
    first, *rest = [line.rstrip() for line in text.strip().splitlines() if line.strip()] or [""]
    inner, wrapped = " " * (len(word) + 2), [first]
    if word == "error":  # a warning can contain a command to paste
        wrapped = textwrap.wrap(first, FITS - len(inner), break_long_words=False, break_on_hyphens=False) or [""]
    return f"{word}: " + f"\n{inner}".join([*wrapped, *rest])


def ends(texts: Sequence[str], limit: int, total: int) -> list[str]:
    """Return lines; of too many, the first and last and how many were omitted; some can be missing already."""
    if total <= limit:
        return list(texts)
    half = limit // 2
    return [*texts[:half], f"… {total - 2 * half} lines omitted …", *texts[-half:]]


def tail(text: str, limit: int) -> list[str]:
    """Return the end of a text, with how much was omitted."""
    found = lines(text.strip())
    more = [f"… {len(found) - limit} more lines in the whole log"] if len(found) > limit else []
    return [*more, *(shortened(line, COLUMNS) for line in found[-limit:])]


def cut(text: str, limit: int = SCREEN) -> list[str]:
    """Return a text for a terminal: the first and last of many lines, and no long ones."""
    return [shortened(line, COLUMNS) for line in excerpt(lines(text), limit)]


def indent(found: Sequence[str], columns: int) -> list[str]:
    """Return indented lines."""
    return [" " * columns + line for line in found]
