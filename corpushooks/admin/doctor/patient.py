"""The host that doctor examines, and its findings: a fault with the command that repairs it, or a note."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from corpushooks.core.deployment import ProjectRow
from corpushooks.core.errors import ConfigError, Fault, NotAllowedError, StoreError, UsageError
from corpushooks.core.hints import command
from corpushooks.core.project import Host, Project
from corpushooks.core.rollouts import Node
from corpushooks.core.settings import Settings, load
from corpushooks.store import lost
from corpushooks.store.fleet import Fleet
from corpushooks.store.history import open_store
from corpushooks.store.kept import Backups, Kept
from corpushooks.system.machine import Machine
from corpushooks.system.obstacles import editing


@dataclass(frozen=True)
class Patient:
    """A host to examine; `machine` is None for a host in a folder."""

    host: Host
    settings: Settings
    rows: tuple[ProjectRow, ...] = ()
    busy: Mapping[str, int] = field(default_factory=dict)  # projects with a running deployment, and its number
    machine: Machine | None = None
    unread: tuple[Fault, ...] = ()  # what could not be read
    kept: Mapping[str, tuple[Kept, ...]] = field(default_factory=dict)  # the backups of each project
    nodes: tuple[Node, ...] = ()

    @property
    def projects(self) -> tuple[Project, ...]:
        return tuple(self.host.project(row.name) for row in self.rows)


Finding = Fault | str  # a str is a note: nothing is wrong
Find = Callable[[Patient], Iterator[Finding]]


@dataclass(frozen=True)
class Check:
    """One row: the name of a check and its function."""

    name: str
    find: Find


def admit(host: Host, machine: Machine | None) -> Patient:
    """Read settings and store of a host, and create nothing; raise UsageError if there is no host."""
    unread: list[Fault] = []
    settings = Settings()
    rows: tuple[ProjectRow, ...] = ()
    busy: dict[str, int] = {}
    kept: dict[str, tuple[Kept, ...]] = {}
    nodes: tuple[Node, ...] = ()
    try:
        settings = load(host.config_file)
    except ConfigError as exc:
        unread.append(Fault(exc.message, editing(host.config_file)))
    try:
        unread += _open_to_others(host.store)
        rows, busy, kept, nodes = _read_store(host)
    except PermissionError:
        raise NotAllowedError("this account cannot examine this host") from None
    except StoreError as exc:
        unread.append(Fault(exc.message, exc.hint or f"ls -la {shlex.quote(str(host.state_dir))}"))
    return Patient(host, settings, rows, busy, machine, tuple(unread), kept, nodes)


def _open_to_others(store: Path) -> list[Fault]:
    """Return a fault if others can read the store; check before opening it, which repairs that."""
    mode = store.stat().st_mode & 0o7777 if store.exists() else 0
    return [Fault(f"{store} had mode {mode:04o}: others have access", f"chmod go= {store}")] if mode & 0o077 else []


Read = tuple[tuple[ProjectRow, ...], dict[str, int], dict[str, tuple[Kept, ...]], tuple[Node, ...]]


def _read_store(host: Host) -> Read:
    """Return the projects in the store, those with a running deployment, the backups of each, and the nodes."""
    if not host.projects_dir.exists() and not host.store.exists():
        raise UsageError(f"no projects exist under {host.root}", hint=command("init", "NAME"))
    if not host.store.exists() and not any(host.projects_dir.glob("*/git/project.git")):
        return (), {}, {}, ()  # opening the store would create it
    history = open_store(host)
    try:
        history.check()
        lost.check(host, history)
        rows = tuple(history.projects())
        busy = {row.name: running[0].number for row in rows if (running := history.unfinished(row.name))}
        kept = {row.name: tuple(Backups(history).of(row.name)) for row in rows}
        return rows, busy, kept, tuple(Fleet(history).nodes())
    finally:
        history.close()
