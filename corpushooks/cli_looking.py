"""The commands that look, and change nothing."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import click
import yaml

from corpushooks import client, doctor, init, inspection, lanes, log, view
from corpushooks.cli_base import EXITS, JSON, NAME, Context, show
from corpushooks.deployment import Deployment
from corpushooks.errors import UsageError
from corpushooks.history import History


@click.command()
@click.argument("name", required=False)
@click.option("--urls", is_flag=True, help="Say where to push, too.")
@JSON
@click.pass_obj
def status(context: Context, name: str | None, urls: bool, as_json: bool) -> None:
    """Say what is live in each project, and what runs or waits."""
    history = context.history()
    rows = [context.known(name)[1]] if name else history.projects()
    found = [inspection.status(context.host, history, row) for row in rows]
    found = [{**one, **(init.urls(context.host.project(one["project"])) if urls else {})} for one in found]
    lines = [line for one in found for line in (*view.status(one), *(f"  {one[key]}" for key in init.URLS if urls))]
    show(as_json, found[0] if name else found, lines or ["no projects: corpus init NAME"])


@click.command("history")
@NAME
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, help="How many (default: 20).")
@JSON
@click.pass_obj
def history_(context: Context, name: str, limit: int, as_json: bool) -> None:
    """List the deployments of a project, the newest first."""
    history, row = context.known(name)
    found = history.deployments(name, limit)
    lines = [view.history_row(one, live=one.number == row.live) for one in found]
    show(as_json, [one.as_json() for one in found], lines or [f"{name} was never deployed"])


@click.command("log")
@NAME
@click.argument("number", type=int, required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until the deployment ends.")
@click.option("--short", is_flag=True, help="Only what the terminal of the push showed.")
@JSON
@click.pass_obj
def log_(context: Context, name: str, number: int | None, follow: bool, short: bool, as_json: bool) -> None:
    """Show the whole log of a deployment; default: the newest."""
    history, _ = context.known(name)
    deployment = history.deployment(name, number) if number else _newest(history, name)
    if follow and not deployment.ended:
        asked = {"op": "follow", "project": name, "number": deployment.number, "whole": not short}
        result = client.ask(context.host, asked, click.echo)
        sys.exit(EXITS.get(result["state"], 1))
    path = lanes.log_path(context.host.project(name), deployment.number)
    found = [line for line in log.read(path) if not (short and line.more)]
    show(as_json, [{"at": line.at, "text": line.text} for line in found], [line.text for line in found])
    if follow:
        sys.exit(EXITS.get(deployment.state, 1))


def _newest(history: History, name: str) -> Deployment:
    found = history.deployments(name, 1)
    if not found:
        raise UsageError(f"{name} was never deployed", hint="git push first")
    return found[0]


@click.command("config")
@NAME
@click.option("--origin", is_flag=True, help="Say of each value which layer gave it, and which file.")
@click.option("--show-secrets", is_flag=True, help="Show what is masked otherwise.")
@JSON
@click.pass_obj
def config_(context: Context, name: str, origin: bool, show_secrets: bool, as_json: bool) -> None:
    """Print the configuration (cfg) that the SLS files of a project see."""
    _, row = context.known(name)
    site = context.site()
    try:
        with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
            cfg = inspection.cfg(site, row, Path(folder), secrets=show_secrets)
    finally:
        site.engine.close()
    if origin:
        columns = [(path, one["layer"], one["file"]) for path, one in cfg.origin.items()]
        paths, layers = (max(len(column[place]) for column in columns) for place in (0, 1))
        show(
            as_json,
            cfg.origin,
            [f"{path:<{paths}}  {layer:<{layers}}  {file}".rstrip() for path, layer, file in columns],
        )
    else:
        show(as_json, cfg.values, [yaml.safe_dump(cfg.values, sort_keys=True, allow_unicode=True).rstrip()])


@click.command()
@click.argument("target", metavar="NAME|PATH")
@JSON
@click.pass_obj
def check(context: Context, target: str, as_json: bool) -> None:
    """Say whether the branch of a project, or a folder with a .salt, would deploy.

    A line for each file: its syntax, and what Salt says when it compiles it with the cfg. No state runs, but the Jinja
    in the files does.
    """
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        checked = _check(context, target, Path(folder))
    problems = [problem for each in checked for problem in each.problems]
    lines = [line for each in checked for line in (each.problems or [f"{each.file}: fine"])]
    show(as_json, {"target": target, "problems": problems, "files": [asdict(each) for each in checked]}, lines)
    sys.exit(1 if problems else 0)


def _check(context: Context, target: str, folder: Path) -> list[inspection.Checked]:
    if "/" in target or target in (".", ".."):
        environment = context.settings().environment
        return inspection.check_folder(Path(target).absolute(), environment, folder)
    _, row = context.known(target)
    return inspection.check_project(context.site(), row, folder)


@click.command("doctor")
@JSON
@click.pass_obj
def doctor_(context: Context, as_json: bool) -> None:
    """Say what is wrong with this host, and which command repairs it."""
    history = context.history()
    projects = tuple(context.host.project(row.name) for row in history.projects())
    found = doctor.examine(doctor.Patient(context.host, context.settings(), projects))
    lines = [line for name, faults in found for line in doctor.lines(name, faults)]
    shown = [{"check": name, "faults": [asdict(fault) for fault in faults]} for name, faults in found]
    show(as_json, shown, lines)
    sys.exit(1 if any(faults for _, faults in found) else 0)


COMMANDS = (status, history_, log_, config_, check, doctor_)
