"""The commands that make projects and remove them."""

from __future__ import annotations

import click

from corpushooks import git
from corpushooks.cli.base import JSON, NAME, Context, check_outside, tell
from corpushooks.protocol import asks

AGAIN = "ask again when it has ended"


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
    check_outside(context, name, AGAIN)
    asked = asks.Init(
        project=name, env=env or "", branch=branch or "", installer=installer or "",
        object_format=hashed or "", ssh_key=own_key,
    )  # fmt: skip
    tell(context.told("init", asked), as_json)


@click.command()
@NAME
@click.option("--purge", is_flag=True, help="Remove its files and its history too; data/ stays.")
@JSON
@click.pass_obj
def remove(context: Context, name: str, purge: bool, as_json: bool) -> None:
    """Forget a project. Its files stay, unless --purge; data/ always stays."""
    check_outside(context, name, AGAIN)
    tell(context.told("remove", asks.Remove(project=name, purge=purge)), as_json)


COMMANDS = (init_, remove)
