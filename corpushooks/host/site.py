"""A running host: its settings, its store, its engine."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from corpushooks.core import claims
from corpushooks.core.deployment import ProjectRow
from corpushooks.core.errors import UnknownError
from corpushooks.core.hints import Advice, Spelling, command
from corpushooks.core.project import Host, Project
from corpushooks.core.settings import Settings, load
from corpushooks.host.address import called
from corpushooks.salt import Engine, SaltCallEngine, WarmEngine
from corpushooks.store.history import History, open_store
from corpushooks.system import hostname, sockets

Probe = Callable[[str, str], None]


Event = Callable[[str, Mapping[str, object]], None]


def no_event(event: str, about: Mapping[str, object]) -> None:
    """Ignore an event: only a daemon has a log."""


def no_probe(label: str, when: str) -> None:
    """Do nothing, where a crash test would."""


def on_the_host_only(words: Sequence[str]) -> bool:
    """Return that a command is not available over ssh."""
    return False


@dataclass
class Site:
    """A running host: its settings, store and engine. `probe` is called around every effect, with its label;
    `by_ssh` returns whether a command is available over ssh."""

    host: Host
    settings: Settings
    history: History
    engine: Engine
    probe: Probe = no_probe
    event: Event = no_event  # logs what happens, for the administrator
    by_ssh: Callable[[Sequence[str]], bool] = on_the_host_only
    stopping: bool = False
    weights: Any = None  # of trees, as measured a while ago; kept by `reports/places`
    transport: Any = None  # to the nodes, if there are any; kept by `fleet/reach`

    def spell(self, said: Advice, *, ssh: bool = False) -> str:
        """Return advice as text, with its commands as typed for this host, or over ssh."""
        if not ssh:
            return self.host.spell(said)
        address = called(self.settings.account, self.settings.address or hostname.fqdn())
        return Spelling(str(self.host.root) if self.host.embedded else "", address, self.by_ssh)(said)

    def known(self, name: str) -> ProjectRow:
        """Return a project from the store; raise UnknownError if it does not exist."""
        row = self.history.project(self.host.project(name).name)
        if row is None:
            raise UnknownError(f"unknown project {name!r}", hint=command("init", name))
        return row

    def settings_of(self, row: ProjectRow, *, needs_sound: bool = True) -> Settings:
        """Return the settings of a project: those recorded by `init` override the host's.

        If its own are wrong, raise ConfigError or, without `needs_sound`, use those of the host.
        """
        settings = self.settings.for_project(row.name) if needs_sound else self.settings.sound(row.name)
        return replace(settings, environment=row.environment, branch=row.branch)

    def ports(self, project: Project) -> claims.Give:
        """Return a function that gives a project its `auto` ports: always the same, once they are claimed."""
        busy = functools.cache(sockets.listening)  # slow on a busy host: as long as the rest of a cfg
        return claims.giver(project.name, self.history.held(), lambda port: port not in busy())

    @contextmanager
    def effect(self, label: str) -> Iterator[None]:
        """Mark an effect, so that a test can fail or kill exactly there."""
        self.probe(label, "before")
        yield
        self.probe(label, "after")


def make_engine(host: Host, settings: Settings) -> Engine:
    """Return the engine in the settings."""
    if settings.engine == "salt-call":
        return SaltCallEngine(settings.salt_call)
    return WarmEngine(settings.salt_python or Path(sys.executable), log=host.state_dir / "salt-worker.log")


def open_site(host: Host, by_ssh: Callable[[Sequence[str]], bool] = on_the_host_only) -> Site:
    """Open a host with its settings and store; raise ConfigError or StoreError."""
    settings = load(host.config_file)
    return Site(host, settings, open_store(host), make_engine(host, settings), by_ssh=by_ssh)
