"""The commands for ssh keys and freezes."""

from __future__ import annotations

import sys
from typing import IO

import click

from corpushooks.cli import granting
from corpushooks.cli.base import JSON, NAME, Context, tell
from corpushooks.core import rights
from corpushooks.core.errors import UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.protocol import asks

FREEZE = Hint(command("freeze", "NAME"), ' "why"')
KEY_LIMIT = 60_000  # characters of a key file


@click.group("key")
def key_() -> None:
    """Manage ssh keys and their rights."""


@key_.command("add")
@NAME
@click.argument("file", type=click.File("r", encoding="utf-8", errors="replace"))
@granting.right(rights.PUSH)
@click.option("--node", "right", flag_value=rights.NODE, help="Right: deploy to this host as its controller; no other.")
@granting.PROJECTS
@granting.EXPIRES
@click.option("--authority", is_flag=True, help="It is the key of a certificate authority.")
@click.option("--principal", "principals", multiple=True, help="Accept certificates with this principal; repeatable.")
@JSON
@click.pass_obj
def add(
    context: Context, name: str, file: IO[str], right: str, projects: tuple[str, ...], expires: str | None,
    authority: bool, principals: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Add an ssh key.

    Adds the public key in FILE (-: standard input) as NAME. A key that is already registered gets these rights in
    addition; `corpus key set` replaces them.
    """
    if file.isatty():
        click.echo("Paste the public key, then press Enter and Ctrl-D.", err=True)
    asked = asks.KeyAdd(
        name=name, key=file.read(KEY_LIMIT), right=right, projects=projects, expires=expires or "",
        authority=authority, principals=principals,
    )  # fmt: skip
    tell(context.told("key add", asked), as_json)


@key_.command("set")
@NAME
@granting.right()
@granting.PROJECTS
@click.option("--every-project", is_flag=True, help="All projects of this host.")
@click.option("--expires", metavar="DAY", help="Last day: 2030-12-31, 90d from now, or never.")
@click.option("--principal", "principals", multiple=True, help="Accept certificates with this principal; repeatable.")
@JSON
@click.pass_obj
def set_(
    context: Context, name: str, right: str | None, projects: tuple[str, ...], every_project: bool,
    expires: str | None, principals: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Change the rights of an ssh key.

    Changes the right, the projects and the expiry of key NAME. What is not given stays as it is.
    """
    asked = asks.KeySet(
        name=name, right=right or "", projects=projects, every_project=every_project, expires=expires or "",
        principals=principals,
    )  # fmt: skip
    tell(context.told("key set", asked), as_json)


@key_.command("test")
@NAME
@click.argument("project")
@JSON
@click.pass_obj
def test(context: Context, name: str, project: str, as_json: bool) -> None:
    """Show what an ssh key can do with a project, and why.

    For a key from a directory the directory is asked.
    """
    told = context.told("key test", asks.KeyTest(name=name, project=project))
    tell(told, as_json)
    sys.exit(0 if any(told.plain.values()) else 1)


# freezes


@click.command()
@click.argument("name", required=False)
@click.argument("reason", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All projects of this host.")
@JSON
@click.pass_obj
def freeze(context: Context, name: str | None, reason: tuple[str, ...], every: bool, as_json: bool) -> None:
    """Refuse deployments until thawed.

    Anyone who is refused sees REASON.
    """
    if every:
        name, reason = "", tuple(filter(None, (name, *reason)))
    if not name and not every:
        raise UsageError(
            "expected a project or --all", hint=Hint(FREEZE, ", or: ", command("freeze", "--all"), ' "why"')
        )
    tell(context.told("freeze", asks.Freeze(project=name or "", reason=" ".join(reason))), as_json)


@click.command()
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="End the freeze set with --all.")
@JSON
@click.pass_obj
def thaw(context: Context, name: str | None, every: bool, as_json: bool) -> None:
    """End a freeze."""
    if bool(name) == every:
        raise UsageError(
            "expected a project or --all", hint=Hint(command("thaw", "NAME"), ", or: ", command("thaw", "--all"))
        )
    tell(context.told("thaw", asks.OfProjectOrHost(project=name or "")), as_json)


COMMANDS = (key_, freeze, thaw)
