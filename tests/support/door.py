"""An sshd of our own in front of a host, and people who come with keys."""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from corpushooks.access import keys
from corpushooks.access.keyring import Keyring
from corpushooks.access.keys import Key
from corpushooks.system.process import Child, Output, run, spawn
from tests.support.box import Box, Work
from tests.support.sshd import Server, serving


@dataclass
class Door:
    """A host behind sshd."""

    box: Box
    server: Server
    folder: Path
    made: set[str] = field(default_factory=set)

    def add(self, name: str, right: str = "push", *projects: str, expires: float | None = None) -> None:
        """Let a key in, which is made first where there is none of its name."""
        if name not in self.made:
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name])
            self.made.add(name)
        kind, blob, _ = keys.parse((self.folder / f"{name}.pub").read_text())
        self._ring(Key(name, kind, blob, right, projects, expires))

    def trust(self, name: str, *principals: str) -> None:
        """Let in who has a certificate of an authority."""
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name])
        kind, blob, _ = keys.parse((self.folder / f"{name}.pub").read_text())
        self._ring(Key(name, kind, blob, authority=True, principals=principals))

    def certify(self, name: str, authority: str, about: str, *more: str) -> None:
        """Make a key and a certificate for it."""
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name])
        run(["ssh-keygen", "-q", "-s", self.folder / authority, "-I", about, *more, self.folder / f"{name}.pub"])

    def _ring(self, key: Key) -> None:
        history = self.box.history
        Keyring(history).add(key)
        history.close()

    def remove(self, name: str) -> None:
        history = self.box.history
        Keyring(history).remove(name)
        history.close()

    def ssh(self, name: str, *words: str, flags: tuple[str, ...] = (), stdin: bytes = b"") -> Output:
        """Come with a key and ask for something."""
        user, _, address = self.server.url("").removeprefix("ssh://").partition("@")
        host, _, port = address.partition(":")
        command = self.server.command_with(self.folder / name).split()
        argv = [*command, "-T", *flags, "-p", port, f"{user}@{host}", *words]
        return run(argv, check=False, stdin=stdin, timeout=60)

    @contextlib.contextmanager
    def started(self, name: str, command: str) -> Iterator[tuple[Child[bytes], Path]]:
        """Come with a key and ask for something that goes on; what it says lands in a file."""
        user, _, address = self.server.url("").removeprefix("ssh://").partition("@")
        host, _, port = address.partition(":")
        words = [*self.server.command_with(self.folder / name).split(), "-T", "-p", port, f"{user}@{host}", command]
        out = self.folder / "out"
        with out.open("wb") as file:
            child = spawn(words, stdout=file.fileno(), stderr=file.fileno())
        try:
            yield child, out
        finally:
            child.kill()
            child.wait(10)

    @property
    def address(self) -> str:
        """Return how the host's hints call it: its settings say so."""
        return f"-p {self.server.port} {getpass.getuser()}@127.0.0.1"

    def work(self, name: str, project: str = "hello") -> Work:
        """Return the working copy of a project whose remote is behind sshd, for whoever has a key."""
        work = self.box.work(project)
        work.git("config", "core.sshCommand", self.server.command_with(self.folder / name))
        work.remote = self.server.url(f"/{project}")
        return work


@pytest.fixture
def door(box: Box, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("door")
    with serving(folder, box.host.root) as server:
        found = Door(box, server, folder)
        box.stop()
        box.settings(f"account: {getpass.getuser()}\naddress: 127.0.0.1:{server.port}\n")
        box.start()
        yield found


def said(output: Output) -> str:
    return (output.stdout + output.stderr).decode()
