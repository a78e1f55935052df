"""The command `corpus`: parse, ask, print, exit. Nothing else in the package prints or exits.

deployments   ask for one, or for its end       deploy, rollback, watch, task, repair, cancel
looking       look, and change nothing          status, history, log, diff, config, check, doctor, …
projects      make and remove them              init, link, unlink, remove
keys          say who may                       key, freeze, thaw
notify        try a notification out            notify
host          what a host needs                 setup, daemon, rebuild, help, demo
base          what all of these share
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import click

from corpushooks import __version__, project
from corpushooks.cli import deployments, host, keys, looking, notify, projects
from corpushooks.cli.base import Context
from corpushooks.errors import CorpusError


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


def _complain(exc: CorpusError, where: project.Host) -> None:
    if {"-v", "--verbose"} & set(sys.argv):
        traceback.print_exception(exc)
    click.echo(f"error: {exc.message}", err=True)
    if exc.hint:
        click.echo(f"hint: {where.words(exc.hint)}", err=True)


for room in (deployments, looking, projects, keys, notify, host):
    for found in room.COMMANDS:
        corpus.add_command(found)
