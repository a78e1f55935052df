"""The commands that keep data, and bring it back."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Sequence
from typing import Any

import click

from corpushooks.cli.base import JSON, Context, Screen, check_outside, exit_code, report
from corpushooks.errors import UsageError
from corpushooks.hints import Hint, command
from corpushooks.operations import asks

EVERY = click.option("--all", "every", is_flag=True, help="Every project, one after the other.")


@click.command()
@click.argument("name", required=False)
@EVERY
@click.option("--nowait", is_flag=True, help="Queue it and return.")
@JSON
@click.pass_obj
def backup(context: Context, name: str | None, every: bool, nowait: bool, as_json: bool) -> None:
    """Keep data/, the databases, the repositories and the history of a project in the backup repository."""
    names = _named(context, name, every=every)
    results = [_ask(context, each, nowait=nowait, as_json=as_json) for each in names]
    if as_json:
        click.echo(json.dumps(results if every else results[0], indent=2))
    sys.exit(max((exit_code(each["state"]) for each in results), default=0))


def _named(context: Context, name: str | None, *, every: bool) -> Sequence[str]:
    """Return the projects that are meant; raise UsageError."""
    if bool(name) == every:
        raise UsageError("name one project, or all of them with --all", hint=command("backup", "--help"))
    if name:
        context.row(name)
        return [name]
    return [row.name for row in context.history().projects()]


def _ask(context: Context, name: str, *, nowait: bool, as_json: bool) -> dict[str, Any]:
    """Ask the daemon and show what it says; return what came of it."""
    if not nowait:
        check_outside(context, name, Hint("with --nowait it is queued: ", command("backup", name, "--nowait")))
    screen = Screen(err=as_json, lasting=True)
    asked = asks.OfRequest(project=name, nowait=nowait, token=secrets.token_hex(16), progress=screen.rewrites)
    try:
        return screen.ask(context.host, "backup", asked)
    except KeyboardInterrupt:
        see = Hint("the backup goes on; see: ", command("log", name, "-f"), ", ", command("cancel", name))
        click.echo(context.host.spell(see), err=True)
        raise


@click.command()
@click.argument("name")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, help="How many (default: 20).")
@JSON
@click.pass_obj
def backups(context: Context, name: str, limit: int, as_json: bool) -> None:
    """List the backups of a project, and those that failed, the newest first."""
    report(context, "backups", context.told("backups", asks.History(project=name, limit=limit)), as_json)


COMMANDS = (backup, backups)
