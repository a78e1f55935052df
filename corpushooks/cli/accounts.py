"""The command that creates accounts; the others of its group are generated from the table."""

from __future__ import annotations

import click

from corpushooks.cli import granting
from corpushooks.cli.base import JSON, NAME, Context, tell
from corpushooks.core import rights
from corpushooks.protocol import asks


@click.group("account")
def account() -> None:
    """Manage the accounts of people who sign in to the pages."""


@account.command("add")
@NAME
@granting.right(rights.READ)
@granting.PROJECTS
@granting.EXPIRES
@JSON
@click.pass_obj
def add(context: Context, name: str, right: str, projects: tuple[str, ...], expires: str | None, as_json: bool) -> None:
    """Create an account, and print a one-time link to set its password.

    The link can be used once, within a day. `corpus account link` prints a new one.
    """
    asked = asks.AccountAdd(name=name, right=right, projects=projects, expires=expires or "")
    tell(context.told("account add", asked), as_json)


@click.group("session")
def session() -> None:
    """Show who is signed in to the pages, and end sessions."""


COMMANDS = (account, session)
