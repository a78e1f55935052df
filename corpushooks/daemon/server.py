"""The daemon: listens, checks rights, queues requests, and serves followers.

A connection is one line of JSON, then lines of JSON back: {"say": …, "offset": …} to show, {"number": …} when a request
is queued, and finally {"report": …} to a hook, {"result": …} to the command, or {"error": …} to either.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from corpushooks import tree
from corpushooks.core.errors import BusyError, CorpusError, NotAllowedError
from corpushooks.core.hints import Hint, command
from corpushooks.core.rights import Rights
from corpushooks.core.text import clean, one_line
from corpushooks.daemon.overdue import Overdue
from corpushooks.daemon.pulse import Pulse
from corpushooks.deploy import pillars, recovery
from corpushooks.deploy.lanes import Lanes, going_back
from corpushooks.deploy.watches import Watches
from corpushooks.fleet import reach
from corpushooks.fleet.catch_up import CatchUp
from corpushooks.host import layout
from corpushooks.host.site import Site
from corpushooks.operations import running
from corpushooks.operations.acts import ACTS, recover
from corpushooks.operations.call import Work
from corpushooks.operations.serving import Server
from corpushooks.operations.setting import Turns
from corpushooks.operations.signing import Gate
from corpushooks.protocol.connection import WAIT, Bell, Connection, Limits, PeerGone, Semaphores, accounts, listen
from corpushooks.store import lost
from corpushooks.system import memory, own_log
from corpushooks.system.locks import alone, is_free
from corpushooks.system.supervisor import Supervisor, supervisor

QUIET = 60.0  # seconds without work until maintenance
GLANCE, REST = 0.5, 30.0  # seconds between looks around, when busy and when idle
MOMENT = 0.01  # seconds to wait longer, since clocks are not exact
MARGIN = 5.0  # seconds for everything except the lanes to stop
PAUSE = 1.0  # seconds between log lines about refused callers: a flood of them must not fill the disk


@dataclass
class Daemon:
    """The listening daemon of one host."""

    site: Site
    listener: socket.socket
    embedded: bool = False
    supervisor: Supervisor = field(default_factory=Supervisor)
    limits: Limits = field(default_factory=Limits)
    semaphores: Semaphores = field(default_factory=Semaphores)
    turns: Turns = field(default_factory=Turns)
    gate: Gate = field(default_factory=Gate)
    rights: Rights = field(init=False)
    lanes: Lanes = field(init=False)
    watches: Watches = field(init=False)
    pulse: Pulse = field(init=False)
    overdue: Overdue = field(init=False)
    nodes: reach.Kept = field(init=False)
    catch_up: CatchUp = field(init=False)
    left: bool = False  # whether deployments are left to the next daemon
    told: int = 0  # how often it was told to stop
    _watching: bool = False  # whether the settings watch a project
    _noted: float = 0.0  # when a refusal was last logged; and the number of refusals since
    _unnoted: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _bell: Bell = field(default_factory=Bell)
    _active: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.lanes = Lanes(self.site, ACTS, recover)
        self.watches = Watches(self.site, self.lanes)
        self.pulse = Pulse(self.site, self.lanes.works_in)
        self.overdue = Overdue(self.site)
        self.nodes = reach.keep(self.site)
        self.catch_up = CatchUp(self.site, self.lanes.wake)
        settings = self.site.settings
        self.rights = Rights(os.geteuid(), settings.group, accounts(), settings.account, settings.web_account)

    def serve(self) -> None:
        """Serve until told to stop or, if embedded, until idle for a while."""
        for name in lanes_to_wake(self.site):
            self.lanes.wake(name)
        self.listener.setblocking(False)
        self.supervisor.say("READY=1")
        if not self.embedded:  # an embedded one exits when idle, so it cannot be relied on for notifications
            self.pulse.start()
            self.overdue.start()
            self.catch_up.start()
        with self._bell:
            while not self._stop.is_set() and not self._idle():
                self.supervisor.alive()  # from the accepting thread: that another one lives proves nothing
                calls = self.listener.fileno()
                ready, _, _ = select.select([calls, self._bell.wire], [], [], self._pause())
                self._accept() if calls in ready else self._look_around()
        self.supervisor.say("STOPPING=1")
        self.listener.close()
        self.pulse.stop()
        self.overdue.stop()
        self.catch_up.stop()
        if left := self.lanes.stop(self.site.settings.stop_timeout):
            own_log.warning("left to the next daemon", projects=left)
            self.left = True
        self.pulse.wait()
        self.overdue.wait()
        self.catch_up.wait()
        self.nodes.end()

    def _accept(self) -> None:
        """Accept a connection."""
        try:
            link, _ = self.listener.accept()
        except BlockingIOError:  # gone again
            return
        except OSError as exc:  # out of descriptors: open connections will release some
            own_log.error("cannot accept", exc)
            self._stop.wait(0.1)
            return
        self._admit(Connection(link, self.limits))

    def _pause(self) -> float:
        """Return how long to wait for callers until something else can be due: long when idle."""
        if self.semaphores.busy() or self.lanes.busy() or self.watches.wanted:
            return min(GLANCE, self.supervisor.every)
        settings, idle = self.site.settings, time.monotonic() - self._active
        due = [settings.worker_idle_timeout, *([QUIET] if self.lanes.untidy else [])]
        due += [settings.idle_timeout] if self.embedded else []
        left = [each - idle for each in due if each > idle]
        return min([REST, self.supervisor.every, *(each + MOMENT for each in left)])

    def stop(self) -> None:
        """Stop: running deployments can end, waiting ones stay queued. A second call rolls back running ones."""
        if self._stop.is_set():
            self.lanes.hurry()
        self.site.stopping = self.lanes.stopping = True
        self._stop.set()
        self._bell.ring()

    def _idle(self) -> bool:
        with self._lock:
            if self.semaphores.busy() or self.lanes.busy() or self._watching:
                self._active = time.monotonic()
            return self.embedded and time.monotonic() - self._active > self.site.settings.idle_timeout

    def _look_around(self) -> None:
        """Do background work between callers."""
        self._watching = self.watches.keep()
        self._tidy()

    def _tidy(self) -> None:
        """Run git maintenance after a quiet while, and stop Salt after a long one."""
        if self.semaphores.busy() or self.lanes.busy():  # meanwhile
            return
        idle = time.monotonic() - self._active
        if self.lanes.untidy and idle > QUIET:
            threading.Thread(target=self.lanes.tidy, daemon=True).start()
        if idle > self.site.settings.worker_idle_timeout:
            self.site.engine.close()

    # a connection

    def _admit(self, connection: Connection) -> None:
        """Start a thread for a caller; refuse it if it has too many connections."""
        try:
            if self.semaphores.take(connection.uid, own=self.rights.is_own(connection.uid)):
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()
                return
            self._refuse(connection, BusyError("too many connections at once", hint=WAIT))
        except RuntimeError as exc:  # no threads left: open connections will release some
            self.semaphores.leave(connection.uid, own=self.rights.is_own(connection.uid))
            own_log.error("cannot answer", exc)
        except PeerGone:
            pass
        connection.link.close()

    def _talk(self, connection: Connection) -> None:
        try:
            with connection.link:
                self._answer(connection)
        except PeerGone:
            pass
        finally:
            self.semaphores.leave(connection.uid, own=self.rights.is_own(connection.uid))

    def _answer(self, connection: Connection) -> None:
        try:
            self._act(connection)
        except PeerGone:
            raise
        except CorpusError as exc:
            self._refuse(connection, exc)
        except Exception as exc:  # the edge of a connection
            own_log.error("connection failed", exc)
            self._refuse(connection, CorpusError(f"internal error: {type(exc).__name__}", "see the log of the daemon"))

    def _refuse(self, connection: Connection, exc: CorpusError) -> None:
        """Answer with an error and log it, at a limited rate."""
        if time.monotonic() - self._noted > PAUSE:
            uid, error = connection.uid, one_line(exc.message)
            own_log.warning("refused", uid=uid, error=error, more=self._unnoted)
            self._noted, self._unnoted = time.monotonic(), 0
        else:
            self._unnoted += 1
        hint = clean(self.site.spell(exc.hint, ssh=connection.keyed or self.rights.is_account(connection.caller)))
        denied = {"denied": True} if isinstance(exc, NotAllowedError) else {}
        kind = {"kind": exc.kind} if exc.kind else {}
        connection.send(error=one_line(exc.message), hint=hint, code=exc.exit_code, **denied, **kind)

    def _act(self, connection: Connection) -> None:
        """Read a request and serve it; callers without any right are refused unread."""
        work = Work(self.lanes, self.watches, self.semaphores, self.turns, self.gate)
        server = Server(self.site, self.rights, work)
        if not (self.rights.anything(connection.caller) or self.rights.relays(connection.caller)):
            raise server.not_allowed()
        server.serve(connection, connection.read())


# starting


@contextlib.contextmanager
def listening(site: Site, given: socket.socket | None = None) -> Iterator[socket.socket]:
    """Be the only daemon of this host and listen; raise NoDaemonError if one is running.

    A given socket is already listening, and stays after us.
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
    """Stop processes of interrupted deployments, before accepting connections."""
    site.history.check()
    lost.check(site.host, site.history)
    tree.remove(site.host.scratch)
    running.settle(site)
    for name in sorted(site.history.open_projects()):
        try:
            for deployment in site.history.unfinished(name) if is_free(site.host.project(name)) else ():
                recovery.stop_children(site, deployment)
        except OSError as exc:  # of its lock: its lane reports it again, the other projects continue
            own_log.error("cannot settle", project=name, error=str(exc))


def lanes_to_wake(site: Site) -> list[str]:
    """Return the projects with work to do: interrupted, waiting, or to be upgraded."""
    left = site.history.open_projects()
    rows = site.history.projects()
    return [row.name for row in rows if row.name in left or pillars.is_missing(site.host.project(row.name), row)]


def _tell(event: str, about: Mapping[str, object]) -> None:
    own_log.info(event, **about)


def _own_file(path: Path) -> TextIO:
    """Open a log file for an embedded daemon: it has no journal, and its starter exits."""
    file = open(path, "a", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    return file


def run(opened: Callable[[], Site], *, embedded: bool) -> None:
    """Run the daemon of the opened host until it is told to stop."""
    os.umask(0o022)
    memory.share_one_arena()
    above = supervisor()
    given = above.listener()
    try:
        _serve(opened(), given, above, embedded=embedded)
    except CorpusError as exc:
        if given:
            turn_away(given, exc)
        raise


def _serve(site: Site, given: socket.socket | None, above: Supervisor, *, embedded: bool) -> None:
    if above.watches:
        faulthandler.enable()  # a hanging daemon is aborted by systemd: the log then shows where each thread hung
    with listening(site, given) as listener:
        own_log.write_to(_own_file(site.host.state_dir / "daemon.log") if embedded else sys.stderr)
        site.event = _tell
        daemon = Daemon(site, listener, embedded, above)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: _end(daemon))
        site.engine.warm()
        try:
            daemon.serve()
        finally:
            site.engine.close()
    if daemon.left:  # a thread may hang; exit as if killed
        os._exit(0)


def _end(daemon: Daemon) -> None:
    """Stop a daemon, and end its process even if it hangs; then its log shows where."""
    limit = daemon.site.settings.stop_timeout
    waits = limit if daemon.told == 0 else 0.0
    if daemon.told < 2 and waits is not None:
        faulthandler.dump_traceback_later(waits + going_back(limit) + MARGIN, exit=True)
    daemon.told += 1
    daemon.stop()


def turn_away(given: socket.socket, exc: CorpusError) -> None:
    """Refuse all waiting callers of a daemon that cannot start: systemd would start it again for them at once.

    Only root gets the reason, which may quote the settings.
    """
    given.settimeout(0)
    with contextlib.suppress(OSError):  # accept no further callers
        while True:
            link, _ = given.accept()
            connection = Connection(link)
            why = f": {one_line(exc.message)}" if connection.uid == 0 else ""
            with link, contextlib.suppress(PeerGone):
                connection.send(
                    error=f"the deployment daemon cannot start{why}",
                    hint=str(Hint("on the host: ", command("doctor"))),
                    code=3,
                )
