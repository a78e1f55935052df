"""Set up what carries orders by Salt: the master of a controller, or the minion of a node. Both are of our own
environment, with their files in folders of ours; a Salt of the machine is left alone."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpushooks.access.keyring import Keyring
from corpushooks.access.keys import MASTER, Key, check_key_name
from corpushooks.admin.setup import Plan, check_root, make
from corpushooks.admin.setup.actions import Action, File, Folder, Skipped, Started, UnitFile
from corpushooks.core.errors import RefusedError, UsageError
from corpushooks.core.hints import Advice, Hint, command
from corpushooks.core.project import Host
from corpushooks.core.rights import NODE
from corpushooks.core.rollouts import NODE_NAME
from corpushooks.core.text import shown
from corpushooks.salt import (
    ALL,
    MASTER_FILE,
    MASTER_PORTS,
    MINION_FILE,
    finger,
    key_pair,
    master_configuration,
    minion_configuration,
    wire_text,
)
from corpushooks.store.history import open_store
from corpushooks.system import distribution, hostname
from corpushooks.system.machine import Machine

UNIT = "corpushooks-{}.service"  # of the master, and of the minion
FINGERPRINT = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){31}")
PLACE = re.compile(r"(?P<host>[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class Place:
    """Where a master listens: its first port; the second one is the next."""

    host: str
    ports: tuple[int, int] = MASTER_PORTS

    @classmethod
    def parse(cls, text: str) -> Place:
        """Return a place from HOST[:PORT]; raise UsageError."""
        found = PLACE.fullmatch(text)
        port = int(found["port"] or MASTER_PORTS[0]) if found else 0
        if not found or not 0 < port < (1 << 16) - 1:
            raise UsageError(f"invalid address of a Salt master: {shown(text, 80)}", hint="use HOST or HOST:PORT")
        return cls(found["host"].strip("[]"), (port, port + 1))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.ports == MASTER_PORTS else f"{host}:{self.ports[0]}"


@dataclass(frozen=True)
class Wire:
    """The files and the unit of a master or a minion."""

    host: Host
    kind: str  # master or minion
    content: Mapping[str, Any]
    machine: Machine | None
    python: Path
    unit_text: str

    @property
    def folder(self) -> Path:
        return self.host.fleet_dir / self.kind

    @property
    def program(self) -> Path:
        return self.python.with_name(f"salt-{self.kind}")

    def folders(self) -> list[Action]:
        """Return the folders, which nobody else can look into."""
        rest = scratch(self.host, self.kind)
        found = (self.host.fleet_dir, self.folder, self.folder / "pki", rest, rest / "log", rest / "empty")
        return [Folder(path, 0o700) for path in found]

    def actions(self) -> list[Action]:
        """Return what is to be done."""
        unit = UNIT.format(self.kind)
        path = self.host.root / "etc/systemd/system" / unit
        file = File(self.folder / self.kind, wire_text(self.content))
        if self.machine is None:
            return [*self.folders(), file, Skipped("unit", f"not started for a host in a folder: {self._by_hand}")]
        if not self.machine.supervised():
            return [*self.folders(), file, Skipped("unit", f"systemd is not running: run {self._by_hand}")]
        return [*self.folders(), file, UnitFile(path, self.unit_text, self.machine), Started((unit,), self.machine)]

    @property
    def _by_hand(self) -> str:
        return f"{self.program} -c {self.folder}"

    def key(self) -> str:
        """Return the fingerprint of the public key, which is made now if there is none."""
        pki = self.folder / "pki"
        key_pair(pki / f"{self.kind}.pem", pki / f"{self.kind}.pub")
        return finger((pki / f"{self.kind}.pub").read_bytes())


def scratch(host: Host, kind: str) -> Path:
    """Return the folder of what a master or a minion keeps for itself, and can lose."""
    return host.state_dir / f"salt-{kind}"


def sockets(host: Host, kind: str) -> Path:
    """Return the folder of its sockets, which its unit makes."""
    return host.root / f"run/corpushooks-{kind}"


def master(host: Host, place: Place, user: str) -> dict[str, Any]:
    """Return the configuration of the master of a controller."""
    folder = host.fleet_dir / MASTER_FILE
    rest = scratch(host, MASTER_FILE)
    return master_configuration(folder, rest, sockets(host, MASTER_FILE), user, place.host, place.ports)


@dataclass(frozen=True)
class Joining:
    """How a node joins: where the master is, its fingerprint, the names of the node and of the controller on it."""

    place: Place
    fingerprint: str
    node: str
    controller: str

    def check(self) -> None:
        """Raise UsageError for what is invalid."""
        if not FINGERPRINT.fullmatch(self.fingerprint):
            hint = Hint("it is printed on the controller by: ", command("setup", "--controller", "salt"))
            raise UsageError(f"invalid fingerprint of a Salt master: {shown(self.fingerprint, 100) or 'none'}", hint)
        if not NODE_NAME.fullmatch(self.node):
            raise UsageError(f"invalid name of a node: {shown(self.node, 80)}", hint="use --name with a-z, 0-9 and -")
        check_key_name(self.controller)

    @property
    def key(self) -> Key:
        """What the controller may on the node."""
        return Key(self.controller, MASTER, self.fingerprint, NODE, by="setup")

    def let_in(self, host: Host) -> str:
        """Let the controller in; return what was done. Raise RefusedError if another one has its name."""
        with closing(open_store(host)) as history:
            ring = Keyring(history)
            known, same = ring.key(self.controller), ring.holding(self.fingerprint)
            if same and same.name != self.controller:
                remove = command("key", "remove", same.name)
                raise RefusedError(f"this master is known as the controller {same.name}", hint=remove)
            if known and known.blob != self.fingerprint:
                free = Hint(command("key", "remove", known.name), ", or choose another name with --as")
                raise RefusedError(f"the name {known.name} already belongs to the key {known.fingerprint}", hint=free)
            if known:
                return f"{self.controller} can order here already"
            ring.add(self.key)
            return f"{self.controller} can order here from now on"

    def minion(self, host: Host, user: str) -> dict[str, Any]:
        """Return the configuration of the minion."""
        ours = {"socket": str(host.socket), "controller": self.controller, "mark": self.key.mark}
        folder, rest = host.fleet_dir / MINION_FILE, scratch(host, MINION_FILE)
        return minion_configuration(
            self.node, folder, rest, sockets(host, MINION_FILE), user, self.place.host, self.fingerprint, ours,
            self.place.ports,
        )  # fmt: skip


def own_name() -> str:
    """Return the name of this machine as the name of a node."""
    return hostname.fqdn().partition(".")[0].lower()


def python_with_salt(given: Path | None) -> Path:
    """Return the interpreter that has Salt; raise RefusedError if it has no programs of Salt."""
    found = given or Path(sys.executable)
    for name in ("salt-key", "salt-master", "salt-minion"):
        if not found.with_name(name).exists():
            raise RefusedError(f"{found.with_name(name)} is missing", hint=distribution.with_salt(found))
    return found


def for_nodes(address: str, place: Place, fingerprint: str) -> Iterator[Advice]:
    """Yield what to do on the nodes."""
    at = Place(address.partition(":")[0], place.ports)
    yield f"the key of this master: {fingerprint}"
    yield Hint("on each node: ", command("setup", "--node", at, "--fingerprint", fingerprint))


def for_controller(joining: Joining, fingerprint: str) -> Iterator[Advice]:
    """Yield what to do on the controller."""
    yield f"the key of this node: {fingerprint}"
    yield Hint("on the controller: ", command("node", "accept", joining.node, "--fingerprint", fingerprint))


# doing it


def wire_of(plan: Plan, kind: str, content: Mapping[str, Any]) -> Wire:
    """Return what sets a master or a minion up."""
    python = python_with_salt(plan.settings.salt_python)
    program, folder = python.with_name(f"salt-{kind}"), plan.host.fleet_dir / kind
    values = {"program": str(program), "folder": str(folder), "kind": kind}
    unit = plan.template("salt.service", values) if plan.machine else ""
    return Wire(plan.host, kind, content, plan.machine, python, unit)


def controller(plan: Plan, listen: str, user: str) -> Iterator[Advice]:
    """Set up the Salt master of a controller; yield what is done, and what to do next."""
    check_root(plan)
    place = Place.parse(listen) if listen else Place(ALL)
    wire = wire_of(plan, MASTER_FILE, master(plan.host, place, user))
    fingerprint = yield from _set_up(plan, wire)
    yield from for_nodes(plan.settings.address or hostname.fqdn(), place, fingerprint)


def node(plan: Plan, joining: Joining, user: str) -> Iterator[Advice]:
    """Set up the minion of a node; yield what is done, and what to do next."""
    check_root(plan)
    joining.check()
    wire = wire_of(plan, MINION_FILE, joining.minion(plan.host, user))
    yield joining.let_in(plan.host)
    fingerprint = yield from _set_up(plan, wire)
    yield from for_controller(joining, fingerprint)


def _set_up(plan: Plan, wire: Wire) -> Generator[Advice, None, str]:
    first = plan.folders([plan.host.fleet_dir, plan.host.root / "etc/systemd/system/x"] if plan.machine
                         else [plan.host.fleet_dir])  # fmt: skip
    *files, last = [*first, *wire.actions()]
    yield from map(str, make(plan.host, files, dry=False))
    fingerprint = wire.key()  # before it starts, so that it can be told
    yield from map(str, make(plan.host, [last], dry=False))
    return fingerprint
