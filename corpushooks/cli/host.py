"""The commands for the host as a whole: setup, store, documentation, demo."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from corpushooks import __version__
from corpushooks.admin import rebuild, setup
from corpushooks.admin.setup import manual, wires
from corpushooks.backup import vault
from corpushooks.cli import demo, pages
from corpushooks.cli.base import JSON, Context, show
from corpushooks.cli.looking import doctor_
from corpushooks.core.errors import CorpusError, NoDaemonError, RefusedError, UsageError
from corpushooks.core.hints import Advice
from corpushooks.protocol import client


@click.command("setup")
@click.option("--dry-run", is_flag=True, help="Show what would change; change nothing.")
@click.option("--undo", is_flag=True, help="Undo what setup did; projects, history and logs stay.")
@click.option("--backup", is_flag=True, help="Create only the backup repository in the settings, and its timers.")
@click.option("--exported", is_flag=True, help="With --backup: record that its passphrase is kept elsewhere.")
@click.option("--web", is_flag=True, help="Set up only the pages and the API: account, unit, snippet for nginx.")
@click.option(
    "--controller", type=click.Choice(["salt"]), help="Set up only a Salt master, for nodes that connect here."
)
@click.option("--listen", metavar="HOST[:PORT]", help="With --controller: where it listens, at PORT and the next.")
@click.option("--node", metavar="MASTER[:PORT]", help="Set up only a Salt minion: this is a node of that controller.")
@click.option(
    "--fingerprint", metavar="AA:BB:...", help="With --node: the key of the master, as setup printed it there."
)
@click.option("--name", metavar="NODE", help="With --node: the name of this node; the default is that of the machine.")
@click.option("--as", "as_", metavar="KEY", help="With --node: the name of the controller here; the default is main.")
@click.pass_context
def setup_(
    context: click.Context, /, dry_run: bool, undo: bool, backup: bool, exported: bool, web: bool, **given: str | None
) -> None:
    """Set up this machine as a host, or repair it.

    Sets up the account, the systemd units, sshd, settings and logs, then runs doctor.
    """
    host, machine = context.obj.host, setup.machine_of(context.obj.host)
    if any(given.values()):
        if dry_run or undo or backup or exported or web:
            raise UsageError("--controller and --node cannot be combined with other options")
        for told in _wires(setup.Plan(host, context.obj.settings(), machine), given):
            click.echo(str(told))
        return
    if web:
        if dry_run or undo or backup or exported:
            raise UsageError("--web cannot be combined with other options")
        for line in setup.serve(setup.Plan(host, context.obj.settings(), machine)):
            click.echo(str(line))
        return
    if backup or exported:
        if not backup or dry_run or undo:
            raise UsageError("--backup can be combined with --exported only, and --exported needs --backup")
        _set_up_backups(setup.Plan(host, context.obj.settings(), machine), exported=exported)
        return
    manuals = manual.files(context.find_root().command, "corpus", __version__)
    if undo:
        lines = setup.undo(host, machine, dry=dry_run)
    else:
        lines = setup.setup(setup.Plan(host, context.obj.settings(), machine, manuals), dry=dry_run)
    failed = 0
    for line in lines:
        click.echo(str(line))
        failed += not line.done
    if undo or dry_run:
        sys.exit(1 if failed else 0)
    context.invoke(doctor_)


def _wires(plan: setup.Plan, given: dict[str, str | None]) -> Iterator[Advice]:
    """Set up what carries orders by Salt; yield what is done."""
    user, of_node = getpass.getuser(), [name for name in ("fingerprint", "name", "as_") if given[name]]
    if given["controller"] and not (given["node"] or of_node):
        return wires.controller(plan, given["listen"] or "", user)
    if not given["node"] or given["controller"] or given["listen"]:
        raise UsageError("use --controller salt [--listen], or --node MASTER --fingerprint [--name] [--as]")
    place, name = wires.Place.parse(given["node"]), given["name"] or wires.own_name()
    return wires.node(plan, wires.Joining(place, given["fingerprint"] or "", name, given["as_"] or "main"), user)


def _set_up_backups(plan: setup.Plan, *, exported: bool) -> None:
    """Create what backups need; fail until --exported was given once."""
    host, kept = plan.host, vault.wanted(plan.settings)
    for made in vault.begin(host, plan.settings):
        click.echo(f"{'created':<10} {made}")
    for line in setup.schedule(plan):
        click.echo(str(line))
    if exported:
        vault.exported(host, kept)
    if not vault.is_exported(host, kept):
        raise CorpusError(
            "without the passphrase no backup can be read; keep a copy elsewhere", vault.advice(host, kept)
        )
    click.echo(f"{'ok':<10} backups go to {kept.repository}")


@click.command("rebuild")
@JSON
@click.pass_obj
def rebuild_(context: Context, as_json: bool) -> None:
    """Rebuild a lost or damaged store.

    It is rebuilt from what is left of it and from the files on disk. The damaged files are kept.
    """
    try:
        lines = rebuild.rebuild(context.host, context.settings())
    except NoDaemonError:
        pid = client.ping(context.host)
        raise RefusedError("a daemon is still running on this store", f"stop it first: kill {pid}") from None
    show(as_json, {"done": lines}, lines)


@click.command("demo")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
def demo_(folder: Path | None) -> None:
    """Run the demo: a host in a folder and six pushes.

    The host is created in FOLDER (default: a new temporary folder).
    """
    sys.exit(demo.run(folder, click.echo))


@click.command("help")
@click.argument("topic", required=False)
@click.pass_context
def help_(context: click.Context, topic: str | None) -> None:
    """Show help for a command, or a page of the docs.

    Without TOPIC all commands and pages are listed.
    """
    parent = context.parent
    assert parent is not None and isinstance(parent.command, click.Group)
    command = parent.command.get_command(parent, topic) if topic else None
    if command:
        click.echo(command.get_help(click.Context(command, parent, info_name=topic)))
    elif topic:
        click.echo(pages.page(topic))
    else:
        click.echo(parent.get_help())
        click.echo("\n".join(["", "Pages of the documentation:", *(f"  {line}" for line in pages.listed())]))


COMMANDS = (setup_, rebuild_, demo_, help_)
