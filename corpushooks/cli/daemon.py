"""The daemon's command, alone in its file: what other commands load would stay in the daemon's memory."""

from __future__ import annotations

import click

from corpushooks.cli.base import Context, starting
from corpushooks.daemon import server
from corpushooks.host.site import open_site
from corpushooks.operations.ssh_commands import can_ask


@click.command("daemon")
@click.option("--embedded", is_flag=True, hidden=True, help="Exit after idle time.")
@click.pass_obj
def daemon_(context: Context, embedded: bool) -> None:
    """Run the daemon.

    It runs until SIGTERM.
    """
    with starting(context.host, embedded=embedded):
        server.run(lambda: open_site(context.host, can_ask), embedded=embedded)


COMMANDS = (daemon_,)
