"""Reports as tables, for a terminal; pipes get plain lines. The only user of rich, loaded when needed.

Texts come from deployments: each is cleaned, and none is interpreted as markup.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from corpushooks.core.deployment import kind_of
from corpushooks.core.hints import Advice
from corpushooks.core.text import clean, shown
from corpushooks.screen import view

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

COLOURS = {
    "deployed": "green", "done": "green", "runs": "cyan", "waits": "cyan", "rolls back": "yellow",
    "rolled back": "red", "failed": "red", "refused": "yellow", "cancelled": "yellow", "broken": "bold red",
    "BROKEN": "bold red", "backup OVERDUE": "bold red",
    "drill OVERDUE": "bold red", "drill FAILED": "bold red",
    "last": "yellow", "last failure": "dim", "A": "green", "M": "yellow", "D": "red",
    "+": "green", "~": "yellow", "-": "red",
}  # fmt: skip


def show(kind: str, value: Any, lines: Sequence[str], spell: Callable[[Advice], str] = str) -> bool:
    """Show a report as a table; return False if it has none: the caller prints its lines."""
    make = TABLES.get(kind)
    rows = value if isinstance(value, list) else [value]
    if make is None or not rows:
        return False
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if kind == "diff":
        console.print(_text(lines[0], "bold"))
    console.print(_status(rows, spell) if kind == "status" else make(rows))
    for place in (one.get(key) for one in rows if kind == "status" for key in ("code_url", "pillar_url")):
        if place:
            console.print(_text(place), soft_wrap=True)  # to be copied
    return True


def _text(text: object, style: str = "") -> Text:
    """Return text without interpreting markup in it."""
    from rich.text import Text

    return Text(clean("" if text is None else str(text)), style)


def _table(*columns: str) -> Table:
    """Return a table without borders; ">" before a name aligns right, "+" allows wrapping."""
    from rich.table import Table

    found = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        name, folds = column.lstrip(">+"), column.startswith("+")
        found.add_column(
            _text(name), justify="right" if column.startswith(">") else "left", overflow="fold", no_wrap=not folds
        )
    return found


def _lines(texts: Sequence[str]) -> Text:
    """Return lines, each coloured by its first words."""
    from rich.text import Text

    return Text("\n").join(_text(text, COLOURS.get(text.partition(":")[0].partition(",")[0], "")) for text in texts)


def _word(state: str) -> Text:
    """Return an outcome in its colour."""
    word = view.outcome(state)
    return _text(word, COLOURS.get(word, ""))


def _seconds(found: float | None) -> str:
    return "" if found is None else f"{found:.1f} s"


def _status(rows: Sequence[Mapping[str, Any]], spell: Callable[[Advice], str] = str) -> Table:
    """Return the status of each project, one row each."""
    table, now = _table("+project", "env", "live", "commit", "since", "+by", "+now"), time.time()
    for one in rows:
        since = view.ago(now - one["since"]) if one["since"] else ""
        rest = [spell(line).strip() for line in view.status(one, now)[1:]]
        table.add_row(
            _text(one["project"], "bold"), _text(one["environment"]), _text(one["live"] or "nothing"),
            _text(view.short(one["commit"]) if one["live"] else ""), _text(since), _text(one["by"]), _lines(rest),
        )  # fmt: skip
    return table


def _history(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the deployments of a project, the live one highlighted."""
    table = _table(">number", "when", "outcome", ">took", "+who", "+from -> to")
    for one in rows:
        live, number = one.get("live"), one["number"]
        table.add_row(
            _text(f"{'* ' if live else ''}{number}", "bold green" if live else ""),
            _text(time.strftime("%Y-%m-%d %H:%M", time.localtime(one["queued"]))),
            _word(one["state"]), _text(_seconds(one["took"])), _text(one["by"]), _lines(_ways(one)),
        )  # fmt: skip
    return table


def _ways(one: Mapping[str, Any]) -> list[str]:
    """Return the kind, the revisions and the reason of a deployment."""
    pair = one["old_code"], one["new_code"], one["old_pillar"], one["new_pillar"]
    ways = view.course(*pair, 0) if one["new_code"] else ""
    kind = "" if kind_of(one["kind"]).usual else one["kind"]
    return [text for text in (kind, ways, one["reason"]) if text]


def _archives(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table(">number", "+archive", "before", "failed tree", "")
    for one in rows:
        failed = view.short(one["failed"]) if one["failed"] else ""
        broken = "" if one["whole"] else "incomplete"
        table.add_row(
            _text(one["number"]), _text(one["name"]), _text(view.short(one["commit"])), _text(failed, "red"),
            _text(broken, "yellow"),
        )  # fmt: skip
    return table


def _stats(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("+project", ">tried", ">succeeded", ">median", ">p95", "+slowest SLS")
    for one in rows:
        rate = "" if one["success_rate"] is None else f"{one['succeeded']} ({100 * one['success_rate']:.0f} %)"
        slow = [f"{stem} {seconds:.1f} s" for stem, seconds in one["slowest"]]
        table.add_row(
            _text(one["project"], "bold"), _text(one["deployments"]), _text(rate), _text(_seconds(one["median"])),
            _text(_seconds(one["p95"])), _lines(slow),
        )  # fmt: skip
    return table


def _diff(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the files and the values of cfg that differ."""
    (one,) = rows
    table = _table("", "+")
    table.show_header = False
    for letter, path in one["files"]:
        table.add_row(_text(letter, COLOURS.get(letter, "")), _text(shown(path)))
    for line in one["cfg"]:
        table.add_row(_text(line[:1], COLOURS.get(line[:1], "")), _text(f"cfg {line[2:]}"))
    return table


TABLES: Mapping[str, Callable[[Sequence[Mapping[str, Any]]], Table]] = {
    "status": _status, "history": _history, "archives": _archives, "stats": _stats, "diff": _diff,
}  # fmt: skip
