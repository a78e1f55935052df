"""The daemon: listens, judges and queues what is asked for, feeds those who follow.

A connection is one line of JSON and then lines of JSON back: {"say": …, "offset": …} to show, {"number": …} when a
request is queued, and last {"report": …} to a hook, {"result": …} to the command, or {"error": …} to either.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import structlog

from corpushooks import deploy, git, layout, log, rebuild, release, tree, view
from corpushooks.deployment import DEPLOYED, QUEUED, Deployment, ProjectRow, Request
from corpushooks.errors import CorpusError, RefusedError, UsageError
from corpushooks.lanes import Lanes, alone, is_free, known, log_path, prepared, settings_of
from corpushooks.peer import Connection, PeerGone, listen
from corpushooks.push import Command, Verdict, judge, report
from corpushooks.site import Site
from corpushooks.text import clean, one_line

TICK = 1.0  # seconds between the lines that -o progress rewrites
HEARTBEAT = 15.0  # seconds of silence after which a follower is told that work goes on
QUIET = 60.0  # seconds without work until maintenance


@dataclass
class Daemon:
    """The listening daemon of one host."""

    site: Site
    listener: socket.socket
    embedded: bool = False
    lanes: Lanes = field(init=False)
    _peers: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _active: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.lanes = Lanes(self.site)

    def serve(self) -> None:
        """Answer until told to stop or, embedded, until nobody has needed us for a while."""
        for row in self.site.history.projects():
            self.lanes.wake(row.name)
        self.listener.settimeout(0.5)
        while not self._stop.is_set() and not self._idle():
            try:
                link, _ = self.listener.accept()
            except TimeoutError:
                self._tidy()
                continue
            except OSError as exc:  # out of descriptors: those who talk will give some back
                structlog.get_logger().error("cannot accept", exc_info=exc)
                self._stop.wait(0.1)
                continue
            self._count(+1)
            threading.Thread(target=self._talk, args=(Connection(link),), daemon=True).start()
        self.listener.close()
        self.lanes.stop(self.site.settings.stop_timeout)

    def stop(self) -> None:
        """Stop listening; what runs may come to its end, what waits stays queued. Asked again: what runs rolls back."""
        if self._stop.is_set():
            self.lanes.hurry()
        self.site.stopping = self.lanes.stopping = True
        self._stop.set()

    def _idle(self) -> bool:
        with self._lock:
            if self._peers or self.lanes.busy():
                self._active = time.monotonic()
            return self.embedded and time.monotonic() - self._active > self.site.settings.idle_timeout

    def _tidy(self) -> None:
        """Do maintenance where nothing has been asked for a while."""
        if self.lanes.untidy and time.monotonic() - self._active > QUIET:
            threading.Thread(target=self.lanes.tidy, daemon=True).start()

    def _count(self, change: int) -> None:
        with self._lock:
            self._peers += change

    def _talk(self, peer: Connection) -> None:
        try:
            with peer.link:
                self._answer(peer)
        except PeerGone:
            pass
        except Exception as exc:  # the edge of a connection
            structlog.get_logger().error("connection failed", exc_info=exc)
            self._apologise(peer, exc)
        finally:
            self._count(-1)

    def _apologise(self, peer: Connection, exc: Exception) -> None:
        with contextlib.suppress(PeerGone):
            peer.send(error=f"internal error: {type(exc).__name__}", hint="see the log of the daemon", code=1)

    def _answer(self, peer: Connection) -> None:
        try:
            asked = peer.read()
            act = OPERATIONS.get(str(asked.get("op")))
            if act is None:
                raise UsageError("the request is not understood")
            act(self, peer, asked)
        except CorpusError as exc:
            hint = clean(self.site.host.words(exc.hint))
            peer.send(error=one_line(exc.message), hint=hint, code=exc.exit_code)
        except (KeyError, TypeError, ValueError) as exc:
            peer.send(error=f"the request is not understood: {exc!r:.100}", hint="", code=2)
            structlog.get_logger().warning("request not understood", exc_info=exc)

    # what may be asked

    def push(self, peer: Connection, asked: dict[str, Any]) -> None:
        """Answer git's hook."""
        commands = [Command(*map(str, command)) for command in asked["commands"]]
        row = known(self.site, str(asked["project"]))
        settings = settings_of(self.site, row)
        git.flush_objects(layout.repo_path(self.site.host.project(row.name), str(asked["repo"])))
        verdict = judge(
            str(asked["repo"]), row.branch, commands, [str(o) for o in asked["options"]],
            atomic=bool(asked["atomic"]), deploy_pillar=settings.deploy_on_pillar_push,
        )  # fmt: skip
        for hint in verdict.hints if not asked.get("number") else ():
            peer.send(say=f"hint: {clean(hint)}")
        reports = list(verdict.reports)
        if verdict.accept:
            reports += self._accept_pillar(peer, row, verdict.accept)
        if verdict.request:
            reports += self._deploy_pushed(peer, asked, row, verdict)
        for command in commands:
            if f"ok {command.ref}" in reports:  # git moves it: a receive-pack that was killed may have left a lock
                git.break_lock(layout.repo_path(self.site.host.project(row.name), str(asked["repo"])), command.ref)
        peer.send(report=reports)

    def _accept_pillar(self, peer: Connection, row: ProjectRow, command: Command) -> list[str]:
        """Check a pillar before git stores it; it takes effect with the next deployment."""
        self._check_pillar(row, command.new)
        if row.code:
            now = self.site.host.words(f"corpus deploy {row.name}")
            peer.send(say=f"hint: stored; it takes effect with the next deployment, or now with: {now}")
        return [f"ok {command.ref}", "option fall-through"]

    def _check_pillar(self, row: ProjectRow, name: str) -> None:
        project = self.site.host.project(row.name)
        commit = git.commit(project.pillar_git, name)
        release.check_pillar(project, row.environment, settings_of(self.site, row), self.site.engine, commit)

    def _deploy_pushed(self, peer: Connection, asked: dict[str, Any], row: ProjectRow, verdict: Verdict) -> list[str]:
        assert verdict.request is not None
        repo = layout.repo_path(self.site.host.project(row.name), verdict.request.repo)
        commit = git.commit(repo, verdict.request.new)
        if verdict.request.repo == "pillar" and not asked.get("number"):
            self._check_pillar(row, commit)
        request = replace(verdict.request, new=commit, who=peer.who, via="push", token=str(asked["token"]))
        if not asked.get("number"):
            self._check_now(row, request)
        deployment = self._enqueue(row.name, request)
        peer.send(number=deployment.number)
        if not request.nowait:
            deployment = self._follow(peer, deployment, int(asked.get("offset", 0)))
        else:
            see = self.site.host.words(f"corpus log {row.name} {deployment.number} -f")
            peer.send(say=f"queued as deployment {deployment.number}: {see}")
        forced = self._forced(repo, deployment)
        return report(deployment, verdict.deploying, row.branch, forced=forced, reason=view.reason(deployment))

    def _check_now(self, row: ProjectRow, request: Request) -> None:
        """Refuse at once what need not wait for its turn."""
        if request.repo == "project":
            release.check_commit(self.site.host.project(row.name), row.environment, request.new, request)

    def _forced(self, repo: Path, deployment: Deployment) -> bool:
        old, new = (
            (deployment.old_pillar, deployment.new_pillar)
            if deployment.request.repo == "pillar"
            else (deployment.old_code, deployment.new_code)
        )
        if deployment.state != DEPLOYED or not old or not new or old == new:
            return False
        return git.change(repo, old, new).lost > 0

    def _enqueue(self, name: str, request: Request) -> Deployment:
        deployment = self.site.history.enqueue(name, request)
        self.lanes.wake(name)
        return deployment

    def request(self, peer: Connection, asked: dict[str, Any]) -> None:
        """Queue what the command asks for and follow it to its end."""
        row = known(self.site, str(asked["project"]))
        wanted = replace(Request.load(json.dumps(asked["request"])), who=peer.who, via="command")
        request = prepared(self.site, row, wanted)
        deployment = self._enqueue(row.name, request)
        peer.send(number=deployment.number)
        if not request.nowait:
            deployment = self._follow(peer, deployment, 0)
        peer.send(result=deployment.as_json())

    def follow(self, peer: Connection, asked: dict[str, Any]) -> None:
        """Feed a log from an offset on, to its end."""
        row = known(self.site, str(asked["project"]))
        deployment = self.site.history.deployment(row.name, int(asked["number"]))
        whole = bool(asked.get("whole"))
        deployment = self._follow(peer, deployment, int(asked.get("offset", 0)), whole=whole)
        peer.send(result=deployment.as_json())

    def cancel(self, peer: Connection, asked: dict[str, Any]) -> None:
        """Cancel what runs or waits in a project."""
        row = known(self.site, str(asked["project"]))
        deployment = self.lanes.cancel(row.name, peer.who)
        if deployment is None:
            raise RefusedError(f"nothing runs or waits in {row.name}")
        if deployment.state != QUEUED:
            deployment = self._follow(peer, deployment, 0, quiet=True)
        peer.send(result={**deployment.as_json(), "cancelled": peer.who})

    def ping(self, peer: Connection, asked: dict[str, Any]) -> None:
        """Say that we are here."""
        peer.send(result={"pid": os.getpid(), "busy": self.lanes.busy()})

    # followers

    def _follow(
        self,
        peer: Connection,
        deployment: Deployment,
        offset: int,
        *,
        whole: bool = False,
        quiet: bool = False,
    ) -> Deployment:
        """Feed what is said of a deployment until its outcome is; return it with its outcome."""
        path = log_path(self.site.host.project(deployment.project), deployment.number)
        waiting, silent = "", time.monotonic()
        while True:
            now = self.site.history.deployment(deployment.project, deployment.number)
            for line in log.read(path, offset):
                offset, silent = line.offset, time.monotonic()
                if (whole or not line.more) and not quiet:
                    peer.send(say=line.text, offset=offset)
                if line.end:
                    return self.site.history.deployment(deployment.project, deployment.number)
            if now.ended:  # the last line was read on an earlier connection
                return now
            peer.check()
            waiting = self._say_waiting(peer, deployment, waiting)
            if not quiet and time.monotonic() - silent > (TICK if now.request.progress else HEARTBEAT):
                silent = time.monotonic()
                peer.send(say=self._heartbeat(now), end="\r" if now.request.progress else "\n")
            self._wait_for_more(deployment, offset)

    def _wait_for_more(self, deployment: Deployment, offset: int) -> None:
        run = self.site.running.get((deployment.project, deployment.number))
        if run is not None:
            run.log.wait(offset, 0.5)
        else:
            with self.site.changed:
                self.site.changed.wait(0.2)

    def _say_waiting(self, peer: Connection, deployment: Deployment, said: str) -> str:
        """Say behind whom a deployment waits, when that changes."""
        key = (deployment.project, deployment.number)
        if key in self.site.running:
            return said
        ahead = self.site.history.ahead(deployment)
        if ahead is None:
            return said
        text = f"waiting for deployment {ahead.number} by {ahead.request.who}"
        if text != said:
            since = time.time() - (ahead.started or ahead.queued)
            peer.send(say=f"{text}, {view.ago(since)}")
        return text

    def _heartbeat(self, now: Deployment) -> str:
        steps = self.site.history.steps(now)
        since = view.ago(time.time() - (now.started or now.queued))
        return f"      … {steps[-1] if steps else now.state}, {since}"


OPERATIONS: dict[str, Callable[[Daemon, Connection, dict[str, Any]], None]] = {
    "push": Daemon.push,
    "request": Daemon.request,
    "follow": Daemon.follow,
    "cancel": Daemon.cancel,
    "ping": Daemon.ping,
}


# starting


@contextlib.contextmanager
def listening(site: Site) -> Iterator[socket.socket]:
    """Be the only daemon of this host and listen; raise NoDaemonError where there is one."""
    layout.make_host(site.host)
    with alone(site.host):
        settle(site)
        listener = listen(site.host.socket)
        try:
            yield listener
        finally:
            site.host.socket.unlink(missing_ok=True)


def settle(site: Site) -> None:
    """Stop what deployments that were interrupted left running, before anybody is listened to."""
    site.history.check()
    rebuild.check(site.host, site.history)
    tree.remove(site.host.scratch)
    for row in site.history.projects():
        for deployment in site.history.unfinished(row.name) if is_free(site.host.project(row.name)) else ():
            deploy.stop_children(site, deployment)


class _OwnLogger(structlog.WriteLogger):
    """A logger whose disk may be full: whoever says something must not fail over it."""

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = error = critical = msg


def _log_to(file: TextIO) -> None:
    """Write the daemon's own log as JSON lines."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=lambda *_: _OwnLogger(file),
    )


def _own_log(path: Path) -> TextIO:
    """Give an embedded daemon a log file: it has no journal, and whoever started it leaves."""
    file = open(path, "a", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    return file


def run(site: Site, *, embedded: bool) -> None:
    """Be the daemon until told to stop."""
    os.umask(0o022)
    with listening(site) as listener:
        _log_to(_own_log(site.host.state_dir / "daemon.log") if embedded else sys.stderr)
        daemon = Daemon(site, listener, embedded)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: daemon.stop())
        site.engine.warm()
        try:
            daemon.serve()
        finally:
            site.engine.close()
