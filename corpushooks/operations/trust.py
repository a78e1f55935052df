"""What a controller trusts of its nodes that come by a Salt master: their minions, and their keys for fetching."""

from __future__ import annotations

from typing import Any

from corpushooks.access.keyring import Keyring
from corpushooks.access.keys import Key
from corpushooks.core.errors import RefusedError
from corpushooks.core.hints import command
from corpushooks.core.rights import OBJECTS
from corpushooks.core.rollouts import Node
from corpushooks.fleet.master import Master
from corpushooks.fleet.minions import by_salt
from corpushooks.fleet.origin import public_key
from corpushooks.fleet.reach import salt_python
from corpushooks.operations import hosting
from corpushooks.operations.call import Call


def let_in(call: Call[Any], name: str, line: str) -> None:
    """Let a node fetch with a key, in the place of the one that it had."""
    ring = Keyring(call.site.history)
    kind, blob = public_key(line)
    wanted = Key(key_name(name), kind, blob, OBJECTS, by=call.principal.who, person=name)
    known = ring.key(wanted.name)
    if known and not known.is_node:
        raise RefusedError(
            f"the name {wanted.name} already belongs to another key", command("key", "remove", wanted.name)
        )
    if known and known.blob != blob:
        ring.remove(known.name)
    ring.add(wanted)
    hosting.write_keys(call, ring.all())


def key_name(node: str) -> str:
    """Return the name of the key that a node fetches with."""
    return f"{node}.node"


def forget(call: Call[Any], node: Node) -> None:
    """Trust a node no longer: neither its minion, nor the key that it fetches with."""
    if not by_salt(node):
        return
    ring = Keyring(call.site.history)
    if (known := ring.key(key_name(node.name))) and known.is_node:
        ring.remove(known.name)
        hosting.write_keys(call, ring.all())
    if master := Master.of(call.site.host):
        master.forget(node.name, salt_python(call.site))
