"""The transports that a host reaches its nodes by, kept for the life of a daemon: connections are slow to make."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpushooks.core.project import Project
from corpushooks.core.rollouts import Node
from corpushooks.fleet.minions import Minions, by_salt
from corpushooks.fleet.ssh import Ssh
from corpushooks.fleet.transport import Transport
from corpushooks.host.site import Site
from corpushooks.system.patience import Check, endless


@dataclass
class Kept:
    """The transports, each made when it is first needed, and closed by `end` only: others use them, too."""

    site: Site
    _ssh: Ssh | None = None
    _salt: Minions | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def _to(self, node: Node) -> Transport:
        with self._lock:
            if by_salt(node):
                self._salt = self._salt or Minions(self.site.host, salt_python(self.site))
                return self._salt
            self._ssh = self._ssh or Ssh(self.site.host)
            return self._ssh

    def ask(
        self, node: Node, name: str, fields: Mapping[str, Any], limit: float, check: Check = endless
    ) -> dict[str, Any]:
        """Ask a node."""
        return self._to(node).ask(node, name, fields, limit, check)

    def send(
        self, node: Node, project: Project, number: int, code: str, pillar: str, limit: float, check: Check = endless
    ) -> None:
        """Bring commits to a node."""
        self._to(node).send(node, project, number, code, pillar, limit, check)

    def close(self) -> None:
        """Leave the connections to the next rollout."""

    def end(self) -> None:
        """End all connections."""
        with self._lock:
            for each in (self._ssh, self._salt):
                if each:
                    each.close()
            self._ssh = self._salt = None


class _Own(Kept):
    """The transports of one use, which ends with it."""

    def close(self) -> None:
        """End all connections."""
        self.end()


def salt_python(site: Site) -> Path:
    """Return the interpreter that has Salt."""
    return site.settings.salt_python or Path(sys.executable)


def keep(site: Site) -> Kept:
    """Keep the transports of a host from now on."""
    site.transport = kept = Kept(site)
    return kept


def transport_of(site: Site) -> Transport:
    """Return the transport to the nodes of a host; the caller closes it."""
    found: Transport = site.transport or _Own(site)
    return found
