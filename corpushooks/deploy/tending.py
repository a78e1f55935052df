"""Requests that tend the repository of backups: expired backups are removed, and the repository is read as a whole."""

from __future__ import annotations

from collections.abc import Callable

from corpushooks import backup as door
from corpushooks.backup import vault
from corpushooks.core.deployment import DONE
from corpushooks.core.errors import CancelledError, CorpusError, RefusedError, UsageError
from corpushooks.core.events import Detail
from corpushooks.deploy import expired, returned, saving
from corpushooks.deploy.procedure import Procedure, Step
from corpushooks.deploy.run import Run
from corpushooks.system import hostname
from corpushooks.system.patience import Check

Act = Callable[[Run, door.Engine, Check], Detail]


def prune(run: Run) -> None:
    """Remove the expired backups of a project, and what failed ones left in the repository."""
    _tend(run, "prune", _prune)


def check(run: Run) -> None:
    """Read the whole repository."""
    _tend(run, "check", _check)


def _prune(run: Run, engine: door.Engine, check: Check) -> Detail:
    kept = vault.wanted(run.settings)
    if not kept.prunes:
        raise RefusedError("this host removes no backups", hint="`prune: true` under `backup` in the host's settings")
    copies = engine.copies(check)
    newest = returned.chosen(copies, run.project.name, 0, hostname.fqdn(), alone=True)
    there = {copy.name for copy in copies}
    return Detail(expired.remove(run, engine, there, kept, newest, check), "old backup", note="removed")


def _check(run: Run, engine: door.Engine, check: Check) -> Detail:
    vault.verify(run.project.host, engine, check)
    return Detail(note="the backup repository is intact")


def _tend(run: Run, name: str, act: Act) -> None:
    run.voice.tell(run.began())
    try:
        engine, check = saving.engine_of(run), run.deadline.patience()
        with saving.working(run, check, saving.clear):
            step = Step(name, lambda run, mark: act(run, engine, check))
            Procedure((step,), name).perform(run, step)
    except CorpusError as exc:
        cause = run.deadline.cause(exc)
        run.fail(cause)
        if not isinstance(cause, (CancelledError, RefusedError, UsageError)):
            run.announce()
        return
    run.move(DONE)
    run.voice.tell(run.verdict())
