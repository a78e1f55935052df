"""The commands that change settings of a project: the daemon does it, which has read them."""

from __future__ import annotations

import click

from corpushooks.cli.base import JSON, NAME, Context, tell
from corpushooks.protocol import asks


@click.group("setting")
def setting() -> None:
    """Show and change the settings of a project."""


@setting.command("set")
@NAME
@click.argument("key", metavar="SETTING")
@click.argument("value")
@JSON
@click.pass_obj
def set_(context: Context, name: str, key: str, value: str, as_json: bool) -> None:
    """Change a setting of a project.

    VALUE is written as in the file of the settings, where the change is made: 5, true, or "[a, b]". What runs goes on
    with the old value.
    """
    context.row(name)  # says better than the daemon what is wrong with the store
    tell(context.told_by_daemon("setting set", asks.SettingSet(project=name, name=key, value=value)), as_json)


@setting.command("unset")
@NAME
@click.argument("key", metavar="SETTING")
@JSON
@click.pass_obj
def unset(context: Context, name: str, key: str, as_json: bool) -> None:
    """Use the setting of the host again."""
    context.row(name)
    tell(context.told_by_daemon("setting unset", asks.OfSetting(project=name, name=key)), as_json)


COMMANDS = (setting,)
