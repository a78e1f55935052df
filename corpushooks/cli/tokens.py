"""The command that makes tokens of the API; the others of its group are made from the table."""

from __future__ import annotations

import click

from corpushooks.cli.base import JSON, NAME, Context, tell
from corpushooks.core import rights
from corpushooks.protocol import asks


@click.group("token")
def token() -> None:
    """Manage the tokens of the API."""


@token.command("add")
@NAME
@click.option(
    "--read", "right", flag_value=rights.READ, default=True, help="See status, history and logs (the default)."
)
@click.option("--push", "right", flag_value=rights.PUSH, help="Also deploy.")
@click.option("--admin", "right", flag_value=rights.ADMIN, help="Also freeze and thaw, and deploy what is frozen.")
@click.option("--host", "right", flag_value=rights.HOST, help="Also make projects, and manage keys.")
@click.option("--project", "projects", multiple=True, metavar="P", help="Only this project; may be given again.")
@click.option("--expires", metavar="DAY", help="Until when: 2030-12-31, or 90d from now.")
@JSON
@click.pass_obj
def add(context: Context, name: str, right: str, projects: tuple[str, ...], expires: str | None, as_json: bool) -> None:
    """Make the token NAME and print it, once: the store keeps only its hash."""
    asked = asks.TokenAdd(name=name, right=right, projects=projects, expires=expires or "")
    tell(context.told("token add", asked), as_json)


COMMANDS = (token,)
