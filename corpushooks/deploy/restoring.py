"""A restore: a backup is written aside and compared with what it was, and only then takes the place of what is there.

data/ changes places with what was restored, at one moment, and what was there stays where that was, in replaced/NUMBER
of the project. A restore that fails or is interrupted before that has changed nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpushooks import backup as door
from corpushooks import git, tree
from corpushooks.backup import dumps, vault
from corpushooks.core import backups
from corpushooks.core.deployment import DONE, FAILED
from corpushooks.core.errors import CorpusError, DoorError, RefusedError, StepError, UsageError
from corpushooks.core.events import Detail, Noted
from corpushooks.core.hints import command
from corpushooks.core.project import Project
from corpushooks.deploy import archives, parts, returned, saving
from corpushooks.deploy.procedure import Procedure, Step
from corpushooks.deploy.progress import Mark
from corpushooks.deploy.returned import Returned
from corpushooks.deploy.run import Run
from corpushooks.release import cfg as release_cfg
from corpushooks.screen import view
from corpushooks.system import disk, hostname, safe_files
from corpushooks.system.patience import Check
from corpushooks.tree import Fingerprint

DATA, PILLAR, DATABASE = "data", "pillar", "database:"  # parts that can be asked for
SWAP, LOAD = "swap", "load"  # rows of the journal: with the inode of the new data/, with a database


@dataclass
class Restoring:
    """A restore in progress."""

    run: Run
    engine: door.Engine
    name: backups.Name
    check: Check
    found: Returned = field(init=False)

    @property
    def work(self) -> Path:
        return self.run.project.backups / parts.WORK

    @property
    def to(self) -> Path | None:
        """The folder to restore into, instead of the original places."""
        return Path(self.run.request.to) if self.run.request.to else None

    @property
    def place(self) -> Path:
        """Where the backup is extracted."""
        return self.to or kept_aside(self.run.project, self.run.deployment.number)

    def wants(self, part: str) -> bool:
        return part in self.run.request.parts or self.whole

    @property
    def about(self) -> dict[str, Any]:
        return self.found.about

    @property
    def contents(self) -> Fingerprint:
        return self.found.contents

    @property
    def whole(self) -> bool:
        """Whether all that is in the backup is wanted."""
        return bool(self.to and not self.run.request.parts)

    @property
    def databases(self) -> list[str]:
        """The databases to load."""
        named = [part.removeprefix(DATABASE) for part in self.run.request.parts if part.startswith(DATABASE)]
        return [] if self.to else named

    # the steps

    def look(self, run: Run, mark: Mark) -> Detail:
        """Read the backup and say what would be restored; raise RefusedError if that is not possible."""
        self.found = Returned.begin(self.engine, self.work, self.name, self.check)
        for line in self._plan():
            run.voice.tell(Noted(f"      {line}"))
        if not run.request.dry:
            self._check_may()
            archives.check_room(run, (self.found.size if self.whole else self.contents.size) + self.found.dumped)
        return Detail(note=str(self.name))

    def fetch(self, run: Run, mark: Mark) -> Detail:
        """Extract the wanted parts."""
        safe_files.folder(self.place, 0o700, make=0o700)
        if self.wants(DATA):
            self.engine.bring(self.name.files, self.place, [parts.DATA], self.check)
        if self.whole:
            self.found.fetch_folders(self.engine, self.place, self.check)
        into = self.place if self.to else self.work
        tree.remove(self.work)
        self.work.mkdir(mode=0o700)
        self.engine.bring(str(self.name), into, (), self.check)
        return Detail(self._files(), "file")

    def verify(self, run: Run, mark: Mark) -> Detail:
        """Compare the extracted files with the manifest of the backup."""
        self.found.check_dumps(self.place if self.to else self.work, self.check)
        if not self.wants(DATA):
            return Detail(note="dumps only")
        self.found.check_files(run, self.place, self.check, whole=self.whole)
        self._put_dumps(self.found.owner)
        return Detail(self._files(), "file")

    def _files(self) -> int:
        """Return how many files are restored."""
        return self.found.files if self.whole else self.contents.manifest.files if self.wants(DATA) else 0

    def put(self, run: Run, mark: Mark) -> Detail:
        """Put the wanted parts in place; data/ last."""
        for label in self.databases:
            self._load(label)
        if self.wants(PILLAR) and not self.to:
            self._bring_pillar()
        if self.wants(DATA) and not self.to:
            self._swap()
        return Detail(note=str(self.to) if self.to else "")

    # parts of them

    def _plan(self) -> Iterator[str]:
        row, when = self.about["project"], time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.about["at"]))
        yield f"backup {self.name.number} of {when}, made at {view.short(row['code'])} on {self.name.host}"
        if self.wants(DATA):
            size = f"{view.count(self.contents.manifest.files, 'file')}, {view.size(self.contents.size)}"
            kept = "" if self.to or _is_empty(self.run.project.data) else f"; what is there is kept in {self.place}"
            yield f"data/: {size}{kept}"
        for label in self.databases:
            yield f"database {label}: what is in it is kept in {self.place}"
        if self.wants(PILLAR) and not self.to:
            yield f"pillar.git: {self.run.row.branch} as it was then"
        if self.whole:
            yield from self.found.paths
        if self.to:
            yield f"to {self.to}"

    def _check_may(self) -> None:
        if self.to:
            _check_folder(self.to)
        kept = {one["name"]: one for one in self.about["databases"]}
        for label in self.databases:
            if label not in kept:
                raise UsageError(f"this backup has no database {label}", hint=_it_has(list(kept)))
            self._server(label)
        if self.run.request.force or self.to:
            return
        there = ["data/ is not empty"] if self.wants(DATA) and not _is_empty(self.run.project.data) else []
        there += [f"what is in {label} would be replaced" for label in self.databases]
        there += ["pillar.git would be set back"] if self.wants(PILLAR) else []
        if there:
            raise RefusedError(there[0], hint="with --force the present one is kept aside; or restore with --to FOLDER")

    def _server(self, label: str) -> backups.Database:
        """Return the database as cfg names it now; raise UsageError."""
        cfg = release_cfg.last_cfg(self.run.project) or {"data_root": str(self.run.project.data)}
        one = next((each for each in backups.of(cfg).databases if each.label == label), None)
        if one is None:
            raise UsageError(f"cfg names no database {label}", hint=backups.HINT)
        if one.kind == backups.SQLITE:
            raise UsageError(f"{label} is a file of data/", hint="restore it with --data")
        return one

    def _load(self, label: str) -> None:
        """Load a dump into its database, after dumping that aside."""
        run, one = self.run, self._server(label)
        index = [each["name"] for each in self.about["databases"]].index(label)
        aside, limit = self.place / f"{label}.dump", vault.wanted(run.settings).dump_timeout
        dumps.dump(run, one, aside, limit, self.check)
        disk.flush_folder(self.place)
        run.site.history.begin(run.deployment, f"{LOAD} {label}")
        with run.site.effect("restore load"):
            dumps.load(run, one, self.work / "dumps" / str(index), aside, limit)
        run.voice.tell(Noted(f"      {label} is as it was; what was in it: {aside}"))

    def _bring_pillar(self) -> None:
        """Reset the branch of pillar.git; the previous commit stays as a ref."""
        run, path = self.run, self.run.project.pillar_git
        ref, number = f"refs/heads/{run.row.branch}", run.deployment.number
        bundle = self.work / "pillar.bundle"
        new = git.unbundle(path, bundle, ref, f"refs/restored/{number}/new", self.check) if bundle.exists() else None
        if new is None:
            raise DoorError(f"this backup has no branch {run.row.branch} of pillar.git")
        old = git.ref(path, ref)
        moves = [(ref, old or "", new)] + ([(f"refs/restored/{number}/before", "", old)] if old else [])
        with run.site.effect("restore pillar"):
            wrong = git.update_refs(path, [each for each in moves if each[1] != each[2]], atomic=True)
        if wrong:
            raise DoorError(f"pillar.git: {next(iter(wrong.values()))}")
        run.voice.tell(Noted(f"      pillar.git: {run.row.branch} {view.short(old)} -> {view.short(new)}"))

    def _swap(self) -> None:
        """Exchange the new data/ and the present one."""
        run, new = self.run, self.place / parts.DATA
        disk.flush_all(self.place)
        run.deadline.check()
        run.deadline.lifted = True  # what comes now is not ended by anybody
        run.site.history.begin(run.deployment, f"{SWAP} {new.lstat().st_ino}")
        with run.site.effect("restore swap"):
            tree.exchange(new, run.project.data)
        _say_aside(run)

    def _put_dumps(self, owner: tree.Owner) -> None:
        """Put the SQLite dumps in place of their files."""
        source = self.place if self.to else self.work
        for one in self.about["databases"]:
            if one["kind"] == backups.SQLITE:
                _put_file(source / one["file"], self.place / parts.DATA / one["name"], one, owner, self.check)


def restore(run: Run) -> None:
    """Restore parts of a backup, or only say what would be restored."""
    run.voice.tell(run.began())
    try:
        with _restoring(run) as job:
            steps = [Step("look", job.look)]
            if not run.request.dry:
                steps += [Step("fetch", job.fetch), Step("verify", job.verify), Step("put", job.put)]
            procedure = Procedure(tuple(steps), "restore")
            for step in procedure.steps:
                procedure.perform(run, step)
    except CorpusError as exc:
        cause = run.deadline.cause(exc)
        if _has_swapped(run):
            cause = StepError(f"{cause.message}; data/ was already replaced by the backup")
        run.fail(cause)
        return
    if run.request.dry:
        run.voice.tell(Noted("nothing was changed"))
    run.move(DONE)
    run.voice.tell(run.verdict())


@contextlib.contextmanager
def _restoring(run: Run) -> Iterator[Restoring]:
    """Create the work folder of a restore and remove it at the end; raise CorpusError."""
    engine, check = saving.engine_of(run), run.deadline.patience()
    _check_parts(run)
    name = returned.chosen(engine.copies(check), run.project.name, run.request.target, hostname.fqdn())
    job = Restoring(run, engine, name, check)
    try:
        with saving.working(run, check, saving.clear):
            yield job
    finally:
        clear(run)


def _check_parts(run: Run) -> None:
    wrong = [part for part in run.request.parts if part not in (DATA, PILLAR) and not part.startswith(DATABASE)]
    if wrong:
        raise UsageError(f"unknown part {wrong[0]!r}")
    if not run.request.parts and not run.request.to:
        raise UsageError("nothing to restore", hint="give --data, --database, --pillar, or --to FOLDER")


def kept_aside(project: Project, number: int) -> Path:
    """Return where a restore keeps what it replaces."""
    return project.dir / "replaced" / str(number)


def _check_folder(path: Path) -> None:
    """Refuse a folder that exists, or whose parent others can write."""
    if not path.is_absolute():
        raise UsageError(f"{path} is not an absolute path")
    if os.path.lexists(path):
        raise RefusedError(f"{path} already exists", hint="name a new folder")
    if not safe_files.is_firm(path):
        raise RefusedError(
            f"others can write in {path.parent}", hint="name a folder in a directory that only root can write"
        )


def _is_empty(folder: Path) -> bool:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as names:
        return next(names, None) is None
    return True


def _it_has(labels: Sequence[str]) -> str:
    return f"it has: {', '.join(labels)}" if labels else "it has none"


def _put_file(source: Path, to: Path, one: dict[str, Any], owner: tree.Owner, check: Check) -> None:
    """Copy a file into a restored tree without following its links."""
    with dumps.copied(source, to, check) as fd:
        if os.geteuid() == 0:
            os.fchown(fd, *owner(one["uid"], one["gid"]))
        os.fchmod(fd, one["mode"])


def _say_aside(run: Run) -> None:
    """Say where the previous data/ is kept; remove an empty folder."""
    aside = kept_aside(run.project, run.deployment.number) / parts.DATA
    with contextlib.suppress(OSError):
        aside.rmdir()
        return
    run.voice.tell(Noted(f"      what was in data/: {aside}"))
    run.voice.tell(Noted("      what runs may still use that: restart it"))


def _has_swapped(run: Run) -> bool | None:
    """Say whether data/ is the one that this restore wrote; None if unknown."""
    rows = [step.partition(" ") for step in run.site.history.steps(run.deployment)]
    inodes = {value for word, _, value in rows if word == SWAP}
    try:
        return bool(inodes) and str(run.project.data.lstat().st_ino) in inodes
    except OSError:
        return None


def clear(run: Run) -> None:
    """Remove what an unfinished restore extracted, never the previous data/; raise TreeError."""
    place = kept_aside(run.project, run.deployment.number)
    if _has_swapped(run) is False:  # else it is, or may be, all that there is
        tree.remove(place / parts.DATA)
    for folder in (place, place.parent):
        with contextlib.suppress(OSError):  # something is kept there
            folder.rmdir()


def recover(run: Run) -> None:
    """Finish an interrupted restore: data/ is entirely the old one or the new one."""
    swapped, steps = _has_swapped(run), run.site.history.steps(run.deployment)
    saving.clear(run)
    if swapped:
        _say_aside(run)
        clear(run)
        run.move(DONE)
        run.voice.tell(run.verdict())
        return
    clear(run)
    loaded = [step.partition(" ")[2] for step in steps if step.startswith(f"{LOAD} ")]
    where = kept_aside(run.project, run.deployment.number)
    more = f"; what was in {loaded[-1]} is in {where}/{loaded[-1]}.dump" if loaded else "; data/ is as it was"
    why = StepError("interrupted", why=f"the daemon was stopped or the host went down{more}")
    run.move(FAILED, why)
    run.voice.tell(run.verdict(why.message, command("backups", run.project.name)))
