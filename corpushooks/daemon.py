"""The daemon: listens, judges and queues what is asked for, feeds those who follow.

A connection is one line of JSON and then lines of JSON back: {"say": …, "offset": …} to show, {"number": …} when a
request is queued, and last {"report": …} to a hook, {"result": …} to the command, or {"error": …} to either.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

import structlog

from corpushooks import deploy, git, layout, rebuild, release, tree, view
from corpushooks.deployment import CHANGING, DEPLOYED, QUEUED, Deployment, ProjectRow, Request
from corpushooks.errors import CorpusError, GitError, RefusedError, UsageError
from corpushooks.follower import follow
from corpushooks.gate import Gate, Visitor
from corpushooks.keys import PUSH, READ
from corpushooks.lanes import Lanes, alone, is_free, known, newest, prepared, settings_of
from corpushooks.peer import (
    NUMBER_LIMIT,
    Asked,
    Connection,
    Limits,
    PeerGone,
    Places,
    accounts,
    listen,
    not_understood,
)
from corpushooks.push import Command, Verdict, judge, report
from corpushooks.reports import EVERY, REPORTS
from corpushooks.rights import Rights
from corpushooks.site import Site
from corpushooks.systemd import Supervisor, supervisor
from corpushooks.text import clean, one_line

QUIET = 60.0  # seconds without work until maintenance
PAUSE = 1.0  # seconds between lines of our log about those who are refused: a flood of them must not fill the disk
ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass
class Daemon:
    """The listening daemon of one host."""

    site: Site
    listener: socket.socket
    embedded: bool = False
    supervisor: Supervisor = field(default_factory=Supervisor)
    limits: Limits = field(default_factory=Limits)
    places: Places = field(default_factory=Places)
    rights: Rights = field(init=False)
    lanes: Lanes = field(init=False)
    _noted: float = 0.0  # when a refusal was last logged, and how many were not since
    _unnoted: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _active: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.lanes = Lanes(self.site)
        settings = self.site.settings
        self.rights = Rights(os.geteuid(), settings.group, accounts(), settings.account)

    def serve(self) -> None:
        """Answer until told to stop or, embedded, until nobody has needed us for a while."""
        for row in self.site.history.projects():
            self.lanes.wake(row.name)
        self.listener.settimeout(min(0.5, self.supervisor.every))
        self.supervisor.say("READY=1")
        while not self._stop.is_set() and not self._idle():
            self.supervisor.alive()  # said by who accepts: that another thread lives would say nothing
            try:
                link, _ = self.listener.accept()
            except TimeoutError:
                self._tidy()
                continue
            except OSError as exc:  # out of descriptors: those who talk will give some back
                structlog.get_logger().error("cannot accept", exc_info=exc)
                self._stop.wait(0.1)
                continue
            self._admit(Connection(link, self.limits))
        self.supervisor.say("STOPPING=1")
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
            if self.places.busy() or self.lanes.busy():
                self._active = time.monotonic()
            return self.embedded and time.monotonic() - self._active > self.site.settings.idle_timeout

    def _tidy(self) -> None:
        """Do maintenance where nothing has been asked for a while, and let Salt go after a long one."""
        if self.places.busy() or self.lanes.busy():  # since we last looked
            return
        idle = time.monotonic() - self._active
        if self.lanes.untidy and idle > QUIET:
            threading.Thread(target=self.lanes.tidy, daemon=True).start()
        if idle > self.site.settings.worker_idle_timeout:
            self.site.engine.close()

    # a connection

    def _admit(self, peer: Connection) -> None:
        """Give a caller a place and a thread; where it has too many already, say so."""
        try:
            if self.places.take(peer.uid, own=self.rights.is_own(peer.uid)):
                threading.Thread(target=self._talk, args=(peer,), daemon=True).start()
                return
            self._refuse(peer, RefusedError("too many connections at once", hint="wait for some of them to end"))
        except RuntimeError as exc:  # no thread is to be had: those who talk will give some back
            self.places.leave(peer.uid, own=self.rights.is_own(peer.uid))
            structlog.get_logger().error("cannot answer", exc_info=exc)
        except PeerGone:
            pass
        peer.link.close()

    def _talk(self, peer: Connection) -> None:
        try:
            with peer.link:
                self._answer(peer)
        except PeerGone:
            pass
        finally:
            self.places.leave(peer.uid, own=self.rights.is_own(peer.uid))

    def _answer(self, peer: Connection) -> None:
        try:
            self._act(peer)
        except PeerGone:
            raise
        except CorpusError as exc:
            self._refuse(peer, exc)
        except Exception as exc:  # the edge of a connection
            structlog.get_logger().error("connection failed", exc_info=exc)
            self._refuse(peer, CorpusError(f"internal error: {type(exc).__name__}", "see the log of the daemon"))

    def _refuse(self, peer: Connection, exc: CorpusError) -> None:
        """Answer with an error; it is logged, but of a flood only some."""
        if time.monotonic() - self._noted > PAUSE:
            structlog.get_logger().warning("refused", uid=peer.uid, error=one_line(exc.message), more=self._unnoted)
            self._noted, self._unnoted = time.monotonic(), 0
        else:
            self._unnoted += 1
        hint = clean(self.site.words(exc.hint, ssh=self.rights.is_account(peer.caller)))
        peer.send(error=one_line(exc.message), hint=hint, code=exc.exit_code)

    def _act(self, peer: Connection) -> None:
        """Hear a request and do what it asks for; who may do nothing is not even heard."""
        if not self.rights.anything(peer.caller) and not self.rights.is_account(peer.caller):
            raise self._not_allowed()
        asked, gate = peer.read(), Gate(self.site.host, self.site.history, self.rights)
        name = str(asked.values.get("op"))
        if name == "ping":
            self.ping(peer)
        elif name == "admit":
            peer.send(result=gate.admit(peer, asked))
        elif name == "report":
            self._report(peer, gate.visitor(peer, asked), asked)
        elif name in OPERATIONS:
            right, act = OPERATIONS[name]
            visitor = gate.visitor(peer, asked)
            act(self, peer, visitor, self._allowed(visitor, asked.text("project"), right), asked)
        else:
            raise not_understood()

    def _allowed(self, visitor: Visitor, project: str, right: str) -> ProjectRow:
        """Return a project of which a visitor may ask; say nothing of any other, not even whether it exists."""
        if not visitor.may(project, right):
            raise self._not_allowed()
        return known(self.site, project)

    def _not_allowed(self) -> RefusedError:
        hint = f"who may: root, the group {self.rights.group}, for its project the group NAME-deploy, and keys by ssh"
        return RefusedError("not allowed", hint)

    def _check_frozen(self, visitor: Visitor, project: str, request: Request) -> None:
        """Refuse what would change a project that is frozen; whoever may do everything can insist."""
        frozen = self.site.history.frozen(project) if request.kind in CHANGING else None
        if frozen and not (request.force and visitor.admin):
            raise RefusedError(str(frozen), hint=f"wait for: corpus thaw {frozen.project or '--all'}")

    # what may be asked

    def push(self, peer: Connection, visitor: Visitor, row: ProjectRow, asked: Asked) -> None:
        """Answer git's hook."""
        self.site.engine.warm()  # it may have left: it loads while we check
        repo, commands = _repo(asked), _commands(asked)
        settings = settings_of(self.site, row)
        git.flush_objects(layout.repo_path(self.site.host.project(row.name), repo))
        verdict = judge(
            repo, row.branch, commands, asked.words("options"),
            atomic=asked.flag("atomic"), deploy_pillar=settings.deploy_on_pillar_push,
        )  # fmt: skip
        before = self.site.history.asked(row.name, asked.text("token"))
        for hint in verdict.hints if before is None else ():
            peer.send(say=f"hint: {clean(hint)}")
        reports = list(verdict.reports)
        if verdict.accept:
            reports += self._accept_pillar(peer, visitor, row, verdict.accept)
        if verdict.request:
            reports += self._deploy_pushed(peer, visitor, asked, row, verdict, new=before is None)
        if not asked.flag("atomic"):
            reports = _deleted(layout.repo_path(self.site.host.project(row.name), repo), commands, reports)
        accepted = set(reports)
        for command in commands:
            if f"ok {command.ref}" in accepted:  # git moves it: a receive-pack that was killed may have left a lock
                git.break_lock(layout.repo_path(self.site.host.project(row.name), repo), command.ref)
        peer.send(report=reports)

    def _accept_pillar(self, peer: Connection, visitor: Visitor, row: ProjectRow, command: Command) -> list[str]:
        """Check a pillar before git stores it; it takes effect with the next deployment."""
        self._check_pillar(row, command.new)
        if row.code:
            now = self.site.words(f"corpus deploy {row.name}", ssh=visitor.key is not None)
            peer.send(say=f"hint: stored; it takes effect with the next deployment, or now with: {now}")
        return [f"ok {command.ref}", "option fall-through"]

    def _check_pillar(self, row: ProjectRow, name: str) -> None:
        project = self.site.host.project(row.name)
        commit = git.commit(project.pillar_git, name)
        release.check_pillar(project, row.environment, settings_of(self.site, row), self.site.engine, commit)

    def _deploy_pushed(
        self, peer: Connection, visitor: Visitor, asked: Asked, row: ProjectRow, verdict: Verdict, *, new: bool
    ) -> list[str]:
        """Queue what was pushed, unless it was before the daemon went away, and follow it."""
        assert verdict.request is not None
        repo = layout.repo_path(self.site.host.project(row.name), verdict.request.repo)
        commit = git.commit(repo, verdict.request.new)
        if new and verdict.request.repo == "pillar":
            self._check_pillar(row, commit)
        request = replace(_by(visitor, verdict.request), new=commit, via="push", token=asked.text("token"))
        if new:
            self._check_frozen(visitor, row.name, request)
            self._check_now(row, request)
        deployment = self._enqueue(row.name, request)
        peer.send(number=deployment.number)
        if not request.nowait:
            deployment = follow(
                self.site, peer, deployment, asked.number("offset", 0), progress=request.progress
            )  # fmt: skip
        else:
            see = self.site.words(f"corpus log {row.name} {deployment.number} -f", ssh=visitor.key is not None)
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
        if not deployment.request.is_again(request):
            raise UsageError("the token is that of another request")
        self.lanes.wake(name)
        return deployment

    def request(self, peer: Connection, visitor: Visitor, row: ProjectRow, asked: Asked) -> None:
        """Queue what the command asks for and follow it to its end."""
        request = prepared(self.site, row, replace(_by(visitor, _request(asked)), via="command"))
        self._check_frozen(visitor, row.name, request)
        deployment = self._enqueue(row.name, request)
        peer.send(number=deployment.number)
        if not request.nowait:
            deployment = follow(self.site, peer, deployment, 0, progress=request.progress)
        peer.send(result=deployment.as_json())

    def follow(self, peer: Connection, visitor: Visitor, row: ProjectRow, asked: Asked) -> None:
        """Feed a log from an offset on, to its end."""
        number = asked.number("number")
        deployment = self.site.history.deployment(row.name, number) if number else newest(self.site.history, row.name)
        deployment = follow(
            self.site, peer, deployment, asked.number("offset", 0),
            whole=asked.flag("whole"), progress=asked.flag("progress"),
        )  # fmt: skip
        peer.send(result=deployment.as_json())

    def cancel(self, peer: Connection, visitor: Visitor, row: ProjectRow, asked: Asked) -> None:
        """Cancel what runs or waits in a project."""
        deployment = self.lanes.cancel(row.name, visitor.who)
        if deployment is None:
            raise RefusedError(f"nothing runs or waits in {row.name}")
        if deployment.state != QUEUED:
            deployment = follow(self.site, peer, deployment, 0, quiet=True)
        peer.send(result={**deployment.as_json(), "cancelled": visitor.who})

    def _report(self, peer: Connection, visitor: Visitor, asked: Asked) -> None:
        """Tell of a project, or of all that a visitor may see."""
        kind, name, options = asked.text("report"), asked.text("project"), json.loads(asked.json("options"))
        if kind not in REPORTS or not (name or kind in EVERY):
            raise not_understood("report")
        if options.get("secrets") and not visitor.admin:
            raise RefusedError("secrets are shown to root, the host's group and keys that may admin")
        right, tell = REPORTS[kind]
        if name:
            rows = [self._allowed(visitor, name, right)]
        else:
            rows = [row for row in self.site.history.projects() if visitor.may(row.name, right)]
        told = tell(self.site, rows, options)
        peer.send(result=json.loads(json.dumps({"value": told.value, "lines": list(told.lines)}, default=str)))

    def ping(self, peer: Connection) -> None:
        """Say that we are here."""
        peer.send(result={"pid": os.getpid(), "busy": self.lanes.busy()})


Act = Callable[[Daemon, Connection, Visitor, ProjectRow, Asked], None]
OPERATIONS: dict[str, tuple[str, Act]] = {  # what may be asked, and the right that it needs
    "push": (PUSH, Daemon.push),
    "request": (PUSH, Daemon.request),
    "follow": (READ, Daemon.follow),
    "cancel": (PUSH, Daemon.cancel),
}


def _by(visitor: Visitor, request: Request) -> Request:
    return replace(request, who=visitor.who, key=visitor.key.name if visitor.key else "")


def _deleted(path: Path, commands: Sequence[Command], reports: list[str]) -> list[str]:
    """Delete what git would: a ref that is packed is gone when its list is written anew, which pushers may not."""
    for command in commands:
        if command.deletes and f"ok {command.ref}" in reports:
            place = reports.index(f"ok {command.ref}")
            try:
                git.delete_ref(path, command.ref, command.old)
                reports[place : place + 2] = [f"ok {command.ref}"]
            except GitError as exc:
                reports[place : place + 2] = [f"ng {command.ref} {exc.message}"]
    return reports


def _repo(asked: Asked) -> str:
    name = asked.text("repo")
    if name not in layout.REPOS:
        raise not_understood("repo")
    return name


def _commands(asked: Asked) -> list[Command]:
    commands = [Command(*row) for row in asked.rows("commands", 3)]
    if not all(ID.fullmatch(name) for command in commands for name in (command.old, command.new)):
        raise not_understood("commands")
    return commands


def _request(asked: Asked) -> Request:
    """Return what the command asks for; only a push says of a repository and its ref."""
    try:
        found = Request.load(asked.json("request"))
    except TypeError as exc:
        raise not_understood(f"request: {exc}") from None
    if not 0 <= found.target < NUMBER_LIMIT:
        raise not_understood("request: target")
    return replace(found, repo="project", ref="", old="")


# starting


@contextlib.contextmanager
def listening(site: Site, given: socket.socket | None = None) -> Iterator[socket.socket]:
    """Be the only daemon of this host and listen; raise NoDaemonError where there is one.

    A socket that was given listens already, also before us and after us: it stays.
    """
    layout.make_host(site.host)
    with alone(site.host):
        settle(site)
        listener = given or listen(site.host.socket)
        try:
            yield listener
        finally:
            if given is None:
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


def _tell(event: str, about: Mapping[str, object]) -> None:
    structlog.get_logger().info(event, **about)


def _own_log(path: Path) -> TextIO:
    """Give an embedded daemon a log file: it has no journal, and whoever started it leaves."""
    file = open(path, "a", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    return file


def run(site: Site, *, embedded: bool) -> None:
    """Be the daemon until told to stop."""
    os.umask(0o022)
    above = supervisor()
    if above.watches:
        faulthandler.enable()  # who gives no sign of life is aborted: the log then says where each thread hung
    with listening(site, above.listener()) as listener:
        _log_to(_own_log(site.host.state_dir / "daemon.log") if embedded else sys.stderr)
        site.event = _tell
        daemon = Daemon(site, listener, embedded, above)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: daemon.stop())
        site.engine.warm()
        try:
            daemon.serve()
        finally:
            site.engine.close()
