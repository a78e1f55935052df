"""Followers: whoever reads what is said of a deployment while it runs, by offset, until its outcome is said.

A follower that leaves is not missed, and one that comes again goes on where it was.
"""

from __future__ import annotations

import time

from corpushooks import log, view
from corpushooks.deployment import Deployment
from corpushooks.lanes import log_path
from corpushooks.peer import Connection
from corpushooks.site import Site
from corpushooks.text import clean

TICK = 1.0  # seconds between the lines that -o progress rewrites
HEARTBEAT = 15.0  # seconds of silence after which a follower is told that work goes on


def follow(
    site: Site,
    peer: Connection,
    deployment: Deployment,
    offset: int,
    *,
    whole: bool = False,
    quiet: bool = False,
    progress: bool = False,
) -> Deployment:
    """Feed what is said of a deployment until its outcome is; return it with its outcome.

    With `progress` there is a terminal that can rewrite a line.
    """
    path = log_path(site.host.project(deployment.project), deployment.number)
    waiting, silent = "", time.monotonic()
    while True:
        now = site.history.deployment(deployment.project, deployment.number)
        for line in log.read(path, offset):
            offset, silent = line.offset, time.monotonic()
            if line.is_in(whole=whole) and not quiet:
                peer.send(say=line.text, offset=offset)
            if line.end:
                return site.history.deployment(deployment.project, deployment.number)
        if now.ended:  # the last line was read on an earlier connection
            return now
        peer.check()
        waiting = _say_waiting(site, peer, deployment, waiting)
        if not quiet and time.monotonic() - silent > (TICK if progress else HEARTBEAT):
            silent = time.monotonic()
            peer.send(say=_heartbeat(site, now), end="\r" if progress else "\n")
        _wait_for_more(site, deployment, offset)


def _wait_for_more(site: Site, deployment: Deployment, offset: int) -> None:
    run = site.running.get((deployment.project, deployment.number))
    if run is not None:
        run.log.wait(offset, 0.5)
    else:
        with site.changed:
            site.changed.wait(0.2)


def _say_waiting(site: Site, peer: Connection, deployment: Deployment, said: str) -> str:
    """Say behind whom a deployment waits, when that changes."""
    key = (deployment.project, deployment.number)
    if key in site.running:
        return said
    ahead = site.history.ahead(deployment)
    if ahead is None:
        return _say_no_place(site, peer, said)
    text = f"waiting for deployment {ahead.number} by {ahead.request.who}"
    if text != said:
        since = time.time() - (ahead.started or ahead.queued)
        peer.send(say=f"{text}, {view.ago(since)}")
    return text


def _say_no_place(site: Site, peer: Connection, said: str) -> str:
    """Say that a deployment waits for others of the host to end, where as many run as may."""
    if len(site.running) < site.settings.max_parallel:
        return said
    runs = "1 deployment runs" if len(site.running) == 1 else f"{len(site.running)} deployments run"
    text = f"waiting for a place: {runs} (max_parallel)"
    if text != said:
        peer.send(say=text)
    return text


def _heartbeat(site: Site, now: Deployment) -> str:
    """Say what runs, for how long, and what it wrote last."""
    steps = site.history.steps(now)
    since = view.lasting(time.time() - (now.started or now.queued))
    run = site.running.get((now.project, now.number))
    showing = run.showing if run else None
    last = run.hide(clean(showing.last())) if run and showing else ""
    return view.heartbeat(steps[-1] if steps else view.outcome(now.state), since, last)
