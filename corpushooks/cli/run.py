"""The command that runs a command as a project's application."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

import click

from corpushooks.cli.base import NAME, Context
from corpushooks.core.errors import CorpusError, NoDaemonError, UsageError
from corpushooks.core.hints import command
from corpushooks.core.text import clean
from corpushooks.protocol import client
from corpushooks.protocol.asks import Run
from corpushooks.system import terminal


@click.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@NAME
@click.argument("words", metavar="COMMAND...", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def run(context: Context, name: str, words: tuple[str, ...]) -> None:
    """Run a command as the application of a project.

    It runs as NAME-user in project/. Root, the group corpus and admin keys can use it. The exit code is that of the
    command: 127 if it is not found, 128+N if signal N ended it. It gets a terminal if you have one. It ends with your
    connection, together with everything it started. No shell is involved: for pipes and variables use
    sh -c 'COMMAND'.
    """
    asked = Run(project=name, words=_command(name, words), **_about_us())
    context.row(name)
    relay = terminal.relay()
    with client.conversation(context.host, "run", asked) as (link, answers):
        try:
            result = _run(relay, link, answers)
        except terminal.Left as left:
            sys.exit(left.code)
    if result.get("wrong"):
        click.echo(f"error: {clean(result['wrong'])}", err=True)
    sys.exit(result["code"])


def _command(name: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command; raise UsageError if there is none, or if it looks like an option of ours."""
    if words[:1] == ("--",):
        words = words[1:]
    elif words and words[0].startswith("-"):
        raise UsageError(
            f"{words[0]!r} is not a command; if it is one, put it after --", command("run", name, "--", words[0])
        )
    if not words:
        raise UsageError("expected a command", command("run", name, "sh"))
    return words


def _about_us() -> dict[str, str]:
    term = (os.environ.get("TERM") or "dumb") if terminal.is_terminal() else ""
    return {"term": term, "lang": os.environ.get("LANG", "")}


def _run(relay: terminal.Relay, link: socket.socket, answers: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Hand over the ends of the pipes, and relay until the command ends; return its result."""
    for said in answers:
        if "say" in said:
            click.echo(said["say"], err=True)
        if said.get("ready"):
            break
    with contextlib.suppress(OSError):  # the daemon is gone: no answer will come
        socket.send_fds(link, [b"\0"], relay.given)

    def leave() -> None:
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)

    def send(number: int) -> None:
        with contextlib.suppress(OSError):
            link.send(bytes([number]))

    relay.start(leave)
    with terminal.attached(relay, send):
        try:
            result = next((said["result"] for said in answers if "result" in said), None)
        except CorpusError:
            relay.finish()
            raise
        if result is None:
            raise NoDaemonError("the connection to the daemon ended, and the command with it", hint="run it again")
        relay.finish()
    return dict(result)


COMMANDS = (run,)
