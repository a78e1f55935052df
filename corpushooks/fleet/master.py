"""The Salt master of a controller: where its files are, and the keys of minions that it knows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpushooks.core.errors import ProcessError, RefusedError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Host
from corpushooks.core.rollouts import NODE_NAME
from corpushooks.core.text import shown
from corpushooks.salt import MASTER_FILE, finger, public, read_wire
from corpushooks.system.process import run

ACCEPTED, WAITING, DENIED, REJECTED = "minions", "minions_pre", "minions_denied", "minions_rejected"
PUBLIC = re.compile(r"-----BEGIN PUBLIC KEY-----\n(?:[A-Za-z0-9+/=]{1,76}\n){4,30}-----END PUBLIC KEY-----\n?")
FINGERPRINT = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){31}")
KEYS, TRIES = 60.0, 5  # seconds for salt-key, and how often it is asked


def folder(host: Host) -> Path:
    """Return the folder of the master that we set up."""
    return host.fleet_dir / "master"


@dataclass(frozen=True)
class Master:
    """A Salt master on this machine."""

    configuration: Path  # its file
    opts: dict[str, Any]

    @classmethod
    def of(cls, host: Host) -> Master | None:
        """Return the master of a controller; None: it has none."""
        path = folder(host) / MASTER_FILE
        found = read_wire(path)
        return cls(path, found) if found else None

    @property
    def _pki(self) -> Path:
        return Path(str(self.opts["pki_dir"]))

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the master; empty until it has been started once."""
        found = public(self._pki, "master.pub")
        return finger(found) if found else ""

    def waiting(self) -> dict[str, str]:
        """Return the fingerprints of the minions that wait to be accepted, by name."""
        return self._fingerprints(WAITING)

    def accepted(self) -> dict[str, str]:
        """Return the fingerprints of the minions that were accepted, by name."""
        return self._fingerprints(ACCEPTED)

    def _fingerprints(self, where: str) -> dict[str, str]:
        names = sorted(path.name for path in (self._pki / where).glob("*") if NODE_NAME.fullmatch(path.name))
        return {name: finger(key) for name in names if (key := public(self._pki / where, name))}

    def accept(self, name: str, wanted: str, python: Path) -> None:
        """Accept the key of a minion that has this fingerprint; raise RefusedError."""
        if not FINGERPRINT.fullmatch(wanted):
            raise UsageError(f"invalid fingerprint: {shown(wanted, 100)}", "use the one that setup printed on the node")
        known, found = self.accepted().get(name, ""), self.waiting().get(name, "")
        if known == wanted:
            return
        if not found:
            setup = command("setup", "--node", "MASTER", "--fingerprint", self.fingerprint)
            raise RefusedError(f"no minion {name} waits to be accepted", Hint("on the node: ", setup))
        if found != wanted:
            raise RefusedError(f"{name} has the fingerprint {found}, not {wanted}; nothing was changed")
        if known:
            self._keys(python, "-d", name)
        for _ in range(TRIES):  # a minion that asks again in that moment is not found
            self._keys(python, "-a", name)
            if now := self.accepted().get(name):
                break
        if now == wanted:
            return
        if now:
            self._keys(python, "-d", name)
        raise RefusedError(
            f"{name} was not accepted: its key changed meanwhile, or salt-key did not find it", "try again"
        )

    def forget(self, name: str, python: Path) -> None:
        """Remove all keys of a minion: from now on nothing is published for it, and the session key is another."""
        if any(name in self._fingerprints(where) for where in (ACCEPTED, WAITING, DENIED, REJECTED)):
            self._keys(python, "-d", name)

    def _keys(self, python: Path, *words: str) -> None:
        program, where = python.with_name("salt-key"), self.configuration.parent
        try:
            run([program, "-c", where, "--yes", *words], timeout=KEYS)
        except ProcessError as exc:
            raise RefusedError(f"salt-key: {exc.message}") from None
