"""The operations on nodes that come by a Salt master: what such a node fetches, and here, which ones are trusted."""

from __future__ import annotations

import time
from typing import Any

from corpushooks import git
from corpushooks.core.errors import CorpusError, RefusedError, UnreachableError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.rollouts import COMMIT_OR_NONE, Node
from corpushooks.fleet import address, identity
from corpushooks.fleet import nodes as fleet_nodes
from corpushooks.fleet.master import Master
from corpushooks.fleet.minions import ADDRESS, by_salt
from corpushooks.fleet.origin import Origin
from corpushooks.fleet.reach import salt_python
from corpushooks.fleet.transport import Transport
from corpushooks.operations import governing, nodes, trust
from corpushooks.operations.call import Call
from corpushooks.protocol import asks, gives
from corpushooks.reports.report import Report
from corpushooks.store.fleet import Fleet
from corpushooks.system import hostname

FETCH = 600.0  # seconds
MOST = 1 << 60
ANEW = 240.0  # seconds for a minion to begin anew, with another key
FIRST = 60.0  # seconds for a minion that was just accepted to come back
LOOK = 0.5  # seconds between looks whether it has come
KEYS = 120.0  # seconds to make a pair of keys
NEXT = "minion.next.pem", "minion.next.pub"
LONGEST = 56  # characters of a name: the key of a node has it, with an ending

# on a node


def meet(call: Call[asks.Meet]) -> Report:
    """Record where the controller that calls is; answer with the key that this node fetches with."""
    mine = governing.controller_of(call)
    line = Origin(call.site.host, mine).meet(call.asked.address, call.asked.host_key)
    call.site.event("meet", {"controller": mine, "address": call.asked.address})
    return Report(gives.NodeKey(key=line), [line])


def fetch(call: Call[asks.Fetch]) -> Report:
    """Fetch the commits of a rollout from the controller of a project."""
    asked, mine = call.asked, governing.controlled(call)
    if not (0 < asked.number < MOST and all(COMMIT_OR_NONE.fullmatch(each) for each in (asked.code, asked.pillar))):
        raise UsageError("invalid request: number")
    project = call.site.host.project(call.row.name)
    Origin(call.site.host, mine.controller).fetch(project, asked.number, asked.code, asked.pillar, FETCH, call.check)
    return Report(gives.Fetched(project=project.name, number=asked.number), [f"{git.ROLLOUTS}/{asked.number}"])


# on the controller


def accept(call: Call[asks.NodeAccept]) -> Report:
    """Accept a node whose minion waits at the Salt master, if it has the key that it must have, and add it."""
    asked, fleet = call.asked, Fleet(call.site.history)
    labels, master = nodes.checked(asked.name, asked.labels), _master(call)
    if len(asked.name) > LONGEST:
        raise UsageError(f"the name of the node is too long: at most {LONGEST} characters")
    if not asked.fingerprint:
        raise _unnamed(asked.name, master)
    known = next((each for each in fleet.nodes() if each.name == asked.name), None)
    if known and not by_salt(known):
        remove = command("node", "remove", asked.name)
        raise RefusedError(f"the node {asked.name} is reached over ssh, at {known.address}", hint=remove)
    master.accept(asked.name, asked.fingerprint, salt_python(call.site))
    node = fleet.add(Node(name=asked.name, address=ADDRESS, labels=labels, by=call.principal.who))
    nodes.note(call, node.name, "changed" if known else "accepted")
    with nodes.reached(call) as transport:
        _introduce(call, transport, node)
        glance = fleet_nodes.look(transport, fleet, node, nodes.ANSWER, call.check)
    return nodes.added(call, glance, f"accepted {node.name}, key {asked.fingerprint}")


def _unnamed(name: str, master: Master) -> CorpusError:
    """Return the error for a node whose key nobody has compared."""
    found = master.waiting()
    if name not in found:
        others = f"; waiting: {' '.join(found)}" if found else ""
        return RefusedError(f"no minion {name} waits to be accepted{others}", hint=command("help", "fleet"))
    hint = Hint(
        "if setup printed the same on the node: ", command("node", "accept", name, "--fingerprint", found[name])
    )
    return UsageError(f"{name} presents the key {found[name]}", hint=hint)


def _master(call: Call[Any]) -> Master:
    found = Master.of(call.site.host)
    if found is None:
        raise RefusedError("this host has no Salt master", hint=command("setup", "--controller", "salt"))
    return found


def _introduce(call: Call[Any], transport: Transport, node: Node) -> None:
    """Tell a node where it fetches, and let the key in that it answers with."""
    settings = call.site.settings
    place = address.parse(f"{settings.account}@{settings.address or hostname.fqdn()}")
    host_key = identity.scan(place, call.check)[0]
    fields = {"address": str(place), "host_key": f"{host_key.kind} {host_key.blob}"}
    said = _told(call, transport, node, fields).get("value")
    line = said.get("key") if isinstance(said, dict) else None
    trust.let_in(call, node.name, str(line))


def _told(call: Call[Any], transport: Transport, node: Node, fields: dict[str, str]) -> dict[str, Any]:
    """Ask a node that was just accepted, whose minion comes back within seconds."""
    end = time.monotonic() + FIRST
    while True:
        try:
            return transport.ask(node, "node meet", fields, nodes.ANSWER, call.check)
        except UnreachableError:
            if time.monotonic() > end:
                raise
