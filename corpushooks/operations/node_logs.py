"""The log of a node of a rollout: given by the node, a part at a time, and shown by its controller."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any

from corpushooks.core.deployment import Deployment
from corpushooks.core.errors import CorpusError, RefusedError, UnreachableError, UsageError
from corpushooks.core.events import Recorded, as_record
from corpushooks.core.hints import command
from corpushooks.core.rollouts import UNKNOWN, Node
from corpushooks.core.text import shown
from corpushooks.fleet import logs
from corpushooks.fleet.reach import transport_of
from corpushooks.operations.call import Conversation
from corpushooks.operations.follower import LIMITS, Again, feed, follow, less, wait_for_more
from corpushooks.operations.governing import LONGEST, controlled, of_order
from corpushooks.protocol import asks, gives
from corpushooks.reports import inspection
from corpushooks.screen import screen
from corpushooks.store import log
from corpushooks.store.fleet import Fleet

PART = 1 << 18  # bytes of the records in an answer
ANSWER = 15.0  # seconds for a node


# on the node


def part(call: Conversation[asks.NodeLog]) -> None:
    """Give a part of the log of an order, which is the controller's own."""
    controlled(call)
    asked, site, found = call.asked, call.site, of_order(call)
    if found is None:
        raise RefusedError(f"rollout {asked.number} of {call.row.name} never arrived here")
    project, end = site.host.project(call.row.name), time.monotonic() + min(asked.wait, LONGEST)
    while True:
        found = site.history.deployment(found.project, found.number)
        inspection.check_log(project, found)
        said = _part(log.read(project.log_file(found.number), asked.offset), ended=bool(found.ended))
        if said.records or said.ended or time.monotonic() >= end or site.stopping:
            break
        call.connection.check()
        wait_for_more(call.work.lanes, found, asked.offset)
    call.connection.send(result=gives.plain(said))


def _part(found: Iterable[Recorded], *, ended: bool) -> gives.LogPart:
    records: list[dict[str, Any]] = []
    size = 0
    for each in found:
        record = _fitting({**as_record(each.event), "at": each.at, "offset": each.offset})
        size += len(json.dumps(record))
        records.append(record)
        if size > PART:
            return gives.LogPart(records=records, ended=False)
    return gives.LogPart(records=records, ended=ended)


def _fitting(record: dict[str, Any]) -> dict[str, Any]:
    for characters, items in LIMITS:
        if len(json.dumps(record)) <= PART:
            break
        record = less(record, characters, items)
    return record


# on the controller


def show(call: Conversation[asks.Follow], deployment: Deployment) -> None:
    """Send the log of a node to a follower, from an offset to its end."""
    asked, lines = call.asked, screen.Screen(call.asked.whole)
    node, epoch = _of_rollout(call, deployment)
    again = Again(call.still)
    with closing(transport_of(call.site)) as transport:

        def ask(more: Mapping[str, Any]) -> Mapping[str, Any]:
            about = {"project": deployment.project, "epoch": epoch, "number": deployment.number}
            try:
                return transport.ask(node, "node log", {**about, **more}, ANSWER, call.connection.check)
            except RefusedError:
                if not (asked.follow and _may_come(call, deployment)):
                    raise
                return {"records": [], "ended": False}

        for each in _named(node, logs.parts(ask, follow=asked.follow)):
            again.check()
            for record in each.records:
                _feed(call, record, lines.lines(record))
    deployment = follow(
        call.work.lanes, call.connection, deployment, 0, quiet=True, wait=asked.follow, still=call.still
    )
    call.connection.send(result=deployment.as_json())


def _may_come(call: Conversation[asks.Follow], deployment: Deployment) -> bool:
    """Return whether a node may not have its order yet: the commits are brought to it first."""
    history = call.site.history
    now = history.deployment(deployment.project, deployment.number)
    phases = {row["node"]: row["phase"] for row in Fleet(history).rollout(now.project, now.number)}
    return not now.ended and phases.get(call.asked.node) == UNKNOWN


def _named(node: Node, found: Iterator[logs.Part]) -> Iterator[logs.Part]:
    """Pass on the parts of a log, and errors of the node with its name."""
    try:
        yield from found
    except UnreachableError as exc:
        raise UnreachableError(f"{node.name} does not answer: {exc.message}") from None
    except UsageError as exc:  # what we ask is right
        upgrade = "an older version gives no logs: upgrade corpushooks there"
        raise RefusedError(f"{node.name}: {exc.message}", hint=upgrade) from None
    except CorpusError as exc:
        raise exc.reworded(lambda text: f"{node.name}: {text}") from None


def _feed(call: Conversation[asks.Follow], record: Recorded, lines: list[str]) -> None:
    if record.offset > call.asked.offset:
        feed(call.connection, screen.Shown(record, tuple(lines)), typed=call.asked.events)


def _of_rollout(call: Conversation[asks.Follow], deployment: Deployment) -> tuple[Node, int]:
    """Return a node of a rollout, and the epoch of its order; raise UsageError, or RefusedError if it is gone."""
    fleet, name, project = Fleet(call.site.history), call.asked.node, deployment.project
    rows = fleet.rollout(project, deployment.number)
    known = [row["node"] for row in rows]
    if name not in known:
        none = "it was on no nodes" if deployment.ended else "it has asked no node yet"
        where = f"it was on {' '.join(known)}" if known else none
        what = f"deployment {deployment.number} of {project} was not on the node {shown(name, 80)}: {where}"
        raise UsageError(what, hint=command("log", project, deployment.number))
    node = next((each for each in fleet.nodes() if each.name == name), None)
    if node is None:
        raise RefusedError(f"the node {name} was removed", hint=command("log", project, deployment.number))
    return node, fleet.epoch_of(project, deployment.number)
