"""The transport that a host reaches its nodes by."""

from __future__ import annotations

from corpushooks.fleet.ssh import Ssh
from corpushooks.fleet.transport import Transport
from corpushooks.host.site import Site


def transport_of(site: Site) -> Transport:
    """Return a transport for the nodes of a host; the caller closes it."""
    return Ssh(site.host)
