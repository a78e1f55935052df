"""The command that makes a machine a host."""

from __future__ import annotations

import sys

import click

from corpushooks import __version__, manual, setup
from corpushooks.cli_looking import doctor_


@click.command("setup")
@click.option("--dry-run", is_flag=True, help="Say what would change; change nothing.")
@click.option("--undo", is_flag=True, help="Take back what setup made; projects, history and logs stay.")
@click.pass_context
def setup_(context: click.Context, dry_run: bool, undo: bool) -> None:
    """Make this machine a host, or repair it: account, units, sshd, settings, logs; then ask doctor."""
    host, machine = context.obj.host, setup.machine_of(context.obj.host)
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


COMMANDS = (setup_,)
