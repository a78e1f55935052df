"""The key of this controller, and the host keys of its nodes, in a folder that only the daemon can read.

A host key is pinned when a node is added; a node that presents another one is not talked to.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from corpushooks.access.keys import fingerprint, is_key, parse
from corpushooks.core.errors import ProcessError, RefusedError, UnreachableError
from corpushooks.core.hints import Advice, command
from corpushooks.core.project import Host
from corpushooks.core.rollouts import CONTROLLER_KEY as KEY
from corpushooks.core.rollouts import PINNED
from corpushooks.fleet.address import Address
from corpushooks.system import disk, hostname
from corpushooks.system.patience import Check, endless
from corpushooks.system.process import run

SOCKETS = "sockets"  # in the folder, too
SCAN = 10.0  # seconds for the host keys of a node
KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")  # of host keys, the preferred one first


@dataclass(frozen=True)
class HostKey:
    """A public key of a machine."""

    kind: str
    blob: str

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.blob)


@dataclass(frozen=True)
class Identity:
    """The files of a controller."""

    host: Host

    @property
    def folder(self) -> Path:
        return self.host.fleet_dir

    def prepare(self) -> Path:
        """Return the folder, which is created if it is missing."""
        for each in (self.folder, self.folder / PINNED, self.folder / SOCKETS):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.folder

    def public_key(self) -> str:
        """Return the public key as one line; it is created if it is missing."""
        return made(self.prepare() / KEY, "controller")

    # host keys

    def pinned(self, node: str) -> HostKey | None:
        """Return the host key that a node must present."""
        try:
            _, kind, blob = (self.folder / PINNED / node).read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return HostKey(kind, blob)

    def pin(self, node: str, key: HostKey) -> None:
        """Accept this host key of a node, and no other."""
        disk.write_file(self.prepare() / PINNED / node, f"{node} {key.kind} {key.blob}\n".encode(), 0o600)

    def forget(self, node: str) -> None:
        """Remove the host key of a node."""
        (self.folder / PINNED / node).unlink(missing_ok=True)

    def choose(self, node: str, found: list[HostKey], wanted: str = "") -> HostKey:
        """Return which of the host keys of a node to pin: the one `wanted` by its fingerprint, or the one that is
        pinned already; raise RefusedError."""
        known, again = self.pinned(node), command("node", "add", node, "ADDRESS", "--fingerprint")
        if wanted:
            match = [key for key in found if key.fingerprint == wanted]
            if not match:
                raise RefusedError(f"{node} has the host key {found[0].fingerprint}, not {wanted}; nothing was changed")
            return match[0]
        if known and known not in found:
            hint: Advice = f"if that is right: {self.host.spell(again)} {found[0].fingerprint}"
            raise RefusedError(f"the host key of {node} is {found[0].fingerprint}, not {known.fingerprint}", hint)
        return known or found[0]


def made(path: Path, whose: str) -> str:
    """Return the public key that belongs to a private one, as one line; both are created if they are missing."""
    public, comment = path.with_name(f"{path.name}.pub"), f"{whose}@{hostname.fqdn()}"
    if not path.exists():
        aside = path.with_name(f"{path.name}.new.{os.getpid()}")
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", aside], timeout=60)
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(aside, path)
        aside.unlink()
        aside.with_name(f"{aside.name}.pub").unlink()
        public.unlink(missing_ok=True)
    if not public.exists():  # derived, so that it always belongs to the other one
        disk.write_file(public, run(["ssh-keygen", "-y", "-f", path], timeout=60).stdout, 0o644)
    kind, blob, said = parse(public.read_text())
    return f"{kind} {blob} {said or comment}"


def scan(address: Address, check: Check = endless) -> list[HostKey]:
    """Return the host keys that a machine presents, the preferred one first; raise UnreachableError."""
    words = ["-T", "5", "-p", str(address.port), "-t", "ed25519,ecdsa,rsa", "--", address.host]
    try:
        text = run(["ssh-keyscan", *words], timeout=SCAN, check=False, patience=check).text
    except ProcessError as exc:
        raise UnreachableError(f"no ssh server answers at {address}: {exc.message}") from exc
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    found = [HostKey(row[1], row[2]) for row in rows if len(row) == 3 and is_key(row[1], row[2])]
    usable = sorted((key for key in found if key.kind in KINDS), key=lambda key: KINDS.index(key.kind))
    if not usable:
        raise UnreachableError(f"no ssh server answers at {address}")
    return usable
