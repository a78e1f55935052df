"""Shared by the commands of `corpus`: their context, and how they print results."""

from __future__ import annotations

import io
import json
import os
import select
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from corpushooks.core import project
from corpushooks.core.deployment import MARK, ProjectRow, state_of
from corpushooks.core.errors import CorpusError, Fault, NoDaemonError, NotAllowedError, RefusedError, UsageError
from corpushooks.core.hints import Advice, Hint, command
from corpushooks.core.settings import Settings, load
from corpushooks.core.text import whole
from corpushooks.operations.ssh_commands import can_ask
from corpushooks.operations.table import HOST_ITSELF, OPERATIONS
from corpushooks.protocol import client
from corpushooks.reports.report import Report
from corpushooks.screen import view
from corpushooks.store.database import is_ours
from corpushooks.store.history import History, open_store

if TYPE_CHECKING:
    from corpushooks.host.site import Site

UNDEPLOYED = frozenset({"stored", "unchanged"})  # results of `set` that are not states of a deployment
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
NAME = click.argument("name")


@dataclass
class Context:
    """The context that every command gets."""

    host: project.Host = field(default_factory=project.Host)

    def settings(self) -> Settings:
        return load(self.host.config_file)

    def history(self) -> History:
        """Return the store; raise UsageError if this host has none yet."""
        with suppress(PermissionError):  # opening the store reports it
            if not self.host.store.exists() and not self.host.projects_dir.exists():
                raise UsageError(f"no projects exist under {self.host.root}", hint=command("init", "NAME"))
        from corpushooks.store import lost  # imported here and below, so that --help does not load it

        history = open_store(self.host)
        try:
            lost.check(self.host, history)
        except BaseException:
            history.close()
            raise
        return history

    def site(self) -> Site:
        from corpushooks.host.site import open_site

        self.history().close()
        return open_site(self.host, can_ask)

    def known(self, name: str) -> tuple[History, ProjectRow]:
        """Return the store and a project; raise UsageError if the project is unknown."""
        self.host.project(name)
        history = self.history()
        row = history.project(name)
        if row is None:
            raise UsageError(f"unknown project {name!r}", hint=Hint(command("status"), ", or: ", command("init", name)))
        return history, row

    @property
    def far(self) -> bool:
        """Say whether only the daemon can answer: the store is not readable by us, or the caller came with a key."""
        if os.environ.get(client.ADMISSION):
            return True
        if is_ours(self.host.state_dir):
            return False  # if we cannot open it, we can repair that
        try:
            self.host.store.stat()
        except OSError as exc:
            return isinstance(exc, PermissionError)
        return not os.access(self.host.store, os.R_OK | os.W_OK)

    def told(self, name: str, asked: Any) -> Report:
        """Run an operation without a conversation: in this process, or in the daemon if only it can use the store."""
        if self.far:
            return self.told_by_daemon(name, asked)
        from corpushooks.host.site import open_site
        from corpushooks.operations import looks

        operation = OPERATIONS[name]
        if operation.about != HOST_ITSELF and asked.project:
            self.known(asked.project)  # gives a better error for an unknown project
        site = open_site(self.host, can_ask) if operation.begins else self.site()
        try:
            return looks.here(site, name, asked)
        finally:
            site.engine.close()

    def told_by_daemon(self, name: str, asked: Any) -> Report:
        """Run an operation without a conversation in the daemon."""
        found = client.ask(self.host, name, asked, click.echo)
        faults = tuple(Fault(**each) for each in found["warnings"])
        return Report(found["value"], found["lines"], faults, found["hint"])

    def row(self, name: str) -> ProjectRow | None:
        """Return a project, or None if only the daemon can read the store: it checks the rights."""
        return None if self.far else self.known(name)[1]


def check_outside(context: Context, name: str, hint: Advice) -> None:
    """Refuse a request from within a running deployment of the same project: it would wait for itself."""
    folder, _, number = os.environ.get(MARK, "").rpartition("#")
    if folder != str(context.host.project(name).dir) or not number.isdigit():
        return
    with suppress(UsageError):  # the deployment is no longer recorded
        history, _ = context.known(name)
        if history.deployment(name, int(number)).ended is None:
            raise RefusedError(f"called from within deployment {number} of {name}; it would wait for itself", hint)


class _Descriptor(io.FileIO):
    """A descriptor for writing; it remembers the error that ended it."""

    lost: OSError | None = None

    def write(self, data: Any) -> Any:
        try:
            return super().write(data)
        except OSError as exc:
            self.lost = exc
            raise


class Output(io.TextIOWrapper):
    """Standard output or standard error. Characters that the locale cannot encode are escaped."""

    def __init__(self, descriptor: int, encoding: str | None) -> None:
        self.raw = _Descriptor(descriptor, "w", closefd=False)
        terminal = self.raw.isatty()
        super().__init__(io.BufferedWriter(self.raw), encoding, "backslashreplace", line_buffering=terminal)

    def unwritten(self) -> OSError | None:
        """Return the error that kept output from being written, or None."""
        try:
            self.flush()
        except OSError as exc:
            return exc
        return self.raw.lost

    def left(self) -> bool:
        """Say whether the reader is gone: a closed pipe, or an ssh session that ended."""
        poll = select.poll()
        poll.register(self.raw.fileno(), 0)  # POLLERR and POLLHUP are always reported
        return bool(poll.poll(0))

    def silence(self) -> None:
        """Discard all further output."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.raw.fileno())
        os.close(null)
        self.flush()
        self.raw.lost = None


@dataclass
class Screen:
    """Where lines are shown; on a terminal the last one can be rewritten.

    With `lasting` a closed output is not an error: the deployment continues, and its end is awaited.
    """

    err: bool = False
    lasting: bool = False
    _width: int = 0

    @property
    def rewrites(self) -> bool:
        return (sys.stderr if self.err else sys.stdout).isatty()

    def say(self, text: str) -> None:
        """Show lines; the first replaces a line shown by `rewrite`."""
        first, *rest = text.split("\n")
        self._put("\n".join([first.ljust(self._width), *rest]) + "\n")
        self._width = 0

    def rewrite(self, text: str) -> None:
        """Show a line that the next one replaces."""
        self._put(text.ljust(self._width) + "\r")
        self._width = len(text)

    def _put(self, text: str) -> None:
        try:
            click.echo(text, nl=False, err=self.err)
        except OSError as exc:
            if not self.lasting:
                raise
            if isinstance(out := sys.stderr if self.err else sys.stdout, Output):
                out.silence()
            with suppress(OSError):
                click.echo(f"warning: cannot write the output: {exc.strerror}; the deployment continues", err=True)

    def ask(self, host: project.Host, name: str, asked: Any) -> dict[str, Any]:
        """Ask the daemon for an operation and show its messages."""
        return client.ask(host, name, asked, self.say, self.rewrite if self.rewrites else None)


def tell(told: Report, as_json: bool) -> None:
    """Print a report as JSON or as lines, with its warnings and its hint."""
    show(as_json, told.plain, told.lines)
    warn(told.warnings)
    if told.hint and not as_json:
        click.echo(f"hint: {told.hint}", err=True)


def report(context: Context, name: str, told: Report, as_json: bool) -> None:
    """Print a report as JSON, as a table on a terminal, else as plain lines."""
    from corpushooks.cli import tables

    if as_json or not sys.stdout.isatty() or not tables.show(name, told.plain, told.lines, context.host.spell):
        show(as_json, told.plain, told.lines)
    warn(told.warnings)


def show(as_json: bool, value: Any, lines: Sequence[str]) -> None:
    """Print a value as JSON, or lines."""
    if as_json:
        click.echo(json.dumps(_whole(value), indent=2, default=str))
    else:
        for line in lines:
            click.echo(line)


def warn(faults: Sequence[Fault]) -> None:
    """Print warnings, each with the command that helps."""
    for fault in faults:
        click.echo(f"warning: {fault.what}\nhint: {fault.repair}", err=True)


def _whole(value: Any) -> Any:
    """Return a value with surrogates escaped: JSON readers reject half a character."""
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, dict):
        return {_whole(key): _whole(inner) for key, inner in value.items()}
    return [_whole(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def exit_code(state: str) -> int:
    """Return the exit code for a state."""
    return 0 if state in UNDEPLOYED else state_of(state).exit


def outcome(state: str, reason: str) -> str:
    """Return the outcome of a deployment and its reason."""
    return view.outcome(state) + (f": {reason}" if reason else "")


def of_system(exc: OSError) -> CorpusError:
    """Return the error to report for an unexpected OSError."""
    what = f"{exc.strerror or exc}{f': {os.fsdecode(exc.filename)}' if exc.filename else ''}"
    return NotAllowedError(what) if isinstance(exc, PermissionError) and os.geteuid() != 0 else CorpusError(what)


@contextmanager
def starting(host: project.Host, *, embedded: bool) -> Iterator[None]:
    """Report, as JSON, why an embedded daemon cannot start; a NoDaemonError is reported by its exit code."""
    try:
        yield
    except (CorpusError, OSError) as exc:
        if not embedded or isinstance(exc, NoDaemonError):
            raise
        wrong = of_system(exc) if isinstance(exc, OSError) else exc
        click.echo(json.dumps({"error": wrong.message, "hint": host.spell(wrong.hint)}), err=True)
        sys.exit(1)
