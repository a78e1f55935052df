"""A backup of a project: what belongs together is kept in two copies, and counts once the second is there.

The first copy is of data/; where cfg names other folders, another one has these. The last, which has the name of the
backup, has what makes it whole: what the folders had in them at that time, the dumps of databases, the repositories,
the store and the settings of the host. A backup that was interrupted lacks it, so that nobody takes it for one.
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
from corpushooks.core.errors import DoorError, ProcessError, RefusedError
from corpushooks.core.events import NOTHING, BackedUp, Detail
from corpushooks.deploy import apart, expired, parts
from corpushooks.deploy.pausing import Pausing
from corpushooks.deploy.progress import Mark
from corpushooks.deploy.run import Run
from corpushooks.release import cfg as release_cfg
from corpushooks.store.kept import Backups, Kept
from corpushooks.system import disk
from corpushooks.system.locks import copying
from corpushooks.system.patience import Check
from corpushooks.tree import Fingerprint


@dataclass
class Saving:
    """A backup in progress."""

    run: Run
    engine: door.Engine
    wanted: backups.Wanted
    name: backups.Name
    check: Check
    began: float
    pausing: Pausing
    folders: list[parts.Part] = field(default_factory=list)  # data/ first
    made: Fingerprint = field(default_factory=lambda: tree.NOTHING)  # by dump.sls
    kept: list[door.Kept] = field(default_factory=list)
    dumped: list[dict[str, Any]] = field(default_factory=list)
    there: set[str] = field(default_factory=set)  # the copies in the repository, once it is complete
    overtaken: int | None = None  # the deployment that began before data/ was read

    @property
    def limit(self) -> float:
        """Seconds that one dump may take."""
        return vault.wanted(self.run.settings).dump_timeout

    @property
    def work(self) -> Path:
        return self.run.project.backups / parts.WORK

    @property
    def files(self) -> int:
        return sum(part.taken.manifest.files for part in self.folders)

    # the steps

    def collect(self, run: Run, mark: Mark) -> Detail:
        """Put together what is in no folder: repositories, the store, the settings of the host."""
        project, host = run.project, run.project.host
        if release_cfg.is_elsewhere(run.row):
            run.voice.warn(f"{project.name} is live on nodes only: its data/ and databases are not in this backup")
        found = [git.bundle(path, self.work / f"{name}.bundle", self.check) for name, path in _repositories(run)]
        run.site.history.copy(self.work / "store.sqlite")
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(host.config_file, self.work / host.config_file.name)
        return Detail(sum(found), "repository", note=f"of {project.name}")

    def quiesce(self, run: Run, mark: Mark) -> Detail:
        """Pause the application, if the project has a quiesce.sls."""
        return Detail(note="quiesce.sls") if self.pausing.quiesce() else NOTHING

    def dump(self, run: Run, mark: Mark) -> Detail:
        """Dump the databases, and run dump.sls."""
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
        if self.pausing.dumps:
            self._dump_by_sls()
        return Detail(len(self.dumped), "database", note="and dump.sls" if self.pausing.dumps else "")

    def _dump_by_sls(self) -> None:
        """Run dump.sls, and take the files that it wrote; raise DoorError if there are none."""
        self.made = self.pausing.made(self.work / parts.MADE, self.limit, self.check)

    def keep(self, run: Run, mark: Mark) -> Detail:
        """Back up data/ and the folders, and find what changed while they were read."""
        data = parts.Part(parts.DATA, run.project.data, self.wanted.without)
        parts.check_data(run)
        data.take(run, self.check)
        outside = [f"{parts.DATA}/{path}" for path in data.outside]
        done = self.engine.keep(self.name.files, run.project.dir, [parts.DATA], outside, self.check)
        self._settle([data], done, run.project.dir)
        if self.wanted.folders:
            self._keep_folders()
        self.overtaken = _overtaken(run)
        if self.overtaken:
            run.voice.warn(
                f"deployment {self.overtaken} started meanwhile: data/ may not match the release in this backup"
            )
        return Detail(self.files, "file")

    def _keep_folders(self) -> None:
        """Back up the folders outside data/."""
        found = [parts.Part(path, Path(path), self.wanted.without_in(path)) for path in self.wanted.folders]
        for part in found:
            parts.check_folder(self.run, part.source)
            part.take(self.run, self.check)
        paths = [parts.below_root(part.source) for part in found]
        outside = [f"{parts.below_root(part.source)}/{path}" for part in found for path in part.outside]
        done = self.engine.keep(self.name.folders, parts.ROOT, paths, outside, self.check)
        self._settle(found, done, parts.ROOT)

    def _settle(self, folders: list[parts.Part], done: door.Kept, above: Path) -> None:
        """Note what a copy has of some folders, with what changed meanwhile; raise DoorError if it lacks something."""
        self.kept.append(done)
        for part in folders:
            inside = str(part.source.relative_to(above))
            part.settle(parts.inside(done.changed, inside), self.check)
            parts.check_read(part, parts.inside(done.unread, inside))
            parts.say_changed(self.run, part)
        self.folders += folders

    def record(self, run: Run, mark: Mark) -> Detail:
        """Write the copy that completes the backup, check all copies, record the backup."""
        packed = [part.taken.pack() for part in self.folders]
        for index, contents in enumerate(packed):
            (self.work / parts.contents_of(index)).write_bytes(contents)
        if self.pausing.dumps:
            (self.work / parts.CONTENTS_MADE).write_bytes(self.made.pack())
        (self.work / parts.ABOUT).write_text(json.dumps(self.about(), indent=1))
        self.kept.append(self.engine.keep(str(self.name), self.work, ["."], (), self.check, fresh=True))
        with run.site.effect("backup kept"):
            self._see()
        row = self.row()
        with run.site.effect("backup recorded"):
            Backups(run.site.history).add(row)
        for part, contents in zip(self.folders, packed, strict=True):
            disk.write_file(parts.last_of(run, part.label), contents)
        run.voice.tell(BackedUp(row.name, row.files, row.size, row.added, row.databases, row.changed))
        return Detail(note=f"{time.monotonic() - run.deadline.since:.1f} s in all")

    def rotate(self, run: Run, mark: Mark) -> Detail:
        """Remove expired backups and leftovers of failed ones; an error here fails nothing."""
        kept = vault.wanted(run.settings)
        if not kept.prunes:
            return Detail(note="nothing is removed by this host")
        try:
            old = expired.remove(run, self.engine, self.there, kept, self.name, self.check)
        except ProcessError as exc:
            run.voice.warn(f"cannot remove old backups: {exc.message}")
            return Detail()
        return Detail(old, "old backup", note="removed") if old else Detail()

    def _see(self) -> None:
        """Check that all copies are in the repository; forget backups that are gone."""
        found = self.there = {copy.name for copy in self.engine.copies(self.check)}
        wanted = {str(self.name), self.name.files, *([self.name.folders] if self.wanted.folders else [])}
        if missing := wanted - found:
            raise DoorError(f"the repository is missing the new copy {sorted(missing)[0]}")
        rows = Backups(self.run.site.history)
        rows.forget([row.name for row in rows.of(self.run.project.name) if row.name not in found])

    # what is said of it

    def about(self) -> dict[str, Any]:
        """Return the description that is stored in the backup."""
        run = self.run
        return {
            "version": parts.VERSION, "corpushooks": __version__, "name": self.name._asdict(), "at": self.began,
            "project": asdict(run.row), "host": self.name.host, "files": self.name.files,
            "databases": self.dumped, "overtaken": self.overtaken, "folders": list(self.wanted.folders),
            "made": self.pausing.dumps, "accounts": parts.owners([self.made, *(part.taken for part in self.folders)]),
        }  # fmt: skip

    def row(self) -> Kept:
        """Return the row for the store."""
        row = self.run.row
        return Kept(
            row.name, self.run.deployment.number, str(self.name), self.began, row.code, row.pillar,
            self.files, sum(one.size for one in self.kept), sum(one.added for one in self.kept),
            sum(len(part.taken.changed_files) for part in self.folders), len(self.dumped), overtaken=self.overtaken,
        )  # fmt: skip


def wanted_of(run: Run) -> backups.Wanted:
    """Return what the live release wants to be kept; raise ConfigError, also where its cfg cannot be read."""
    return release_cfg.backup_of(run.project, run.row)


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
    folder = run.project.backups / parts.WORK
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
    """Remove leftovers of a backup, its work folder last: while that is there, there can be others. Raise TreeError."""
    tree.remove(run.project.dumps)
    tree.remove(dumps.folder_of(run.project))
    tree.remove(apart.folder_of(run.project))
    tree.remove(run.project.backups / parts.WORK)


def patience(run: Run) -> Check:
    """Return the check that ends a backup: cancelled, timed out, or out of disk space."""
    patience, reserve = run.deadline.patience(), run.settings.reserve << 20

    def check() -> None:
        patience()
        if shutil.disk_usage(run.project.host.state_dir).free < reserve:
            raise RefusedError(f"not enough free disk space for a backup: less than {reserve >> 20} MiB would be free")

    return check


def _repositories(run: Run) -> list[tuple[str, Path]]:
    return [("project", run.project.code_git), ("pillar", run.project.pillar_git)]


def _overtaken(run: Run) -> int | None:
    """Return the first deployment that started during this backup."""
    later = [one for one in run.site.history.deployments(run.project.name) if one.number > run.deployment.number]
    return min((one.number for one in later if one.started and one.request.sort.changes), default=None)


def _owner(run: Run, one: backups.Database) -> dict[str, int]:
    """Return owner and mode of a SQLite file: its dump replaces it."""
    if one.kind != backups.SQLITE:
        return {}
    st = (run.project.data / one.file).lstat()
    return {"uid": st.st_uid, "gid": st.st_gid, "mode": st.st_mode & 0o777}
