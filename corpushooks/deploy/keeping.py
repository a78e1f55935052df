"""Backups of a project: those that are asked for, those that come before a deployment, and those that were cut off."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from corpushooks.backup import vault
from corpushooks.core import backups
from corpushooks.core.deployment import DONE
from corpushooks.core.errors import ConfigError, CorpusError, DoorError, RefusedError, UsageError
from corpushooks.core.events import LEFT_OUT, Detail
from corpushooks.core.hints import Hint
from corpushooks.deploy import pausing
from corpushooks.deploy.pausing import Pausing
from corpushooks.deploy.procedure import Procedure, Step
from corpushooks.deploy.progress import NOWHERE, Mark
from corpushooks.deploy.run import Run
from corpushooks.deploy.saving import Saving, clear, engine_of, patience, wanted_of, working
from corpushooks.host.last import last_cfg
from corpushooks.release import cfg as release_cfg
from corpushooks.store.kept import Backups
from corpushooks.system import hostname


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
            _perform(run, job)
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


def _perform(run: Run, job: Saving) -> None:
    """Run the steps of a backup."""
    meanwhile = (Step("quiesce", job.quiesce), Step("dump", job.dump), Step("keep", job.keep))
    first, last = Step("collect", job.collect), (Step("record", job.record), Step("rotate", job.rotate))
    procedure = Procedure((first, *meanwhile, *last), "backup")
    procedure.perform(run, first)
    with pausing.resuming(run):
        for step in meanwhile:
            procedure.perform(run, step)
    for step in last:
        procedure.perform(run, step)


def first(run: Run, mark: Mark) -> Detail:
    """Make a backup before a deployment, under its number; old ones are removed by the next that runs by itself."""
    if "backup" in run.request.skip:  # what else is left out or not, data/ can change
        run.voice.warn("no backup was made before this deployment, as requested")
        return LEFT_OUT
    with run.deadline.apart(), _saving(run) as job:
        _act(run, "collect", job.collect)
        with pausing.resuming(run):
            _act(run, "quiesce", job.quiesce)
            _act(run, "dump", job.dump)
            _act(run, "keep", job.keep)
        _act(run, "record", job.record)
    run.deployment = run.site.history.set_backup(run.deployment, str(job.name))
    return Detail(job.files, "file")


def _act(run: Run, name: str, act: Callable[[Run, Mark], Detail]) -> None:
    with run.site.effect(f"backup {name}"):
        act(run, NOWHERE)
    run.deadline.check()


def comes_first(run: Run) -> bool:
    """Say whether the live release wants a backup before each deployment; raise RefusedError if that is unknown."""
    if not run.request.sort.usual:
        return False
    try:
        return wanted_of(run).before == backups.DEPLOY
    except ConfigError as exc:
        if "backup" in run.request.skip or not backups.may_come_first(last_cfg(run.project)):
            return False
        if run.settings.backup is None:  # a release that wants one before each deployment is refused on such a host
            run.voice.warn(f"no backup was made before this deployment: {exc.message}, and this host keeps no backups")
            return False
        raise RefusedError(
            f"cannot tell whether a backup must be made first: {exc.message}",
            hint=Hint(
                "without one: git push -o skip=backup REMOTE; or on the server: ", release_cfg.rewriting(run.row.name)
            ),
        ) from exc


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
    job = Saving(run, engine, wanted_of(run), name, patience(run), began, Pausing.of(run))
    with working(run, job.check, clear):
        yield job
