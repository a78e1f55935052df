"""The command that shows the audit."""

from __future__ import annotations

import click

from corpushooks.cli.base import JSON, Context, report
from corpushooks.protocol import asks


@click.command("audit")
@click.argument("project", metavar="PROJECT", required=False)
@click.option("--who", metavar="WHO", help="Only of this person, key or token, as it is shown.")
@click.option("--since", metavar="DAY", help="Since this day: 2030-12-31, or 7d ago.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many, at most.")
@JSON
@click.pass_obj
def audit(context: Context, project: str | None, who: str | None, since: str | None, limit: int, as_json: bool) -> None:
    """Show who did what, from where.

    The newest first: what was asked for in PROJECT, or on the whole host, by which way, and what came of it.
    """
    asked = asks.Audit(project=project or "", who=who or "", since=since or "", limit=limit)
    report(context, "audit", context.told("audit", asked), as_json)


COMMANDS = (audit,)
