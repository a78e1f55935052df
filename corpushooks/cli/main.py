"""The command itself: the group of all commands, errors and exit codes."""

from __future__ import annotations

import errno
import os
import pwd
import shlex
import sys
import traceback
from contextlib import suppress
from pathlib import Path

import click

from corpushooks import __version__
from corpushooks.cli.base import Context, Output, of_system
from corpushooks.cli.commands import Commands
from corpushooks.core import project
from corpushooks.core.errors import CorpusError, NotAllowedError, UsageError
from corpushooks.core.text import one_line
from corpushooks.protocol.client import ADMISSION


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--root", type=click.Path(path_type=Path, file_okay=False, readable=False), default="/", envvar="CORPUS_ROOT",
    help="Put every path of the host under this folder.",
)  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="Show a traceback on errors.")
@click.version_option(__version__, prog_name="corpus")
@click.pass_context
def corpus(context: click.Context, root: Path, verbose: bool) -> None:
    """Deploy projects on this server with git push."""
    context.ensure_object(Context).host = project.Host(root.absolute())


def main() -> None:
    """Run the command and exit with its code."""
    os.umask(0o022)
    out, err = Output(1, sys.stdout.encoding), Output(2, sys.stderr.encoding)
    sys.stdout, sys.stderr = out, err
    context = Context()
    code = _run(context, out)
    if lost := out.unwritten():
        code = code or 1
        if lost.errno != errno.EPIPE:
            _complain(CorpusError(f"cannot write the output: {lost.strerror}"), context.host)
    for stream in (out, err):
        if stream.unwritten():
            stream.silence()  # else Python complains at its end
    sys.exit(code)


def _run(context: Context, out: Output) -> int:
    """Run the command; print its error, if any, and return its exit code."""
    try:
        return _code(corpus.main(prog_name="corpus", standalone_mode=False, obj=context))
    except SystemExit as exc:
        return _code(exc.code)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return 130
    except click.ClickException as exc:
        return _wrong_usage(exc, context.host)
    except CorpusError as exc:
        return _complain(exc, context.host)
    except OSError as exc:
        return 1 if out.unwritten() else _complain(of_system(exc), context.host, exc)
    except UnicodeEncodeError as exc:  # an argument that is not valid UTF-8
        return _complain(UsageError(f"not valid UTF-8: {exc.object!r}"), context.host)
    except Exception as exc:  # the edge of the command
        return _complain(CorpusError(f"internal error: {type(exc).__name__}: {one_line(str(exc))}",
                                     f"for a traceback: {_again('-v')}"), context.host, exc)  # fmt: skip


def _code(found: object) -> int:
    return found if isinstance(found, int) else 0


def _wrong_usage(exc: click.ClickException, where: project.Host) -> int:
    """Print what is wrong with the arguments and how to get help; return the exit code."""
    message, context = exc.format_message(), getattr(exc, "ctx", None)
    if "\n" in message:  # the help, if no command was given
        with suppress(OSError):
            exc.show()
        return 2
    return _complain(UsageError(message, f"{context.command_path} --help" if context else ""), where)


def _complain(exc: CorpusError, where: project.Host, cause: BaseException | None = None) -> int:
    """Print an error and its hint; return the exit code."""
    hint = where.spell(exc.hint)
    owner = _owner(where)
    if isinstance(exc, NotAllowedError) and owner != os.geteuid() and not os.environ.get(ADMISSION):
        hint = "; or ".join(filter(None, [hint, _again(owner=pwd.getpwuid(owner).pw_name)]))
    with suppress(OSError):  # stderr is closed
        if {"-v", "--verbose"} & set(sys.argv):
            traceback.print_exception(cause or exc)
        click.echo(f"error: {exc.message}", err=True)
        if hint:
            click.echo(f"hint: {hint}", err=True)
    return exc.exit_code


def _owner(where: project.Host) -> int:
    """Return the owner of a host, as far as it can be seen."""
    try:
        return where.root.stat().st_uid
    except OSError:
        return 0


def _again(*flags: str, owner: str = "") -> str:
    """Return this same command with more flags, run as the owner if given."""
    root = os.environ.get("CORPUS_ROOT")
    named = ["--root", root] if root and "--root" not in sys.argv else []
    become = ["sudo", *(["-u", owner] if owner != "root" else [])] if owner else []
    return shlex.join([*become, "corpus", *flags, *named, *sys.argv[1:]])
