"""The lanes: one queue per project, processed under its lock; the edge where exceptions end."""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from corpushooks import git, tree
from corpushooks.core.deployment import (
    BROKEN,
    CANCELLED,
    DEPLOYED,
    FAILED,
    HELD,
    QUEUED,
    REFUSED,
    ROLLING_BACK,
    RUNNING,
    TOUCHES,
    Deployment,
)
from corpushooks.core.errors import (
    ConfigError,
    CorpusError,
    LogError,
    RefusedError,
    StateError,
    StepError,
    StoreError,
)
from corpushooks.core.events import Traced, Verdict
from corpushooks.core.hints import command
from corpushooks.core.text import one_line
from corpushooks.deploy import deploy, hold, pillars, recovery
from corpushooks.deploy.run import Run
from corpushooks.host.site import Site
from corpushooks.release import release
from corpushooks.store import log
from corpushooks.system import own_log
from corpushooks.system.locks import Semaphore, is_copying, locked

STOPPED = "the daemon, which was told to stop"  # who cancelled a deployment
Act = Callable[[Run], None]  # the act of a kind of request
MOMENT = 0.1  # seconds
LEAST, MOST = 10.0, 60.0  # seconds for the rollback of what a stop cancelled: see `going_back`


def going_back(limit: float | None) -> float:
    """Return how long a stop waits for cancelled deployments: as long as for running ones (`limit`; None: no limit)."""
    return MOST if limit is None else max(LEAST, limit)


def _begins(run: Run) -> bool:
    try:
        run.move(RUNNING)
    except StateError:  # cancelled at this moment
        return False
    return True


def _is_frozen(run: Run) -> bool:
    """Say whether a project was frozen while a request waited; one that insists was allowed to."""
    changes = run.request.sort.changes and not run.request.insist
    return changes and run.site.history.frozen(run.project.name) is not None


def _refuse_frozen(run: Run) -> None:
    deploy.refuse(run, RefusedError(str(run.site.history.frozen(run.project.name) or "it was frozen")))


def _refuse_unknown(run: Run) -> None:
    """Refuse a kind that a newer version may have queued."""
    deploy.refuse(run, RefusedError(f"unknown request {run.request.kind!r}", hint="try again"))


def at_edge(run: Run, act: Callable[[Run], None]) -> None:
    """Run an act of a deployment; its outcome is in the store and in its log, never an exception.

    Errors of the store are the exception: the lane continues once the store is back.
    """
    try:
        act(run)
    except Exception as exc:  # the edge of a lane: a bug of ours must be reported, and must not end the daemon
        if isinstance(exc, StoreError) and not isinstance(exc, StateError):
            raise
        _internal_error(run, exc)
    if run.deployment.final:
        run.voice.log.flush()  # later nobody completes the log
        with run.site.effect("end"):
            run.site.history.end(run.deployment)


def _internal_error(run: Run, exc: Exception) -> None:
    number = run.deployment.number
    failed = StepError("internal error", why=str(exc))
    trace = "".join(traceback.format_exception(exc)).rstrip()
    own_log.error("internal error", exception=run.voice.hide(trace), project=run.project.name, deployment=number)
    run.voice.tell(Traced(trace))
    run.deployment = run.site.history.deployment(run.project.name, number)
    touched = TOUCHES in run.site.history.steps(run.deployment)
    if run.deployment.state == RUNNING and not touched:
        run.move(FAILED, failed)
        run.voice.tell(run.verdict(failed.message))
    elif run.deployment.state in (RUNNING, HELD, ROLLING_BACK):
        if run.deployment.state != ROLLING_BACK:
            run.move(ROLLING_BACK, failed)
        run.site.history.set_broken(run.project.name, one_line(run.voice.hide(failed.message)), run.deployment.number)
        run.move(BROKEN)
        said = run.verdict(failed.message, command("repair", run.project.name))
        run.voice.tell(replace(said, how="fault"))


@dataclass
class Lanes:
    """A thread for each project that has work; at most `max_parallel` deployments run at once.

    `acts` has the act for each kind of request, `recover` the one for a deployment that was interrupted.
    """

    site: Site
    acts: Mapping[str, Act]
    recover: Act = recovery.recover  # of what was interrupted
    stopping: bool = False
    running: dict[tuple[str, int], Run] = field(default_factory=dict)  # by project and number
    _hurry: bool = False
    _threads: dict[str, threading.Thread] = field(default_factory=dict)
    _beside: set[threading.Thread] = field(default_factory=set)  # backups, also those that a lane no longer waits for
    untidy: set[str] = field(default_factory=set)  # projects that worked since the last git maintenance
    _lock: threading.Condition = field(default_factory=threading.Condition)  # notified when a lane ends, or must hurry
    _halt: threading.Event = field(default_factory=threading.Event)
    _changed: threading.Condition = field(default_factory=threading.Condition)  # notified when a queue changes

    def __post_init__(self) -> None:
        self._places = Semaphore(self.site.settings.max_parallel)

    def wake(self, name: str) -> None:
        """Start the lane of a project, unless it is running."""
        with self._lock:
            if name not in self._threads and not self.stopping:
                self._threads[name] = threading.Thread(
                    target=self._work, args=(name,), name=f"lane {name}", daemon=True
                )
                self._threads[name].start()
                self.untidy.add(name)

    def tidy(self) -> None:
        """Run git maintenance in the projects that worked since the last time."""
        with self._lock:
            names, self.untidy = self.untidy, set()
        for name in names:
            project = self.site.host.project(name)
            for path in (project.code_git, project.pillar_git):
                with contextlib.suppress(CorpusError, OSError), locked(project):
                    git.maintain(path)

    def busy(self) -> bool:
        """Say whether any project has work."""
        with self._lock:
            return self._works()

    def _works(self) -> bool:
        return bool(self._threads or self._beside)

    # running deployments

    def at_work(self, deployment: Deployment) -> Run | None:
        """Return a running deployment; None if it is waiting, has ended, or runs in another process."""
        return self.running.get((deployment.project, deployment.number))

    def works_in(self, name: str) -> bool:
        """Say whether a deployment is running in a project."""
        return any(project == name for project, _ in list(self.running))

    def await_change(self, seconds: float) -> None:
        """Wait until a deployment begins, ends or is cancelled, at most `seconds`."""
        with self._changed:
            self._changed.wait(seconds)

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # a lane

    def work_off(self, name: str) -> None:
        """Recover interrupted deployments of a project, then run the waiting ones, in order."""
        project, history = self.site.host.project(name), self.site.history
        with locked(project):
            tree.remove(project.minion_dir / "candidate")
            for deployment in history.unfinished(name):
                if self._goes_on(deployment):
                    continue
                place = self._places.at_once() if deployment.state == HELD else self._places
                with place, self.opened(deployment, needs_log=False) as run:
                    at_edge(run, self.recover)
            if row := history.project(name):
                with contextlib.suppress(CorpusError, OSError):  # the next deployment reports what is wrong
                    pillars.stage(project, row)
            while not self.stopping and history.queued(name, 1):
                with self._places:
                    waiting = history.queued(name, 1)
                    if waiting and not self.stopping:
                        self._begin(waiting[0])

    def _goes_on(self, deployment: Deployment) -> bool:
        """Say whether it was not interrupted: it is a backup that no lane waits for any more."""
        if not deployment.request.sort.beside:
            return False
        return bool(self.at_work(deployment)) or is_copying(self.site.host.project(deployment.project))

    def _begin(self, deployment: Deployment) -> None:
        """Run what waited; a backup so long as others may wait for it, then beside them."""
        kept = self.site.settings.backup
        if not kept or not deployment.request.sort.beside:
            self._start(deployment)
            return
        thread = threading.Thread(target=self._start_beside, args=(deployment,), daemon=True)
        with self._lock:
            self._beside.add(thread)
        thread.start()
        thread.join(kept.hold)
        while thread.is_alive() and deployment in self.site.history.queued(deployment.project, 1):  # it has not begun
            thread.join(MOMENT)

    def _start_beside(self, deployment: Deployment) -> None:
        try:
            self._start(deployment)
        except Exception as exc:  # the edge of a lane: the next round of it settles what this leaves
            own_log.error("lane failed", exc, project=deployment.project)
        finally:
            with self._lock:
                self._beside.discard(threading.current_thread())
                self._lock.notify_all()
            self.wake(deployment.project)

    def _start(self, deployment: Deployment) -> None:
        try:
            with self.opened(deployment) as run:
                if _begins(run):
                    act = self.acts.get(run.request.kind, _refuse_unknown)
                    at_edge(run, _refuse_frozen if _is_frozen(run) else act)
        except (LogError, ConfigError) as exc:
            history = self.site.history
            history.end(history.move(deployment, REFUSED, one_line(exc.message)))
            self._tell()

    @contextlib.contextmanager
    def opened(self, deployment: Deployment, *, needs_log: bool = True) -> Iterator[Run]:
        """Give a deployment what it needs to run, and register it for followers and `cancel`; raise LogError."""
        site = self.site
        row, project = site.known(deployment.project), site.host.project(deployment.project)
        settings = site.settings_of(row, needs_sound=needs_log)  # an interrupted one must be recovered
        redactor = release.redactor_of(settings)
        release.recall(project, redactor)
        writer = log.Log(project.log_file(deployment.number), redactor, needed=needs_log)
        run = Run.of(site, row, settings, deployment, writer)
        run.apart = self._places.left
        key = (deployment.project, deployment.number)
        self.running[key] = run
        self._tell()
        try:
            yield run
        finally:
            run.salt.close()
            del self.running[key]
            writer.close()
            if run.deployment.state == DEPLOYED:
                release.remember(project, redactor, live=True)
            self._tell()

    def _work(self, name: str) -> None:
        """Run the lane of a project until its queue is empty; retry failures with growing delays."""
        failures = 0
        while True:
            try:
                self.work_off(name)
                failures = 0
                if self._leaves(name):
                    return
            except Exception as exc:  # the edge of a lane
                own_log.error("lane failed", exc, project=name)
                failures += 1
                if self._halt.wait(min(60.0, 0.1 * 2**failures)):
                    self._leave(name)
                    return

    def _leaves(self, name: str) -> bool:
        with self._lock:
            leaves = self.stopping or not self.site.history.queued(name, 1)
            if leaves:
                self._leave(name)
            return leaves

    def _leave(self, name: str) -> None:
        with self._lock:
            del self._threads[name]
            self._lock.notify_all()

    def stop(self, limit: float | None = None) -> list[str]:
        """Start nothing more and wait for running deployments; after `limit` seconds roll them back.

        Return the names of the projects whose deployment has not ended after as long again.
        """
        with self._lock:
            self.stopping = True
        self._halt.set()
        with self._lock:
            self._lock.wait_for(lambda: self._hurry or not self._works(), limit)
        for run in list(self.running.values()):
            if not run.undoing and run.deployment.state != HELD:  # the next daemon holds it
                with contextlib.suppress(StoreError):  # then its reason does not name us
                    self.site.history.set_cancelled(run.deployment, STOPPED)
                threading.Thread(
                    target=run.cancel, daemon=True
                ).start()  # stopping an unresponsive process takes seconds
        with self._lock:  # a lane without a running deployment only waits for a lock that another process holds
            self._lock.wait_for(lambda: not self._works() or not self.running, going_back(limit))
        return sorted({name for name, _ in list(self.running)})

    def hurry(self) -> None:
        """End the waiting in `stop`. A signal handler can call this while `stop` waits."""
        with self._lock:
            self._hurry = True
            self._lock.notify_all()

    def cancel(self, name: str, who: str) -> Deployment | None:
        """Cancel the running deployment of a project, else the next one waiting; return it.

        Raise RefusedError during a rollback.
        """
        begun = self.site.history.unfinished(name)
        for back in (d for d in begun if d.state == ROLLING_BACK):
            raise RefusedError(f"deployment {back.number} is rolling back; a rollback cannot be cancelled")
        at_work = sorted((d for d in begun if d.state in (RUNNING, HELD)), key=lambda d: d.request.sort.beside)
        open_ones = at_work + self.site.history.queued(name)  # what a backup goes on beside comes before that
        if not open_ones:
            return None
        return self._cancel(open_ones[0], who)

    def _cancel(self, one: Deployment, who: str) -> Deployment:
        if one.state == QUEUED and self._drop(one, who):
            return self.site.history.deployment(one.project, one.number)
        try:
            with self.site.effect("hold cancel"):
                self.site.history.set_cancelled(one, who)
        except StateError as exc:
            hint = command("rollback", one.project)
            raise RefusedError(f"{exc.message}, and is being published", hint=hint) from None
        run = self.at_work(one)
        if run is not None:
            run.answered.set()
            threading.Thread(target=run.cancel, daemon=True).start()  # stopping an unresponsive process takes seconds
        self.wake(one.project)
        return one

    def cancel_one(self, one: Deployment, who: str) -> None:
        """Cancel a deployment, unless it ended, is confirmed, or is rolled back already."""
        now = self.site.history.deployment(one.project, one.number)
        if now.state in (QUEUED, RUNNING, HELD):
            with contextlib.suppress(RefusedError):  # it was confirmed at this moment
                self._cancel(now, who)

    def confirm(self, name: str, number: int, who: str) -> Deployment:
        """Confirm a held deployment; confirming it again changes nothing. Raise RefusedError."""
        history = self.site.history
        found = history.deployment(name, number)
        if not found.confirmed and hold.is_held(found):
            with contextlib.suppress(StateError), self.site.effect("hold confirm"):  # it was decided meanwhile
                history.confirm(found, who)
            found = history.deployment(name, number)
        if not found.confirmed:
            raise hold.refusal(found)
        if run := self.at_work(found):
            run.answered.set()
        self.wake(name)
        return found

    def _drop(self, waiting: Deployment, who: str) -> bool:
        """Cancel a waiting deployment; return False if it began at this moment."""
        try:
            dropped = self.site.history.move(waiting, CANCELLED, f"cancelled by {who}")
        except StoreError:
            return False
        writer = log.Log(self.site.host.project(waiting.project).log_file(waiting.number), needed=False)
        why = f"cancelled by {who} before it ran"
        writer.tell(Verdict(CANCELLED, dropped.request.kind, waiting.project, waiting.number, reason=why))
        writer.close()
        self.site.history.end(dropped)
        self._tell()
        return True
