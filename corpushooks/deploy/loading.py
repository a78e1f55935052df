"""Loading of dumps into the databases of a project, after a dump of what is in them, which stays aside.

The journal has a row before each load and one after it. What a killed daemon left half loaded, the next one loads again
from what was dumped aside.
"""

from __future__ import annotations

from pathlib import Path

from corpushooks.backup import dumps, vault
from corpushooks.core import backups
from corpushooks.core.errors import CorpusError, DoorError, SaltError, StepError, UsageError
from corpushooks.core.events import Noted, SlsBegan
from corpushooks.deploy import apart, parts
from corpushooks.deploy.pausing import DUMP, Pausing
from corpushooks.deploy.placing import TO, kept_aside
from corpushooks.deploy.run import Run
from corpushooks.deploy.saving import wanted_of
from corpushooks.system import disk
from corpushooks.system.patience import Check

LOAD, LOADED = "load", "loaded"  # rows of the journal, with a database, or with MADE
MADE = "what dump.sls wrote"
STEM = "task_load"
TASK = f"{STEM}.sls"


def server(run: Run, label: str) -> backups.Database:
    """Return a database as cfg names it now; raise UsageError."""
    one = next((each for each in wanted_of(run).databases if each.label == label), None)
    if one is None:
        raise UsageError(f"cfg names no database {label}", hint=backups.HINT)
    if one.kind == backups.SQLITE:
        raise UsageError(f"{label} is a file of data/", hint="restore it with --data")
    return one


def load(run: Run, label: str, dump: Path, place: Path, check: Check) -> None:
    """Load a dump into its database, after dumping that into a folder of ours."""
    one, aside = server(run, label), place / f"{label}.dump"
    limit = vault.wanted(run.settings).dump_timeout
    dumps.dump(run, one, aside, limit, check)
    disk.flush_folder(place)
    run.site.history.begin(run.deployment, f"{LOAD} {label}")
    with run.site.effect("restore load"):
        dumps.load(run, one, dump, aside, limit)
    run.site.history.begin(run.deployment, f"{LOADED} {label}")
    run.voice.tell(Noted(f"      {label} is as it was; what was in it: {aside}"))


def check_made(run: Run, *, made: bool) -> None:
    """Raise UsageError where what dump.sls wrote cannot be loaded."""
    if not made:
        raise UsageError("this backup has nothing that dump.sls wrote", hint=TO)
    for file in (TASK, f"{DUMP}.sls"):
        if file not in apart.names(run):
            raise UsageError(f"the project has no {file}", hint=TO)


def load_made(run: Run, made: Path, aside: Path, check: Check) -> None:
    """Have the project load what its dump.sls wrote, after dumping what there is now; raise CorpusError.

    If that fails, what was there is loaded again.
    """
    limit = vault.wanted(run.settings).dump_timeout
    Pausing.of(run).made(aside, limit, check)
    disk.flush_all(aside)
    run.site.history.begin(run.deployment, f"{LOAD} {MADE}")
    try:
        with run.site.effect("restore load"):
            _by_task(run, made, limit)
    except (SaltError, StepError) as exc:
        try:
            _by_task(run, aside, limit)
        except CorpusError as again:
            raise DoorError(f"half restored: {again.message}; what dump.sls dumps is in {aside}") from exc
        run.site.history.begin(run.deployment, f"{LOADED} {MADE}")
        raise DoorError(f"{exc.message}; what was there was loaded again") from exc
    run.site.history.begin(run.deployment, f"{LOADED} {MADE}")
    run.voice.tell(Noted(f"      {MADE} is loaded; what was there: {aside}"))


def _by_task(run: Run, folder: Path, limit: float) -> None:
    """Run the task that loads files of dump.sls; nobody ends it."""
    with run.deadline.within(limit, lifted=True):
        apart.perform(run, SlsBegan(STEM, "task"), STEM, run.row.tree, {"dump_root": str(folder)})


def repair(run: Run) -> str:
    """Load again what an interrupted restore replaced half; return what is to be said of it, '' for nothing."""
    begun = [step.partition(" ") for step in run.site.history.steps(run.deployment)]
    loaded = [label for word, _, label in begun if word == LOADED]
    said = []
    for label in (label for word, _, label in begun if word == LOAD):
        aside = kept_aside(run.project, run.deployment.number) / (parts.MADE if label == MADE else f"{label}.dump")
        if label in loaded:
            said.append(f"{label} was replaced; what was in it is in {aside}")
            continue
        try:
            said.append(_repair(run, label, aside))
        except (CorpusError, OSError) as exc:
            said.append(f"{label} may be half restored: {exc}; what was in it is in {aside}")
    return "; ".join(said)


def _repair(run: Run, label: str, aside: Path) -> str:
    limit = vault.wanted(run.settings).dump_timeout
    if label == MADE:
        _by_task(run, aside, limit)
        return "what dump.sls dumps was loaded as it was before"
    one = server(run, label)
    if one.kind == backups.POSTGRESQL:
        return f"{label} is as it was or as in the backup; what was in it is in {aside}"
    dumps.load_again(run, one, aside, limit)
    return f"{label} was loaded as it was before"
