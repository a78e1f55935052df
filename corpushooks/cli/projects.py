"""The commands that make projects, link them and remove them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import click

from corpushooks import git, init
from corpushooks.cli.base import JSON, NAME, Context, check_outside, show
from corpushooks.hints import Hint, command
from corpushooks.history import open_store
from corpushooks.locks import locked


@contextmanager
def _alone(context: Context, name: str) -> Iterator[None]:
    """Hold the lock of a project."""
    check_outside(context, name, "ask again when it has ended")
    with locked(context.host.project(name)):
        yield


@click.command("init")
@NAME
@click.option("--env", help="dev, staging, prod or another name; only dev behaves differently.")
@click.option("--branch", help="The branch that deploys (default: master).")
@click.option(
    "--installer", metavar="NAME|PATH",
    help="Begin with a first commit: generic, node, php, python, static, or the path of a folder of your own.",
)  # fmt: skip
@click.option(
    "--object-format", "hashed", type=click.Choice(git.FORMATS), help="The hash that names its commits (default: sha1)."
)
@click.option("--ssh-key", "own_key", is_flag=True, help="Give the project's user an ssh key pair, to fetch with.")
@JSON
@click.pass_obj
def init_(
    context: Context, name: str, env: str | None, branch: str | None, installer: str | None, hashed: str | None,
    own_key: bool, as_json: bool,
) -> None:  # fmt: skip
    """Make a project, or repair one; print where to push."""
    context.host.project(name)
    store = open_store(context.host)
    with _alone(context, name):
        made = init.init(
            context.host, context.settings(), store, name, env, branch, installer, own_key=own_key, hashed=hashed
        )
    lines = [f"{'made' if made.new else 'repaired'} {name} ({made.environment}, deploys {made.branch})"]
    lines += [f"changed {change}" for change in made.changes]
    lines += [f"note: {note}" for note in made.notes]
    show(as_json, asdict(made), [*lines, "", *_next(context, made), "", "Its configuration and secrets:",
                                 f"    git clone {made.pillar_url}"])  # fmt: skip


def _next(context: Context, made: init.Made) -> list[str]:
    """Return what a developer types next."""
    push = [f"git config remote.{made.environment}.push HEAD:refs/deploy/now", f"git push {made.environment}"]
    if not made.commit:
        short = made.object_format == git.FORMATS[0]
        sort = [] if short else [f"Its commits are {made.object_format}. A working copy that can push them:",
                                 f"    git init --object-format={made.object_format}"]  # fmt: skip
        return [*sort, "In your working copy:", f"    git remote add {made.environment} {made.code_url}",
                *(f"    {line}" for line in push)]  # fmt: skip
    return [
        f"Its first commit, {made.commit[:7]}, can be deployed as it is:",
        context.host.spell(Hint("    ", command("deploy", made.project))),
        "",
        "Your working copy of it; add your files, commit, push:",
        f"    git clone --origin {made.environment} {made.code_url} {made.project}",
        f"    cd {made.project}",
        *(f"    {line}" for line in push),
    ]


@click.command()
@NAME
@click.pass_obj
def link(context: Context, name: str) -> None:
    """Let Salt see a project."""
    history, _ = context.known(name)
    with _alone(context, name):
        init.link(context.host.project(name), history)
    show(False, None, [f"linked {name}"])


@click.command()
@NAME
@click.pass_obj
def unlink(context: Context, name: str) -> None:
    """Take a project out of Salt's sight; the next deployment links it again."""
    context.known(name)
    with _alone(context, name):
        init.unlink(context.host.project(name))
    show(False, None, [f"unlinked {name}; its next deployment links it again"])


@click.command()
@NAME
@click.option("--purge", is_flag=True, help="Remove its files and its history too; data/ stays.")
@JSON
@click.pass_obj
def remove(context: Context, name: str, purge: bool, as_json: bool) -> None:
    """Forget a project. Its files stay, unless --purge; data/ always stays."""
    history, _ = context.known(name)
    with _alone(context, name):
        left = init.remove(context.host.project(name), history, purge=purge)
    show(as_json, {"project": name, "left": left}, [f"removed {name}", *(f"left: {path}" for path in left)])


@click.command("rename-branch")
@NAME
@click.argument("branch")
@click.pass_obj
def rename_branch(context: Context, name: str, branch: str) -> None:
    """Rename the branch that deploys to BRANCH, for example master to main; history and archives stay."""
    history, _ = context.known(name)
    init.check_idle(history, name)  # else it would wait for its lock
    with _alone(context, name):
        lines = init.rename_branch(context.host.project(name), history, context.known(name)[1], branch)
    show(False, None, lines)


COMMANDS = (init_, rename_branch, link, unlink, remove)
