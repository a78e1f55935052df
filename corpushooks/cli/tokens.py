"""The command that creates tokens of the API; the others of its group are generated from the table."""

from __future__ import annotations

import click

from corpushooks.cli import granting
from corpushooks.cli.base import JSON, NAME, Context, tell
from corpushooks.core import rights
from corpushooks.protocol import asks


@click.group("token")
def token() -> None:
    """Manage the tokens of the API."""


@token.command("add")
@NAME
@granting.right(rights.READ)
@granting.PROJECTS
@granting.EXPIRES
@JSON
@click.pass_obj
def add(context: Context, name: str, right: str, projects: tuple[str, ...], expires: str | None, as_json: bool) -> None:
    """Create a token and print it, once.

    The store keeps only its hash.
    """
    asked = asks.TokenAdd(name=name, right=right, projects=projects, expires=expires or "")
    tell(context.told("token add", asked), as_json)


COMMANDS = (token,)
