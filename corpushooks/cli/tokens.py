"""The command that creates tokens of the API; the others of its group are generated from the table."""

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
    "--read", "right", flag_value=rights.READ, default=True, help="Right: see status, history and logs (the default)."
)
@click.option("--push", "right", flag_value=rights.PUSH, help="Right: also deploy.")
@click.option("--admin", "right", flag_value=rights.ADMIN, help="Right: also freeze, thaw, and deploy while frozen.")
@click.option("--host", "right", flag_value=rights.HOST, help="Right: also manage projects and keys.")
@click.option("--project", "projects", multiple=True, metavar="P", help="Only this project; repeatable.")
@click.option("--expires", metavar="DAY", help="Last day: 2030-12-31, or 90d from now.")
@JSON
@click.pass_obj
def add(context: Context, name: str, right: str, projects: tuple[str, ...], expires: str | None, as_json: bool) -> None:
    """Create a token and print it, once.

    The store keeps only its hash.
    """
    asked = asks.TokenAdd(name=name, right=right, projects=projects, expires=expires or "")
    tell(context.told("token add", asked), as_json)


COMMANDS = (token,)
