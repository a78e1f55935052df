"""Notifies once of an overdue backup or drill, which a timer that does not run could not do."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from corpushooks.backup import standing, vault
from corpushooks.core.backups import Backup
from corpushooks.core.deployment import ProjectRow
from corpushooks.host.site import Site
from corpushooks.notify import announce
from corpushooks.store.kept import Backups
from corpushooks.system import own_log

EVERY = 600.0  # seconds between checks, and before the first: after a boot the timers catch up
LEAST = 0.1
GRACE = 5.0
CHECK, OF_HOST = "check-backups", ""  # what is overdue of the host itself, and whose that is in the store


@dataclass
class Overdue:
    """A thread that checks the backups of all projects."""

    site: Site
    _said: str = ""  # the last error, logged once while it is retried
    _thread: threading.Thread | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Start, if this host has backups."""
        if self.site.settings.backup:
            self._thread = threading.Thread(target=self._run, args=(self.site.settings.backup,), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop."""
        self._over.set()

    def wait(self) -> None:
        """Wait a moment for the last check to end: it holds the store open."""
        if self._thread:
            self._thread.join(GRACE)

    def _run(self, kept: Backup) -> None:
        shortest = min(kept.overdue * standing.HOUR, kept.drill_overdue * standing.DAY)
        while not self._over.wait(max(LEAST, min(EVERY, shortest))):
            try:
                self.look(kept)
                self._said = ""
            except Exception as exc:  # the edge of a thread
                if self._said != str(exc):
                    self._said = str(exc)
                    own_log.error("cannot check backups", exc)

    def look(self, kept: Backup) -> None:
        """Notify of newly overdue backups, drills and checks; forget those that are no longer overdue."""
        rows = Backups(self.site.history)
        for row in self.site.history.projects():
            found = standing.of_project(self.site.host, kept, row, rows.of(row.name))
            told = rows.overdue(row.name)
            for what in found.overdue:
                if what not in told:
                    self._notify(row, what, found)
            if set(found.overdue) != told:
                rows.note_overdue(row.name, found.overdue)
        self._look_at_repository(kept, rows)

    def _look_at_repository(self, kept: Backup, rows: Backups) -> None:
        """Notify once of a check of the repository that failed or is overdue; it belongs to no project."""
        host, projects = self.site.host, self.site.history.projects()
        late, told = vault.is_check_late(host, kept, time.time()), rows.overdue(OF_HOST)
        if late and not told and projects:
            found = vault.checked(host)
            self._tell(projects[0], CHECK, found.at if found and not found.wrong else None)
        if late != bool(told) and projects:
            rows.note_overdue(OF_HOST, [CHECK] if late else [])

    def _notify(self, row: ProjectRow, what: str, found: standing.Standing) -> None:
        self._tell(row, what, found.at if what == standing.BACKUP else found.proved)

    def _tell(self, row: ProjectRow, what: str, last: float | None) -> None:
        self.site.event("overdue", {"project": row.name, "what": what})
        if problem := announce.overdue(self.site, row, what, last):
            own_log.warning("not notified", project=row.name, error=problem)
