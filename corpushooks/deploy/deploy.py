"""The procedure: the table of steps, and the rollback.

A step is journaled before it runs. A deployment that is interrupted before the journal's row `publish` is rolled back;
one that is interrupted after it is completed. Every function here can run twice.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import replace

from corpushooks import git, tree
from corpushooks.core.deployment import (
    BROKEN,
    DECIDES,
    DEPLOYED,
    DONE,
    FAILED,
    HELD,
    HOLDS,
    PREPARED,
    REFUSED,
    ROLLED_BACK,
    ROLLING_BACK,
    TOUCHES,
    Deployment,
)
from corpushooks.core.errors import (
    CorpusError,
    DoorError,
    RefusedError,
    SaltError,
    StepError,
    StoppingError,
    StoreError,
    TreeError,
)
from corpushooks.core.events import Complained, Noted, Traced, Warned
from corpushooks.core.hints import Advice, Hint, command
from corpushooks.core.text import one_line
from corpushooks.deploy import archives, beyond, hold, keeping, prepare, prepared, reruns, steps, survivors, trees
from corpushooks.deploy.procedure import OnFailure, Procedure, Step
from corpushooks.deploy.progress import NOWHERE
from corpushooks.deploy.run import Run
from corpushooks.host import layout, wiring  # fmt: skip

PROCEDURE = Procedure(
    (
        Step("archive", steps.archive, OnFailure.REFUSE),
        Step(TOUCHES, steps.sync, OnFailure.ROLL_BACK, stays=False),
        Step("fixperms", steps.fixperms_before, OnFailure.ROLL_BACK),
        Step("install", steps.install, OnFailure.ROLL_BACK),
        Step("fixperms", steps.fixperms, OnFailure.ROLL_BACK),
        Step(DECIDES, steps.publish, OnFailure.ROLL_BACK, stays=False),
        Step("rotate", archives.rotate, OnFailure.WARN, twice=True),
        Step("notify", steps.notify, OnFailure.WARN),
    )
)
FIRST = Step("backup", keeping.first, OnFailure.REFUSE)
HOLDING = PROCEDURE.with_before(DECIDES, Step(HOLDS, hold.hold, OnFailure.ROLL_BACK, stays=False))
SAVING = PROCEDURE.with_before("archive", FIRST)
HOLDING_SAVING = HOLDING.with_before("archive", FIRST)
ORDERED = HOLDING.with_before(TOUCHES, Step(PREPARED, prepared.wait, OnFailure.REFUSE))  # by a controller
ORDERED_SAVING = ORDERED.with_before("archive", FIRST)
ROLL_BACK = Procedure(
    (
        Step("refs", steps.take_back_refs),
        Step("stop", survivors.settle),
        Step("keep", steps.keep_failed),
        Step("restore", steps.restore),
        Step("outside", beyond.take_back),
        Step("rollback", steps.rollback_sls),
        Step("install again", reruns.reinstall),
        Step("reload", beyond.reload),
        Step("fixperms", steps.fixperms),
        Step("compare", reruns.compare),
    ),
    "undo",
    undoes=True,
)


# forward


def deploy(run: Run) -> None:
    """Deploy: run the procedure, and the rollback if it fails."""
    try:
        prepare.aim(run)
        prepare.check(run)
        run.deadline.check()
        rows = procedure_of(run).steps
    except CorpusError as exc:
        refuse(run, run.deadline.cause(exc))
    except Exception as exc:  # the edge of a lane: nothing was touched yet
        run.voice.tell(_trace(exc))
        refuse(run, RefusedError(f"internal error: {type(exc).__name__}: {exc}"))
    else:
        go_on(run, rows)


def procedure_of(run: Run) -> Procedure:
    """Return the procedure: with a step more if it is held, with one for a backup first, with two for a controller."""
    if run.request.rollout:
        return ORDERED_SAVING if saves(run) else ORDERED
    if run.deployment.lease:
        return HOLDING_SAVING if saves(run) else HOLDING
    return SAVING if saves(run) else PROCEDURE


def saves(run: Run) -> bool:
    """Say whether a deployment makes a backup first; once it has begun, its journal knows."""
    begun = run.site.history.steps(run.deployment)
    return FIRST.name in begun if begun else keeping.comes_first(run)


def go_on(run: Run, rows: tuple[Step, ...]) -> None:
    """Run rows of the procedure until one ends it."""
    for step in rows:
        decides = step.name == DECIDES
        concludes = decides and not run.deployment.held  # a held one was flushed before
        try:
            procedure_of(run).perform(run, step, _conclude if concludes else None)
        except Exception as exc:  # the edge of a lane: a bug of ours must roll back, too
            if not _goes_on(run, step, exc):
                return
        if decides:
            say_live(run)


def _conclude(run: Run) -> None:
    """Flush everything to disk: after the deciding row there is no rollback, so all must be on disk before."""
    steps.conclude(run, run.deadline.patience())


def _goes_on(run: Run, step: Step, exc: Exception) -> bool:
    """Handle a failed step as the table says; return whether the procedure continues."""
    if run.deployment.state == HELD or (step.name == HOLDS and run.deployment.confirmed):
        return _is_confirmed(run, exc)
    if not isinstance(exc, CorpusError):
        run.voice.tell(_trace(exc))
        exc = StepError(f"{step.name} failed", why=f"{type(exc).__name__}: {exc}")
    elif isinstance(exc, DoorError):  # its message does not name the step
        exc = exc.within(step.name)
    if step.on_failure is OnFailure.WARN or run.deployment.state == DEPLOYED:
        run.voice.warn(exc.message)
        return True
    exc = run.deadline.cause(exc)
    survivors.after(run, exc)
    if step.on_failure is OnFailure.REFUSE:
        refuse(run, exc)
    else:
        _fail(run, exc, stays=step.stays)
    return False


def _is_confirmed(run: Run, exc: Exception) -> bool:
    """Roll back a held deployment that failed, or leave it to the next daemon; return whether it was confirmed."""
    if isinstance(exc, StoppingError):
        return False
    if isinstance(exc, StoreError):
        raise exc  # the lane continues to hold it once the store is back
    if not isinstance(exc, CorpusError):
        run.voice.tell(_trace(exc))
        exc = StepError(f"{HOLDS} failed", why=f"{type(exc).__name__}: {exc}")
    if run.deployment.confirmed or not hold.give_up(run, exc):
        return True
    roll_back(run, exc)
    return False


def refuse(run: Run, exc: CorpusError) -> None:
    """End a deployment that changed nothing."""
    run.site.history.unclaim(run.project.name, run.deployment.number)
    if run.deployment.archive:
        tree.remove(run.archive)
        prepare.unpin(run)
    run.move(REFUSED, exc)
    run.voice.tell(run.verdict(exc.message, exc.hint))


def _trace(exc: Exception) -> Traced:
    return Traced("".join(traceback.format_exception(exc)).rstrip())


def _fail(run: Run, exc: CorpusError, *, stays: bool) -> None:
    """Roll back; in dev leave the failed tree for the developer, if it is the tree of a single commit."""
    if stays and may_stay(run):
        leave(run, exc)
    else:
        roll_back(run, exc)


def may_stay(run: Run) -> bool:
    """Say whether the tree of a failed deployment can be left as it is."""
    return run.in_dev and run.settings.rollback != "always" and not run.request.rollout


def leave(run: Run, why: CorpusError) -> None:
    """End a failed deployment, and leave its tree for the developer."""
    done = run.deployment
    steps.conclude(run)
    run.site.history.set_tree(run.project.name, done.new_code, done.new_pillar)
    run.move(FAILED, why)
    said = run.verdict(why.message, see_log=True)
    run.voice.tell(replace(said, how="left", commit=done.new_code, live=done.old_code))
    after_failure(run)


def say_live(run: Run) -> None:
    """Log that a deployment is live."""
    done, took = run.deployment, time.monotonic() - run.deadline.since
    urls = tuple(run.site.history.addresses(done.project))
    run.voice.tell(replace(run.verdict(), commit=done.new_code, seconds=took, urls=urls))


def after_failure(run: Run, begun: Sequence[str] = ()) -> None:
    """Rotate and notify after a failure, too; failures in that are logged only."""
    run.salt.close()  # a stopped session does not answer any more
    for step in PROCEDURE.after_the_outcome(begun):
        try:
            run.site.history.begin(run.deployment, step.name)
            step.act(run, NOWHERE)
        except Exception as exc:  # the edge of a lane: the outcome is final already
            run.voice.tell(Warned(f"{step.name}: {exc}", aside=True))


# back


def roll_back(run: Run, why: CorpusError) -> None:
    """Restore everything; if that fails the project is broken."""
    layout.drop_ballast(run.project.host)
    run.voice.tell(Complained(why.message))
    if run.deployment.state != ROLLING_BACK:
        run.move(ROLLING_BACK, why)
    run.deadline.lifted = True
    try:
        _undo_though_killed(run)
    except StoreError:
        raise  # the lane tries again once the store is back
    except Exception as exc:  # the edge of a lane: whatever failed, a person must know
        if run.site.stopping:  # Salt was stopped together with us: the next daemon continues
            run.voice.tell(Warned(f"stopped during the rollback ({exc}); the next daemon repeats it"))
            return
        run.voice.tell(_trace(exc))
        _break(run, str(exc), exc.hint if isinstance(exc, TreeError) else "")
        return
    run.move(ROLLED_BACK)
    kept = tree.is_whole(run.archive / "project.failed")
    run.voice.tell(replace(run.verdict(run.deployment.reason, see_log=True), kept=kept))
    after_failure(run)


def _undo_though_killed(run: Run) -> None:
    """Run the steps of the rollback; once more if an SLS failed or Salt ended: Salt is started again then."""
    try:
        undo(run)
    except (SaltError, StepError) as exc:
        run.voice.tell(Warned(f"{exc.message}; the rollback is repeated", aside=True))
        run.salt.close()
        undo(run)


def undo(run: Run) -> None:
    """Run the steps of the rollback."""
    for step in ROLL_BACK.steps:
        ROLL_BACK.perform(run, step)
    steps.conclude(run)


def _break(run: Run, why: str, help_first: Advice) -> None:
    name, number = run.project.name, run.deployment.number
    broken = one_line(run.voice.hide(f"the rollback of deployment {number} failed: {why}"))
    run.site.history.set_broken(name, broken, number)
    run.move(BROKEN)
    said = Hint(help_first or command("log", name, number), ", then ", command("repair", name))
    run.voice.tell(run.verdict(why, said))
    run.announce()


def repair(run: Run) -> None:
    """Repeat the rollback of a broken deployment, and repair layout and wiring."""
    name = run.project.name
    run.voice.tell(run.began())
    try:
        moved = [] if run.row.broken_by is not None else trees.make_way(run, run.project.dir)
        if run.row.broken_by is not None:
            _undo_again(run, run.site.history.deployment(name, run.row.broken_by))
        missing = not run.project.tree.is_dir()
        layout.make(run.project, run.row.branch)
        if moved or missing:
            trees.bring_again(run)
        wiring.wire(run.project, run.row.environment)
    except CorpusError as exc:
        run.move(FAILED, exc)
        again = isinstance(exc, TreeError) and exc.hint
        log = command("log", name, run.deployment.number)
        hint = Hint(exc.hint, ", then ", command("repair", name)) if again else log
        run.voice.tell(run.verdict(f"not repaired: {exc.message}", hint))
        return
    run.site.history.set_broken(name, None)
    run.move(DONE)
    run.voice.tell(run.verdict())


def _undo_again(run: Run, broken: Deployment) -> None:
    run.voice.tell(Noted(f"repeating the rollback of deployment {broken.number}"))
    again = Run.of(run.site, run.row, run.settings, broken, run.voice.log, owner=run.deployment)
    try:
        git.distrust(run.project.work_git)
        undo(again)
    finally:
        again.salt.close()
