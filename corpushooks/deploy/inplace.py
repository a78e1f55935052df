"""Deploy edits made on the server: wire, fixperms and install, without commit, archive or rollback.

Only in dev, and only while the project is watched: Salt then reads project/.salt, as edited.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from corpushooks.core.deployment import DONE
from corpushooks.core.errors import BrokenError, CorpusError, DoorError, RefusedError, StepError, UsageError
from corpushooks.core.events import NOTHING, Detail
from corpushooks.core.hints import Hint, command
from corpushooks.deploy import prepare, steps, survivors
from corpushooks.deploy.procedure import Procedure, Step
from corpushooks.deploy.progress import Mark
from corpushooks.deploy.run import Run
from corpushooks.host import wiring
from corpushooks.release import commits, edits, release
from corpushooks.release.release import Release

EDITED = "edited"  # in a project's minion_dir: what Salt reads


def edit(run: Run) -> None:
    """Deploy the edits."""
    run.voice.tell(run.began())
    try:
        _check(run)
        _run_steps(run)
    except CorpusError as exc:
        failed = run.deadline.cause(exc)
        survivors.after(run, failed)
        if isinstance(failed, StepError):
            failed.hint = Hint("nothing was rolled back; save a corrected file to deploy it")
        run.fail(failed)
        return
    run.move(DONE)
    run.voice.tell(run.verdict())


def _run_steps(run: Run) -> None:
    """Run the steps; edits that were tried count as deployed, unless the daemon stops: the next one tries again."""
    before = edits.look(run.project, run.deadline.patience())
    try:
        for step in IN_PLACE.steps:
            run.deadline.check()
            IN_PLACE.perform(run, step)
    finally:
        if not run.site.stopping:
            with contextlib.suppress(DoorError):  # somebody is writing there: the edits are deployed once more
                edits.ran(run.project, before, run.salt.touched)


def _check(run: Run) -> None:
    if not run.in_dev:
        raise UsageError(f"{run.project.name} is {run.row.environment}: edits are deployed only in dev")
    if run.row.broken:
        raise BrokenError(f"{run.project.name} is broken: {run.row.broken}", hint=command("repair", run.project.name))
    if run.row.tree_code is None:
        raise RefusedError("nothing is deployed yet", hint="git push first")


def _update_wiring(run: Run, mark: Mark) -> Detail:
    """Update wiring and cfg from the edits; refuse syntax errors."""
    wiring.wire(run.project, run.row.environment)
    found = _edited(run)
    run.salt.open(found)
    prepare.check_syntax(run, found, hint="fix it, and save it again")
    steps.open_session(run, found)
    prepare.claim(run, run.salt.cfg.values if run.salt.cfg else {})
    run.foresees = True
    return NOTHING


def _edited(run: Run) -> Release:
    """Return the release as edited. Its configuration stays, so that a failed SLS can be run by hand."""
    folder = run.project.minion_dir / EDITED
    salt = edits.edited_salt(run.project, folder, run.deadline.patience())
    pillar = edits.edited_pillar(run.project, folder, run.deadline.patience())
    found = release.beside(run.project, run.row.environment, folder, salt, pillar)
    for message, hint in commits.flaws({path.name: path.is_symlink() for path in found.states.iterdir()}):
        raise RefusedError(f".salt/{message}", hint)
    return replace(found, minion_dir=run.project.minion_dir)


IN_PLACE = Procedure(
    (
        Step("wire", _update_wiring),
        Step("fixperms", steps.fixperms_before),
        Step("install", steps.install),
        Step("fixperms", steps.fixperms),
    ),
    "edit",
)
