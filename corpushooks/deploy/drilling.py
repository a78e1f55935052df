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

from corpushooks import backup as door
from corpushooks import tree
from corpushooks.backup import servers
from corpushooks.core import backups
from corpushooks.core.deployment import DONE
from corpushooks.core.errors import CancelledError, CorpusError, DoorError, RefusedError, UsageError
from corpushooks.core.events import Detail, Drilled, SlsBegan
from corpushooks.core.project import Project
from corpushooks.deploy import apart, archives, parts, returned, saving, testing
from corpushooks.deploy.procedure import Procedure, Step
from corpushooks.deploy.progress import Mark
from corpushooks.deploy.returned import FOLDERS, Returned
from corpushooks.deploy.run import Run
from corpushooks.host import accounts
from corpushooks.store.kept import Backups
from corpushooks.system import hostname
from corpushooks.system.patience import Check
from corpushooks.system.process import Account

PLACES = Path("/var/tmp")
NOBODY = "nobody"
BATTLETEST = "battletest"  # the task that tests what was restored


@dataclass
class Drill:
    """A drill in progress."""

    run: Run
    engine: door.Engine
    name: backups.Name
    check: Check
    stack: contextlib.ExitStack  # the scratch servers, which end with it
    found: Returned = field(init=False)
    servers: dict[str, dict[str, str]] = field(default_factory=dict)  # database -> where it was loaded
    tables: int = 0
    tried: bool = False  # the project's own test has passed

    @property
    def work(self) -> Path:
        return self.run.project.backups / parts.WORK

    def bring(self, run: Run, mark: Mark) -> Detail:
        """Extract the backup."""
        self.engine.bring(str(self.name), self.work, (), self.check)
        self.found = Returned.read(self.work, self.name)
        archives.check_room(run, self.found.size)
        self.engine.bring(self.name.files, self.work, [parts.DATA], self.check)
        self.found.fetch_folders(self.engine, self.work, self.check)
        return Detail(note=str(self.name))

    def compare(self, run: Run, mark: Mark) -> Detail:
        """Compare every file with the manifest."""
        self.found.check_dumps(self.work, self.check)
        self.found.check_files(run, self.found.places(self.work), self.check)
        return Detail(self.found.files, "file")

    def load(self, run: Run, mark: Mark) -> Detail:
        """Load each dump into a scratch server of its own."""
        databases = self.found.about["databases"]
        for one in databases:
            place = self.stack.enter_context(_place(run))
            loader = servers.Job(run, place, account(run), self.check)
            loading = servers.loaded(loader, one["kind"], self.work / one["file"], one.get("rows", {}))
            there = self.stack.enter_context(loading)
            self.tables += there.tables
            self.servers[one["name"]] = there.said(one["kind"])
        return Detail(len(databases), "database", note=f"with {self.tables} tables" if databases else "")

    def battletest(self, run: Run, mark: Mark) -> Detail:
        """Run the project's own test of what was restored, if it has one."""
        if f"task_{BATTLETEST}.sls" not in apart.names(run):
            return Detail(note=f"no task_{BATTLETEST}.sls")
        data, dumped = str(self.work / parts.DATA), str(self.work / parts.MADE)
        folders = {path: f"{self.work / FOLDERS}{path}" for path in self.found.paths}
        said = {"data_root": data, "dump_root": dumped, "folders": folders, "databases": self.servers}
        more = {"data_root": data, "dump_root": dumped, "drill": said}
        stem = f"task_{BATTLETEST}"
        with run.deadline.within(run.settings.step_timeout), testing.reports(run):
            apart.perform(run, SlsBegan(stem, "task"), stem, run.row.tree, more)
        self.tried = True
        return Detail(note="passed")

    def record(self, run: Run, mark: Mark) -> Detail:
        """Record that the backup can be restored."""
        with run.site.effect("drill recorded"):
            Backups(run.site.history).drilled(str(self.name), time.time(), "")
        databases = len(self.found.about["databases"])
        run.voice.tell(Drilled(str(self.name), self.found.files, databases, self.tables, self.tried))
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
                Step("battletest", job.battletest),
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
    name = returned.chosen(engine.copies(check), run.project.name, run.request.target, hostname.fqdn())
    with saving.working(run, check, clear), contextlib.ExitStack() as stack:
        yield Drill(run, engine, name, check, stack)


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


def clear(run: Run) -> None:
    """Remove leftovers of a drill, also of a killed one; raise TreeError."""
    try:
        for place in PLACES.glob(f"{prefix(run.project)}*"):
            tree.remove(place)
    finally:
        saving.clear(run)


def account(run: Run) -> Account | None:
    """Return the account of the servers: the application's, since a dump is its code; None for our own."""
    if os.geteuid() != 0:
        return None
    found = accounts.of_application(run.project)
    if found.uid:
        return Account(found.uid, found.gid or found.uid)
    nobody = pwd.getpwnam(NOBODY)  # a host in a folder has no accounts of its own
    return Account(nobody.pw_uid, nobody.pw_gid)
