"""The pulse: runs the health checks of live releases between deployments, as `health` of their cfg says.

Changes are recorded and sent as notifications; nothing is ever rolled back for them.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from corpushooks.core.errors import CancelledError
from corpushooks.core.text import one_line, shortened
from corpushooks.host.site import Site
from corpushooks.notify import announce
from corpushooks.release import release
from corpushooks.store.vitals import FAILING, HEALTHY, Vital
from corpushooks.system import health, own_log
from corpushooks.system.process import Child, spawn, stop_carrying

MOST = 8  # releases checked at once
LONGEST = 60.0  # seconds for one check, whatever its own timeout
GLANCE = 10.0  # seconds between looks for new releases
LEAST = 0.05  # seconds between two looks
MARK = "CORPUS_HEALTH"  # in the environment of commands of checks, to find those of a killed daemon
EACH = 8  # failures in a row that are recorded one by one; then the 16th, the 32nd …


@dataclass
class Pulse:
    """A thread that schedules the checks, and a few that run them."""

    site: Site
    deploys: Callable[[str], bool]  # whether a project is being deployed: then it is not checked
    _due: dict[str, float] = field(default_factory=dict)  # when to check, by the monotonic clock
    _times: dict[str, int] = field(default_factory=dict)  # failures in a row, also unrecorded ones
    _waiting: deque[str] = field(default_factory=deque)
    _open: set[str] = field(default_factory=set)  # waiting or being checked
    _askers: int = 0
    _said: dict[str, str] = field(default_factory=dict)  # errors, logged once while they are retried
    _thread: threading.Thread | None = None
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Condition = field(default_factory=threading.Condition)

    def start(self) -> None:
        """Start."""
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; running checks are aborted."""
        self._over.set()

    def wait(self) -> None:
        """Wait a moment for aborted checks to end: they hold the store open."""
        with self._lock:
            self._lock.wait_for(lambda: not self._askers, 2 * health.GRACE)
        if self._thread:
            self._thread.join(health.GRACE)

    @property
    def _mark(self) -> str:
        return str(self.site.host.state_dir)

    def _run(self) -> None:
        stop_carrying(f"{MARK}={self._mark}", grace=health.GRACE)
        pause = 0.0
        while not self._over.wait(pause):
            pause = GLANCE
            try:
                pause = self._queue_due()
            except Exception as exc:  # the edge of a thread
                self._log_once("", exc)

    def _queue_due(self) -> float:
        """Queue the checks that are due; return the seconds until the next look."""
        now, wanted = time.monotonic(), self._intervals()
        for gone in self._due.keys() - wanted.keys():
            del self._due[gone]
            self._times.pop(gone, None)
        for name, every in wanted.items():
            # start at a random moment of the interval, to spread the checks of a host
            due = self._due.setdefault(name, now + random.uniform(0, every))
            if due <= now and name not in self._open:
                self._due[name] = now + every * random.uniform(0.9, 1.1)
                self._open.add(name)
                self._waiting.append(name)
        self._start_threads()
        soonest = min([*self._due.values(), now + self._least_pause()])
        return max(LEAST, soonest - now)

    def _least_pause(self) -> float:
        return min(GLANCE, self.site.settings.health_every or GLANCE)

    def _intervals(self) -> dict[str, float]:
        """Return the projects to check, and their intervals."""
        settings = self.site.settings
        if not settings.health_every and not any(own.get("health_every") for own in settings.own.values()):
            return {}
        every = {row.project: settings.sound(row.project).health_every for row in self.site.history.vitals()}
        return {name: seconds for name, seconds in every.items() if seconds}

    def _start_threads(self) -> None:
        with self._lock:
            while self._askers < min(MOST, len(self._waiting)):
                threading.Thread(target=self._ask_waiting, name="health", daemon=True).start()
                self._askers += 1

    def _ask_waiting(self) -> None:
        """Run queued checks one after the other until none is left."""
        while True:
            with self._lock:
                if not self._waiting or self._over.is_set():
                    self._askers -= 1
                    self._lock.notify_all()
                    return
                name = self._waiting.popleft()
            try:
                self._ask(name)
                self._said.pop(name, None)
            except CancelledError:
                pass
            except Exception as exc:  # the edge of a thread
                self._log_once(name, exc)
            finally:
                self._open.discard(name)

    def _ask(self, name: str) -> None:
        row = self.site.history.vital(name)
        if row is None:  # being deployed, or removed
            return
        wrong = self._first_failure(row)
        if wrong:
            redactor = release.redactor_of(self.site.settings.sound(name))
            release.recall(self.site.host.project(name), redactor)
            wrong = one_line(redactor.redact(wrong))
        self._record_and_notify(row, wrong)

    def _first_failure(self, row: Vital) -> str:
        """Return the failing check and its error, or ''; raise CancelledError if a deployment starts meanwhile."""

        def tell() -> None:
            if self._over.is_set() or self.deploys(row.project):
                raise CancelledError("being deployed")

        for check in _checks(row):
            if wrong := health.await_answer(check, tell, self._spawn):
                return f"{shortened(str(check))}: {wrong}"
        return ""

    def _spawn(self, words: Sequence[str]) -> Child[bytes]:
        return spawn(words, cwd=Path("/"), env={MARK: self._mark})

    def _record_and_notify(self, row: Vital, wrong: str) -> None:
        """Record changes, then notify; a notification is recorded once it was sent."""
        now = _vital_after(row, wrong, max(row.times, self._times.get(row.project, 0)) + 1, time.time())
        self._times[row.project] = now.times
        changed = now.state != row.state
        if changed or _is_recorded(now.times):
            if not self.site.history.record_vital(now):
                return
            if changed:
                about = {"state": now.state, **({"reason": now.reason} if now.reason else {})}
                self.site.event("health", {"project": now.project, **about})
        told = _state_to_notify(now, self.site.settings.sound(row.project).health_failures)
        if told != now.told:
            if problem := announce.health(self.site, now):
                own_log.warning("not notified", project=now.project, error=problem)
            self.site.history.record_vital(replace(now, told=told))

    def _log_once(self, name: str, exc: Exception) -> None:
        if self._said.get(name) != str(exc):
            self._said[name] = str(exc)
            own_log.error("health cannot be asked", exc, project=name)


def _checks(row: Vital) -> list[health.Check]:
    """Return the checks of a release, without retries: a failing one is repeated before notifying."""
    try:
        return health.once(json.loads(row.checks), LONGEST)
    except ValueError:  # of another version
        return []


def _vital_after(row: Vital, wrong: str, times: int, now: float) -> Vital:
    """Return the health of a release after a check; `times`: failures in a row, including this one."""
    state = FAILING if wrong else HEALTHY
    since = row.since if row.state == state else now
    return replace(row, state=state, since=since, times=times if wrong else 0, reason=wrong)


def _is_recorded(times: int) -> bool:
    return 0 < times <= EACH or (times > EACH and times & (times - 1) == 0)


def _state_to_notify(now: Vital, failures: int) -> str:
    """Return the state to notify of: failures only after so many in a row."""
    if now.state == HEALTHY:
        return ""
    return FAILING if now.times >= failures else now.told
