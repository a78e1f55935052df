"""The command that serves the pages and the API."""

from __future__ import annotations

import socket

import click
from click.core import ParameterSource

from corpushooks.cli.base import Context, warn
from corpushooks.core.errors import Fault, UsageError
from corpushooks.system import distribution
from corpushooks.system.supervisor import supervisor

PORT = 8040
ELSEWHERE = "set ListenStream= there: systemctl edit corpushooks-web.socket"


@click.command()
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on; a web server in front does TLS.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="The port; 0: any free one."
)
@click.pass_obj
def web(context: Context, address: str, port: int) -> None:
    """Serve the pages and the API over HTTP.

    It runs until SIGTERM, and asks the daemon with the token of each request. Where systemd gives it a socket, it
    listens there.
    """
    try:
        from corpushooks.web import server
    except ModuleNotFoundError as exc:
        raise UsageError(f"a library is missing: {exc.name}", hint=distribution.completing()) from None
    given = supervisor().listener(socket.AF_INET, socket.AF_INET6)
    with given or server.listen(address, port) as listener:
        where, number = listener.getsockname()[:2]
        shown = f"{f'[{where}]' if ':' in where else where}:{number}"
        typed = _typed("address", "port") if given else ()
        warn([Fault(f"--{name} is ignored: systemd gave the socket {shown}", ELSEWHERE) for name in typed])
        click.echo(f"listening on http://{shown}")
        server.run(context.host, listener)


def _typed(*names: str) -> list[str]:
    """Return which options of this command somebody gave."""
    source = click.get_current_context().get_parameter_source
    return [name for name in names if source(name) is ParameterSource.COMMANDLINE]


COMMANDS = (web,)
