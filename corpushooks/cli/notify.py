"""The commands for notifications."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from corpushooks.cli.base import JSON, Context, show
from corpushooks.core.notification import EVENTS, TEST
from corpushooks.notify import announce


@click.group("notify")
def notify() -> None:
    """Test notifications."""


@notify.command("test")
@click.argument("name", required=False)
@click.option(
    "--event", type=click.Choice([TEST, *EVENTS]), default=TEST, help="Send the text for this event, without details."
)
@JSON
@click.pass_obj
def test(context: Context, name: str | None, event: str, as_json: bool) -> None:
    """Send a test notification.

    It is sent to all URLs of the host, or of project NAME; failures are listed.
    """
    if name:
        context.known(name)
    settings, project = context.settings(), context.host.project(name) if name else None
    report = announce.test(settings.for_project(name) if name else settings, context.host, project, event)
    lines = [f"{one.to}: {one.problem or 'sent'}" for one in report.deliveries]
    if report.template:
        lines.insert(0, f"warning: {report.template}; the built-in template was used")
    show(as_json, asdict(report), lines)
    sys.exit(1 if any(one.problem for one in report.deliveries) else 0)


COMMANDS = (notify,)
