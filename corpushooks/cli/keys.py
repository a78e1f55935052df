"""The commands that say who may: ssh keys, and what is frozen."""

from __future__ import annotations

import sys
from typing import IO

import click

from corpushooks.cli.base import JSON, NAME, Context, tell
from corpushooks.core import rights
from corpushooks.core.errors import UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.protocol import asks

FREEZE = Hint(command("freeze", "NAME"), ' "why"')
KEY_LIMIT = 60_000  # characters of a file with a key


@click.group("key")
def key_() -> None:
    """Say which ssh keys are let in, and what each may."""


@key_.command("add")
@NAME
@click.argument("file", type=click.File("r", encoding="utf-8", errors="replace"))
@click.option("--read", "right", flag_value=rights.READ, help="It may fetch, and see status, history and logs.")
@click.option("--push", "right", flag_value=rights.PUSH, default=True, help="It may deploy, too (the default).")
@click.option("--admin", "right", flag_value=rights.ADMIN, help="It may also freeze and thaw, and deploy while frozen.")
@click.option("--host", "right", flag_value=rights.HOST, help="It may also make projects, and say which keys may what.")
@click.option("--project", "projects", multiple=True, metavar="P", help="Only this project; may be given again.")
@click.option("--expires", metavar="DAY", help="Until when: 2030-12-31, or 90d from now.")
@click.option("--authority", is_flag=True, help="It is that of an authority, whose certificates are let in.")
@click.option("--principal", "principals", multiple=True, help="Of a certificate: one that counts; may be given again.")
@JSON
@click.pass_obj
def add(
    context: Context, name: str, file: IO[str], right: str, projects: tuple[str, ...], expires: str | None,
    authority: bool, principals: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Add the public key in FILE (-: what is typed in) as NAME. A key that is here gets these rights as well.

    An existing key loses nothing: corpus key set replaces what it has.
    """
    if file.isatty():
        click.echo("Paste the public key; end it with Enter and Ctrl-D.", err=True)
    asked = asks.KeyAdd(
        name=name, key=file.read(KEY_LIMIT), right=right, projects=projects, expires=expires or "",
        authority=authority, principals=principals,
    )  # fmt: skip
    tell(context.told("key add", asked), as_json)


@key_.command("set")
@NAME
@click.option("--read", "right", flag_value=rights.READ, help="Only fetch, and see status, history and logs.")
@click.option("--push", "right", flag_value=rights.PUSH, help="Also deploy.")
@click.option("--admin", "right", flag_value=rights.ADMIN, help="Also freeze and thaw, and deploy what is frozen.")
@click.option("--host", "right", flag_value=rights.HOST, help="Also make projects, and say which keys may what.")
@click.option("--project", "projects", multiple=True, metavar="P", help="Only this project; may be given again.")
@click.option("--every-project", is_flag=True, help="Every project of this host.")
@click.option("--expires", metavar="DAY", help="Until when: 2030-12-31, 90d from now, or never.")
@click.option("--principal", "principals", multiple=True, help="Of a certificate: one that counts; may be given again.")
@JSON
@click.pass_obj
def set_(
    context: Context, name: str, right: str | None, projects: tuple[str, ...], every_project: bool,
    expires: str | None, principals: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Change what the key NAME has: its right, its projects, its expiry. What is not given stays as it is."""
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
    """Say what the key NAME may do with PROJECT, and why; of one of a directory, what that says now."""
    told = context.told("key test", asks.KeyTest(name=name, project=project))
    tell(told, as_json)
    sys.exit(0 if any(told.plain.values()) else 1)


# what is frozen


@click.command()
@click.argument("name", required=False)
@click.argument("reason", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every project of this host.")
@JSON
@click.pass_obj
def freeze(context: Context, name: str | None, reason: tuple[str, ...], every: bool, as_json: bool) -> None:
    """Refuse to deploy NAME, or --all, until it thaws; who tries is told REASON."""
    if every:
        name, reason = "", tuple(filter(None, (name, *reason)))
    if not name and not every:
        raise UsageError("which project?", hint=Hint(FREEZE, ", or: ", command("freeze", "--all"), ' "why"'))
    tell(context.told("freeze", asks.Freeze(project=name or "", reason=" ".join(reason))), as_json)


@click.command()
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="What was frozen with --all.")
@JSON
@click.pass_obj
def thaw(context: Context, name: str | None, every: bool, as_json: bool) -> None:
    """Deploy NAME, or --all, again."""
    if bool(name) == every:
        raise UsageError("which project?", hint=Hint(command("thaw", "NAME"), ", or: ", command("thaw", "--all")))
    tell(context.told("thaw", asks.OfProjectOrHost(project=name or "")), as_json)


COMMANDS = (key_, freeze, thaw)
