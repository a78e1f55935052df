"""A drill: the newest backup is brought back aside, all of it, compared with what it was, and its dumps are loaded.

A dump is the application's code. It is loaded into a server of its own, which ends with the drill: without network,
with only the rights of the application, in a folder that belongs to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpushooks import backup as door
from corpushooks import tree
from corpushooks.backup import servers
from corpushooks.core import backups
from corpushooks.core.deployment import DONE
from corpushooks.core.errors import CancelledError, CorpusError, DoorError, RefusedError, UsageError
from corpushooks.core.events import Detail, Drilled, Item, listed
from corpushooks.core.project import Project
from corpushooks.deploy import archives, restoring, saving
from corpushooks.deploy.procedure import Procedure, Step
from corpushooks.deploy.progress import Mark
from corpushooks.deploy.run import Run
from corpushooks.host import accounts
from corpushooks.store.kept import Backups
from corpushooks.system import hostname
from corpushooks.system.patience import Check
from corpushooks.system.process import Account
from corpushooks.tree import Fingerprint

PLACES = Path("/var/tmp")
NOBODY = "nobody"


@dataclass
class Drill:
    """A drill in progress."""

    run: Run
    engine: door.Engine
    name: backups.Name
    check: Check
    about: dict[str, Any] = field(default_factory=dict)
    contents: Fingerprint = field(default_factory=lambda: tree.NOTHING)
    tables: int = 0

    @property
    def work(self) -> Path:
        return self.run.project.backups / saving.WORK

    def bring(self, run: Run, mark: Mark) -> Detail:
        """Extract the backup."""
        self.engine.bring(str(self.name), self.work, (), self.check)
        self.about, self.contents = restoring.read(self.work, self.name)
        archives.check_room(run, self.contents.size)
        self.engine.bring(self.name.files, self.work, [saving.DATA], self.check)
        return Detail(note=str(self.name))

    def compare(self, run: Run, mark: Mark) -> Detail:
        """Compare every file with the manifest."""
        restoring.check_dumps(self.work, self.about, self.check)
        owner = accounts.here(self.about["accounts"])
        found = tree.compare(self.contents, self.work / saving.DATA, owner, self.check)
        if found:
            paths = [Item(f"data/{path}: it {what}") for path, what in found]
            run.voice.tell(listed("different from the backup", paths))
            raise DoorError(f"{len(found)} of the paths in it are different from the backup")
        return Detail(self.contents.manifest.files, "file")

    def load(self, run: Run, mark: Mark) -> Detail:
        """Load each dump into a scratch server."""
        databases = self.about["databases"]
        for one in databases:
            with _place(run) as place:
                loader = servers.Job(run, place, account(run), self.check)
                found = servers.load(loader, one["kind"], self.work / one["file"], one.get("rows", {}))
            self.tables += found
        return Detail(len(databases), "database", note=f"with {self.tables} tables" if databases else "")

    def record(self, run: Run, mark: Mark) -> Detail:
        """Record that the backup can be restored."""
        with run.site.effect("drill recorded"):
            Backups(run.site.history).drilled(str(self.name), time.time(), "")
        files = self.contents.manifest.files
        run.voice.tell(Drilled(str(self.name), files, len(self.about["databases"]), self.tables))
        return Detail()


def drill(run: Run) -> None:
    """Test that a backup can be restored: the newest, or the given one."""
    run.voice.tell(run.began())
    name: backups.Name | None = None
    try:
        with _drilling(run) as job:
            name = job.name
            steps = (
                Step("bring", job.bring),
                Step("compare", job.compare),
                Step("load", job.load),
                Step("record", job.record),
            )
            procedure = Procedure(steps, "drill")
            for step in steps:
                procedure.perform(run, step)
    except CorpusError as exc:
        _fail(run, name, run.deadline.cause(exc))
        return
    run.move(DONE)
    run.voice.tell(run.verdict())


def _fail(run: Run, name: backups.Name | None, cause: CorpusError) -> None:
    """Record and notify that a backup could not be restored, if it was tried."""
    if name is None:
        run.fail(cause)
        return
    if isinstance(cause, (RefusedError, UsageError)):
        cause = DoorError(cause.message, cause.hint)
    if not isinstance(cause, CancelledError):
        Backups(run.site.history).drilled(str(name), time.time(), run.voice.hide(cause.message))
    run.fail(cause)
    run.announce()


@contextlib.contextmanager
def _drilling(run: Run) -> Iterator[Drill]:
    """Create the work folder of a drill and remove it at the end; raise CorpusError."""
    engine, check = saving.engine_of(run), run.deadline.patience()
    name = restoring.chosen(engine.copies(check), run.project.name, run.request.target, hostname.fqdn())
    job = Drill(run, engine, name, check)
    with saving.working(run, check, _clear):
        yield job


def prefix(project: Project) -> str:
    """Return the prefix of the folders of servers; other hosts in a folder may have a project of this name."""
    mark = hashlib.sha256(os.fsencode(project.dir)).hexdigest()[:12]
    return f"corpushooks-drill-{project.name}-{mark}-"


@contextlib.contextmanager
def _place(run: Run) -> Iterator[Path]:
    """Create a folder that only the account of the servers can enter."""
    whose = account(run)
    place = PLACES / f"{prefix(run.project)}{os.urandom(8).hex()}"
    place.mkdir(mode=0o700)
    try:
        if whose:
            os.chown(place, whose.uid, whose.gid)
        yield place
    finally:
        tree.remove(place)


def _clear(run: Run) -> None:
    """Remove leftovers of a drill, also of a killed one; raise TreeError."""
    saving.clear(run)
    for place in PLACES.glob(f"{prefix(run.project)}*"):
        tree.remove(place)


def account(run: Run) -> Account | None:
    """Return the account of the servers: the application's, since a dump is its code; None for our own."""
    if os.geteuid() != 0:
        return None
    found = accounts.of_application(run.project)
    if found.uid:
        return Account(found.uid, found.gid or found.uid)
    nobody = pwd.getpwnam(NOBODY)  # a host in a folder has no accounts of its own
    return Account(nobody.pw_uid, nobody.pw_gid)
