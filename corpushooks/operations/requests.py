"""The operations on deployments: start, follow, confirm, cancel; set variables, watch, run."""

from __future__ import annotations

import time
from dataclasses import replace

from corpushooks.core.deployment import AS_SET, QUEUED, Request
from corpushooks.core.errors import NotAllowedError, RefusedError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.rights import HOST
from corpushooks.core.text import shown
from corpushooks.deploy import hold, prepare, restart, watches
from corpushooks.operations import node_logs, running, setting
from corpushooks.operations.call import Conversation
from corpushooks.operations.follower import Feed, follow
from corpushooks.protocol import asks
from corpushooks.release import app_units, assigned, release
from corpushooks.reports import app_log, inspection
from corpushooks.reports.app_log import Wanted
from corpushooks.reports.reports import naming
from corpushooks.store.fleet import Fleet, Obedience
from corpushooks.system.process import came_by

LANE = 10.0  # seconds for the lane of a project to go on with what an earlier daemon held
MOMENT = 0.2  # seconds

Assigning = Conversation[asks.Assign]


def signed(call: Conversation[asks.Push] | Conversation[asks.OfRequest] | Assigning, request: Request) -> Request:
    """Return a request signed by its caller; insisting, also against a later freeze, needs the right admin."""
    principal, admin = call.principal, call.principal.admin(call.row.name)
    if request.insist and not admin:
        raise RefusedError("only root, the host's group and admin keys can use insist", hint="leave out insist")
    key, insist = principal.ssh_key, (request.force or request.insist) and admin
    holds = request.confirm or call.site.settings_of(call.row).confirm
    connection = came_by(call.connection.pid) if holds else ""
    return replace(request, who=principal.who, key=key, insist=insist, connection=connection)


# requests


def of(asked: asks.OfRequest) -> Request:
    """Return the fields that all requests of commands have in common."""
    return Request(token=asked.token, nowait=asked.nowait, progress=asked.progress, force=asked.force,
                   insist=asked.insist, confirm=_held(asked))  # fmt: skip


def _held(asked: asks.OfRequest) -> int:
    """Return how long a request is held, as the field of a Request."""
    wanted = asked.confirm if isinstance(asked, asks.OfRelease) else None
    return 0 if wanted is None else wanted or AS_SET


def deploy(call: Conversation[asks.Deploy]) -> None:
    """Deploy a commit."""
    _ask(call, deploying(call.asked, "deploy"))


def plan(call: Conversation[asks.Deploy]) -> None:
    """Show what a deployment would change."""
    _ask(call, deploying(call.asked, "plan"))


def deploying(asked: asks.Deploy, kind: str) -> Request:
    """Return the request for a deployment, or for a plan of it."""
    return replace(of(asked), kind=kind, new=asked.rev, only=asked.only, skip=asked.skip, steps=asked.steps)


def rollback(call: Conversation[asks.Rollback]) -> None:
    """Return to the result of a deployment."""
    _ask(call, replace(of(call.asked), kind="rollback", target=call.asked.number))


def task(call: Conversation[asks.Task]) -> None:
    """Run a task."""
    asked, name = call.asked, call.row.name
    if asked.node and asked.node not in {each.name for each in Fleet(call.site.history).of(name)}:
        raise UsageError(f"{name} is not on the node {shown(asked.node, 80)}", hint=command("status", name))
    nodes = (asked.node,) if asked.node else ()
    _ask(call, replace(of(asked), kind="task", task=asked.task, nodes=nodes))


def restarted(call: Conversation[asks.Restart]) -> None:
    """Restart units."""
    _ask(call, replace(of(call.asked), kind="restart", units=call.asked.units))


def repair(call: Conversation[asks.OfRequest]) -> None:
    """Repair a project."""
    _ask(call, replace(of(call.asked), kind="repair"))


def backup(call: Conversation[asks.OfRequest]) -> None:
    """Back up a project."""
    _ask(call, replace(of(call.asked), kind="backup"))


def drill(call: Conversation[asks.Drill]) -> None:
    """Test that a backup can be restored."""
    _ask(call, replace(of(call.asked), kind="drill", target=call.asked.number))


def prune(call: Conversation[asks.OfRequest]) -> None:
    """Remove the expired backups of a project."""
    _ask(call, replace(of(call.asked), kind="prune"))


def check_backups(call: Conversation[asks.OfRequest]) -> None:
    """Check the backup repository."""
    _ask(call, replace(of(call.asked), kind="check"))


def restore(call: Conversation[asks.Restore]) -> None:
    """Restore parts of a backup."""
    asked = call.asked
    if asked.to and not call.principal.may_all(HOST):  # a folder anywhere on the host
        raise NotAllowedError("not allowed: --to needs the right host", hint="leave out --to")
    wanted = replace(of(asked), kind="restore", target=asked.number, parts=asked.parts, to=asked.to, dry=asked.dry)
    _ask(call, wanted)


def _via(call: Conversation[asks.OfRequest]) -> str:
    """Return by which way a request came, as deployments have it: over ssh it is a command, too."""
    return call.principal.via if call.principal.via in ("token", "page") else "command"


def _ask(call: Conversation[asks.OfRequest], wanted: Request) -> None:
    """Queue a request and follow it to its end."""
    site, row = call.site, call.row
    site.settings_of(row)  # raises if they are invalid
    request = prepare.requested(site, row, replace(signed(call, wanted), via=_via(call)))
    call.check_frozen(request)
    call.check_own(request)
    if request.sort.restarts:
        restart.check(site, row, request)
    deployment = call.enqueue(row.name, request)
    call.connection.send(number=deployment.number)
    if not request.nowait:
        deployment = follow(call.work.lanes, call.connection, deployment, 0, progress=request.progress)
    call.connection.send(result=deployment.as_json())


def assign(call: Assigning) -> None:
    """Commit variables to the pillar, and deploy the commit unless only storing it was asked for."""
    site, row, asked = call.site, call.row, call.asked
    change, deploys = assigned.change(asked.pairs, asked.keys), asked.deploy and bool(row.code)
    before = site.history.asked(row.name, asked.token)
    if before:  # the daemon was restarted meanwhile
        call.connection.send(number=before.number)
        done = follow(call.work.lanes, call.connection, before, 0, progress=asked.progress)
        call.connection.send(result=done.as_json())
        return
    request = signed(call, Request(repo="pillar", via="set", token=asked.token, progress=asked.progress))
    call.check_own(request)
    if deploys:
        call.check_frozen(request)
    ask = setting.Call(call.work.lanes, call.connection, request, change, call.still, ssh=bool(call.principal.ssh_key))
    result = ask.answer(row.name, call.enqueue if deploys else None, call.work.turns)
    call.connection.send(result=result)


def cancel(call: Conversation[asks.OfProject]) -> None:
    """Cancel what runs or waits in a project."""
    row, who = call.row, call.principal.who
    deployment = call.work.lanes.cancel(row.name, who)
    if deployment is None:
        raise RefusedError(f"nothing is running or waiting in {row.name}")
    if deployment.state != QUEUED:
        said = f"cancelling deployment {deployment.number} of {row.name}; it is rolled back"
        call.connection.send(number=deployment.number)
        call.connection.send(say=said)
        deployment = follow(call.work.lanes, call.connection, deployment, 0, quiet=True)
    call.connection.send(result={**deployment.as_json(), "cancelled": who})


def confirm(call: Conversation[asks.Confirm]) -> None:
    """Confirm a held deployment, and follow it to its end."""
    row, number, connection = call.row, call.asked.number, call.connection
    if call.site.history.deployment(row.name, number).request.rollout:
        Obedience(call.site.history).check_free(row.name)
    hold.check_connection(call.site.history.deployment(row.name, number), came_by(connection.pid))
    _check_nodes(call)
    deployment = call.work.lanes.confirm(row.name, number, call.principal.who)
    call.site.event("confirm", {"project": row.name, "deployment": number, "by": deployment.confirmed})
    connection.send(number=number)
    connection.send(say=f"deployment {number} of {row.name} is confirmed")
    deployment = follow(call.work.lanes, connection, deployment, 0, quiet=True)
    connection.send(result=deployment.as_json())


def _check_nodes(call: Conversation[asks.Confirm]) -> None:
    """Refuse to confirm a rollout unless its nodes, asked anew, say that they hold it: each may have gone back."""
    history, lanes, name, number = call.site.history, call.work.lanes, call.row.name, call.asked.number
    if not Fleet(history).rollout(name, number):
        return
    end, why = time.monotonic() + LANE, "its nodes were not asked yet"
    while hold.is_held(found := history.deployment(name, number)) and not found.confirmed:
        run = lanes.at_work(found)
        if ask := run.unsure if run else None:
            if not (why := ask(call.connection.check)):
                return
        elif time.monotonic() < end:  # the daemon has just begun
            call.connection.check()
            lanes.await_change(MOMENT)
            continue
        raise RefusedError(f"not confirmed: {why}", hint=Hint("try again: ", command("confirm", name, number)))


# logs and commands


def log(call: Conversation[asks.Follow]) -> None:
    """Send a log from an offset to its end."""
    site, row, asked, history = call.site, call.row, call.asked, call.site.history
    deployment = history.deployment(row.name, asked.number) if asked.number else history.last(row.name)
    if asked.node:
        node_logs.show(call, deployment)
        return
    with naming(site, [row]):
        inspection.check_log(site.host.project(row.name), deployment)
    deployment = follow(call.work.lanes, call.connection, deployment, asked.offset,
        whole=asked.whole, progress=asked.progress, typed=asked.events, wait=asked.follow, still=call.still,
    )  # fmt: skip
    call.connection.send(result=deployment.as_json())


def watch(call: Conversation[asks.Watch]) -> None:
    """Deploy edits in a project as they are saved, and show them, until the caller leaves."""
    site, row, connection, history = call.site, call.row, call.connection, call.site.history
    watches.check(row)
    release.live(site.host.project(row.name), row.environment).install(call.asked.steps)
    shown = history.newest(row.name)
    with call.work.watches.hold(row, call.asked.steps, call.principal.who) as watched:
        said = f"watching project/ and pillar/ of {row.name}: saved changes are deployed; stop with Ctrl-C"
        connection.send(say=said)
        while not site.stopping:
            connection.check()
            watched.check()
            for deployment in history.edits_since(row.name, shown):
                follow(call.work.lanes, connection, deployment, 0, progress=call.asked.progress)
                shown = deployment.number
            call.work.lanes.await_change(0.2)


def application_log(call: Conversation[asks.AppLog]) -> None:
    """Send the log of an application; with follow, until the caller leaves."""
    site, row, asked = call.site, call.row, call.asked
    named = app_units.named(site.host.project(row.name))
    wanted = Wanted(named, min(asked.lines, app_log.MOST), asked.follow, asked.offset)
    feed = Feed(call.connection, site, wanted, call.still, as_json=asked.json)
    with naming(site, [row]):
        app_log.show(site, row, wanted, feed.tell, feed.check)
    call.connection.send(result={"lines": feed.lines, "notes": feed.notes})


def run(call: Conversation[asks.Run]) -> None:
    """Run a command as the application of a project, while the caller stays connected and has the right."""
    call.still()
    caller = running.Caller(call.principal.who, call.principal.ssh_key, call.still)
    with call.work.semaphores.of_command(call.site.settings.max_commands):
        running.run(call.site, call.connection, call.row, running.wanted(call.asked), caller)
