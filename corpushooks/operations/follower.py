"""Followers: readers of a deployment's log while it grows, by offset, up to its outcome.

A follower can leave at any time; one that returns continues at its offset.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from corpushooks.core.deployment import HELD, Deployment
from corpushooks.core.text import clean, middle
from corpushooks.deploy.lanes import Lanes
from corpushooks.host.site import Site
from corpushooks.protocol.connection import Connection, PeerGone
from corpushooks.reports.app_log import Line, Wanted
from corpushooks.screen import screen, view
from corpushooks.screen.rows import heartbeat
from corpushooks.store import lease, log
from corpushooks.system.patience import endless

TICK = 1.0  # seconds between the lines that -o progress rewrites
PARCEL = 1 << 18  # characters of lines in one message
MESSAGE = 2 << 20  # bytes of an event in one message,
LIMITS = ((1 << 16, 1000), (1 << 12, 200), (200, 100))  # and the limits of texts and lists in a longer one
SHORTENED = "… this event is shortened here: the log on the host has all of it …"
HEARTBEAT = 15.0  # seconds of silence after which a follower gets a heartbeat
AGAIN = 5.0  # seconds between checks that a follower still has the right
BEAT = 1.0  # seconds between messages to a follower of an application: sending shows whether it is still there


def follow(
    lanes: Lanes,
    connection: Connection,
    deployment: Deployment,
    offset: int,
    *,
    whole: bool = False,
    quiet: bool = False,
    progress: bool = False,
    typed: bool = False,
    wait: bool = True,
    still: Callable[[], object] = endless,
) -> Deployment:
    """Send the log of a deployment up to its outcome; return the deployment with its outcome.

    With `progress` there is a terminal that can rewrite a line; `typed` sends events with their lines, and nothing
    that is not in the log; without `wait` only what is there is fed. `still` raises where the caller no longer may.
    """
    site = lanes.site
    path = site.host.project(deployment.project).log_file(deployment.number)
    shown, read = screen.Screen(whole), 0  # from the first event: lines depend on those before `offset`
    waiting, silent, again = "", time.monotonic(), Again(still)
    next(log.read(path, offset), None)  # raises for an invalid offset
    while True:
        now = site.history.deployment(deployment.project, deployment.number)
        for record in log.read(path, read):
            read, silent, lines = record.offset, time.monotonic(), shown.lines(record)
            if read > offset and not quiet:
                feed(connection, screen.Shown(record, tuple(lines)), typed=typed)
            if record.end and read > offset:
                return site.history.deployment(deployment.project, deployment.number)
        if now.ended or not wait:  # the last line may have been read on an earlier connection
            return now
        connection.check()
        again.check()
        waiting = "" if typed else _say_waiting(lanes, connection, deployment, waiting)
        if not (quiet or typed) and time.monotonic() - silent > (TICK if progress else HEARTBEAT):
            silent = time.monotonic()
            connection.send(say=_heartbeat(lanes, now), end="\r" if progress else "\n")
        wait_for_more(lanes, deployment, read)


def feed(connection: Connection, shown: screen.Shown, *, typed: bool) -> None:
    """Send an event to a follower: its lines, or, if wanted, its fields too."""
    if typed:
        connection.send(event=_fitting(shown.as_json()), offset=shown.record.offset)
        return
    *first, last = _parcels(shown.lines)
    for text in first:
        connection.send(say=text)
    if last:
        connection.send(say=last, offset=shown.record.offset)


def _parcels(lines: Sequence[str]) -> list[str]:
    """Join lines to texts that fit in a message."""
    found, size = [""], 0
    for line in lines:
        if size and size + len(line) > PARCEL:
            found, size = [*found, ""], 0
        found[-1] += f"\n{line}" if size else line
        size += len(line) + 1
    return found


def _fitting(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event that fits in a message: long texts and lists in it are cut in the middle, which is said."""
    whole = size = len(json.dumps(event))
    for characters, items in LIMITS:
        if size <= MESSAGE:
            break
        event = less(event, characters, items)
        size = len(json.dumps(event))
    if size < whole:
        event["text"] += f"{chr(10) if event['text'] else ''}{SHORTENED}"
    return event


def less(value: Any, characters: int, items: int) -> Any:
    """Return plain data with long texts and lists cut in the middle."""
    if isinstance(value, dict):
        return {key: less(inner, characters, items) for key, inner in value.items()}
    if isinstance(value, list):
        kept = value if len(value) <= items else [*value[: items // 2], *value[-items // 2 :]]
        return [less(inner, characters, items) for inner in kept]
    return middle(value, characters) if isinstance(value, str) else value


@dataclass
class Again:
    """Checks the right of a follower again, every few seconds: a key can be revoked."""

    still: Callable[[], object]
    _judged: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Raise the error of `still`."""
        if time.monotonic() - self._judged > AGAIN:
            self._judged = time.monotonic()
            self.still()


@dataclass
class Feed:
    """A reader of an application's log. One that returns, to the next daemon, continues at the time it was told."""

    connection: Connection
    site: Site
    wanted: Wanted
    still: Callable[[], object]  # raises if the reader has lost the right
    as_json: bool = False
    lines: int = 0
    notes: int = 0
    _newest: int = field(default_factory=lambda: int(time.time() * 1e6))
    _said: float = field(default_factory=time.monotonic)
    _again: Again = field(init=False)

    def __post_init__(self) -> None:
        self._again = Again(self.still)

    def tell(self, line: Line) -> None:
        """Send a line, or a note."""
        if line.note:
            self.notes += 1
            self.connection.send(note=line.shown(named=True))
            return
        self.lines += 1
        self._newest = max(self._newest, line.at or 0)
        text = json.dumps(line.as_json(), ensure_ascii=False) if self.as_json else line.shown(named=self.wanted.several)
        self.connection.send(say=text, offset=self._newest)

    def check(self) -> None:
        """Raise PeerGone if the reader is gone, or if the daemon stops: a follower reconnects."""
        self.connection.check()
        if self.wanted.follow and self.site.stopping:
            raise PeerGone
        if time.monotonic() - self._said > BEAT:
            self._said = time.monotonic()
            self.connection.send(offset=self._newest)
        self._again.check()


def wait_for_more(lanes: Lanes, deployment: Deployment, offset: int) -> None:
    """Wait a moment for more of a log."""
    if run := lanes.at_work(deployment):
        run.voice.log.wait(offset, 0.5)
    else:
        lanes.await_change(0.2)


def _say_waiting(lanes: Lanes, connection: Connection, deployment: Deployment, said: str) -> str:
    """Report which deployment is ahead in the queue, when that changes."""
    if lanes.at_work(deployment):
        return said
    ahead = lanes.site.history.ahead(deployment)
    if ahead is None:
        return _say_no_place(lanes, connection, said)
    text = f"waiting for deployment {ahead.number} by {ahead.request.who}"
    if ahead.state == HELD:
        text += ", which is waiting for confirmation"
    if text != said:
        until = f" until {view.clock(time.time() + lease.lease_of(ahead).left())}" if ahead.state == HELD else ""
        since = time.time() - (ahead.started or ahead.queued)
        connection.send(say=f"{text}{until}, {view.ago(since)}")
    return text


def _say_no_place(lanes: Lanes, connection: Connection, said: str) -> str:
    """Report that a deployment waits because as many are running as the host allows."""
    count = sum(run.deployment.state != HELD for run in list(lanes.running.values()))
    if count < lanes.site.settings.max_parallel:
        return said
    runs = "1 deployment is running" if count == 1 else f"{count} deployments are running"
    text = f"waiting for a free slot: {runs} (max_parallel)"
    if text != said:
        connection.send(say=text)
    return text


def _heartbeat(lanes: Lanes, now: Deployment) -> str:
    """Return the running step, its duration, and the last output."""
    if now.state == HELD:
        return heartbeat(view.outcome(HELD), f"{view.lasting(lease.lease_of(now).left())} left to confirm it", "")
    steps = lanes.site.history.steps(now)
    since = view.lasting(time.time() - (now.started or now.queued))
    run = lanes.at_work(now)
    progress = run.salt.progress if run else None
    last = run.voice.hide(clean(progress.last())) if run and progress else ""
    return heartbeat(steps[-1] if steps else view.outcome(now.state), since, last)
