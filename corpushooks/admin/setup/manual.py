"""Shell completions and the man page, generated from the command itself. Values only."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
from click.shell_completion import get_completion_class

SHELLS = {  # shell -> where it looks for completions, below share
    "bash": "bash-completion/completions/{}",
    "zsh": "zsh/site-functions/_{}",
    "fish": "fish/vendor_completions.d/{}.fish",
}
EXITS = """\
.SH EXIT STATUS
0: done. 1: the deployment failed, or a check found faults. 2: usage or configuration error. 3: refused. 4: broken, \
needs a person. 130: interrupted.
"""


def files(command: click.Command, name: str, version: str) -> dict[str, str]:
    """Return all generated texts, by their path below share."""
    texts = {path.format(name): completion(command, name, shell) for shell, path in SHELLS.items()}
    return {f"man/man1/{name}.1": page(command, name, version), **texts}


def completion(command: click.Command, name: str, shell: str) -> str:
    """Return the completion script for a shell of SHELLS."""
    kind = get_completion_class(shell)
    assert kind is not None, shell
    made = kind(command, {}, name, f"_{name.upper()}_COMPLETE")
    return made.source_template % made.source_vars()


def page(command: click.Command, name: str, version: str) -> str:
    """Return the man page of the command and of all its subcommands."""
    context = command.make_context(name, [], resilient_parsing=True)
    head = f'.TH {name.upper()} 1 "" "{name} {version}"\n.SH NAME\n{name} \\- {_text(_summary(command))}\n'
    about = f".SH SYNOPSIS\n{_usage(context)}\n.SH DESCRIPTION\n{_text(command.help or '')}\n"
    options = "".join(_options(context))
    return f"{head}{about}.SH OPTIONS\n{options}.SH COMMANDS\n{''.join(_commands(context))}{EXITS}"


def _commands(context: click.Context) -> Iterator[str]:
    """Describe each subcommand, recursively."""
    command = context.command
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        child = command.get_command(context, name) if isinstance(command, click.Group) else None
        if child is None or child.hidden:
            continue
        below = child.make_context(name, [], context, resilient_parsing=True)
        if not isinstance(child, click.Group):
            yield f".SS {_usage(below)}\n{_text(child.help or '')}\n{''.join(_options(below))}"
        yield from _commands(below)


def _usage(context: click.Context) -> str:
    words = (context.command_path, *context.command.collect_usage_pieces(context))
    return _text(" ".join(words))


def _options(context: click.Context) -> Iterator[str]:
    """Describe each option, except --help of subcommands."""
    for param in context.command.get_params(context):
        record = param.get_help_record(context)
        if record and record[1] and not (context.parent and "--help" in param.opts):
            yield f".TP\n.B {_text(record[0])}\n{_text(record[1])}\n"


def _summary(command: click.Command) -> str:
    return (command.help or "").partition("\n")[0].rstrip(".")


def _text(text: str) -> str:
    """Return text escaped for roff, with its paragraphs."""
    text = re.sub(r"[ \t]*\n[ \t]*\n\s*", "\n\n", text.replace("\b", "").strip())
    lines = (line.strip().replace("\\", "\\e").replace("-", "\\-") for line in text.split("\n"))
    return "\n".join((re.sub(r"^(?=['.])", r"\\&", line) or ".PP") for line in lines)
