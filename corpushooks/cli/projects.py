"""The commands that create and remove projects."""

from __future__ import annotations

import click

from corpushooks import git
from corpushooks.cli.base import JSON, NAME, Context, check_outside, tell
from corpushooks.protocol import asks

AGAIN = "try again when it has ended"


@click.command("init")
@NAME
@click.option("--env", help="dev, staging, prod or another name; only dev behaves differently.")
@click.option("--branch", help="The branch to deploy (default: master).")
@click.option(
    "--installer", metavar="NAME|PATH",
    help="Start with a first commit from generic, node, php, python, static, or your own folder.",
)  # fmt: skip
@click.option(
    "--object-format", "hashed", type=click.Choice(git.FORMATS), help="The hash of its commits (default: sha1)."
)
@click.option("--ssh-key", "own_key", is_flag=True, help="Create an ssh key pair for the project's user, for fetching.")
@JSON
@click.pass_obj
def init_(
    context: Context, name: str, env: str | None, branch: str | None, installer: str | None, hashed: str | None,
    own_key: bool, as_json: bool,
) -> None:  # fmt: skip
    """Create or repair a project, and print where to push."""
    check_outside(context, name, AGAIN)
    asked = asks.Init(
        project=name, env=env or "", branch=branch or "", installer=installer or "",
        object_format=hashed or "", ssh_key=own_key,
    )  # fmt: skip
    tell(context.told("init", asked), as_json)


@click.command()
@NAME
@click.option("--purge", is_flag=True, help="Also remove its files and its history; data/ stays.")
@JSON
@click.pass_obj
def remove(context: Context, name: str, purge: bool, as_json: bool) -> None:
    """Remove a project.

    Its files stay, unless --purge is given; data/ always stays.
    """
    check_outside(context, name, AGAIN)
    tell(context.told("remove", asks.Remove(project=name, purge=purge)), as_json)


COMMANDS = (init_, remove)
