"""A restore: a backup is written aside and compared with what it was, and only then takes the place of what is there.

data/ and other folders change places with what was restored, each at one moment, and what was there stays where that
was (see placing). Databases are loaded before, after a dump of what is in them (see loading). A restore that fails or
is interrupted before that has changed nothing.
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
from corpushooks.backup import dumps
from corpushooks.core import backups
from corpushooks.core.deployment import DONE, FAILED
from corpushooks.core.errors import CorpusError, DoorError, RefusedError, StepError, UsageError
from corpushooks.core.events import Detail, Noted
from corpushooks.core.hints import command
from corpushooks.deploy import archives, loading, parts, placing, returned, saving
from corpushooks.deploy.placing import DATA, FOLDER, Placed, kept_aside
from corpushooks.deploy.procedure import Procedure, Step
from corpushooks.deploy.progress import Mark
from corpushooks.deploy.returned import Returned
from corpushooks.deploy.run import Run
from corpushooks.screen import view
from corpushooks.system import disk, hostname, safe_files
from corpushooks.system.patience import Check
from corpushooks.tree import Fingerprint

PARTS = "give --data, --folder, --database, --dumps, --pillar, or --to FOLDER"
PILLAR, DATABASE, DUMPS = "pillar", "database:", "dumps"  # parts that can be asked for, beside those of placing


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
        return placing.written_to(self.run) or kept_aside(self.run.project, self.run.deployment.number)

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

    @property
    def dumps(self) -> bool:
        """Whether what dump.sls wrote is loaded."""
        return DUMPS in self.run.request.parts and not self.to

    @property
    def folders(self) -> list[Placed]:
        """The folders outside data/ that are put in place."""
        return [] if self.to else placing.folders_asked(self.run)

    # the steps

    def look(self, run: Run, mark: Mark) -> Detail:
        """Read the backup and say what would be restored; raise RefusedError if that is not possible."""
        self.found = Returned.begin(self.engine, self.work, self.name, self.check)
        for line in self._plan():
            run.voice.tell(Noted(f"      {line}"))
        if not run.request.dry:
            self._check_may()
            data = self.contents.size if self.wants(DATA) else 0
            archives.check_room(run, (self.found.size if self.whole else data) + self.found.dumped)
        return Detail(note=str(self.name))

    def fetch(self, run: Run, mark: Mark) -> Detail:
        """Extract the wanted parts."""
        placing.begin(run)
        safe_files.folder(self.place, 0o700, make=0o700)
        if self.wants(DATA):
            self.engine.bring(self.name.files, self.place, [parts.DATA], self.check)
        if self.whole:
            self.found.fetch_folders(self.engine, self.place, self.check)
        for one in self.folders:
            self.engine.bring(self.name.folders, placing.extracted(one), [parts.below_root(one.place)], self.check)
            placing.settle(one)
        into = self.place if self.to else self.work
        tree.remove(self.work)
        self.work.mkdir(mode=0o700)
        self.engine.bring(str(self.name), into, (), self.check)
        return Detail(self._files(), "file")

    def verify(self, run: Run, mark: Mark) -> Detail:
        """Compare the extracted files with the manifest of the backup."""
        self.found.check_dumps(self.place if self.to else self.work, self.check)
        there = self.found.places(self.place, whole=self.whole) if self.wants(DATA) else []
        there += [(one.path, self.found.of_folder(one.path), one.aside) for one in self.folders]
        if not there:
            return Detail(note="dumps only")
        self.found.check_files(run, there, self.check)
        if self.wants(DATA):
            self._put_dumps(self.found.owner)
        return Detail(self._files(), "file")

    def _files(self) -> int:
        """Return how many files are restored."""
        if self.whole:
            return self.found.files
        data = self.contents.manifest.files if self.wants(DATA) else 0
        return data + sum(self.found.of_folder(one.path).manifest.files for one in self.folders)

    def put(self, run: Run, mark: Mark) -> Detail:
        """Put the wanted parts in place; folders last, of these data/ last."""
        for label in self.databases:
            self._load(label)
        if self.dumps:
            loading.load_made(run, self.work / parts.MADE, self.place / parts.MADE, self.check)
        if self.wants(PILLAR) and not self.to:
            self._bring_pillar()
        if placed := placing.asked(run):
            placing.swap(run, placed)
        if self.to:
            disk.flush_all(self.place)
            tree.put(self.place, self.to)
        return Detail(note=str(self.to) if self.to else "")

    # parts of them

    def _plan(self) -> Iterator[str]:
        row, when = self.about["project"], time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.about["at"]))
        yield f"backup {self.name.number} of {when}, made at {view.short(row['code'])} on {self.name.host}"
        if self.wants(DATA):
            yield self._of(placing.data_of(self.run.project, self.run.deployment.number), self.contents)
        for one in self.folders:
            yield self._of(one, self.found.of_folder(one.path))
        for label in self.databases:
            yield f"database {label}: what is in it is kept in {self.place}"
        if self.dumps:
            yield f"what dump.sls wrote: loaded by {loading.TASK}; what is there now is kept in {self.place}"
        if self.wants(PILLAR) and not self.to:
            yield f"pillar.git: {self.run.row.branch} as it was then"
        if self.whole:
            yield from self.found.paths
        if self.to:
            yield f"to {self.to}"

    def _of(self, one: Placed, had: Fingerprint) -> str:
        size = f"{view.count(had.manifest.files, 'file')}, {view.size(had.size)}"
        return f"{one.label}: {size}" + (
            "" if self.to or one.is_empty else f"; what is there is kept in {one.aside.parent}"
        )

    def _check_may(self) -> None:
        if self.to:
            _check_folder(self.to)
        kept = {one["name"]: one for one in self.about["databases"]}
        for label in self.databases:
            if label not in kept:
                raise UsageError(f"this backup has no database {label}", hint=_it_has(list(kept)))
            loading.server(self.run, label)
        for one in self.folders:
            placing.check_named(one.path, self.found.paths, saving.wanted_of(self.run).folders)
            placing.check(one, self.found.of_folder(one.path).size, self.run.settings.reserve << 20)
        if self.dumps:
            loading.check_made(self.run, made=bool(self.about.get("made")))
        if not (self.run.request.force or self.to):
            self._check_empty()

    def _check_empty(self) -> None:
        """Raise RefusedError if anything would be replaced."""
        there = [f"{one.label} is not empty" for one in placing.asked(self.run) if not one.is_empty]
        there += [f"what is in {label} would be replaced" for label in self.databases]
        there += ["what dump.sls dumps would be replaced"] if self.dumps else []
        there += ["pillar.git would be set back"] if self.wants(PILLAR) else []
        if there:
            raise RefusedError(there[0], hint="with --force the present one is kept aside; or restore with --to FOLDER")

    def _load(self, label: str) -> None:
        """Load a dump into its database, after dumping that aside."""
        index = [each["name"] for each in self.about["databases"]].index(label)
        loading.load(self.run, label, self.work / "dumps" / str(index), self.place, self.check)

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
        run.fail(_with_state(run, run.deadline.cause(exc)))
        return
    if run.request.dry:
        run.voice.tell(Noted("nothing was changed"))
    run.move(DONE)
    run.voice.tell(run.verdict())


def _with_state(run: Run, cause: CorpusError) -> CorpusError:
    """Return an error that says which folders were replaced, if any were."""
    found = placing.in_place(run) or {}
    done, rest = ([one.label for one, there in found.items() if there is wanted] for wanted in (True, False))
    if not done:
        return cause
    what = f"{', '.join(done)} {'was' if len(done) == 1 else 'were'} already replaced by the backup"
    return StepError(f"{cause.message}; {what}" + (f", but not {', '.join(rest)}" if rest else ""))


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
    asked = run.request.parts
    wrong = [part for part in asked if part not in (DATA, PILLAR, DUMPS) and not part.startswith((DATABASE, FOLDER))]
    if wrong:
        raise UsageError(f"unknown part {wrong[0]!r}")
    if not asked and not run.request.to:
        raise UsageError("nothing to restore", hint=PARTS)
    if run.request.to and set(asked) - {DATA}:
        raise UsageError("--to goes with --data, or with no part", hint=PARTS)


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


def _it_has(labels: Sequence[str]) -> str:
    return f"it has: {', '.join(labels)}" if labels else "it has none"


def _put_file(source: Path, to: Path, one: dict[str, Any], owner: tree.Owner, check: Check) -> None:
    """Copy a file into a restored tree without following its links."""
    with dumps.copied(source, to, check) as fd:
        if os.geteuid() == 0:
            os.fchown(fd, *owner(one["uid"], one["gid"]))
        os.fchmod(fd, one["mode"])


def clear(run: Run) -> None:
    """Remove what an unfinished restore extracted, never what was there before; raise TreeError."""
    placing.clear(run)
    place = kept_aside(run.project, run.deployment.number)
    for folder in (place, place.parent):
        with contextlib.suppress(OSError):  # something is kept there
            folder.rmdir()


def recover(run: Run) -> None:
    """Finish an interrupted restore: each folder is entirely the old one or the new one, and none is left behind."""
    try:
        completed = placing.complete(run)
    except (CorpusError, OSError) as exc:
        run.fail(_with_state(run, DoorError(f"interrupted; {exc}")))
        return
    clear(run)
    if completed:
        run.move(DONE)
        run.voice.tell(run.verdict())
        return
    more = loading.repair(run) or "what was there is as it was"
    why = StepError("interrupted", why=f"the daemon was stopped or the host went down; {more}")
    run.move(FAILED, why)
    run.voice.tell(run.verdict(why.message, command("backups", run.project.name)))
