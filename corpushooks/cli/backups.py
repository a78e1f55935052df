"""The commands that back up and restore data."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click

from corpushooks.admin.disaster import Brought
from corpushooks.backup import vault
from corpushooks.cli import disaster
from corpushooks.cli.base import JSON, Context, Screen, check_outside, exit_code, report, show
from corpushooks.core.errors import UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.protocol import asks

PARTS = "give --data, --folder, --database, --dumps, --pillar, or --to FOLDER"
EVERY = click.option("--all", "every", is_flag=True, help="All projects, one after the other.")


@click.command()
@click.argument("name", required=False)
@EVERY
@click.option("--host", "itself", is_flag=True, help="Back up the host itself instead.")
@click.option("--nowait", is_flag=True, help="Queue it and return.")
@JSON
@click.pass_obj
def backup(context: Context, name: str | None, every: bool, itself: bool, nowait: bool, as_json: bool) -> None:
    """Back up a project.

    Backs up data/, the databases, the repositories and the history to the backup repository.
    """
    if itself:
        if name or every or nowait:
            raise UsageError("--host goes with no project and no other option", hint=command("backup", "--help"))
        said = disaster.keep(context)
        show(as_json, {"done": [said]}, [said])
        return
    names = _named(context, name, every=every)
    asked = [asks.OfRequest(project=each, nowait=nowait) for each in names]
    code = _all(context, "backup", asked, every, as_json)
    if every and not nowait:
        click.echo(disaster.keep(context), err=as_json)  # after the projects: its history has their backups
    sys.exit(code)


def _all(context: Context, operation: str, asked: Sequence[asks.OfRequest], every: bool, as_json: bool) -> int:
    """Ask for one after the other; return the worst exit code."""
    results = [_ask(context, operation, each, as_json=as_json) for each in asked]
    if as_json:
        click.echo(json.dumps(results if every else results[0], indent=2))
    return max((exit_code(each["state"]) for each in results), default=0)


def _named(context: Context, name: str | None, *, every: bool) -> Sequence[str]:
    """Return the projects to work on; raise UsageError."""
    if bool(name) == every:
        raise UsageError("give one project, or --all", hint=command("backup", "--help"))
    if name:
        context.row(name)
        return [name]
    return [row.name for row in context.history().projects()]


def _ask(context: Context, operation: str, asked: asks.OfRequest, *, as_json: bool) -> dict[str, Any]:
    """Ask the daemon and show its messages; return the result."""
    name = asked.project
    if not asked.nowait:
        check_outside(context, name, Hint("queue it instead: ", command("backup", name, "--nowait")))
    screen = Screen(err=as_json, lasting=True)
    try:
        given = replace(asked, token=secrets.token_hex(16), progress=screen.rewrites)
        return screen.ask(context.host, operation, given)
    except KeyboardInterrupt:
        see = Hint(f"{operation} continues; see: ", command("log", name, "-f"), ", ", command("cancel", name))
        click.echo(context.host.spell(see), err=True)
        raise


@click.command()
@click.argument("name", required=False)
@click.argument("number", metavar="BACKUP", type=int, required=False, default=0)
@EVERY
@click.option("--nowait", is_flag=True, help="Queue it and return.")
@JSON
@click.pass_obj
def drill(context: Context, name: str | None, number: int, every: bool, nowait: bool, as_json: bool) -> None:
    """Test that a backup can be restored.

    Restores BACKUP (default: the newest) to a scratch folder, compares it with what was backed up, and loads its dumps.
    """
    names = _named(context, name, every=every)
    asked = [asks.Drill(project=each, number=number, nowait=nowait) for each in names]
    sys.exit(_all(context, "drill", asked, every, as_json))


@click.command()
@click.argument("name", required=False)
@click.argument("number", metavar="BACKUP", type=int, required=False, default=0)
@click.option("--host", "repository", metavar="REPOSITORY", help="Restore a whole host, on one without projects.")
@click.option("--of", metavar="HOST", default="", help="With --host: the name of the host; default: this machine's.")
@click.option("--passphrase-file", type=click.Path(path_type=Path), help="With --host; default: a prompt.")
@click.option("--data", is_flag=True, help="Replace data/.")
@click.option(
    "--database", "databases", multiple=True, metavar="DATABASE", help="Restore a database that the cfg names."
)
@click.option("--folder", "folders", multiple=True, metavar="FOLDER", help="Replace a folder that the cfg names.")
@click.option("--dumps", is_flag=True, help="Load what dump.sls wrote, by task_load.sls.")
@click.option("--pillar", is_flag=True, help="Restore the branch of pillar.git.")
@click.option("--to", metavar="FOLDER", default="", help="Restore to a new folder instead; default: all parts.")
@click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")
@click.option("--force", is_flag=True, help="Replace existing data, which is kept aside.")
@click.option("--insist", is_flag=True, help="Restore although it is frozen; for root and the host's group.")
@JSON
@click.pass_obj
def restore(
    context: Context, name: str | None, number: int, repository: str | None, of: str, passphrase_file: Path | None,
    data: bool, databases: tuple[str, ...], folders: tuple[str, ...], dumps: bool, pillar: bool, to: str,
    dry_run: bool, force: bool, insist: bool, as_json: bool,
) -> None:  # fmt: skip
    """Restore parts of a backup.

    BACKUP is its number (default: the newest). It is compared with what was backed up before it is used.
    """
    if repository:
        others = [name, data, databases, folders, dumps, pillar, to, dry_run, force, insist]
        _restore_host(context, repository, of, passphrase_file, alone=not any(others))
    if not name or of or passphrase_file:
        raise UsageError("give a project, or --host REPOSITORY", hint=command("restore", "--help"))
    context.row(name)
    asked = asks.Restore(
        project=name, number=number, data=data, pillar=pillar, dumps=dumps, databases=databases, folders=folders, to=to,
        dry=dry_run, force=force, insist=insist,
    )  # fmt: skip
    if not (asked.parts or to):
        raise UsageError("nothing to restore", hint=PARTS)
    result = _ask(context, "restore", asked, as_json=as_json)
    if as_json:
        click.echo(json.dumps(result, indent=2))
    sys.exit(exit_code(result["state"]))


def _restore_host(context: Context, repository: str, of: str, file: Path | None, *, alone: bool) -> NoReturn:
    """Restore a host, then each of its projects; exit with the worst exit code."""
    if not alone:
        raise UsageError("--host goes with --of and --passphrase-file only", hint=command("restore", "--help"))
    kept = disaster.wanted(context.settings(), repository)
    brought = disaster.bring(context.host, kept, disaster.phrase(file), of)
    code = 0
    for one in brought:
        click.echo(f"{one.name}: its history and repositories are restored")
        if not one.number:
            click.echo(f"warning: {one.name} has no backup: push it again", err=True)
        for operation, asked in disaster.requests(one):
            result = _ask(context, operation, asked, as_json=False)
            code = max(code, exit_code(result["state"]))
        if one.left:
            _tell_left(context, one)
    sys.exit(code)


def _tell_left(context: Context, one: Brought) -> None:
    """Say what of a project is in its backup only, and the command that extracts it."""
    click.echo(f"warning: {one.name}: not put in place: {', '.join(one.left)}", err=True)
    where = Hint("they are in its backup: ", command("restore", one.name, "--to", f"/root/{one.name}"))
    click.echo(context.host.spell(where), err=True)


@click.command()
@click.argument("name", required=False)
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, help="How many (default: 20).")
@click.option("--check", is_flag=True, help="Check the whole backup repository for damage instead.")
@JSON
@click.pass_obj
def backups(context: Context, name: str | None, limit: int, check: bool, as_json: bool) -> None:
    """List the backups of a project, newest first, or check the repository.

    Failed backups are listed, too.
    """
    if check == bool(name):
        raise UsageError("give a project, or --check to check the repository", hint=command("backups", "--help"))
    if check:
        vault.check(context.host, context.settings())
        show(as_json, {"checked": True}, ["the backup repository is intact"])
        return
    report(context, "backups", context.told("backups", asks.History(project=name or "", limit=limit)), as_json)


@click.command()
@click.argument("name")
@click.option("--nowait", is_flag=True, help="Queue it and return.")
@JSON
@click.pass_obj
def prune(context: Context, name: str, nowait: bool, as_json: bool) -> None:
    """Remove the expired backups of a project.

    Also removes what failed backups left in the repository. Every backup does that, too.
    """
    context.row(name)
    sys.exit(_all(context, "prune", [asks.OfRequest(project=name, nowait=nowait)], False, as_json))


@click.command("check-backups")
@click.argument("name")
@click.option("--nowait", is_flag=True, help="Queue it and return.")
@JSON
@click.pass_obj
def check_backups(context: Context, name: str, nowait: bool, as_json: bool) -> None:
    """Check the backup repository for damage.

    Reads the whole repository, whatever project it is asked for, as a request of this project.
    """
    context.row(name)
    sys.exit(_all(context, "check-backups", [asks.OfRequest(project=name, nowait=nowait)], False, as_json))


COMMANDS = (backup, backups, check_backups, drill, prune, restore)
