"""A real Salt master and real minions on loopback: the lines of a fleet, in the place of sshd."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpushooks.access.keyring import Keyring
from corpushooks.access.keys import MASTER, Key
from corpushooks.admin.setup import wires
from corpushooks.core.rights import NODE
from corpushooks.core.rollouts import Node
from corpushooks.fleet import master
from corpushooks.fleet.master import Master
from corpushooks.salt import (
    MASTER_FILE,
    MINION_FILE,
    at_work,
    finger,
    master_configuration,
    minion_configuration,
    wire_text,
)
from corpushooks.system.process import Child, ancestors, spawn, stop_group
from tests.support.box import until
from tests.support.fleet import CONTROLLER, FleetBox, NodeBox, fleet_box
from tests.support.sshd import Server, serving

UP = 240.0  # seconds for a program of Salt to be there, on a slow machine
PROGRAMS = Path(sys.executable).parent


@dataclass
class Program:
    """A program of Salt at work."""

    name: str  # salt-master or salt-minion
    folder: Path  # of its configuration
    process: Child[bytes] | None = None

    def start(self) -> None:
        log = os.open(self.folder / "out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self.process = spawn([PROGRAMS / self.name, "-c", self.folder], stdout=log, stderr=log)
        finally:
            os.close(log)

    def own(self) -> list[int]:
        """Return its processes."""
        assert self.process
        mine = self.process.pid
        return [int(name) for name in os.listdir("/proc") if name.isdigit()
                and any(mine == pid for pid, _ in ancestors(int(name)))]  # fmt: skip

    def signal(self, number: int) -> None:
        for pid in self.own():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Kill all of it, as the end of a machine would."""
        assert self.process
        self.signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            stop_group(self.process.pid, grace=10.0)
            self.process.wait(10)

    @property
    def said(self) -> str:
        return (self.folder / "out").read_text()


@dataclass
class Minion:
    """The minion of a node."""

    node: NodeBox
    program: Program
    run: Path  # of its sockets

    @property
    def fingerprint(self) -> str:
        return finger((self.program.folder / "pki/minion.pub").read_bytes())


@dataclass
class SaltFleet:
    """A fleet whose controller has a Salt master."""

    fleet: FleetBox
    short: Path  # a folder with a short name: the path of a socket is limited
    ssh: Server  # of the controller
    ports: tuple[int, int]
    master: Program
    minions: dict[str, Minion] = field(default_factory=dict)

    @property
    def keys(self) -> Master:
        found = Master.of(self.fleet.box.host)
        assert found
        return found

    def start_master(self) -> None:
        self.master.start()
        until(lambda: self.keys.fingerprint and at_work(self.short / "master"), UP)

    def node(self, name: str) -> Node:
        return Node(name=name, address="salt")

    def configure(self, name: str, finger_of: str = "", **more: Any) -> Path:
        """Write the configuration of a minion, and let the node know this master."""
        node = self.fleet.nodes[name]
        wanted = finger_of or self.keys.fingerprint
        key = Key(CONTROLLER, MASTER, wanted, NODE)
        with contextlib.closing(node.box.history) as history:
            Keyring(history).add(key)
        ours = {"socket": str(node.box.host.socket), "controller": key.name, "mark": key.mark}
        folder, short = node.box.host.fleet_dir / "minion", self.short / name
        rest = wires.scratch(node.box.host, MINION_FILE)
        content = minion_configuration(
            name, folder, rest, short, getpass.getuser(), "127.0.0.1", wanted, ours, self.ports
        )
        return write(folder, rest, short, MINION_FILE, {**content, **more})

    def enrol(self, name: str) -> Minion:
        """Start the minion of a node."""
        folder = self.configure(name)
        made = self.minions[name] = Minion(self.fleet.nodes[name], Program("salt-minion", folder), self.short / name)
        made.program.start()
        return made

    def accept(self, name: str) -> None:
        """Let the controller accept the minion of a node, and introduce itself."""
        until(lambda: name in self.keys.waiting(), UP)
        done = self.fleet.corpus("node", "accept", name, "--fingerprint", self.minions[name].fingerprint)
        assert done.code == 0, done.stderr

    def stop(self) -> None:
        for each in (*(minion.program for minion in self.minions.values()), self.master):
            each.stop()


def free_ports() -> tuple[int, int]:
    """Return two ports of loopback, one after the other, that nobody listens on."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first, contextlib.suppress(OSError):
            port: int = first.getsockname()[1]
            with socket.create_server(("127.0.0.1", port + 1)):
                return port, port + 1


def write(folder: Path, rest: Path, short: Path, name: str, content: Mapping[str, Any]) -> Path:
    """Write a configuration, as setup does; return its folder."""
    for each in (folder, folder / "pki", rest / "log", rest / "empty", short):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / name).write_text(wire_text(content))
    return folder


@contextlib.contextmanager
def salt_fleet(folder: Path, *names: str, project: str = "hello") -> Iterator[SaltFleet]:
    """Run a controller with a Salt master and an sshd in front of it, and nodes with minions that it accepted."""
    with contextlib.ExitStack() as stack:
        short = Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp"))
        stack.callback(shutil.rmtree, short, ignore_errors=True)
        fleet = stack.enter_context(fleet_box(folder, *names, project=project))
        (folder / "sshd").mkdir()
        ssh = stack.enter_context(serving(folder / "sshd", fleet.box.host.root))
        user = getpass.getuser()
        fleet.box.stop()
        fleet.given |= {"account": user, "address": f"127.0.0.1:{ssh.port}"}
        fleet.box.settings("".join(f"{key}: {value}\n" for key, value in fleet.given.items()))
        fleet.box.start()
        place, ports = master.folder(fleet.box.host), free_ports()
        rest = wires.scratch(fleet.box.host, MASTER_FILE)
        content = master_configuration(place, rest, short / "master", user, "127.0.0.1", ports)
        write(place, rest, short / "master", MASTER_FILE, content)
        fleet.salt = made = SaltFleet(fleet, short, ssh, ports, Program("salt-master", place))
        stack.callback(made.stop)
        made.start_master()
        for name in names:
            made.enrol(name)
        for name in names:
            made.accept(name)
        yield made
