"""Brings a node back to what is live here, by one order."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from corpushooks.core.errors import RefusedError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.policy import Policy
from corpushooks.core.rollouts import Node
from corpushooks.fleet import nodes
from corpushooks.fleet.reach import transport_of
from corpushooks.operations import requests
from corpushooks.operations.call import Conversation
from corpushooks.operations.follower import follow
from corpushooks.protocol import asks
from corpushooks.screen.view import short
from corpushooks.store import standing
from corpushooks.store.fleet import Fleet

ANSWER = 30.0  # seconds for the node
VIA = "sync"


def sync(call: Conversation[asks.NodeSync]) -> None:
    """Say what will be done, order it, and follow it to its end."""
    row, asked, fleet = call.row, call.asked, Fleet(call.site.history)
    node = fleet.node(asked.name)
    if asked.name not in {each.name for each in fleet.of(row.name)}:
        raise UsageError(
            f"{row.name} is not on the node {node.name}", hint=command("node", "link", node.name, row.name)
        )
    if not row.live or not row.code:
        raise RefusedError(f"nothing of {row.name} is live here", hint="git push a commit first")
    signed = requests.signed(call, requests.of(asked))
    request = replace(
        signed, new=row.code, pillar=row.pillar or "", nodes=(node.name,), via=VIA, force=True, confirm=0
    )  # of this node alone: what was edited there is overwritten
    call.check_frozen(request)
    call.connection.send(say=_about(call, node))
    deployment = call.enqueue(row.name, request)
    call.connection.send(number=deployment.number)
    if not request.nowait:
        deployment = follow(call.work.lanes, call.connection, deployment, 0, progress=request.progress)
    call.connection.send(result=deployment.as_json())


def _about(call: Conversation[asks.NodeSync], node: Node) -> str:
    """Return what will be done, after a look at the node; raise its error."""
    row = call.row
    if node.drained:
        raise RefusedError(f"the node {node.name} is drained", hint=command("node", "resume", node.name))
    with closing(transport_of(call.site)) as transport:
        glance = nodes.look(transport, Fleet(call.site.history), node, ANSWER, call.check)
        said = nodes.check_usable(glance).projects.get(row.name)
    if said is None:
        link = Hint("take it again: ", command("node", "link", node.name, row.name))
        raise RefusedError(f"{row.name} on {node.name} was released from this controller", hint=link)
    state = standing.shown(call.site.history, row, node, said, Policy())
    at = short(said.code) if said.code else "nothing"
    return (
        f"{node.name} runs {at} of {row.name} ({state}) and gets {short(row.code or '')}; what was edited there is"
        " archived, then overwritten"
    )
