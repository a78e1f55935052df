"""The command `corpus`: parse, ask, print, exit. Nothing else in the package prints or exits."""

from __future__ import annotations

import getpass
import json
import os
import secrets
import sys
import tempfile
import traceback
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import yaml

from corpushooks import (
    __version__,
    client,
    daemon,
    demo,
    doctor,
    init,
    inspection,
    lanes,
    log,
    project,
    rebuild,
    view,
)  # fmt: skip
from corpushooks.deployment import Deployment, ProjectRow, Request
from corpushooks.errors import BrokenError, CorpusError, NoDaemonError, RefusedError, UsageError
from corpushooks.history import History, open_store
from corpushooks.settings import Settings, load
from corpushooks.site import Site, open_site

EXITS = {"deployed": 0, "done": 0, "queued": 0, "refused": 3, "broken": 4}  # any other outcome: 1
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
NAME = click.argument("name")


@dataclass
class Context:
    """What every command has at hand."""

    host: project.Host = field(default_factory=project.Host)

    def settings(self) -> Settings:
        return load(self.host.config_file)

    def history(self) -> History:
        """Return the store; raise UsageError where this host has none yet."""
        try:
            if not self.host.store.exists() and not self.host.projects_dir.exists():
                raise UsageError(f"no project was ever made under {self.host.root}", hint="corpus init NAME")
        except PermissionError:
            raise RefusedError("the store is not yours to read", hint=f"ask as the owner of {self.host.root}") from None
        return open_store(self.host)

    def site(self) -> Site:
        self.history().close()
        return open_site(self.host)

    def known(self, name: str) -> tuple[History, ProjectRow]:
        """Return the store and a project of it; raise UsageError where there is no such project."""
        self.host.project(name)
        history = self.history()
        row = history.project(name)
        if row is None:
            raise UsageError(f"there is no project {name!r}", hint="corpus status, or: corpus init " + name)
        return history, row

    def row(self, name: str) -> ProjectRow | None:
        """Return a project, or None where only the daemon may read the store: it knows who may ask for what."""
        try:
            return self.known(name)[1]
        except RefusedError:
            return None


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--root", type=click.Path(path_type=Path, file_okay=False), default="/", envvar="CORPUS_ROOT",
    help="Put every path under this folder (for a host that is not the whole machine).",
)  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="Show a traceback with an error.")
@click.version_option(__version__, prog_name="corpus")
@click.pass_context
def corpus(context: click.Context, root: Path, verbose: bool) -> None:
    """Deploy projects on this server with git push."""
    context.ensure_object(Context).host = project.Host(root.absolute())


def main() -> None:
    """Run the command and exit with its code."""
    os.umask(0o022)
    context = Context()
    try:
        code = corpus.main(standalone_mode=False, obj=context)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.ClickException as exc:
        exc.show()
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(1)
    except CorpusError as exc:
        _complain(exc, context.host)
        sys.exit(exc.exit_code)


def _complain(exc: CorpusError, host: project.Host) -> None:
    if {"-v", "--verbose"} & set(sys.argv):
        traceback.print_exception(exc)
    click.echo(f"error: {exc.message}", err=True)
    if exc.hint:
        click.echo(f"hint: {host.words(exc.hint)}", err=True)


def _show(as_json: bool, value: Any, lines: list[str]) -> None:
    if as_json:
        click.echo(json.dumps(value, indent=2, default=str))
    else:
        for line in lines:
            click.echo(line)


# projects


@corpus.command("init")
@NAME
@click.option("--env", help="dev, staging, prod or another name; only dev behaves differently.")
@click.option("--branch", help="The branch that deploys (default: master).")
@JSON
@click.pass_obj
def init_(context: Context, name: str, env: str | None, branch: str | None, as_json: bool) -> None:
    """Make a project, or repair one; print where to push."""
    context.host.project(name)
    store = open_store(context.host)
    with lanes.locked(context.host.project(name)):
        made = init.init(context.host, context.settings(), store, name, env, branch)
    lines = [f"{'made' if made.new else 'repaired'} {name} ({made.environment}, deploys {made.branch})"]
    lines += [f"note: {note}" for note in made.notes]
    lines += ["", "In your working copy:", f"    git remote add {made.environment} {made.code_url}",
              f"    git config remote.{made.environment}.push HEAD:refs/deploy/now",
              f"    git push {made.environment}", "", "Its configuration and secrets:",
              f"    git clone {made.pillar_url}"]  # fmt: skip
    _show(as_json, asdict(made), lines)


@corpus.command()
@NAME
@click.pass_obj
def link(context: Context, name: str) -> None:
    """Let Salt see a project."""
    history, _ = context.known(name)
    with lanes.locked(context.host.project(name)):
        init.link(context.host.project(name), history)


@corpus.command()
@NAME
@click.pass_obj
def unlink(context: Context, name: str) -> None:
    """Take a project out of Salt's sight; the next deployment links it again."""
    context.known(name)
    with lanes.locked(context.host.project(name)):
        init.unlink(context.host.project(name))


@corpus.command()
@NAME
@click.option("--purge", is_flag=True, help="Remove its files and its history too; data/ stays.")
@JSON
@click.pass_obj
def remove(context: Context, name: str, purge: bool, as_json: bool) -> None:
    """Forget a project. Its files stay, unless --purge; data/ always stays."""
    history, _ = context.known(name)
    with lanes.locked(context.host.project(name)):
        left = init.remove(context.host.project(name), history, purge=purge)
    _show(as_json, {"project": name, "left": left}, [f"removed {name}", *(f"left: {path}" for path in left)])


# deployments


def _ask(context: Context, name: str, request: Request, as_json: bool) -> None:
    """Ask the daemon, show what it says, exit with what came of it."""
    context.row(name)
    asked = {"op": "request", "project": name, "request": asdict(request)}
    try:
        result = client.ask(context.host, asked, lambda line: click.echo(line, err=as_json))
    except KeyboardInterrupt:
        click.echo(f"the deployment goes on; see: corpus log {name} -f, corpus cancel {name}", err=True)
        raise
    if as_json:
        click.echo(json.dumps(result, indent=2))
    elif result["state"] == "queued":
        click.echo(f"queued as deployment {result['number']}: corpus log {name} {result['number']} -f")
    row = context.row(name)
    broken = result["state"] == "refused" and row is not None and row.broken
    sys.exit(BrokenError.exit_code if broken else EXITS.get(result["state"], 1))


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip()) if text else ()


@corpus.command()
@NAME
@click.argument("rev", required=False, default="")
@click.option("--only", help="Only these steps: archive,sync,fixperms,install,rotate,notify.")
@click.option("--skip", help="Leave out these steps.")
@click.option("--steps", help="Only these install SLS: 00_foo,10_bar.")
@click.option("--dry-run", is_flag=True, help="Say what would change; change nothing.")
@click.option("--nowait", is_flag=True, help="Queue it and return.")
@click.option("--here", is_flag=True, help="Run it in this process, without a daemon.")
@JSON
@click.pass_obj
def deploy(
    context: Context, name: str, rev: str, only: str | None, skip: str | None, steps: str | None,
    dry_run: bool, nowait: bool, here: bool, as_json: bool,
) -> None:  # fmt: skip
    """Deploy a commit of project.git; without REV the live one again, with the newest pillar."""
    request = Request(
        kind="plan" if dry_run else "deploy", new=rev, only=_words(only), skip=_words(skip),
        steps=_words(steps), nowait=nowait, token=secrets.token_hex(16),
    )  # fmt: skip
    if here:
        _deploy_here(context, name, request, as_json)
    _ask(context, name, request, as_json)


def _deploy_here(context: Context, name: str, request: Request, as_json: bool) -> None:
    """Be the lane: the project's lock keeps the daemon out meanwhile."""
    _, row = context.known(name)
    site = context.site()
    try:
        deployment = site.history.enqueue(
            name, lanes.prepared(site, row, replace(request, via="command", who=getpass.getuser()))
        )
        lanes.work_off(site, name, nullcontext())
        done = site.history.deployment(name, deployment.number)
        lines = [line.text for line in log.read(lanes.log_path(site.host.project(name), done.number)) if not line.more]
        _show(as_json, done.as_json(), lines)
    finally:
        site.engine.close()
    sys.exit(EXITS.get(done.state, 1))


@corpus.command()
@NAME
@click.argument("number", type=int, required=False, default=0)
@JSON
@click.pass_obj
def rollback(context: Context, name: str, number: int, as_json: bool) -> None:
    """Return to the result of deployment NUMBER (code, pillar and its install SLS); default: the one before."""
    history, row = context.known(name)
    if not number:
        earlier = history.earlier(name, row.code, row.pillar)
        if earlier is None:
            raise UsageError(f"{name} has no earlier release to return to", hint=f"corpus history {name}")
        number = earlier.number
    _ask(context, name, Request(kind="rollback", target=number, token=secrets.token_hex(16)), as_json)


@corpus.command()
@NAME
@click.argument("task_name", metavar="TASK")
@JSON
@click.pass_obj
def task(context: Context, name: str, task_name: str, as_json: bool) -> None:
    """Run task_TASK.sls of the live release: no archive, no roll back."""
    _ask(context, name, Request(kind="task", task=task_name, token=secrets.token_hex(16)), as_json)


@corpus.command()
@NAME
@JSON
@click.pass_obj
def repair(context: Context, name: str, as_json: bool) -> None:
    """Repair a project whose roll back failed: do it again."""
    _ask(context, name, Request(kind="repair", token=secrets.token_hex(16)), as_json)


@corpus.command()
@NAME
@JSON
@click.pass_obj
def cancel(context: Context, name: str, as_json: bool) -> None:
    """Cancel what runs in a project (it rolls back), else what waits next."""
    context.row(name)
    result = client.ask(context.host, {"op": "cancel", "project": name}, lambda line: None)
    _show(
        as_json,
        result,
        [f"deployment {result['number']} of {name}: {_outcome(result['state'], result['reason'])}"],
    )


# looking


def _outcome(state: str, reason: str) -> str:
    return view.outcome(state) + (f": {reason}" if reason else "")


@corpus.command()
@click.argument("name", required=False)
@JSON
@click.pass_obj
def status(context: Context, name: str | None, as_json: bool) -> None:
    """Say what is live in each project, and what runs or waits."""
    history = context.history()
    rows = [context.known(name)[1]] if name else history.projects()
    found = [inspection.status(context.host, history, row) for row in rows]
    lines = [line for one in found for line in view.status(one)]
    _show(as_json, found[0] if name else found, lines or ["no projects: corpus init NAME"])


@corpus.command("history")
@NAME
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, help="How many (default: 20).")
@JSON
@click.pass_obj
def history_(context: Context, name: str, limit: int, as_json: bool) -> None:
    """List the deployments of a project, the newest first."""
    history, row = context.known(name)
    found = history.deployments(name, limit)
    lines = [view.history_row(one, live=one.number == row.live) for one in found]
    _show(as_json, [one.as_json() for one in found], lines or [f"{name} was never deployed"])


@corpus.command("log")
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
    _show(as_json, [{"at": line.at, "text": line.text} for line in found], [line.text for line in found])
    if follow:
        sys.exit(EXITS.get(deployment.state, 1))


def _newest(history: History, name: str) -> Deployment:
    found = history.deployments(name, 1)
    if not found:
        raise UsageError(f"{name} was never deployed", hint="git push first")
    return found[0]


@corpus.command("config")
@NAME
@click.option("--origin", is_flag=True, help="Say of each value which layer gave it.")
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
        origins = {".".join(map(str, path)): layer for path, layer in cfg.origin.items()}
        width = max(map(len, origins))
        _show(as_json, origins, [f"{path:<{width}}  {layer}" for path, layer in sorted(origins.items())])
    else:
        _show(as_json, cfg.values, [yaml.safe_dump(cfg.values, sort_keys=True, allow_unicode=True).rstrip()])


@corpus.command()
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
    _show(as_json, {"target": target, "problems": problems, "files": [asdict(each) for each in checked]}, lines)
    sys.exit(1 if problems else 0)


def _check(context: Context, target: str, folder: Path) -> list[inspection.Checked]:
    if "/" in target or target in (".", ".."):
        environment = context.settings().environment
        return inspection.check_folder(Path(target).absolute(), environment, folder)
    _, row = context.known(target)
    return inspection.check_project(context.site(), row, folder)


@corpus.command("doctor")
@JSON
@click.pass_obj
def doctor_(context: Context, as_json: bool) -> None:
    """Say what is wrong with this host, and which command repairs it."""
    history = context.history()
    projects = tuple(context.host.project(row.name) for row in history.projects())
    found = doctor.examine(doctor.Patient(context.host, context.settings(), projects))
    lines = [line for name, faults in found for line in doctor.lines(name, faults)]
    shown = [{"check": name, "faults": [asdict(fault) for fault in faults]} for name, faults in found]
    _show(as_json, shown, lines)
    sys.exit(1 if any(faults for _, faults in found) else 0)


# the daemon and the demo


@corpus.command("daemon")
@click.option("--embedded", is_flag=True, hidden=True, help="Leave after idle time.")
@click.pass_obj
def daemon_(context: Context, embedded: bool) -> None:
    """Be the daemon: run deployments until told to stop (SIGTERM)."""
    daemon.run(open_site(context.host), embedded=embedded)


@corpus.command("rebuild")
@JSON
@click.pass_obj
def rebuild_(context: Context, as_json: bool) -> None:
    """Make a store that is lost or damaged anew, from what is left of it and from the disk; what is left is kept."""
    try:
        lines = rebuild.rebuild(context.host, context.settings())
    except NoDaemonError:
        pid = client.ping(context.host)
        raise RefusedError("a daemon is at work with what is left of the store", f"stop it first: kill {pid}") from None
    _show(as_json, {"done": lines}, lines)


@corpus.command("demo")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
def demo_(folder: Path | None) -> None:
    """Make a host in FOLDER (default: a new temporary one) and push to it: see deployments happen."""
    sys.exit(demo.run(folder, click.echo))
