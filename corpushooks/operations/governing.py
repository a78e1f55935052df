"""The operations that a controller asks of its nodes. Each can be asked twice: the second time it changes nothing.

An order is recorded before it is carried out, so that what a controller asks for later is known whatever happens
meanwhile. The node judges by its own clock and its own store whether an order is late.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from corpushooks import __version__, git
from corpushooks.admin import projects
from corpushooks.core.deployment import Deployment, Request
from corpushooks.core.errors import CorpusError, RefusedError, UsageError
from corpushooks.core.events import HealthAsked, SlsEnded
from corpushooks.core.hints import Hint, command
from corpushooks.core.rollouts import (
    BACK,
    BROKEN,
    HELD,
    PREPARED,
    PREPARING,
    RETURNING,
    REVOKE,
    TOLERANCE,
    UNKNOWN,
    UNTOUCHED,
    VIA,
    Governed,
    Order,
    by_controller,
    check_names,
    phase_of,
    token,
    was_revoked,
)
from corpushooks.core.rollouts import Ordered as Told
from corpushooks.core.text import clean, one_line, shown
from corpushooks.operations.call import Call, Conversation
from corpushooks.protocol import asks, gives
from corpushooks.protocol.answers import VERSION
from corpushooks.reports import report
from corpushooks.screen import screen
from corpushooks.store import log
from corpushooks.store.fleet import Fleet, Obedience
from corpushooks.store.lease import Lease, lease_of
from corpushooks.system.locks import locked

LONGEST = 10.0  # seconds that an answer can be waited for
LOOK = 0.1  # seconds between looks while it is waited for
LINES, WIDTH = 20, 400  # of a failure, for the controller
RUN_THERE = ("plan", "task")  # kinds of requests that a controller lets its nodes run by themselves
LEASES = (5.0, 3600.0)  # seconds that a controller can be silent

OfOrder = Conversation[asks.OfOrder]


# of this host


def hello(call: Call[asks.Nothing]) -> report.Report:
    """Say what this node is, and what it runs of the caller's projects."""
    site, mine = call.site, controller_of(call)
    places = site.settings.max_parallel
    free = os.statvfs(site.host.projects_dir if site.host.projects_dir.is_dir() else "/")
    found = gives.Condition(
        version=__version__, protocol=VERSION, time=time.time(), environment=site.settings.environment,
        machine=_machine(), memory=_memory(), disk=free.f_bavail * free.f_frsize, places=places,
        free=max(0, places - site.history.at_work()),
        projects={each.project: _standing(call, each) for each in Obedience(site.history).all()
                  if each.controller == mine and site.history.project(each.project)},
    )  # fmt: skip
    return report.Report(found, [f"{__version__}, {site.settings.environment}"])


def _machine() -> str:
    """Return the kind of guest that this machine is, as its own init wrote it; empty: unknown."""
    try:
        text = Path("/run/systemd/container").read_text()[:40]
    except OSError:
        return _virtual()
    return clean(text.strip())


def _virtual() -> str:
    """Return `vm` on a virtual machine, as its processor says."""
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    return "vm" if "hypervisor" in flags.split() else ""


def _memory() -> int:
    """Return the bytes of memory that are free."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _standing(call: Call[Any], each: Governed) -> gives.OnNode:
    history = call.site.history
    row = call.site.known(each.project)
    live = history.deployment(each.project, row.live) if row.live else None
    asked = live.request if live else Request()
    return gives.OnNode(
        environment=row.environment, code=row.code or "", pillar=row.pillar or "", epoch=asked.epoch,
        number=asked.rollout, broken=row.broken or "", busy=bool(history.unfinished(each.project)),
    )  # fmt: skip


def adopt(call: Call[asks.Adopt]) -> report.Report:
    """Place a project under the controller that calls, and create it if it does not exist."""
    site, asked, mine = call.site, call.asked, controller_of(call)
    site.host.project(asked.project)
    check_names(asked.node, asked.nodes, asked.labels)
    row = site.history.project(asked.project)
    here = row.environment if row else site.settings.for_project(asked.project).environment
    if here != asked.environment:
        raise RefusedError(
            f"{asked.project if row else 'this node'} is {here} here, not {asked.environment}:"
            " all nodes of a project have one environment",
            hint=Hint("on the node: ", command("init", asked.project, "--env", asked.environment)),
        )
    if Fleet(site.history).of(asked.project):
        raise RefusedError(f"{asked.project} is deployed from here to nodes of its own", command("node", "list"))
    obedience, wanted = Obedience(site.history), Governed(
        project=asked.project, controller=mine, address=one_line(clean(asked.address))[:200], epoch=asked.epoch,
        number=0, node=asked.node, nodes=asked.nodes, labels=asked.labels,
    )  # fmt: skip
    known = obedience.governed(asked.project)
    if known and known.controller != mine:
        obedience.check_free(asked.project)
    with locked(site.host.project(asked.project), call.check):
        projects.init(
            site.host, site.settings, site.history, asked.project, asked.environment, asked.branch,
            hashed=asked.object_format or None,
        )  # fmt: skip
        obedience.put(wanted)
    site.event("adopt", {"project": asked.project, "by": call.principal.who})
    return report.Report(_standing(call, wanted), [f"{asked.project} is deployed by {mine}"])


def release(call: Call[asks.OfProject]) -> report.Report:
    """Take a project from its controller: from now on it is deployed here."""
    name, obedience = call.row.name, Obedience(call.site.history)
    found = obedience.governed(name)
    if found is None:
        raise RefusedError(f"{name} is under no controller")
    obedience.release(name)
    call.site.event("release", {"project": name, "by": call.principal.who})
    lines = [f"{name} is no longer deployed by {found.controller} at {found.address}"]
    return report.Report(gives.Released(project=name, controller=found.controller), lines)


# of one order


def prepare(call: Conversation[asks.Prepare]) -> None:
    """Record an order, and let it wait in the queue of its project."""
    asked, site, name = call.asked, call.site, call.row.name
    controlled(call)
    order = Order(
        project=name, epoch=asked.epoch, number=asked.number, not_after=asked.not_after, code=asked.code,
        pillar=asked.pillar, lease=asked.lease, keeps=asked.keeps, who=one_line(clean(asked.who))[:100],
    )  # fmt: skip
    if known := site.history.asked(name, order.token):
        _answer(call, known)
        return
    _check_order(order)
    if not LEASES[0] <= order.lease <= LEASES[1]:
        raise UsageError(f"invalid lease: {order.lease:g} s", hint=f"use {LEASES[0]:g} to {LEASES[1]:g}")
    check_names(asked.node or "none", asked.nodes, asked.labels)  # an older controller names none
    request = Request(
        ref=f"refs/heads/{call.row.branch}", new=_present(call, "project", order.code),
        pillar=_present(call, "pillar", order.pillar), who=order.who or call.principal.who, key=call.principal.ssh_key,
        via=VIA, token=order.token, rollout=order.number, epoch=order.epoch, lease=order.lease, keeps=order.keeps,
        node=asked.node, peers=asked.nodes, labels=asked.labels, run_once=asked.run_once,
    )  # fmt: skip
    call.check_frozen(request)
    request = replace(request, force=asked.force)
    obedience = Obedience(site.history)
    obedience.accept(order)
    obedience.forget(name)
    _answer(call, call.enqueue(name, request))


def request(call: Conversation[asks.NodeRequest]) -> None:
    """Record a plan or a task, and let it wait in the queue of its project."""
    asked, site, name = call.asked, call.site, call.row.name
    controlled(call)
    order = Order(
        project=name, epoch=asked.epoch, number=asked.number, not_after=asked.not_after, code=asked.code,
        pillar=asked.pillar, who=one_line(clean(asked.who))[:100],
    )  # fmt: skip
    if known := site.history.asked(name, order.token):
        _answer(call, known)
        return
    _check_order(order)
    if asked.kind not in RUN_THERE:
        raise UsageError("invalid request: kind")
    check_names(asked.node or "none", asked.nodes, asked.labels)
    wanted = Request(
        kind=asked.kind, task=asked.task, new=_present(call, "project", order.code),
        pillar=_present(call, "pillar", order.pillar), who=order.who or call.principal.who, key=call.principal.ssh_key,
        via=VIA, token=order.token, rollout=order.number, epoch=order.epoch,
    )  # fmt: skip
    if wanted.sort.dry:  # cfg is that of the release
        wanted = replace(wanted, node=asked.node, peers=asked.nodes, labels=asked.labels, run_once=asked.run_once)
    call.check_frozen(wanted)
    obedience = Obedience(site.history)
    obedience.accept(order)
    obedience.forget(name)
    _answer(call, call.enqueue(name, wanted))


def _check_order(order: Order) -> None:
    """Raise UsageError for a number that is none, RefusedError for an order that is late."""
    if order.number < 1 or order.epoch < 1:
        raise UsageError("invalid request: number")
    _check_time(order.not_after)


def _present(call: OfOrder, repo: str, commit: str) -> str:
    """Return a commit that was fetched; raise RefusedError."""
    if not commit:
        return ""
    project = call.site.host.project(call.row.name)
    path = project.code_git if repo == "project" else project.pillar_git
    try:
        return git.commit(path, commit)
    except CorpusError as exc:
        raise RefusedError(f"the commit {shown(commit, 40)} was not fetched: {exc.message}") from None


def _check_time(not_after: float) -> None:
    late = time.time() - not_after
    if late > TOLERANCE:
        raise RefusedError(f"the order is {late:.0f} s late; nothing was changed")


def switch(call: Conversation[asks.Switch]) -> None:
    """Let what was prepared begin."""
    controlled(call)
    asked, site = call.asked, call.site
    found = of_order(call)
    if found is None or phase_of(found, site.history.steps(found)) in (PREPARING, PREPARED):
        _check_time(asked.not_after)
        if not Obedience(site.history).switch(call.row.name, asked.epoch, asked.number):
            raise RefusedError(f"rollout {asked.number} was not prepared here, or was revoked")
    _wake(call, found)
    _answer(call, found)


def confirm(call: OfOrder) -> None:
    """Make what is held live."""
    controlled(call)
    found = of_order(call)
    if found and phase_of(found, call.site.history.steps(found)) == HELD:
        with contextlib.suppress(RefusedError):  # it went back at this moment: the answer says so
            call.work.lanes.confirm(call.row.name, found.number, call.principal.who)
    _answer(call, found)


def revoke(call: OfOrder) -> None:
    """Let an order end, whatever became of it, unless it was confirmed; it is not carried out later, either."""
    controlled(call)
    found, asked = of_order(call), call.asked
    if found is None or not found.confirmed:
        Obedience(call.site.history).revoke(call.row.name, asked.epoch, asked.number)
    found = of_order(call)
    if found and not found.final and not found.confirmed:
        call.work.lanes.cancel_one(found, by_controller(call.principal.who))
    _wake(call, found)
    _answer(call, found)


def outcome(call: Conversation[asks.Outcome]) -> None:
    """Say what became of an order; wait a while for it to change. That the controller asks renews the lease."""
    controlled(call)
    asked, end = call.asked, time.monotonic() + min(call.asked.wait, LONGEST)
    found = of_order(call)
    if found and not found.final:
        _renew(call, found)
    while found and not found.final and asked.seen == phase_of(found, call.site.history.steps(found)):
        left = end - time.monotonic()
        if left <= 0 or call.site.stopping:
            break
        call.connection.check()
        call.work.lanes.await_change(min(LOOK, left))
        found = of_order(call)
    _answer(call, found)


def _renew(call: OfOrder, found: Deployment) -> None:
    """Begin the lease again."""
    if run := call.work.lanes.at_work(found):
        run.heard = time.monotonic()
    if found.state == HELD and not found.request.keeps:
        begun = lease_of(found)
        if begun.left() < 0.8 * found.request.lease:  # each is written through to the disk
            Obedience(call.site.history).renew(found, Lease.begin(found.request.lease))


def _wake(call: OfOrder, found: Deployment | None) -> None:
    if found and (run := call.work.lanes.at_work(found)):
        run.answered.set()


def of_order(call: Conversation[Any]) -> Deployment | None:
    """Return the deployment of an order; None if there is none."""
    asked = call.asked
    return call.site.history.asked(call.row.name, token(asked.epoch, asked.number))


def controlled(call: Call[Any]) -> Governed:
    """Return who governs a project, if that is the caller; raise RefusedError."""
    found = Obedience(call.site.history).governed(call.row.name)
    if found is None or found.controller != controller_of(call):
        link = Hint("on the controller: ", command("node", "link", "NODE", call.row.name))
        raise RefusedError(f"{call.row.name} is not deployed by this controller", hint=link)
    return found


def controller_of(call: Call[Any]) -> str:
    """Return the name of the controller that calls: that of its key."""
    key = call.principal.key
    if key is None or not key.is_controller:
        raise RefusedError("only a controller can ask for this, over ssh with its key")
    return key.name


# answers


def _answer(call: OfOrder, found: Deployment | None) -> None:
    call.connection.send(result=gives.plain(_said(call, found)))


def _said(call: OfOrder, found: Deployment | None) -> Told:
    history = call.site.history
    live = call.site.known(call.row.name)
    if found is None:
        revoked = Obedience(history).wish(live.name, call.asked.epoch, call.asked.number) == REVOKE
        phase, reason = (UNTOUCHED, "it was revoked before it arrived") if revoked else (UNKNOWN, "")
        return Told(phase=phase, reason=reason, code=live.code or "", pillar=live.pillar or "", revoked=revoked)
    found, steps = history.deployment(found.project, found.number), history.steps(found)
    phase = phase_of(found, steps)
    failed = phase in (RETURNING, BACK, BROKEN)
    return Told(
        phase=phase, deployment=found.number, step=steps[-1] if steps else "", reason=found.reason,
        summary=found.summary, lines=tuple(_failure(call, found)) if failed else (),
        took=time.time() - found.started if found.started else 0.0, code=live.code or "", pillar=live.pillar or "",
        revoked=was_revoked(found.reason), state=found.state,
    )  # fmt: skip


def _failure(call: OfOrder, found: Deployment) -> Iterator[str]:
    """Yield the lines of a log about what failed, up to a limit."""
    path, left = call.site.host.project(found.project).log_file(found.number), LINES
    for each in screen.show(log.read(path, 0), whole=False):
        event = each.record.event
        if (isinstance(event, SlsEnded) and not event.ok) or (isinstance(event, HealthAsked) and event.wrong):
            for line in each.lines[:left]:
                left -= 1
                yield clean(line)[:WIDTH]
