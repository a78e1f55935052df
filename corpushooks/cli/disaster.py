"""The host itself: its backup, and its return on a machine that has nothing yet."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from corpushooks.admin import disaster, setup
from corpushooks.admin.disaster import Brought
from corpushooks.backup import vault
from corpushooks.cli.base import Context
from corpushooks.core import backups
from corpushooks.core.errors import NoDaemonError, RefusedError, UsageError
from corpushooks.core.project import Host
from corpushooks.core.settings import Settings
from corpushooks.protocol import asks, client
from corpushooks.screen import view
from corpushooks.system import safe_files

STOP = "systemctl stop corpushooks.socket corpushooks.service"


def keep(context: Context) -> str:
    """Back up the host itself; return what is said of it."""
    return f"host: {disaster.keep(context.host, context.settings())}"


def phrase(file: Path | None) -> bytes:
    """Return the passphrase of the repository, from a file or as it is typed; raise UsageError."""
    if file is None:
        return str(click.prompt("Passphrase of the backups", hide_input=True, err=True)).encode()
    try:
        found, _ = safe_files.read(file)
    except OSError as exc:
        raise UsageError(f"{file} cannot be read: {exc.strerror}") from exc
    if not found.strip():
        raise UsageError(f"{file} is empty")
    return found


def wanted(settings: Settings, repository: str) -> backups.Backup:
    """Return how the repository is used; raise ConfigError for the name of one that cannot be."""
    named = backups.backup({"repository": repository})
    assert named is not None
    return replace(settings.backup, repository=repository) if settings.backup else named


def bring(host: Host, kept: backups.Backup, secret: bytes, whose: str) -> list[Brought]:
    """Bring the host back but for data/ and databases, while no daemon runs; say which files it replaced."""
    vault.check_program()
    back = disaster.Return(host, kept, whose)
    with without_daemon(host):
        try:
            return back.bring(secret)
        finally:
            for line in replaced(back.replaced):
                click.echo(line, err=True)


def replaced(paths: Sequence[Path]) -> Iterator[str]:
    """Yield what is said of the files that were replaced: how many are kept in each folder."""
    for folder, count in Counter(path.parent for path in paths).items():
        yield f"{view.count(count, 'file or folder was', 'files or folders were')} replaced and kept in {folder}"


@contextlib.contextmanager
def without_daemon(host: Host) -> Iterator[None]:
    """Stop the daemon of this machine, and start it at the end; raise RefusedError where another one runs."""
    machine = setup.machine_of(host)
    stops = machine is not None and machine.supervised() and machine.unit(setup.UNITS[0]).active
    if machine and stops:
        machine.do("systemctl", "stop", *setup.UNITS)
    try:
        yield
    except NoDaemonError:
        raise RefusedError("a daemon runs", hint=f"stop it first: {STOP}, or kill {client.ping(host)}") from None
    finally:
        if machine and stops:
            machine.do("systemctl", "start", *setup.UNITS)


def requests(one: Brought) -> Iterator[tuple[str, asks.OfRequest]]:
    """Yield what brings a project back whose repositories are there: files, data/, a deployment, databases."""
    name = one.name
    if one.live and one.number:
        yield "repair", asks.OfRequest(project=name)
    if one.number:
        yield "restore", asks.Restore(project=name, number=one.number, data=True, insist=True)
    if one.live and one.number:
        yield "deploy", asks.Deploy(project=name, skip=("backup",), insist=True)  # its cfg is not there yet
    if one.databases:
        yield "restore", asks.Restore(
            project=name, number=one.number, databases=one.databases, force=True, insist=True
        )  # fmt: skip
    if one.folders:
        yield "restore", asks.Restore(project=name, number=one.number, folders=one.folders, force=True, insist=True)
    if one.dumps:
        yield "restore", asks.Restore(project=name, number=one.number, dumps=True, force=True, insist=True)
