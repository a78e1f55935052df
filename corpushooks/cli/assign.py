"""The commands that set and unset variables of a project."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Sequence

import click

from corpushooks.cli.base import JSON, NAME, Context, Screen, check_outside, tell
from corpushooks.cli.deployments import finish
from corpushooks.core.errors import UsageError
from corpushooks.core.hints import command
from corpushooks.core.text import shown
from corpushooks.operations.ssh_commands import GIVEN
from corpushooks.protocol import asks, client
from corpushooks.release.assigned import VALUE_LIMIT, of_input

NO_DEPLOY = click.option("--no-deploy", is_flag=True, help="Only commit it; it takes effect with the next deployment.")
QUOTES = "a value with spaces needs quotes: KEY='a b'; over ssh twice: \"KEY='a b'\""


@click.command("set")
@NAME
@click.argument("pairs", metavar="[KEY=VALUE]...", nargs=-1)
@NO_DEPLOY
@JSON
@click.pass_obj
def set_(context: Context, name: str, pairs: Sequence[str], no_deploy: bool, as_json: bool) -> None:
    """Set variables of a project and deploy.

    Without KEY=VALUE the variables are listed. They are in data of the cfg. KEY=- reads the value from standard input,
    for secrets; on a terminal it prompts. VALUE is text or JSON: true, 8000, null, ["a", "b"], "8000".
    """
    pairs = [*pairs, *_passed()]
    if pairs:
        _ask(context, name, _given(pairs), [], no_deploy=no_deploy, as_json=as_json)
    else:
        tell(context.told("variables", asks.OfProject(project=name)), as_json)


@click.command()
@NAME
@click.argument("keys", metavar="KEY...", nargs=-1)
@NO_DEPLOY
@JSON
@click.pass_obj
def unset(context: Context, name: str, keys: Sequence[str], no_deploy: bool, as_json: bool) -> None:
    """Unset variables of a project and deploy.

    Only values that `corpus set` gave can be unset; the value of the next lower layer applies again.
    """
    keys = [*keys, *_passed()]
    if not keys:
        raise UsageError("name the keys to unset", hint=command("set", name))
    _ask(context, name, [], keys, no_deploy=no_deploy, as_json=as_json)


def _ask(
    context: Context,
    name: str,
    pairs: Sequence[tuple[str, str, str]],
    keys: Sequence[str],
    *,
    no_deploy: bool,
    as_json: bool,
) -> None:  # fmt: skip
    context.row(name)
    if not no_deploy:
        check_outside(context, name, "with --no-deploy it takes effect with the next deployment")
    screen = Screen(err=as_json, lasting=True)
    asked = asks.Assign(
        project=name, pairs=tuple(pairs), keys=tuple(keys), deploy=not no_deploy, token=secrets.token_hex(16),
        progress=screen.rewrites,
    )  # fmt: skip
    finish(context, name, screen, "set" if pairs else "unset", asked, as_json=as_json)


def _passed() -> list[str]:
    """Return the arguments given over ssh: they come in the environment, which others cannot see."""
    given = os.environ.pop(GIVEN, "")  # keep it from child processes
    return [str(word) for word in json.loads(given)] if given and os.environ.get(client.ADMISSION) else []


def _given(pairs: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return key, text and source of each pair; read standard input for KEY=-."""
    found = []
    for pair in pairs:
        key, is_pair, text = pair.partition("=")
        if not is_pair:
            raise UsageError(f"expected KEY=VALUE, found {shown(pair, 60)!r}", QUOTES)
        found.append((key, text, "stdin" if text == "-" else ""))
    wanted = [key for key, _, source in found if source]
    if len(wanted) > 1:
        raise UsageError(
            f"{wanted[0]} and {wanted[1]} cannot both come from standard input",
            hint="set them one at a time, all but the last with --no-deploy",
        )
    return [(key, _typed(key) if source else text, source) for key, text, source in found]


def _typed(key: str) -> str:
    """Return a value from standard input; on a terminal prompt for it, without echo."""
    if sys.stdin is not None and sys.stdin.isatty():
        asked = click.prompt(key, default="", show_default=False, hide_input=True, err=True)
        data = os.fsencode(str(asked))
    else:
        data = sys.stdin.buffer.read(VALUE_LIMIT + 3) if sys.stdin is not None else b""
    return of_input(key, data)


COMMANDS = (set_, unset)
