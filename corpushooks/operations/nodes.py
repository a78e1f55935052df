"""The operations on the nodes of this controller."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from typing import Any

from corpushooks import git
from corpushooks.access.keys import fingerprint, parse
from corpushooks.core import rollouts
from corpushooks.core.errors import CorpusError, Fault, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.policy import Policy
from corpushooks.core.rollouts import LABEL, LOCAL, NODE_NAME, Condition, Node
from corpushooks.core.text import shown
from corpushooks.fleet import address, identity, nodes
from corpushooks.fleet.identity import Identity
from corpushooks.fleet.nodes import Glance
from corpushooks.fleet.reach import transport_of
from corpushooks.fleet.transport import Transport
from corpushooks.host.address import called
from corpushooks.operations import trust
from corpushooks.operations.call import Call
from corpushooks.protocol import asks, gives
from corpushooks.reports.report import Report
from corpushooks.screen import view
from corpushooks.store import standing
from corpushooks.store.fleet import Fleet, Obedience
from corpushooks.system import hostname
from corpushooks.system.patience import beside

ADOPT = 60.0  # seconds for a node to create a project
ANSWER = 30.0  # seconds for a node that is about to be used
NO_NODES = Hint("no nodes: ", command("node", "add", "NAME", "ACCOUNT@HOST"))
Of = Call[asks.OfNode]


def reached(call: Call[Any]) -> closing[Transport]:
    return closing(transport_of(call.site))


def _fleet(call: Call[Any]) -> Fleet:
    return Fleet(call.site.history)


def note(call: Call[Any], node: str, what: str, project: str = "") -> None:
    """Log an event for the operators of the host."""
    about = {"project": project} if project else {}
    call.site.event("node", {"node": node, "what": what, **about, "by": call.principal.who})


# the list


def key(call: Call[asks.Nothing]) -> Report:
    """Print the public key of this controller; it is created if it is missing."""
    text = Identity(call.site.host).public_key()
    return Report(gives.ControllerKey(key=text, fingerprint=fingerprint(parse(text)[1])), [text])


def add(call: Call[asks.NodeAdd]) -> Report:
    """Add a node, with its host key, and look whether it answers."""
    asked, fleet, mine = call.asked, _fleet(call), Identity(call.site.host)
    labels = checked(asked.name, asked.labels)
    place = address.parse(asked.address)
    chosen = mine.choose(asked.name, identity.scan(place, call.check), asked.fingerprint)
    new = all(each.name != asked.name for each in fleet.nodes())
    mine.pin(asked.name, chosen)
    node = fleet.add(Node(name=asked.name, address=str(place), labels=labels, by=call.principal.who))
    note(call, node.name, "added" if new else "changed")
    with reached(call) as transport:
        glance = nodes.look(transport, fleet, node, ANSWER, call.check)
    return added(call, glance, f"{'added' if new else 'changed'} {node.name}, host key {chosen.fingerprint}")


def added(call: Call[Any], glance: Glance, line: str) -> Report:
    """Report a node that was added."""
    return Report(_told(call, glance), [line, *_lines(call, glance)], _faults(call, glance))


def checked(name: str, labels: Sequence[str]) -> tuple[str, ...]:
    """Return labels without duplicates; raise UsageError for one that is invalid, or an invalid name of a node."""
    check_not_local(name)
    if not NODE_NAME.fullmatch(name):
        raise UsageError(f"invalid name of a node: {shown(name, 80)}", hint="use a-z, 0-9 and -")
    if wrong := next((each for each in labels if not LABEL.fullmatch(each)), None):
        raise UsageError(f"invalid label: {shown(wrong, 80)}", hint="use a-z, 0-9, _ and -, starting with a letter")
    found = tuple(dict.fromkeys(labels))
    if len(found) > rollouts.MOST_LABELS:
        raise UsageError(f"too many labels: at most {rollouts.MOST_LABELS}")
    return found


def check_not_local(name: str) -> None:
    """Refuse the name that stands for the controller itself."""
    if name == LOCAL:
        what = "a controller deploys to other hosts only: what it runs itself stays as it is"
        raise UsageError(f"{LOCAL} cannot be a node: {what}", hint="use one more host as the controller")


def list_(call: Call[asks.Nothing]) -> Report:
    """List the nodes; all are asked at once."""
    fleet = _fleet(call)
    if not (known := fleet.nodes()):
        return Report([], [call.spell(NO_NODES)])
    found = _glances(call, known)
    return Report([_told(call, each) for each in found], [line for each in found for line in _lines(call, each)])


def _glances(call: Call[Any], known: Sequence[Node], limit: float = nodes.GLANCE) -> list[Glance]:
    with reached(call) as transport:
        return nodes.look_at_all(transport, _fleet(call), known, limit, call.check)


def show(call: Of) -> Report:
    """Show a node."""
    (found,) = _glances(call, [_fleet(call).node(call.asked.name)], ANSWER)
    return Report(_told(call, found), [*_lines(call, found), *_details(call, found)], _faults(call, found))


def drain(call: Of) -> Report:
    """Take a node out of rollouts."""
    return _drained(call, drained=True)


def resume(call: Of) -> Report:
    """Take a node into rollouts again."""
    return _drained(call, drained=False)


def _drained(call: Of, *, drained: bool) -> Report:
    node = _fleet(call).drain(call.asked.name, drained=drained)
    note(call, node.name, "drained" if drained else "resumed")
    (found,) = _glances(call, [node])
    return Report(_told(call, found), [f"{'drained' if drained else 'resumed'} {node.name}"], _faults(call, found))


def remove(call: Of) -> Report:
    """Remove a node."""
    node = _fleet(call).remove(call.asked.name)
    Identity(call.site.host).forget(node.name)
    trust.forget(call, node)
    note(call, node.name, "removed")
    return Report(gives.RemovedNode(name=node.name, address=node.address), [f"removed {node.name} ({node.address})"])


# projects on nodes


def link(call: Call[asks.OnNode]) -> Report:
    """Place a project on a node: it is created there, and from now on it is deployed from here."""
    fleet, row, name = _fleet(call), call.row, call.asked.name
    check_not_local(name)
    node, others = fleet.node(name), fleet.of(row.name)
    named = tuple(sorted({each.name for each in others} | {name}))
    Obedience(call.site.history).check_free(row.name)  # one who is told what to deploy tells nobody
    with reached(call) as transport:
        nodes.check_usable(nodes.look(transport, fleet, node, ANSWER, call.check))
        try:
            _adopt(call, transport, node, named)
        except CorpusError as exc:
            raise exc.reworded(lambda text: f"{name}: {text}") from None
        fleet.place(row.name, name)
        told = [_renamed(call, transport, each, named) for each in others if each.name != name]
        faults = [fault for each in told for fault in each.result()]
    return _linked(call, f"{row.name} is deployed to {name}", faults=faults, linked=True)


def _adopt(call: Call[asks.OnNode], transport: Transport, node: Node, named: tuple[str, ...]) -> None:
    site, row = call.site, call.row
    settings = site.settings
    asked = asks.Adopt(
        project=row.name, environment=row.environment, branch=row.branch, epoch=_fleet(call).epoch(), node=node.name,
        address=called(settings.account, settings.address or hostname.fqdn()), nodes=named, labels=node.labels,
        object_format=git.object_format(site.host.project(row.name).code_git),
    )  # fmt: skip
    transport.ask(node, "node adopt", gives.plain(asked), ADOPT, call.check)


def _renamed(
    call: Call[asks.OnNode], transport: Transport, node: Node, named: tuple[str, ...]
) -> Future[tuple[Fault, ...]]:
    """Tell another node of a project which nodes it has now, while others are told."""

    def tell() -> tuple[Fault, ...]:
        try:
            _adopt(call, transport, node, named)
        except CorpusError as exc:
            again = command("node", "link", node.name, call.row.name)
            return (Fault(f"{node.name} does not know of the change: {exc.message}", again),)
        return ()

    return beside(tell)


def unlink(call: Call[asks.OnNode]) -> Report:
    """Stop deploying a project to a node, where it stays as it is."""
    project, name = call.row.name, call.asked.name
    _fleet(call).displace(project, name)
    free = Hint(f"it runs on there; to deploy it on {name} itself, there: ", command("node", "release", project))
    return _linked(call, f"{project} is no longer deployed to {name}", str(free), linked=False)


def _linked(call: Call[asks.OnNode], *lines: str, faults: Sequence[Fault] = (), linked: bool) -> Report:
    project, name = call.row.name, call.asked.name
    note(call, name, "linked" if linked else "unlinked", project)
    return Report(gives.LinkedNode(name=name, project=project, linked=linked), list(lines), tuple(faults))


# what people see


def _told(call: Call[Any], glance: Glance) -> gives.Node:
    node, found = glance.node, glance.condition
    pinned = Identity(call.site.host).pinned(node.name)
    return gives.Node(
        name=node.name, address=node.address, labels=list(node.labels), drained=node.drained, added=node.added,
        host_key=pinned.fingerprint if pinned else "", by=node.by, seen=node.seen,
        wrong=glance.wrong.message if glance.wrong else "",
        version=found.version if found else None, environment=found.environment if found else None,
        clock=round(glance.clock, 3) if found else None, places=found.places if found else None,
        free=found.free if found else None,
        memory=found.memory if found else None, disk=found.disk if found else None,
        machine=found.machine if found else None, projects=list(_projects(call, glance)),
    )  # fmt: skip


def _projects(call: Call[Any], glance: Glance) -> Iterator[gives.ProjectOnNode]:
    fleet, site = _fleet(call), call.site
    for name in fleet.on(glance.node.name):
        row = site.history.project(name)
        said = glance.condition.projects.get(name) if glance.condition else None
        policy, state = site.settings.sound(name).rollout or Policy(), standing.UNKNOWN
        if glance.condition and row:
            state = standing.shown(site.history, row, glance.node, said, policy)
        yield gives.ProjectOnNode(
            project=name, state=state, environment=said.environment if said else "", code=said.code if said else "",
            pillar=said.pillar if said else "", rollout=said.number if said else 0,
        )  # fmt: skip


def _lines(call: Call[Any], glance: Glance) -> list[str]:
    """Return a node in a line, and a line for each of its projects."""
    node, found = glance.node, glance.condition
    marks = [*node.labels, *(["drained"] if node.drained else [])]
    if found:
        about = ", ".join((found.environment, found.version, *_room(found)))
        if glance.apart > rollouts.TOLERANCE:
            about += f", CLOCK {glance.clock:+.0f} s"
    else:
        about = f"does not answer: {glance.wrong.message if glance.wrong else ''}"
        about += f" (seen {view.ago(time.time() - node.seen)} ago)" if node.seen else " (never seen)"
    first = f"{node.name:<16} {node.address}{f' [{chr(32).join(marks)}]' if marks else ''}  {about}"
    return [first, *(f"    {each.project:<12} {_state(each)}" for each in _projects(call, glance))]


def _room(found: Condition) -> list[str]:
    """Return what is free on a node, and what kind of guest it is."""
    places = f"{found.free} of {found.places}" if found.free is not None else str(found.places)
    room = [f"{places} places", f"memory {view.size(found.memory)}", f"disk {view.size(found.disk)}"]
    return [*room, *([found.machine] if found.machine else [])]


def _state(each: gives.ProjectOnNode) -> str:
    at = f" {view.short(each.code)}" if each.code else ""
    return f"{each.state}{at}" + (f", rollout {each.rollout}" if each.rollout else "")


def _details(call: Call[Any], glance: Glance) -> Iterator[str]:
    node, found = glance.node, glance.condition
    pinned = Identity(call.site.host).pinned(node.name)
    yield f"host key       {pinned.fingerprint if pinned else 'none'}"
    if found:
        yield f"clock          {glance.clock:+.1f} s"
        yield f"at once        {found.places} deployments"
        yield f"last seen      {view.ago(time.time() - node.seen) if node.seen else 'never'}"
        yield f"free           {', '.join(_room(found)[:3])}"
        yield f"machine        {found.machine or 'unknown'}"


def _faults(call: Call[Any], glance: Glance) -> tuple[Fault, ...]:
    """Return what keeps a node from being used, and what helps."""
    if glance.wrong is None:
        return ()
    add = command("key", "add", "controller", "-", "--node")
    let_in = Hint("if it does not know this controller, there: ", add, ", with the line of: ", command("node", "key"))
    return (Fault(f"{glance.node.name} does not answer: {glance.wrong.message}", call.spell(let_in)),)
