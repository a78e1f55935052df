"""A backup of a project: what belongs together is kept in two copies, and counts once the second is there.

The first copy is of data/. The second, which has the name of the backup, has what makes it whole: what data/ had in it
at that time, the dumps of databases, the repositories, the store and the settings of the host. A backup that was
interrupted has but the first, so that nobody takes it for one.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from corpushooks import __version__, git, tree
from corpushooks import backup as door
from corpushooks.backup import dumps, vault
from corpushooks.core import backups
from corpushooks.core.deployment import DONE
from corpushooks.core.errors import CorpusError, DoorError, ProcessError, RefusedError, UsageError
from corpushooks.core.events import BackedUp, Detail, Item, listed
from corpushooks.deploy.procedure import Procedure, Step
from corpushooks.deploy.progress import Mark
from corpushooks.deploy.run import Run
from corpushooks.host import accounts
from corpushooks.release import cfg as release_cfg
from corpushooks.store.kept import Backups, Kept
from corpushooks.system import disk, hostname
from corpushooks.system.locks import copying
from corpushooks.system.patience import Check
from corpushooks.tree import Fingerprint

DATA = "data"
LAST, WORK = "last", "work"  # of a project's folder for backups: what was kept last, and what is put together
CONTENTS, ABOUT = "contents", "backup.json"
VERSION = 1


@dataclass
class Saving:
    """A backup in progress."""

    run: Run
    engine: door.Engine
    wanted: backups.Wanted
    name: backups.Name
    check: Check
    began: float
    taken: Fingerprint = field(default_factory=lambda: tree.NOTHING)
    kept: list[door.Kept] = field(default_factory=list)
    dumped: list[dict[str, Any]] = field(default_factory=list)
    overtaken: int | None = None  # the deployment that began before data/ was read

    @property
    def limit(self) -> float:
        """Seconds that one dump may take."""
        return vault.wanted(self.run.settings).dump_timeout

    @property
    def work(self) -> Path:
        return self.run.project.backups / WORK

    # the steps

    def collect(self, run: Run, mark: Mark) -> Detail:
        """Put together what is not in data/: repositories, the store, the settings of the host."""
        project, host = run.project, run.project.host
        found = [git.bundle(path, self.work / f"{name}.bundle", self.check) for name, path in _repositories(run)]
        run.site.history.copy(self.work / "store.sqlite")
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(host.config_file, self.work / host.config_file.name)
        return Detail(sum(found), "repository", note=f"of {project.name}")

    def dump(self, run: Run, mark: Mark) -> Detail:
        """Dump the databases."""
        (self.work / "dumps").mkdir(mode=0o700)
        for index, one in enumerate(self.wanted.databases):
            path = self.work / "dumps" / str(index)
            rows = dumps.dump(run, one, path, self.limit, self.check)
            about = {
                "kind": one.kind,
                "name": one.label,
                "file": f"dumps/{index}",
                "size": path.stat().st_size,
                "digest": dumps.digest(path, self.check),
                "rows": rows,
            }
            self.dumped.append({**about, **_owner(run, one)})
        return Detail(len(self.dumped), "database")

    def keep(self, run: Run, mark: Mark) -> Detail:
        """Back up data/, and find what changed while it was read."""
        data = run.project.data
        without = self.wanted.without
        self.taken = tree.take(data, last_contents(run), without, self.check)
        outside = [f"{DATA}/{path}" for path in (*without, *sorted(self.taken.manifest.left))]
        done = self.engine.keep(self.name.files, run.project.dir, [DATA], outside, self.check)
        self.kept.append(done)
        settled = tree.settle(self.taken, data, without, self.check)
        self.taken = settled.unsure(_inside(done.changed))
        self.overtaken = _overtaken(run)
        _check_read(self.taken, _inside(done.unread))
        _say_changed(run, self.taken)
        if self.overtaken:
            run.voice.warn(
                f"deployment {self.overtaken} started meanwhile: data/ may not match the release in this backup"
            )
        return Detail(self.taken.manifest.files, "file")

    def record(self, run: Run, mark: Mark) -> Detail:
        """Write the copy that completes the backup, check both copies, record the backup."""
        (self.work / CONTENTS).write_bytes(self.taken.pack())
        (self.work / ABOUT).write_text(json.dumps(self.about(), indent=1))
        self.kept.append(self.engine.keep(str(self.name), self.work, ["."], (), self.check))
        with run.site.effect("backup kept"):
            self._see()
        row = self.row()
        with run.site.effect("backup recorded"):
            Backups(run.site.history).add(row)
        disk.write_file(run.project.backups / LAST, self.taken.pack())
        run.voice.tell(BackedUp(row.name, row.files, row.size, row.added, row.databases, row.changed))
        return Detail(note=f"{time.monotonic() - run.deadline.since:.1f} s in all")

    def rotate(self, run: Run, mark: Mark) -> Detail:
        """Remove expired backups and leftovers of failed ones; an error here fails nothing."""
        kept = vault.wanted(run.settings)
        if not kept.prunes:
            return Detail(note="nothing is removed by this host")
        old, left = self._old(kept)
        try:
            Backups(run.site.history).forget([str(name) for name in old])
            with run.site.effect("backup forgotten"):  # what makes each whole goes first
                self.engine.forget([*map(str, old), *(name.files for name in old), *left], self.check)
        except ProcessError as exc:
            run.voice.warn(f"cannot remove old backups: {exc.message}")
            return Detail()
        return Detail(len(old), "old backup", note="removed") if old else Detail()

    def _old(self, kept: backups.Backup) -> tuple[list[backups.Name], list[str]]:
        """Return the expired backups of this project on this host, and copies that belong to no backup."""
        there = {copy.name for copy in self.engine.copies(self.check)}
        read = [found for found in map(backups.Name.read, sorted(there)) if found]
        own = [
            (name, files) for name, files in read if (name.project, name.host) == (self.name.project, self.name.host)
        ]
        whole = {name for name, files in own if not files and name.files in there}
        rows = Backups(self.run.site.history).of(self.name.project)
        proved = next((row.name for row in rows if row.drilled and not row.wrong), "")
        stays = {self.name, *backups.retained(whole, kept), *(name for name in whole if str(name) == proved)}
        left = [name.files for name, files in own if files and name not in whole and name.number < self.name.number]
        return sorted(whole - stays, key=lambda name: name.at), left

    def _see(self) -> None:
        """Check that both copies are in the repository; forget backups that are gone."""
        found = {copy.name for copy in self.engine.copies(self.check)}
        if missing := {str(self.name), self.name.files} - found:
            raise DoorError(f"the repository is missing the new copy {sorted(missing)[0]}")
        rows = Backups(self.run.site.history)
        rows.forget([row.name for row in rows.of(self.run.project.name) if row.name not in found])

    # what is said of it

    def about(self) -> dict[str, Any]:
        """Return the description that is stored in the backup."""
        run = self.run
        return {
            "version": VERSION, "corpushooks": __version__, "name": self.name._asdict(), "at": self.began,
            "project": asdict(run.row), "host": self.name.host, "files": self.name.files,
            "databases": self.dumped, "overtaken": self.overtaken, "accounts": _accounts(self.taken),
        }  # fmt: skip

    def row(self) -> Kept:
        """Return the row for the store."""
        row = self.run.row
        return Kept(
            row.name, self.run.deployment.number, str(self.name), self.began, row.code, row.pillar,
            self.taken.manifest.files, sum(one.size for one in self.kept), sum(one.added for one in self.kept),
            len(self.taken.changed_files), len(self.dumped), overtaken=self.overtaken,
        )  # fmt: skip


def backup(run: Run) -> None:
    """Back up a project. A failed backup does not count, and changes nothing in the project."""
    run.voice.tell(run.began())
    try:
        vault.wanted(run.settings)
    except RefusedError as exc:
        run.fail(exc)
        return
    try:
        with _saving(run) as job:
            procedure = Procedure(
                (
                    Step("collect", job.collect),
                    Step("dump", job.dump),
                    Step("keep", job.keep),
                    Step("record", job.record),
                    Step("rotate", job.rotate),
                ),
                "backup",
            )
            for step in procedure.steps:
                procedure.perform(run, step)
    except CorpusError as exc:  # it was to be, so whatever is in its way is a failure, which people are told of
        cause = run.deadline.cause(exc)
        if _is_recorded(run):
            _end_whole(run, cause.message)
            return
        run.fail(DoorError(cause.message, cause.hint) if isinstance(cause, (RefusedError, UsageError)) else cause)
        run.announce()
    else:
        run.move(DONE)
        run.voice.tell(run.verdict())


def _is_recorded(run: Run) -> bool:
    """Say whether this backup is complete and recorded: nothing that follows makes it fail."""
    rows = Backups(run.site.history).of(run.project.name)
    return any(row.number == run.deployment.number for row in rows)


def _end_whole(run: Run, why: str) -> None:
    run.voice.warn(f"the backup is complete, but old ones may not have been removed: {why}")
    run.move(DONE)
    run.voice.tell(run.verdict())


def recover(run: Run, interrupted: CorpusError) -> None:
    """Finish an interrupted backup: it is complete, or it does not count."""
    if _is_recorded(run):
        _end_whole(run, interrupted.message)
        return
    run.fail(interrupted)


@contextlib.contextmanager
def _saving(run: Run) -> Iterator[Saving]:
    """Create the work folder of a backup and remove it at the end; raise CorpusError."""
    engine, began = engine_of(run), time.time()
    name = backups.Name.new(run.project.name, run.deployment.number, began, hostname.fqdn())
    wanted = backups.of(release_cfg.last_cfg(run.project) or {"data_root": str(run.project.data)})
    job = Saving(run, engine, wanted, name, _check(run), began)
    with working(run, job.check, clear):
        yield job


def engine_of(run: Run) -> door.Engine:
    """Return the engine of a backup, drill or restore, which gets its time limits; raise RefusedError."""
    kept = vault.wanted(run.settings)
    run.deadline.whole, run.deadline.step = kept.timeout, None  # not those of a deployment
    return vault.engine(run.project.host, run.settings, run.start, run.project.name)


@contextlib.contextmanager
def working(run: Run, check: Check, clear: Callable[[Run], None]) -> Iterator[None]:
    """Create the work folder of a backup, drill or restore, one at a time in a project, and clear it before and after.

    Raise DoorError for what the system refuses.
    """
    folder = run.project.backups / WORK
    with copying(run.project, check):
        clear(run)
        try:
            folder.mkdir(mode=0o700, parents=True)
            yield
        except OSError as exc:
            raise DoorError(f"{exc.filename or folder}: {exc.strerror}") from exc
        finally:
            clear(run)


def clear(run: Run) -> None:
    """Remove leftovers of a backup; raise TreeError."""
    tree.remove(run.project.backups / WORK)
    tree.remove(dumps.folder_of(run.project))


def _check(run: Run) -> Check:
    """Return the check that ends a backup: cancelled, timed out, or out of disk space."""
    patience, reserve = run.deadline.patience(), run.settings.reserve << 20

    def check() -> None:
        patience()
        if shutil.disk_usage(run.project.host.state_dir).free < reserve:
            raise RefusedError(f"not enough free disk space for a backup: less than {reserve >> 20} MiB would be free")

    return check


def _repositories(run: Run) -> list[tuple[str, Path]]:
    return [("project", run.project.code_git), ("pillar", run.project.pillar_git)]


def last_contents(run: Run) -> Fingerprint:
    """Return the manifest of data/ in the last backup, if known."""
    with contextlib.suppress(OSError, ValueError):
        return Fingerprint.unpack((run.project.backups / LAST).read_bytes())
    return tree.NOTHING


def _overtaken(run: Run) -> int | None:
    """Return the first deployment that started during this backup."""
    later = [one for one in run.site.history.deployments(run.project.name) if one.number > run.deployment.number]
    return min((one.number for one in later if one.started and one.request.sort.changes), default=None)


def _inside(paths: tuple[str, ...]) -> list[str]:
    """Return paths of a copy as paths below data/."""
    return ["" if path == DATA else path.removeprefix(f"{DATA}/") for path in paths]


def _check_read(taken: Fingerprint, unread: list[str]) -> None:
    """Raise DoorError if the copy is missing something that existed throughout."""
    for path in unread:
        if path not in taken.changed:
            raise DoorError(f"{DATA}/{path} cannot be read")


def _say_changed(run: Run, taken: Fingerprint) -> None:
    if files := taken.changed_files:
        run.voice.tell(listed("changed", [Item(f"{DATA}/{path}") for path in files]))
    if left := sorted(taken.manifest.left):
        run.voice.warn(*(f"{DATA}/{path}: not backed up: mounted or linked from elsewhere" for path in left))


def _owner(run: Run, one: backups.Database) -> dict[str, int]:
    """Return owner and mode of a SQLite file: its dump replaces it."""
    if one.kind != backups.SQLITE:
        return {}
    st = (run.project.data / one.file).lstat()
    return {"uid": st.st_uid, "gid": st.st_gid, "mode": st.st_mode & 0o777}


def _accounts(taken: Fingerprint) -> dict[str, dict[str, str]]:
    """Return the names of the owners: their numbers differ on another host."""
    entries = [taken.manifest.root, *(entry for _, entry in taken.manifest.entries)]
    return accounts.names({entry.uid for entry in entries}, {entry.gid for entry in entries})
