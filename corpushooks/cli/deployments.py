"""The commands that start, confirm and cancel deployments."""

from __future__ import annotations

import getpass
import json
import os
import secrets
import sys
from dataclasses import replace
from typing import Any

import click

from corpushooks.cli.base import JSON, NAME, Context, Screen, check_outside, exit_code, outcome, show
from corpushooks.core.errors import BrokenError
from corpushooks.core.hints import Advice, Hint, command
from corpushooks.deploy import prepare
from corpushooks.deploy.lanes import Lanes
from corpushooks.operations.acts import ACTS
from corpushooks.operations.requests import deploying
from corpushooks.protocol import asks, client
from corpushooks.screen import screen
from corpushooks.store import log
from corpushooks.store.audit import DONE, Asked, Audit
from corpushooks.system.process import came_by


def _ask(context: Context, operation: str, asked: asks.OfRequest, as_json: bool, instead: Advice = "") -> None:
    """Ask the daemon, show its messages, exit with the outcome; `instead` is the hint within a deployment."""
    name = asked.project
    context.row(name)
    if not asked.nowait:
        queued = Hint("queue it instead: ", command("deploy", name, "--nowait"))
        check_outside(context, name, instead or queued)
    screen = Screen(err=as_json, lasting=True)
    asked = replace(asked, progress=screen.rewrites, token=secrets.token_hex(16))
    finish(context, name, screen, operation, asked, as_json=as_json)


def finish(context: Context, name: str, screen: Screen, operation: str, asked: Any, *, as_json: bool) -> None:
    """Ask the daemon for a deployment, show its messages, exit with the outcome."""
    try:
        result = screen.ask(context.host, operation, asked)
    except KeyboardInterrupt:
        see = Hint("the deployment continues; see: ", command("log", name, "-f"), ", ", command("cancel", name))
        click.echo(context.host.spell(see), err=True)
        raise
    if as_json:
        click.echo(json.dumps(result, indent=2))
    elif result["state"] == "queued":
        number = result["number"]
        see = Hint(f"queued as deployment {number}: ", command("log", name, number, "-f"))
        click.echo(context.host.spell(see))
    row = context.row(name)
    broken = result["state"] == "refused" and row is not None and row.broken
    sys.exit(BrokenError.exit_code if broken else exit_code(result["state"]))


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip()) if text else ()


FORCE = click.option("--force", is_flag=True, help="Overwrite what was edited on the server.")


class Lease(click.IntRange):
    """A number of seconds; empty for the value in the settings."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return 0 if value == "" else int(super().convert(value, param, ctx))


CONFIRM = click.option(
    "--confirm", type=Lease(min=1), default=None, metavar="[=SECONDS]",
    help="Hold it until confirmed; without confirmation it is rolled back.",
)  # fmt: skip
INSIST = click.option("--insist", is_flag=True, help="Deploy although it is frozen; for root and the host's group.")


class Confirmable(click.Command):
    """A command whose --confirm takes an optional value, after =."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, ["--confirm=" if each == "--confirm" else each for each in args])


@click.command(cls=Confirmable)
@NAME
@click.argument("rev", required=False, default="")
@click.option("--only", help="Run only these steps: archive,sync,fixperms,install,rotate,notify.")
@click.option("--skip", help="Skip these steps.")
@click.option("--steps", help="Run only these install SLS files: 00_foo,10_bar.")
@click.option("--dry-run", is_flag=True, help="Show what would change; change nothing.")
@click.option("--nowait", is_flag=True, help="Queue it and return.")
@click.option("--here", is_flag=True, help="Run it in this process, without a daemon.")
@CONFIRM
@FORCE
@INSIST
@JSON
@click.pass_obj
def deploy(
    context: Context, name: str, rev: str, only: str | None, skip: str | None, steps: str | None,
    dry_run: bool, nowait: bool, here: bool, confirm: int | None, force: bool, insist: bool, as_json: bool,
) -> None:  # fmt: skip
    """Deploy a commit, or the live one again.

    REV is a commit of project.git. Without it the live commit is deployed again, with the newest pillar.
    """
    asked = asks.Deploy(
        project=name, rev=rev, only=_words(only), skip=_words(skip), steps=_words(steps), nowait=nowait, force=force,
        insist=insist, confirm=confirm,
    )  # fmt: skip
    if here:
        _deploy_here(context, asked, "plan" if dry_run else "deploy", as_json)
    _ask(context, "plan" if dry_run else "deploy", asked, as_json)


def _deploy_here(context: Context, asked: asks.Deploy, kind: str, as_json: bool) -> None:
    """Run the deployment in this process; the project's lock keeps the daemon out."""
    name = asked.project
    request = replace(deploying(asked, kind), token=secrets.token_hex(16))
    _, row = context.known(name)
    check_outside(context, name, Hint("queue it instead: ", command("deploy", name, "--nowait")))
    site = context.site()
    try:
        deployment = site.history.enqueue(
            name,
            prepare.requested(
                site,
                row,
                replace(
                    request,
                    via="command",
                    who=getpass.getuser(),
                    insist=request.force or request.insist,
                    connection=came_by(os.getpid()),
                ),
            ),
        )
        Audit(site.history).add(Asked(getpass.getuser(), "command", getpass.getuser(), kind, name), DONE, "",
                                deployment.number)  # fmt: skip
        Lanes(site, ACTS).work_off(name)
        done = site.history.deployment(name, deployment.number)
        lines = screen.texts(log.read(site.host.project(name).log_file(done.number)), whole=False)
        show(as_json, done.as_json(), lines)
    finally:
        site.engine.close()
    sys.exit(exit_code(done.state))


@click.command(cls=Confirmable)
@NAME
@click.argument("number", type=int, required=False, default=0)
@CONFIRM
@FORCE
@INSIST
@JSON
@click.pass_obj
def rollback(
    context: Context, name: str, number: int, confirm: int | None, force: bool, insist: bool, as_json: bool
) -> None:  # fmt: skip
    """Return to the result of an earlier deployment.

    Code and pillar of deployment NUMBER (default: the one before the live one) are restored, and its install SLS run.
    """
    asked = asks.Rollback(project=name, number=number, confirm=confirm, force=force, insist=insist)
    _ask(context, "rollback", asked, as_json)


@click.command("watch")
@NAME
@click.option("--steps", help="Run only these install SLS files: 00_foo,10_bar.")
@click.pass_obj
def watch_(context: Context, name: str, steps: str | None) -> None:
    """Deploy each edit in project/ and pillar/ when saved (dev).

    Runs until Ctrl-C. It updates wiring and permissions and runs the install SLS, without commit, archive or rollback.
    Salt reads project/.salt meanwhile.
    """
    context.row(name)
    screen = Screen()
    asked = asks.Watch(project=name, steps=_words(steps), progress=screen.rewrites)
    screen.ask(context.host, "watch", asked)


@click.command()
@NAME
@click.argument("task_name", metavar="TASK")
@click.option("--node", metavar="NODE", default="", help="Run it on this node only.")
@JSON
@click.pass_obj
def task(context: Context, name: str, task_name: str, node: str, as_json: bool) -> None:
    """Run a task of the live release.

    Runs task_TASK.sls, without archive or rollback; of a project with nodes on all of them.
    """
    _ask(context, "task", asks.Task(project=name, task=task_name, node=node), as_json)


@click.command()
@NAME
@click.argument("units", nargs=-1, metavar="[UNIT]...")
@JSON
@click.pass_obj
def restart(context: Context, name: str, units: tuple[str, ...], as_json: bool) -> None:
    """Restart the systemd units of a project.

    Restarts all units that the project names, or only each UNIT given, and checks that they run.
    """
    asked = asks.Restart(project=name, units=units)
    _ask(context, "restart", asked, as_json, instead="restart the unit with a Salt state")


@click.command()
@NAME
@JSON
@click.pass_obj
def repair(context: Context, name: str, as_json: bool) -> None:
    """Repair a project whose rollback failed.

    Runs the rollback again.
    """
    _ask(context, "repair", asks.OfRequest(project=name), as_json)


@click.command()
@NAME
@JSON
@click.pass_obj
def cancel(context: Context, name: str, as_json: bool) -> None:
    """Cancel the running deployment, or the next one waiting.

    A running deployment is rolled back.
    """
    context.row(name)
    asked = asks.OfProject(project=name)
    result = client.ask(context.host, "cancel", asked, lambda line: click.echo(line, err=True))
    show(
        as_json,
        result,
        [f"deployment {result['number']} of {name}: {outcome(result['state'], result['reason'])}"],
    )


@click.command()
@NAME
@click.argument("number", type=int)
@JSON
@click.pass_obj
def confirm(context: Context, name: str, number: int, as_json: bool) -> None:
    """Confirm a held deployment.

    Deployment NUMBER becomes final. Without confirmation it is rolled back when its time runs out.
    """
    context.row(name)
    check_outside(context, name, "a deployment cannot confirm itself")
    screen = Screen(err=True, lasting=True)
    result = screen.ask(context.host, "confirm", asks.Confirm(project=name, number=number))
    show(as_json, result, [f"deployment {number} of {name}: {outcome(result['state'], result['reason'])}"])
    sys.exit(exit_code(result["state"]))


COMMANDS = (deploy, rollback, watch_, task, restart, repair, cancel, confirm)
