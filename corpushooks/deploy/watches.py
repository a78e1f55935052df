"""The watches: projects in dev whose edits are deployed as they are saved."""

from __future__ import annotations

import contextlib
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from corpushooks.core.deployment import ProjectRow, Request
from corpushooks.core.errors import CorpusError, DoorError, RefusedError, StoreError, UsageError, WatchError
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Project
from corpushooks.deploy.lanes import Lanes
from corpushooks.host.site import Site
from corpushooks.release import edits
from corpushooks.system.watch import Watch

PATIENCE = 0.5  # seconds until a watch looks whether it is still wanted
BUSY = 0.05  # seconds until it looks whether a deployment has ended
NAMED = 50  # edits that a request names


def check(row: ProjectRow) -> None:
    """Raise where a project cannot be watched."""
    if row.environment != "dev":
        hint = Hint("for a project in dev: ", command("init", row.name, "--env", "dev"))
        raise UsageError(f"{row.name} is {row.environment}: edits are deployed only in dev", hint)
    if row.tree_code is None:
        raise RefusedError("nothing is deployed yet", hint="git push first")


@dataclass
class _Watched:
    """A project that is watched, for as long as anybody holds it."""

    site: Site
    lanes: Lanes
    project: Project
    steps: tuple[str, ...]
    who: str
    holders: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _tried: edits.Stamps | None = None  # the edits that were last asked to be deployed, whatever came of it

    def start(self) -> None:
        """Begin; raise WatchError."""
        watch = self._watch()  # here, so that whoever asks is told why not
        threading.Thread(target=self._work, args=(watch,), name=f"watch {self.project.name}", daemon=True).start()

    def _watch(self) -> Watch:
        project = self.project
        watch = Watch((project.tree, project.pillar), lambda path: edits.counts(project, path))
        watch.start()
        return watch

    def end(self) -> None:
        self._over.set()

    def check(self) -> None:
        """Raise WatchError where it has ended by itself."""
        if self._over.is_set():
            raise WatchError("the watch has ended", hint="see the log of the daemon")

    def _work(self, watch: Watch | None) -> None:
        try:
            while watch:
                with contextlib.closing(watch):
                    self._go(watch)
                watch = self._anew()
        except Exception as exc:  # the edge of a watch
            structlog.get_logger().error("watch failed", exc_info=exc, project=self.project.name)
            self._over.set()

    def _anew(self) -> Watch | None:
        """Watch folders that were removed as soon as they are there again; None where that is no longer wanted."""
        while not self._over.wait(PATIENCE) and not self.site.stopping:
            with contextlib.suppress(WatchError):
                return self._watch()
        return None

    def _go(self, watch: Watch) -> None:
        """Ask for a deployment each time that something was edited, and once for what was before."""
        seen: set[Path] = set()
        first = True
        while not self._over.is_set() and not self.site.stopping and not watch.lost:
            seen |= watch.changed(BUSY if seen else PATIENCE)
            try:
                if not (seen or first) or self._busy():
                    continue
                self._deploy(seen)
            except DoorError as exc:  # somebody writes there just now, or the store cannot be read
                structlog.get_logger().warning("edits cannot be read", error=exc.message, project=self.project.name)
                self._over.wait(PATIENCE)
                continue
            first = False
            seen.clear()

    def _busy(self) -> bool:
        name, history = self.project.name, self.site.history
        return bool(history.unfinished(name) or history.queued(name, 1))

    def _deploy(self, seen: set[Path]) -> None:
        """Ask for a deployment of what was edited: files of the commits, and new ones that no deployment made."""
        now = edits.look(self.project)
        if now != self._tried:
            self._tried = None  # what was tried is gone: where it comes again, it is another edit
        found = edits.pending(self.project) if now != self._tried else []
        found += self._new(seen)
        if found:
            self._tried = now
            request = Request(
                kind="edit", via="watch", who=self.who, steps=self.steps, edited=tuple(found[:NAMED])
            )  # fmt: skip
            self.site.history.enqueue(self.project.name, request)
            self.lanes.wake(self.project.name)

    def _new(self, seen: set[Path]) -> list[str]:
        """Return which of the paths are files that no commit has, written since the last deployment ended.

        One of edits runs no SLS once it has decided; another may: notify.sls.
        """
        last = self.site.history.deployments(self.project.name, 1)
        times = [one.decided if one.request.sort.edits else one.ended for one in last]
        ended = (times[0] or 0.0) if times else 0.0
        found = []
        for path in sorted(seen):
            with contextlib.suppress(OSError):
                st = path.lstat()  # its ctime: what is moved or copied there may be older itself
                is_new = st.st_ctime > ended and not stat.S_ISDIR(st.st_mode)
                if is_new and not edits.is_tracked(self.project, path):
                    found.append(str(path.relative_to(self.project.dir)))
        return found


@dataclass
class Watches:
    """All that is watched."""

    site: Site
    lanes: Lanes
    _watched: dict[str, _Watched] = field(default_factory=dict)
    _kept: dict[str, contextlib.ExitStack] = field(default_factory=dict)  # as the settings want it
    _starting: dict[str, threading.Thread] = field(default_factory=dict)  # those of _kept that are about to be
    _failed: dict[str, str] = field(default_factory=dict)  # why they are not watched: it is tried again, and said once
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def hold(self, row: ProjectRow, steps: tuple[str, ...], who: str) -> Iterator[_Watched]:
        """Have a project watched meanwhile; raise UsageError, RefusedError or WatchError where that cannot be."""
        check(row)
        watched = self._take(row.name, steps, who)
        try:
            yield watched
        finally:
            self._leave(watched)

    def _take(self, name: str, steps: tuple[str, ...], who: str) -> _Watched:
        with self._lock:
            watched = self._watched.get(name)
            fresh = watched is None
            if watched is None:
                watched = _Watched(self.site, self.lanes, self.site.host.project(name), steps, who)
                self._watched[name] = watched
            elif watched.steps != steps:
                given = f"for --steps {','.join(watched.steps)}" if watched.steps else "for all its SLS files"
                raise UsageError(f"{name} is watched already, {given}")
            watched.holders += 1
        try:
            if fresh:  # it may take long, or for ever: others go on meanwhile
                watched.start()
        except BaseException:
            self._leave(watched)
            watched.end()
            raise
        return watched

    def _leave(self, watched: _Watched) -> None:
        with self._lock:
            watched.holders -= 1
            if not watched.holders:
                watched.end()
                del self._watched[watched.project.name]

    @property
    def wanted(self) -> bool:
        """Whether the settings have any project watched."""
        settings = self.site.settings
        return settings.watch or any(own.get("watch") for own in settings.own.values())

    def keep(self) -> bool:
        """Watch what the settings say; return whether there is anything."""
        if not self.wanted:
            return False
        try:
            rows = {row.name: row for row in self.site.history.projects() if self._wanted(row)}
        except StoreError as exc:
            self._say("", exc)
            return bool(self._kept)
        for name in [name for name in list(self._kept) if name not in rows]:
            self._kept.pop(name).close()
        for name in rows.keys() - {*list(self._kept), *list(self._starting)}:
            self._starting[name] = threading.Thread(target=self._keep, args=(rows[name],), daemon=True)
            self._starting[name].start()
        return bool(self._kept or self._starting)

    def _wanted(self, row: ProjectRow) -> bool:
        return row.environment == "dev" and row.tree_code is not None and self.site.settings.sound(row.name).watch

    def _keep(self, row: ProjectRow) -> None:
        """Begin to watch, in a thread: the kernel walks through the tree, which may be large, or a share that hangs."""
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(self.hold(row, (), "watch"))
                self._kept[row.name] = stack.pop_all()
        except CorpusError as exc:
            self._say(row.name, exc)
        except Exception as exc:  # the edge of a thread
            structlog.get_logger().error("watch failed", exc_info=exc, project=row.name)
        finally:
            self._starting.pop(row.name, None)

    def _say(self, name: str, exc: CorpusError) -> None:
        if self._failed.get(name) != exc.message:
            self._failed[name] = exc.message
            structlog.get_logger().error("not watched", project=name, error=exc.message, hint=str(exc.hint))
