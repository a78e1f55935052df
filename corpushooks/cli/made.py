"""The commands generated from the table of operations: those without a function of their own."""

from __future__ import annotations

from typing import Any

import click

from corpushooks.cli.base import Context, check_outside, report
from corpushooks.operations.table import COMMAND, Operation, by_door
from corpushooks.operations.words import JSON, NUMBER


def short() -> dict[str, str]:
    """Return the short help of each of these commands, by name; those of two words are in a group."""
    rows = {name: row for name, row in by_door(COMMAND).items() if not row.part_of and " " not in name}
    return {name: f"{row.does[0].upper()}{row.does[1:]}" for name, row in rows.items()}


def complete(group: click.Group, wanted: str, *, own: bool) -> None:
    """Add the command of a name to a group, unless it has its `own`, and its two-word commands to that."""
    for name, row in by_door(COMMAND).items():
        first, _, second = name.partition(" ")
        inner = group.commands.get(first)
        if first != wanted or row.part_of:
            continue
        if second and isinstance(inner, click.Group) and second not in inner.commands:
            inner.add_command(command_of(row, second))
        elif not second and inner is None and not own:
            group.add_command(command_of(row, name))


def command_of(row: Operation, name: str) -> click.Command:
    """Return the command for an operation: its arguments and flags are the fields of the request."""

    def act(context: Context, as_json: bool, **given: Any) -> None:
        found = {field: value for field, value in given.items() if value is not None}
        if row.alone:
            check_outside(context, found["project"], "try again when it has ended")
        report(context, row.name, context.told(row.name, row.asks(**found)), as_json)

    word = row.word
    params: list[click.Parameter] = [
        click.Argument(
            [called.lower()], metavar=called, required=place < word.needs, type=int if like is NUMBER else None
        )
        for place, (called, like) in enumerate(word.takes)
    ]
    params += [click.Option([flag], is_flag=True) for flag in sorted(word.flags - {JSON})]
    params.append(click.Option([JSON, "as_json"], is_flag=True, help="Print JSON."))
    text = f"{row.does[0].upper()}{row.does[1:]}."
    return click.Command(name, params=params, callback=click.pass_obj(act), help=text)
