"""The SLS files that a project's backups run: quiesce.sls, dump.sls, and resume.sls, which always follows the first.

The journal has a row before an application is paused and one once it runs again: the next daemon resumes what a killed
one has paused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from corpushooks import tree
from corpushooks.core.deployment import Revision
from corpushooks.core.errors import CorpusError, DoorError, SaltError, StepError
from corpushooks.core.events import SlsBegan
from corpushooks.deploy import apart
from corpushooks.deploy.run import Run
from corpushooks.system.patience import Check
from corpushooks.tree import Fingerprint

QUIESCE, DUMP, RESUME = "quiesce", "dump", "resume"
PAUSED, RESUMED = "paused", "resumed"  # rows of the journal; the first with the commits whose SLS files are run
NONE = "-"  # a commit that there is not, in such a row


@dataclass(frozen=True)
class Pausing:
    """What a backup runs of its project."""

    run: Run
    stems: frozenset[str]  # of the SLS files that the project has

    @classmethod
    def of(cls, run: Run) -> Pausing:
        """Return what the live release has; raise StepError if nothing would end a pause."""
        names = apart.names(run)
        stems = frozenset(stem for stem in (QUIESCE, DUMP, RESUME) if f"{stem}.sls" in names)
        if QUIESCE in stems and RESUME not in stems:
            raise StepError("quiesce.sls has no resume.sls")
        return cls(run, stems)

    @property
    def dumps(self) -> bool:
        return DUMP in self.stems

    def quiesce(self) -> bool:
        """Pause the application, if it can be; raise StepError or SaltError."""
        run = self.run
        if QUIESCE not in self.stems:
            return False
        run.site.history.begin(run.deployment, " ".join([PAUSED, *(commit or NONE for commit in run.row.tree)]))
        with run.deadline.within(run.settings.step_timeout):
            _perform(run, QUIESCE, run.row.tree)
        return True

    def made(self, into: Path, limit: float, check: Check) -> Fingerprint:
        """Run dump.sls, which can take `limit` seconds, and move what it wrote to a new folder; raise CorpusError."""
        folder = self.run.project.dumps
        tree.remove(folder)
        folder.mkdir(mode=0o700)
        with self.run.deadline.within(limit):
            _perform(self.run, DUMP, self.run.row.tree)
        found = tree.take(folder, check=check)
        if odd := sorted(found.manifest.left):
            raise DoorError(f"dump.sls: {folder}/{odd[0]} is mounted or linked from elsewhere")
        if not found.size:
            raise DoorError(f"dump.sls wrote nothing to {folder}", hint="cfg.dump_root names that folder")
        folder.rename(into)
        return found


def _perform(run: Run, stem: str, revision: Revision) -> None:
    apart.perform(run, SlsBegan(stem, "hook"), stem, revision)


def paused(run: Run) -> Revision | None:
    """Return the commits by whose quiesce.sls an application is paused; None if it is not."""
    found = None
    for step in run.site.history.steps(run.deployment):
        word, *commits = step.split(" ")
        if word == PAUSED and len(commits) == len(Revision._fields):
            found = Revision(*(None if commit == NONE else commit for commit in commits))
        elif word == RESUMED:
            found = None
    return found


def resume(run: Run) -> bool:
    """End a pause, if there is one; raise StepError. Nobody cancels it, and what fails is tried once more."""
    revision = paused(run)
    if revision is None:
        return False
    with run.deadline.within(run.settings.step_timeout, lifted=True):
        try:
            _perform(run, RESUME, revision)
        except (SaltError, StepError) as exc:
            run.voice.warn(f"{exc.message}; it is repeated")
            _perform(run, RESUME, revision)
    run.site.history.begin(run.deployment, RESUMED)
    return True


@contextlib.contextmanager
def resuming(run: Run) -> Iterator[None]:
    """Resume at the end, whatever happened; raise StepError if that is all that failed."""
    try:
        yield
    except BaseException:
        told(run)
        raise
    if wrong := told(run):
        raise wrong


def told(run: Run) -> StepError | None:
    """Resume; return and log what went wrong with that."""
    try:
        resume(run)
    except CorpusError as exc:
        run.voice.warn(f"the application may still be paused: {exc.message}")
        return StepError("the application may still be paused", why=exc.message)
    return None
