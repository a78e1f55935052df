"""The transport that a host reaches its nodes by: one for the life of a daemon, since connections are slow to make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from corpushooks.core.project import Project
from corpushooks.core.rollouts import Node
from corpushooks.fleet.ssh import Ssh
from corpushooks.fleet.transport import Transport
from corpushooks.host.site import Site
from corpushooks.system.patience import Check, endless


@dataclass(frozen=True)
class Shared:
    """A transport that others use, too: closing it closes nothing."""

    whole: Transport

    def ask(
        self, node: Node, name: str, fields: Mapping[str, Any], limit: float, check: Check = endless
    ) -> dict[str, Any]:
        """Ask a node."""
        return self.whole.ask(node, name, fields, limit, check)

    def send(
        self, node: Node, project: Project, number: int, code: str, pillar: str, limit: float, check: Check = endless
    ) -> None:
        """Bring commits to a node."""
        self.whole.send(node, project, number, code, pillar, limit, check)

    def close(self) -> None:
        """Leave the connections to the next rollout."""


def transport_of(site: Site) -> Transport:
    """Return the transport to the nodes of a host; the caller closes it."""
    if site.transport is None:
        site.transport = Ssh(site.host)  # made twice at the same moment, the other one is closed with its last user
    return Shared(site.transport)


def close(site: Site) -> None:
    """End all connections to nodes."""
    if site.transport is not None:
        site.transport.close()
