"""The commands for the nodes of this controller, and the session of a controller on a node."""

from __future__ import annotations

import json
import secrets
import sys
from dataclasses import replace
from pathlib import Path

import click

from corpushooks.cli.base import JSON, NAME, Context, Screen, exit_code, tell, warn
from corpushooks.core.errors import UnreachableError
from corpushooks.fleet import bootstrap
from corpushooks.fleet.address import parse
from corpushooks.protocol import asks
from corpushooks.store.standing import CURRENT


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


@node.command("init")
@NAME
@click.argument("address", metavar="root@HOST[:PORT]")
@click.option("--package", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Install this .deb.")
@click.option("--account", default="corpus", help="The account for ssh keys there.", show_default=True)
@click.option("--called", default="main", help="The name of this controller there.", show_default=True)
@click.option("--label", "labels", multiple=True, metavar="L", help="A label of the node; repeatable.")
@click.option("--link", "projects", multiple=True, metavar="PROJECT", help="Deploy this project to it; repeatable.")
@click.pass_obj
def init(
    context: Context, name: str, address: str, package: Path | None, account: str, called: str,
    labels: tuple[str, ...], projects: tuple[str, ...],
) -> None:  # fmt: skip
    """Make a bare Debian a node, over ssh as root.

    Installs the package, sets up the host, lets this controller in and adds the node; --link deploys projects to it.
    It comes with your own ssh keys. All of it can be done again: what is right is kept.
    """
    key = context.told("node key", asks.Nothing()).plain["key"]
    there = bootstrap.Machine(name, parse(address), key, called, context.settings().environment, package)
    for line in bootstrap.steps(there):
        click.echo(line)
    place = replace(there.address, account=account)
    asked = asks.NodeAdd(name=name, address=str(place), labels=labels, fingerprint=there.said["host key"])
    added = context.told("node add", asked)
    bootstrap.check(there, added.plain)
    click.echo(f"{'node':<10} {added.lines[0]}")
    for project in projects:
        linked = context.told("node link", asks.OnNode(project=project, name=name))
        click.echo(f"{'link':<10} {linked.lines[0]}")
        warn(linked.warnings)


@node.command("sync")
@NAME
@click.argument("project", required=False)
@JSON
@click.pass_obj
def sync(context: Context, name: str, project: str | None, as_json: bool) -> None:
    """Bring a node to what is live here, over drift and edits.

    What the node runs is archived first. Without PROJECT: all of its projects that are not current.
    """
    names = [project] if project else _not_current(context, name)
    for each in names:
        context.row(each)  # says better than the daemon what is wrong with the store
    screen = Screen(err=as_json, lasting=True)
    found = [
        screen.ask(context.host, "node sync", asks.NodeSync(
            project=each, name=name, progress=screen.rewrites, token=secrets.token_hex(16)
        )) for each in names
    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps(found[0] if project else found, indent=2))
    elif not names:
        click.echo(f"all projects of {name} are current")
    sys.exit(max((exit_code(each["state"]) for each in found), default=0))


def _not_current(context: Context, name: str) -> list[str]:
    found = context.told("node show", asks.OfNode(name=name)).plain
    if found["wrong"]:
        raise UnreachableError(f"{name} does not answer: {found['wrong']}")
    return [each["project"] for each in found["projects"] if each["state"] != CURRENT]


@node.command("serve", hidden=True)
@click.pass_obj
def serve(context: Context) -> None:
    """Answer the orders of a controller on standard input."""
    from corpushooks.cli import node_session  # here: only the program that sshd starts needs it

    node_session.serve(context.host)


COMMANDS = (node,)
