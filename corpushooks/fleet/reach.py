"""The transport that a host reaches its nodes by: one for the life of a daemon, since connections are slow to make."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from corpushooks.core.project import Host, Project
from corpushooks.core.rollouts import Node
from corpushooks.fleet.ssh import Ssh
from corpushooks.fleet.transport import Transport
from corpushooks.host.site import Site
from corpushooks.system.patience import Check, endless


@dataclass
class Kept:
    """A transport that is made when it is first needed, and closed by `end` only: others use it, too."""

    host: Host
    _made: Ssh | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def _whole(self) -> Ssh:
        with self._lock:
            if self._made is None:
                self._made = Ssh(self.host)
            return self._made

    def ask(
        self, node: Node, name: str, fields: Mapping[str, Any], limit: float, check: Check = endless
    ) -> dict[str, Any]:
        """Ask a node."""
        return self._whole().ask(node, name, fields, limit, check)

    def send(
        self, node: Node, project: Project, number: int, code: str, pillar: str, limit: float, check: Check = endless
    ) -> None:
        """Bring commits to a node."""
        self._whole().send(node, project, number, code, pillar, limit, check)

    def close(self) -> None:
        """Leave the connections to the next rollout."""

    def end(self) -> None:
        """End all connections."""
        with self._lock:
            if self._made:
                self._made.close()


def keep(site: Site) -> Kept:
    """Keep the transport of a host from now on."""
    site.transport = kept = Kept(site.host)
    return kept


def transport_of(site: Site) -> Transport:
    """Return the transport to the nodes of a host; the caller closes it."""
    found: Transport = site.transport or Ssh(site.host)
    return found
