"""A controller and its nodes on one machine: each a host in a folder, the nodes each behind an sshd of their own."""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpushooks.access import keys
from corpushooks.access.keyring import Keyring
from corpushooks.access.keys import Key
from corpushooks.core.rights import NODE
from corpushooks.core.rollouts import Node
from corpushooks.fleet.identity import Identity
from corpushooks.store.fleet import Fleet
from corpushooks.system.process import Output, run
from tests.support.box import Box
from tests.support.shared_box import corpus, world
from tests.support.sshd import Server, serving
from tests.support.wires import wire

CONTROLLER = "main"  # the name of the controller's key on its nodes


@dataclass
class NodeBox:
    """A node: a host behind sshd."""

    name: str
    box: Box
    server: Server

    @property
    def address(self) -> str:
        return f"{getpass.getuser()}@{self.server.address}:{self.server.port}"

    @property
    def node(self) -> Node:
        """The node, as its controller knows it."""
        return Node(name=self.name, address=self.address)

    def let_in(self, public_key: str, name: str = CONTROLLER, right: str = NODE) -> None:
        """Accept a key."""
        kind, blob, _ = keys.parse(public_key)
        history = self.box.history
        Keyring(history).add(Key(name, kind, blob, right))
        history.close()

    def ssh(self, key: Path, *words: str, stdin: bytes = b"") -> Output:
        """Come with a private key, as somebody would by hand."""
        user, _, place = self.address.partition("@")
        host, _, port = place.partition(":")
        argv = [*self.server.command_with(key).split(), "-T", "-p", port, f"{user}@{host}", *words]
        return run(argv, check=False, stdin=stdin, timeout=60)


@dataclass
class FleetBox:
    """A controller, and its nodes by name."""

    box: Box
    nodes: dict[str, NodeBox]
    given: dict[str, Any] = field(default_factory=lambda: {"environment": "prod", "address": "controller.test"})
    salt: Any = None  # what carries the orders, if that is not ssh: see tests/support/minions.py

    @property
    def identity(self) -> Identity:
        return Identity(self.box.host)

    @property
    def key(self) -> Path:
        """The private key of the controller."""
        self.identity.public_key()
        return self.identity.folder / "key"

    @contextlib.contextmanager
    def store(self) -> Iterator[Fleet]:
        history = self.box.history
        try:
            yield Fleet(history)
        finally:
            history.close()

    def corpus(self, *words: str) -> Output:
        """Run the command on the controller."""
        return corpus(self.box, *words)

    def know(self, *names: str) -> None:
        """Let nodes accept the controller, and add them to it, each once."""
        for name in names or tuple(self.nodes):
            each = self.nodes[name]
            each.let_in(self.identity.public_key())
            done = self.corpus("node", "add", name, each.address)
            assert done.code == 0, done.stderr

    def link(self, project: str = "hello", *names: str) -> None:
        """Place a project on nodes."""
        for name in names or tuple(self.nodes):
            done = self.corpus("node", "link", name, project)
            assert done.code == 0, done.stderr


@contextlib.contextmanager
def node_box(folder: Path, name: str, *, salt: bool = False, wired: bool = False, **settings: Any) -> Iterator[NodeBox]:
    """Run a node: a host with its daemon, and an sshd in front of it; if `wired`, that is in a namespace."""
    box = Box(folder / name, salt)
    (folder / name / "sshd").mkdir(parents=True)
    with (
        wire() if wired else contextlib.nullcontext() as line,
        serving(folder / name / "sshd", box.host.root, line) as server,
    ):
        at = f"{server.address}:{server.port}"
        given = {"account": getpass.getuser(), "address": at, "environment": "prod", **settings}
        box.settings("".join(f"{key}: {value}\n" for key, value in given.items()))
        box.init("own")  # makes the store, as setup does
        box.start()
        try:
            yield NodeBox(name, box, server)
        finally:
            box.stop()


@contextlib.contextmanager
def fleet_box(
    folder: Path, *names: str, project: str = "hello", rollout: str = "", salt: bool = False, wired: bool = False
) -> Iterator[FleetBox]:
    """Run a controller with a project, and nodes that it does not know yet.

    With `salt` all use the real one; if `wired`, each node's sshd is in a network namespace of its own.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(world(folder / "home"))
        box = Box(folder / "controller", salt)
        box.root.mkdir()
        box.settings(f"environment: prod\naddress: controller.test\nrollout: {{{rollout}}}\n")
        box.init(project)
        box.start()
        stack.callback(box.stop)
        yield FleetBox(
            box, {name: stack.enter_context(node_box(folder, name, salt=salt, wired=wired)) for name in names}
        )
