"""The commands for the nodes of this controller, and the session of a controller on a node."""

from __future__ import annotations

import click

from corpushooks.cli.base import JSON, NAME, Context, tell
from corpushooks.protocol import asks


@click.group("node")
def node() -> None:
    """Manage the nodes: hosts that this one deploys to."""


@node.command("add")
@NAME
@click.argument("address", metavar="ACCOUNT@HOST[:PORT]")
@click.option("--label", "labels", multiple=True, metavar="L", help="A label of the node; repeatable.")
@click.option("--fingerprint", metavar="SHA256:...", help="The host key that it must have.")
@JSON
@click.pass_obj
def add(
    context: Context, name: str, address: str, labels: tuple[str, ...], fingerprint: str | None, as_json: bool
) -> None:
    """Add a node, or change its address and labels.

    Its host key is pinned: a machine with another one is not talked to.
    """
    asked = asks.NodeAdd(name=name, address=address, labels=labels, fingerprint=fingerprint or "")
    tell(context.told("node add", asked), as_json)


@node.command("accept")
@NAME
@click.option("--label", "labels", multiple=True, metavar="L", help="A label of the node; repeatable.")
@click.option("--fingerprint", metavar="AA:BB:...", help="The key that it must have, as setup printed it there.")
@JSON
@click.pass_obj
def accept(context: Context, name: str, labels: tuple[str, ...], fingerprint: str | None, as_json: bool) -> None:
    """Accept a node that waits at the Salt master, and add it.

    Its key must have the fingerprint that `corpus setup --node` printed on the node. It is told where it fetches
    commits, and its key for that is added.
    """
    asked = asks.NodeAccept(name=name, labels=labels, fingerprint=fingerprint or "")
    tell(context.told("node accept", asked), as_json)


@node.command("serve", hidden=True)
@click.pass_obj
def serve(context: Context) -> None:
    """Answer the orders of a controller on standard input."""
    from corpushooks.cli import node_session  # here: only the program that sshd starts needs it

    node_session.serve(context.host)


COMMANDS = (node,)
