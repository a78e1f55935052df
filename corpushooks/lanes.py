"""The lanes: one queue for each project, worked off under its lock; the edge where any exception ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from corpushooks import deploy, git, log, plan, push, release, task, tree
from corpushooks.deployment import (
    BROKEN,
    CANCELLED,
    DEPLOYED,
    FAILED,
    QUEUED,
    ROLLING_BACK,
    RUNNING,
    Deployment,
    ProjectRow,
    Request,
)
from corpushooks.errors import CorpusError, RefusedError, StoreError, UsageError
from corpushooks.project import Project
from corpushooks.settings import Settings
from corpushooks.site import Run, Site
from corpushooks.text import one_line

KINDS: dict[str, Callable[[Run], None]] = {
    "deploy": deploy.deploy,
    "rollback": deploy.deploy,
    "repair": deploy.repair,
    "task": task.task,
    "plan": plan.plan,
}


def known(site: Site, name: str) -> ProjectRow:
    """Return what the store says of a project; raise UsageError where there is none."""
    row = site.history.project(site.host.project(name).name)
    if row is None:
        raise UsageError(f"there is no project {name!r}", hint=f"corpus init {name}")
    return row


def settings_of(site: Site, row: ProjectRow) -> Settings:
    """Return the settings of a project: what `init` recorded wins over the host's."""
    return replace(site.settings.for_project(row.name), environment=row.environment, branch=row.branch)


def log_path(project: Project, number: int) -> Path:
    """Return where the log of a deployment lies."""
    return project.logs / f"{number}.log"


def prepared(site: Site, row: ProjectRow, request: Request) -> Request:
    """Return a request of the command, checked and with its revision resolved to a commit."""
    wanted, project = push.select(request), site.host.project(row.name)
    if wanted.kind not in KINDS:
        raise UsageError(f"there is no request {wanted.kind!r}")
    if wanted.new:
        wanted = replace(wanted, new=git.resolve(project.code_git, wanted.new))
        if wanted.kind == "deploy":
            release.check_commit(project, row.environment, wanted.new, wanted)
    return wanted


@contextlib.contextmanager
def locked(project: Project) -> Iterator[None]:
    """Hold a project's lock. Whoever holds it is alone with the project; the kernel frees it when we die."""
    project.host.locks_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(project.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def work_off(
    site: Site,
    name: str,
    places: AbstractContextManager[object],
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Settle what was interrupted in a project, then run what waits, one after the other."""
    with locked(site.host.project(name)):
        tree.remove(site.host.project(name).minion_dir / "candidate")
        for deployment in site.history.unfinished(name):
            with places, opened(site, deployment) as run:
                at_edge(run, deploy.recover)
        while not stopping() and site.history.queued(name):
            with places:
                waiting = site.history.queued(name)
                if waiting and not stopping():
                    _start(site, waiting[0])


def _start(site: Site, deployment: Deployment) -> None:
    with opened(site, deployment) as run:
        try:
            run.move(RUNNING)
        except StoreError:  # cancelled in this moment
            return
        at_edge(run, lambda run: KINDS[run.request.kind](run))


@contextlib.contextmanager
def opened(site: Site, deployment: Deployment) -> Iterator[Run]:
    """Give a deployment what it needs to run, where followers and `cancel` find it."""
    row, project = known(site, deployment.project), site.host.project(deployment.project)
    settings = settings_of(site, row)
    redactor = release.redactor_of(settings)
    release.recall(project, redactor)
    writer = log.Log(log_path(project, deployment.number), redactor)
    run = Run(site, project, settings, row, deployment, writer)
    key = (deployment.project, deployment.number)
    site.running[key] = run
    site.tell()
    try:
        yield run
    finally:
        run.close_session()
        del site.running[key]
        writer.close()
        if run.deployment.state == DEPLOYED:
            release.remember(project, redactor, live=True)
        site.tell()


def at_edge(run: Run, act: Callable[[Run], None]) -> None:
    """Do something with a deployment; its outcome is in the store and in its log, never an exception."""
    try:
        act(run)
    except Exception as exc:  # the edge of a lane: a fault of our own must be said, and must not end the daemon
        _internal_error(run, exc)
    if run.deployment.final:
        with run.site.effect("end"):
            run.site.history.end(run.deployment)


def _internal_error(run: Run, exc: Exception) -> None:
    about = {"project": run.project.name, "deployment": run.deployment.number}
    trace = "".join(traceback.format_exception(exc)).rstrip()
    structlog.get_logger().error("internal error", exception=run.hide(trace), **about)
    run.log.write(trace, more=True)
    run.deployment = run.site.history.deployment(run.project.name, run.deployment.number)
    touched = "sync" in run.site.history.steps(run.deployment)
    if run.deployment.state == RUNNING and not touched:
        run.move(FAILED, f"internal error: {exc}")
        run.say_end(f"error: internal error: {exc}")
    elif run.deployment.state in (RUNNING, ROLLING_BACK):
        if run.deployment.state == RUNNING:
            run.move(ROLLING_BACK, f"internal error: {exc}")
        run.site.history.set_broken(
            run.project.name, one_line(run.hide(f"internal error: {exc}")), run.deployment.number
        )
        run.move(BROKEN)
        run.say_end(f"error: internal error: {exc}", hint=f"corpus repair {run.project.name}")


@dataclass
class Lanes:
    """A thread for each project that has work; at most `max_parallel` deployments at once."""

    site: Site
    stopping: bool = False
    _threads: dict[str, threading.Thread] = field(default_factory=dict)
    untidy: set[str] = field(default_factory=set)  # projects that worked since git was last asked to collect
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _halt: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._places = threading.BoundedSemaphore(self.site.settings.max_parallel)

    def wake(self, name: str) -> None:
        """See that what waits in a project is worked off."""
        with self._lock:
            if name not in self._threads and not self.stopping:
                self._threads[name] = threading.Thread(target=self._work, args=(name,), name=f"lane {name}")
                self._threads[name].start()
                self.untidy.add(name)

    def tidy(self) -> None:
        """Have git collect what nothing needs, in the projects that worked since the last time."""
        with self._lock:
            names, self.untidy = self.untidy, set()
        for name in names:
            project = self.site.host.project(name)
            for path in (project.code_git, project.pillar_git):
                with contextlib.suppress(CorpusError), locked(project):
                    git.maintain(path)

    def busy(self) -> bool:
        """Say whether any project has work."""
        with self._lock:
            return bool(self._threads)

    def _work(self, name: str) -> None:
        """Be the lane of a project until nothing is left to do; what fails is tried again, ever more slowly."""
        failures = 0
        while True:
            try:
                work_off(self.site, name, self._places, lambda: self.stopping)
                failures = 0
                if self._leaves(name):
                    return
            except Exception as exc:  # the edge of a lane
                structlog.get_logger().error("lane failed", exc_info=exc, project=name)
                failures += 1
                if self._halt.wait(min(60.0, 0.1 * 2**failures)):
                    return

    def _leaves(self, name: str) -> bool:
        with self._lock:
            leaves = self.stopping or not self.site.history.queued(name)
            if leaves:
                del self._threads[name]
            return leaves

    def stop(self) -> None:
        """Start nothing more and wait for what runs."""
        with self._lock:
            self.stopping = True
            threads = list(self._threads.values())
        self._halt.set()
        for thread in threads:
            thread.join()

    def cancel(self, name: str, who: str) -> Deployment | None:
        """Cancel what runs in a project, else what waits next; return it. Raise RefusedError in a roll back."""
        begun = self.site.history.unfinished(name)
        for back in (d for d in begun if d.state == ROLLING_BACK):
            raise RefusedError(f"deployment {back.number} is rolling back, which comes to its own end")
        open_ones = [d for d in begun if d.state == RUNNING] + self.site.history.queued(name)
        if not open_ones:
            return None
        if open_ones[0].state == QUEUED and self._drop(open_ones[0], who):
            return self.site.history.deployment(name, open_ones[0].number)
        self.site.history.set_cancelled(open_ones[0], who)
        run = self.site.running.get((name, open_ones[0].number))
        if run is not None:
            run.cancel()
        return open_ones[0]

    def _drop(self, waiting: Deployment, who: str) -> bool:
        """Cancel what waits; return False where it began in this moment."""
        try:
            dropped = self.site.history.move(waiting, CANCELLED, f"cancelled by {who}")
        except StoreError:
            return False
        writer = log.Log(log_path(self.site.host.project(waiting.project), waiting.number))
        writer.write(f"error: cancelled by {who} before it ran", end=True)
        writer.close()
        self.site.history.end(dropped)
        self.site.tell()
        return True
