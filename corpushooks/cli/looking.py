"""The commands that only read."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from corpushooks.cli.base import JSON, NAME, Context, Output, Screen, exit_code, report, show, tell, warn
from corpushooks.protocol import asks, client
from corpushooks.reports import app_log, inspection
from corpushooks.reports.reports import naming, warnings
from corpushooks.screen import screen
from corpushooks.store import log


@click.command()
@click.argument("name", required=False)
@click.option("--urls", is_flag=True, help="Also show the addresses to push to and to visit.")
@JSON
@click.pass_obj
def status(context: Context, name: str | None, urls: bool, as_json: bool) -> None:
    """Show what is live in each project.

    Running and waiting deployments are shown, too.
    """
    report(context, "status", context.told("status", asks.Status(project=name or "", urls=urls)), as_json)


@click.command("open")
@NAME
@JSON
@click.pass_obj
def open_(context: Context, name: str, as_json: bool) -> None:
    """Print the addresses of a project.

    These are the URLs where it answers.
    """
    tell(context.told("open", asks.Open(project=name, needed=not as_json)), as_json)


@click.command("history")
@NAME
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, help="How many (default: 20).")
@click.option("--commands", is_flag=True, help="List commands run with `corpus run` instead.")
@JSON
@click.pass_obj
def history_(context: Context, name: str, limit: int, commands: bool, as_json: bool) -> None:
    """List the deployments of a project, newest first."""
    kind = "commands" if commands else "history"
    report(context, kind, context.told(kind, asks.History(project=name, limit=limit)), as_json)


@click.command()
@NAME
@click.argument("a", type=int, required=False, default=0)
@click.argument("b", type=int, required=False, default=0)
@JSON
@click.pass_obj
def diff(context: Context, name: str, a: int, b: int, as_json: bool) -> None:
    """Show the differences between two deployments.

    Compares files and cfg of deployments A and B; default: the live one with the one it replaced.
    """
    report(context, "diff", context.told("diff", asks.Diff(project=name, old=a, new=b)), as_json)


@click.command("log")
@NAME
@click.argument("number", type=int, required=False)
@click.option("-f", "--follow", is_flag=True, help="Follow it until the deployment ends.")
@click.option("--short", is_flag=True, help="Show only what the push showed.")
@click.option("--node", metavar="NODE", default="", help="Show the log of this node of a rollout.")
@JSON
@click.pass_obj
def log_(
    context: Context, name: str, number: int | None, follow: bool, short: bool, node: str, as_json: bool
) -> None:  # fmt: skip
    """Show the log of a deployment.

    The default is the newest deployment. With --node the log is fetched from the node.
    """
    if context.far or node:
        context.row(name)
        asked = asks.Follow(
            project=name, number=number or 0, whole=not short, events=as_json, node=node, follow=follow or not node,
            progress=Screen().rewrites and not as_json,
        )  # fmt: skip
        _far_log(context, asked, follow=follow)
        return
    history, row = context.known(name)
    deployment = history.deployment(name, number) if number else history.last(name)
    if follow and not deployment.ended:
        asked = asks.Follow(project=name, number=deployment.number, whole=not short, progress=Screen().rewrites)
        result = Screen().ask(context.host, "log", asked)
        sys.exit(exit_code(result["state"]))
    project = context.host.project(name)
    path = project.log_file(deployment.number)
    site = context.site()
    with naming(site, [row]):
        inspection.check_log(project, deployment)
        found = list(screen.show(log.read(path), whole=not short))
    show(as_json, [one.as_json() for one in found], [text for one in found for text in one.lines])
    warn(warnings(site, [row], context.host.spell))
    if follow:
        sys.exit(exit_code(deployment.state))


def _ignore(text: str) -> None:
    """Discard the lines that come with events."""


def _far_log(context: Context, asked: asks.Follow, *, follow: bool) -> None:
    """Show a log as the daemon sends it."""
    if asked.events:
        told: list[dict[str, Any]] = []
        result = client.ask(context.host, "log", asked, _ignore, hear=told.append)
        show(True, told, [])
    else:
        result = Screen().ask(context.host, "log", asked)
    if follow:
        sys.exit(exit_code(result["state"]))


@click.command("app-log")
@NAME
@click.option("-f", "--follow", is_flag=True, help="Follow it until Ctrl-C.")
@click.option(
    "-n", "--lines", type=click.IntRange(0, app_log.MOST), default=100, help="How many of the newest (default: 100)."
)
@JSON
@click.pass_obj
def app_log_(context: Context, name: str, follow: bool, lines: int, as_json: bool) -> None:
    """Show the log of the application.

    Shows the journal of the units in `units` and the log files in `logs` of its cfg.
    """
    context.row(name)
    asked = asks.AppLog(project=name, follow=follow, lines=lines, json=as_json)
    found: list[str] = []
    screen, keeps = Screen(), as_json and not follow
    told = client.ask(
        context.host, "app-log", asked, found.append if keeps else screen.say, check=_is_read,
        note=lambda text: click.echo(f"warning: {text}", err=True),
    )  # fmt: skip
    if keeps:
        show(True, [json.loads(line) for line in found], [])
    sys.exit(1 if told["notes"] and not told["lines"] else 0)


def _is_read() -> None:
    """Exit when the reader is gone: the end of an ssh session is not signalled otherwise."""
    if isinstance(sys.stdout, Output) and sys.stdout.left():
        sys.exit(1)


@click.command("config")
@NAME
@click.option("--origin", is_flag=True, help="Show the layer and the file of each value.")
@click.option("--show-secrets", is_flag=True, help="Show secrets instead of masking them.")
@JSON
@click.pass_obj
def config_(context: Context, name: str, origin: bool, show_secrets: bool, as_json: bool) -> None:
    """Print the cfg: the configuration that SLS files see."""
    report(
        context,
        "config",
        context.told("config", asks.Config(project=name, origin=origin, secrets=show_secrets)),
        as_json,
    )


@click.command("doctor")
@JSON
@click.pass_obj
def doctor_(context: Context, as_json: bool) -> None:
    """Check this host, and name the repair for each fault."""
    from corpushooks.admin import doctor, setup  # here: they look at all there is
    from corpushooks.admin.doctor import patient

    found = doctor.examine(patient.admit(context.host, setup.machine_of(context.host)))
    show(as_json, [each.as_json() for each in found], [line for each in found for line in each.lines()])
    sys.exit(1 if any(each.faults for each in found) else 0)


COMMANDS = (status, open_, history_, diff, log_, app_log_, config_, doctor_)
