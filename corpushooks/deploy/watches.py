"""Watches: deploy edits of projects in dev as they are saved."""

from __future__ import annotations

import contextlib
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from corpushooks.core.deployment import ProjectRow, Request
from corpushooks.core.errors import CorpusError, DoorError, RefusedError, StoreError, UsageError, WatchError
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Project
from corpushooks.deploy.lanes import Lanes
from corpushooks.host.site import Site
from corpushooks.release import edits
from corpushooks.system import own_log

if TYPE_CHECKING:
    from corpushooks.system.watch import Watch

PATIENCE = 0.5  # seconds between checks whether the watch is still wanted
BUSY = 0.05  # seconds between checks whether a deployment has ended
NAMED = 50  # edits named in a request


def check(row: ProjectRow) -> None:
    """Raise an error if a project cannot be watched."""
    if row.environment != "dev":
        hint = Hint("for a project in dev: ", command("init", row.name, "--env", "dev"))
        raise UsageError(f"{row.name} is {row.environment}: edits are deployed only in dev", hint)
    if row.tree_code is None:
        raise RefusedError("nothing is deployed yet", hint="git push first")


@dataclass
class _Watched:
    """A watched project; the watch ends with its last holder."""

    site: Site
    lanes: Lanes
    project: Project
    steps: tuple[str, ...]
    who: str
    holders: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _tried: edits.Stamps | None = None  # the edits of the last attempt, successful or not

    def start(self) -> None:
        """Begin; raise WatchError."""
        watch = self._watch()  # here, so that the caller gets its error
        threading.Thread(target=self._run, args=(watch,), name=f"watch {self.project.name}", daemon=True).start()

    def _watch(self) -> Watch:
        from corpushooks.system.watch import Watch  # here: most daemons watch nothing

        project = self.project
        watch = Watch((project.tree, project.pillar), lambda path: edits.counts(project, path))
        watch.start()
        return watch

    def end(self) -> None:
        self._over.set()

    def check(self) -> None:
        """Raise WatchError if it has ended by itself."""
        if self._over.is_set():
            raise WatchError("the watch has ended", hint="see the log of the daemon")

    def _run(self, watch: Watch | None) -> None:
        try:
            while watch:
                with contextlib.closing(watch):
                    self._request_deployments(watch)
                watch = self._watch_again()
        except Exception as exc:  # the edge of a watch
            own_log.error("watch failed", exc, project=self.project.name)
            self._over.set()

    def _watch_again(self) -> Watch | None:
        """Watch removed folders again as soon as they exist; return None if the watch is no longer wanted."""
        while not self._over.wait(PATIENCE) and not self.site.stopping:
            with contextlib.suppress(WatchError):
                return self._watch()
        return None

    def _request_deployments(self, watch: Watch) -> None:
        """Request a deployment after each edit, and one for earlier edits."""
        seen: set[Path] = set()
        first = True
        while not self._over.is_set() and not self.site.stopping and not watch.lost:
            seen |= watch.changed(BUSY if seen else PATIENCE)
            try:
                if not (seen or first) or self._has_open_deployment():
                    continue
                self._deploy(seen)
            except DoorError as exc:  # somebody is writing there, or the store cannot be read
                own_log.warning("edits cannot be read", error=exc.message, project=self.project.name)
                self._over.wait(PATIENCE)
                continue
            first = False
            seen.clear()

    def _has_open_deployment(self) -> bool:
        name, history = self.project.name, self.site.history
        return bool(history.unfinished(name) or history.queued(name, 1))

    def _deploy(self, seen: set[Path]) -> None:
        """Request a deployment of edits: changed files of the commits, and new files that no deployment made."""
        now = edits.look(self.project)
        if now != self._tried:
            self._tried = None  # the tried edits are gone: if they come back, they are new edits
        found = edits.pending(self.project) if now != self._tried else []
        found += self._new_files(seen)
        if found:
            self._tried = now
            request = Request(
                kind="edit", via="watch", who=self.who, steps=self.steps, edited=tuple(found[:NAMED])
            )  # fmt: skip
            self.site.history.enqueue(self.project.name, request)
            self.lanes.wake(self.project.name)

    def _new_files(self, seen: set[Path]) -> list[str]:
        """Return the paths of untracked files written since the last deployment ended.

        A deployment of edits runs no SLS after its decision; others can: notify.sls.
        """
        last = self.site.history.deployments(self.project.name, 1)
        times = [one.decided if one.request.sort.edits else one.ended for one in last]
        ended = (times[0] or 0.0) if times else 0.0
        found = []
        for path in sorted(seen):
            with contextlib.suppress(OSError):
                st = path.lstat()  # ctime: a moved or copied file can have an older mtime
                is_new = st.st_ctime > ended and not stat.S_ISDIR(st.st_mode)
                if is_new and not edits.is_tracked(self.project, path):
                    found.append(str(path.relative_to(self.project.dir)))
        return found


@dataclass
class Watches:
    """All watches."""

    site: Site
    lanes: Lanes
    _watched: dict[str, _Watched] = field(default_factory=dict)
    _kept: dict[str, contextlib.ExitStack] = field(default_factory=dict)  # those in the settings
    _starting: dict[str, threading.Thread] = field(default_factory=dict)  # those of the settings that are starting
    _failed: dict[str, str] = field(default_factory=dict)  # errors, logged once while it is retried
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def hold(self, row: ProjectRow, steps: tuple[str, ...], who: str) -> Iterator[_Watched]:
        """Watch a project meanwhile; raise UsageError, RefusedError or WatchError if that is impossible."""
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
                raise UsageError(f"{name} is already watched, {given}")
            watched.holders += 1
        try:
            if fresh:  # it can take long, or hang: others continue meanwhile
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
        """Whether the settings ask to watch any project."""
        settings = self.site.settings
        return settings.watch or any(own.get("watch") for own in settings.own.values())

    def keep(self) -> bool:
        """Watch the projects in the settings; return whether there are any."""
        if not self.wanted:
            return False
        try:
            rows = {row.name: row for row in self.site.history.projects() if self._wanted(row)}
        except StoreError as exc:
            self._log_once("", exc)
            return bool(self._kept)
        for name in [name for name in list(self._kept) if name not in rows]:
            self._kept.pop(name).close()
        for name in rows.keys() - {*list(self._kept), *list(self._starting)}:
            self._starting[name] = threading.Thread(target=self._start_watch, args=(rows[name],), daemon=True)
            self._starting[name].start()
        return bool(self._kept or self._starting)

    def _wanted(self, row: ProjectRow) -> bool:
        return row.environment == "dev" and row.tree_code is not None and self.site.settings.sound(row.name).watch

    def _start_watch(self, row: ProjectRow) -> None:
        """Start a watch, in a thread: walking the tree can take long, and hang on a network share."""
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(self.hold(row, (), "watch"))
                self._kept[row.name] = stack.pop_all()
        except CorpusError as exc:
            self._log_once(row.name, exc)
        except Exception as exc:  # the edge of a thread
            own_log.error("watch failed", exc, project=row.name)
        finally:
            self._starting.pop(row.name, None)

    def _log_once(self, name: str, exc: CorpusError) -> None:
        if self._failed.get(name) != exc.message:
            self._failed[name] = exc.message
            own_log.error("not watched", project=name, error=exc.message, hint=str(exc.hint))
