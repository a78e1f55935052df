"""Deploy in place what was edited on the server: wire, fixperms and install, no commit, no archive, no roll back.

Only in dev, and only when somebody watches: Salt then reads project/.salt, as it was edited.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from corpushooks import claiming, edits, prepare, release, steps, survivors, wiring
from corpushooks.deployment import DONE
from corpushooks.errors import BrokenError, CorpusError, DoorError, RefusedError, StepError, UsageError
from corpushooks.events import NOTHING, Detail, StepBegan, StepEnded
from corpushooks.progress import Mark
from corpushooks.release import Release
from corpushooks.site import Run

EDITED = "edited"  # in a project's minion_dir: what Salt reads


def edit(run: Run) -> None:
    """Deploy what was edited."""
    run.voice.tell(run.began())
    try:
        _check(run)
        _go(run)
    except CorpusError as exc:
        failed = run.deadline.cause(exc)
        survivors.after(run, failed)
        if isinstance(failed, StepError):
            failed = StepError(failed.message, hint="nothing is rolled back; save a corrected file to deploy it")
        run.fail(failed)
        return
    run.move(DONE)
    run.voice.tell(run.verdict())


def _go(run: Run) -> None:
    """Run the steps; what was tried counts as deployed, unless a daemon that stops ends it: the next one goes on."""
    before = edits.look(run.project, run.deadline.patience())
    try:
        for index, (step, act) in enumerate(IN_PLACE, 1):
            _one(run, step, Mark(index, len(IN_PLACE)), act)
    finally:
        if not run.site.stopping:
            with contextlib.suppress(DoorError):  # somebody writes there just now: it is deployed once more
                edits.ran(run.project, before, run.salt.touched)


def _check(run: Run) -> None:
    if not run.in_dev:
        raise UsageError(f"{run.project.name} is {run.row.environment}: only in dev are edits deployed")
    if run.row.broken:
        raise BrokenError(f"{run.project.name} is broken: {run.row.broken}", hint=f"corpus repair {run.project.name}")
    if run.row.tree_code is None:
        raise RefusedError("nothing is deployed yet", hint="git push first")


def _one(run: Run, step: str, mark: Mark, act: Callable[[Run, Mark], Detail]) -> None:
    """Run one step, journaled before it begins."""
    run.deadline.check()
    start = time.monotonic()
    run.site.history.begin(run.deployment, step)
    run.voice.tell(StepBegan(step, mark.index, mark.total))
    with run.site.effect(f"edit {step}"):
        detail = act(run, mark)
    run.voice.tell(StepEnded(step, mark.index, mark.total, detail, time.monotonic() - start))


def _wire(run: Run, mark: Mark) -> Detail:
    """Let wiring and cfg follow what was edited; refuse what has wrong syntax."""
    wiring.wire(run.project, run.row.environment)
    found = _edited(run)
    run.salt.open(found)
    prepare.check_syntax(run, found, hint="mend it, and save it again")
    steps.open_session(run, found)
    claiming.claim(run, run.salt.cfg.values if run.salt.cfg else {})
    run.foresees = True
    return NOTHING


def _edited(run: Run) -> Release:
    """Return the release as it was edited. Its configuration stays, so that what fails can be run by hand."""
    folder = run.project.minion_dir / EDITED
    salt = edits.edited_salt(run.project, folder, run.deadline.patience())
    pillar = edits.edited_pillar(run.project, folder, run.deadline.patience())
    found = release.beside(run.project, run.row.environment, folder, salt, pillar)
    for message, hint in release.flaws({path.name: path.is_symlink() for path in found.states.iterdir()}):
        raise RefusedError(f".salt/{message}", hint)
    return replace(found, minion_dir=run.project.minion_dir)


IN_PLACE: tuple[tuple[str, Callable[[Run, Mark], Detail]], ...] = (
    ("wire", _wire),
    ("fixperms", steps.fixperms_before),
    ("install", steps.install),
    ("fixperms", steps.fixperms),
)
