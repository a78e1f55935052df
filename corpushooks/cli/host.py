"""The commands about the host as a whole: setup, daemon, store, documentation, demo."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from corpushooks import __version__
from corpushooks.admin import rebuild, setup
from corpushooks.admin.setup import manual
from corpushooks.backup import vault
from corpushooks.cli import demo, pages
from corpushooks.cli.base import JSON, Context, show, starting
from corpushooks.cli.looking import doctor_
from corpushooks.core.errors import CorpusError, NoDaemonError, RefusedError, UsageError
from corpushooks.daemon import server
from corpushooks.host.site import open_site
from corpushooks.operations.ssh_commands import can_ask
from corpushooks.protocol import client


@click.command("setup")
@click.option("--dry-run", is_flag=True, help="Say what would change; change nothing.")
@click.option("--undo", is_flag=True, help="Take back what setup made; projects, history and logs stay.")
@click.option(
    "--backup", is_flag=True, help="Make the repository of backups that the settings name, and timers, instead."
)
@click.option("--exported", is_flag=True, help="With --backup: its passphrase is kept elsewhere, too.")
@click.pass_context
def setup_(context: click.Context, dry_run: bool, undo: bool, backup: bool, exported: bool) -> None:
    """Make this machine a host, or repair it: account, units, sshd, settings, logs; then ask doctor."""
    host, machine = context.obj.host, setup.machine_of(context.obj.host)
    if backup or exported:
        if not backup or dry_run or undo:
            raise UsageError("--backup goes with --exported alone, and that with no other")
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


def _set_up_backups(plan: setup.Plan, *, exported: bool) -> None:
    """Make what backups need; it fails as long as nobody said that the passphrase is kept elsewhere."""
    host, kept = plan.host, vault.wanted(plan.settings)
    for made in vault.begin(host, plan.settings):
        click.echo(f"{'made':<10} {made}")
    for line in setup.schedule(plan):
        click.echo(str(line))
    if exported:
        vault.exported(host, kept)
    if not vault.is_exported(host, kept):
        raise CorpusError("without its passphrase nobody can read a backup, you neither", vault.advice(host, kept))
    click.echo(f"{'right':<10} backups are kept in {kept.repository}")


@click.command("daemon")
@click.option("--embedded", is_flag=True, hidden=True, help="Leave after idle time.")
@click.pass_obj
def daemon_(context: Context, embedded: bool) -> None:
    """Be the daemon: run deployments until told to stop (SIGTERM)."""
    with starting(context.host, embedded=embedded):
        server.run(lambda: open_site(context.host, can_ask), embedded=embedded)


@click.command("rebuild")
@JSON
@click.pass_obj
def rebuild_(context: Context, as_json: bool) -> None:
    """Make a store that is lost or damaged anew, from what is left of it and from the disk; what is left is kept."""
    try:
        lines = rebuild.rebuild(context.host, context.settings())
    except NoDaemonError:
        pid = client.ping(context.host)
        raise RefusedError("a daemon is at work with what is left of the store", f"stop it first: kill {pid}") from None
    show(as_json, {"done": lines}, lines)


@click.command("demo")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
def demo_(folder: Path | None) -> None:
    """Make a host in FOLDER (default: a new temporary one) and push to it: see deployments happen."""
    sys.exit(demo.run(folder, click.echo))


@click.command("help")
@click.argument("topic", required=False)
@click.pass_context
def help_(context: click.Context, topic: str | None) -> None:
    """Show the help of a command or a page of the documentation; without TOPIC, what there is."""
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


COMMANDS = (setup_, daemon_, rebuild_, demo_, help_)
