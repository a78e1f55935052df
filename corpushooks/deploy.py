"""The procedure: the table of steps, the roll back, and what is done after a crash.

A step is journaled before it runs. What is interrupted before the journal's row `publish` goes back, what is
interrupted after it goes forward. Every function here can run twice.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from corpushooks import announce, beyond, git, layout, prepare, reruns, steps, survivors, tree, trees, wiring
from corpushooks.deployment import (
    BROKEN,
    DEPLOYED,
    DONE,
    FAILED,
    REFUSED,
    ROLLED_BACK,
    ROLLING_BACK,
    RUNNING,
    Deployment,
)
from corpushooks.errors import (
    CorpusError,
    DoorError,
    RefusedError,
    SaltError,
    StepError,
    StoreError,
    TreeError,
)
from corpushooks.events import Complained, Detail, Noted, StepBegan, StepEnded, Traced, Warned
from corpushooks.progress import NOWHERE, Mark
from corpushooks.run import start_time, stop_group
from corpushooks.site import Run, Site
from corpushooks.text import one_line


@dataclass(frozen=True)
class Step:
    """One row of the procedure."""

    name: str
    act: Callable[[Run, Mark], Detail]  # takes where in the procedure it is; returns what came of it
    on_failure: str  # refuse, roll back or warn


PROCEDURE = (
    Step("archive", steps.archive, "refuse"),
    Step("sync", steps.sync, "roll back"),
    Step("fixperms", steps.fixperms_before, "roll back"),
    Step("install", steps.install, "roll back"),
    Step("fixperms", steps.fixperms, "roll back"),
    Step("publish", steps.publish, "roll back"),
    Step("rotate", steps.rotate, "warn"),
    Step("notify", steps.notify, "warn"),
)


ROLL_BACK = (
    Step("refs", steps.take_back_refs, "broken"),
    Step("stop", survivors.settle, "broken"),
    Step("keep", steps.keep_failed, "broken"),
    Step("restore", steps.restore, "broken"),
    Step("outside", beyond.take_back, "broken"),
    Step("rollback", steps.rollback_sls, "broken"),
    Step("install again", reruns.reinstall, "broken"),
    Step("reload", beyond.reload, "broken"),
    Step("fixperms", steps.fixperms, "broken"),
    Step("compare", reruns.compare, "broken"),
)


# forward


def deploy(run: Run) -> None:
    """Deploy: the procedure, and the roll back where it fails."""
    try:
        prepare.aim(run)
        prepare.check(run)
        run.deadline.check()
    except CorpusError as exc:
        refuse(run, run.deadline.cause(exc))
    except Exception as exc:  # the edge of a lane: nothing was touched, whatever is wrong with it
        run.voice.tell(_trace(exc))
        refuse(run, RefusedError(f"internal error: {type(exc).__name__}: {exc}"))
    else:
        _go_on(run, PROCEDURE)


def _go_on(run: Run, rows: tuple[Step, ...]) -> None:
    """Run rows of the procedure until one ends it."""
    for step in rows:
        try:
            _one(run, step)
        except Exception as exc:  # the edge of a lane: a fault of our own must roll back too
            if not _goes_on(run, step, exc):
                return
        if step.name == "publish":
            _say_live(run)


def _one(run: Run, step: Step) -> None:
    """Run one step, journaled before it begins."""
    index = next(i for i, row in enumerate(PROCEDURE, 1) if row is step)
    mark, start = Mark(index, len(PROCEDURE)), time.monotonic()
    with run.site.effect(f"{index} {step.name}"):
        if step.name == "publish":  # from its row on there is no way back: what goes forward must be there
            steps.conclude(run, run.deadline.patience())
        run.site.history.begin(run.deployment, step.name)
        run.voice.tell(StepBegan(step.name, mark.index, mark.total))
        detail = step.act(run, mark)
    run.event("step", {"step": f"{index} {step.name}", "seconds": round(time.monotonic() - start, 3)})
    if run.deployment.state == RUNNING:  # what was cancelled in a step ends with it
        run.deadline.check()
    run.voice.tell(StepEnded(step.name, mark.index, mark.total, detail, time.monotonic() - start))


def _goes_on(run: Run, step: Step, exc: Exception) -> bool:
    """Do what the table says of a step that failed; return whether the procedure goes on."""
    if not isinstance(exc, CorpusError):
        run.voice.tell(_trace(exc))
        exc = StepError(f"{step.name} failed: {type(exc).__name__}: {exc}")
    elif isinstance(exc, DoorError):  # it does not say in which step it was met
        exc = type(exc)(f"{step.name}: {exc.message}", exc.hint)
    if step.on_failure == "warn" or run.deployment.state == DEPLOYED:
        run.voice.warn(exc.message)
        return True
    exc = run.deadline.cause(exc)
    survivors.after(run, exc)
    if step.on_failure == "refuse":
        refuse(run, exc)
    else:
        _fail(run, step.name, exc)
    return False


def refuse(run: Run, exc: CorpusError) -> None:
    """End a deployment that touched nothing."""
    run.site.history.unclaim(run.project.name, run.deployment.number)
    if run.deployment.archive:
        tree.remove(run.archive)
        prepare.unpin(run)
    run.move(REFUSED, exc.message)
    run.voice.tell(run.verdict(exc.message, exc.hint))


def _trace(exc: Exception) -> Traced:
    return Traced("".join(traceback.format_exception(exc)).rstrip())


def _fail(run: Run, step: str, exc: CorpusError) -> None:
    """Roll back; in dev the failed tree stays for the developer, where it is the tree of one commit."""
    if _stays(run, step):
        _leave(run, exc.message)
    else:
        roll_back(run, exc.message)


def _stays(run: Run, step: str) -> bool:
    """Say whether the tree of a deployment that failed in a step is left as it is."""
    in_dev = run.in_dev and run.settings.rollback != "always"
    return in_dev and step not in ("sync", "publish")


def _leave(run: Run, reason: str) -> None:
    done = run.deployment
    steps.conclude(run)
    run.site.history.set_tree(run.project.name, done.new_code, done.new_pillar)
    run.move(FAILED, reason)
    run.voice.tell(replace(run.verdict(reason, see_log=True), how="left", commit=done.new_code, live=done.old_code))
    _afterwards(run)


def _say_live(run: Run) -> None:
    done, took = run.deployment, time.monotonic() - run.deadline.since
    urls = tuple(run.site.history.addresses(done.project))
    run.voice.tell(replace(run.verdict(), commit=done.new_code, seconds=took, urls=urls))


def _afterwards(run: Run, begun: Sequence[str] = ()) -> None:
    """Rotate and notify after a failure too; what fails in that is in the log."""
    run.salt.close()  # one that was stopped answers nothing more
    for step in _left(begun):
        try:
            run.site.history.begin(run.deployment, step.name)
            step.act(run, NOWHERE)
        except Exception as exc:  # the edge of a lane: the outcome stands already
            run.voice.tell(Warned(f"{step.name}: {exc}", aside=True))


def _left(begun: Sequence[str]) -> tuple[Step, ...]:
    """Return what comes after the outcome and was not begun; a rotation can be begun twice, a notification not."""
    return tuple(step for step in _from("rotate") if step.name not in begun or step.name == "rotate")


# back


def roll_back(run: Run, reason: str) -> None:
    """Bring everything back to what it was; where that fails the project is broken."""
    layout.drop_ballast(run.project.host)
    run.voice.tell(Complained(reason))
    if run.deployment.state != ROLLING_BACK:
        run.move(ROLLING_BACK, reason)
    run.deadline.lifted = True
    try:
        _undo_though_killed(run)
    except StoreError:
        raise  # the lane does it again once the store is back
    except Exception as exc:  # the edge of a lane: whatever failed, a person must know
        if run.site.stopping:  # whoever stops us stops Salt with us: the next daemon goes on from here
            run.voice.tell(Warned(f"stopped in the roll back ({exc}); the next daemon does it again"))
            return
        run.voice.tell(_trace(exc))
        _break(run, str(exc), exc.hint if isinstance(exc, TreeError) else "")
        return
    run.move(ROLLED_BACK)
    kept = tree.is_whole(run.archive / "project.failed")
    run.voice.tell(replace(run.verdict(run.deployment.reason, see_log=True), kept=kept))
    _afterwards(run)


def _undo_though_killed(run: Run) -> None:
    """Run the steps of the roll back; once more where an SLS failed or Salt ended: what was killed lives then."""
    try:
        undo(run)
    except (SaltError, StepError) as exc:
        run.voice.tell(Warned(f"{exc.message}; the roll back is done again", aside=True))
        run.salt.close()
        undo(run)


def undo(run: Run) -> None:
    """Run the steps of the roll back."""
    for step in ROLL_BACK:
        with run.site.effect(f"undo {step.name}"):
            run.site.history.begin(run.deployment, f"undo {step.name}")
            run.voice.tell(StepBegan(step.name, undo=True))
            detail = step.act(run, NOWHERE)
        run.voice.tell(StepEnded(step.name, detail=detail, undo=True))
    steps.conclude(run)


def _break(run: Run, why: str, help_first: str) -> None:
    name, number = run.project.name, run.deployment.number
    broken = one_line(run.voice.hide(f"the roll back of deployment {number} failed: {why}"))
    run.site.history.set_broken(name, broken, number)
    run.move(BROKEN)
    run.voice.tell(run.verdict(why, f"{help_first or f'corpus log {name} {number}'}, then corpus repair {name}"))
    announce.ended(run)


def repair(run: Run) -> None:
    """Do the roll back of a broken deployment again, and see that layout and wiring are whole."""
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
        run.move(FAILED, exc.message)
        again = isinstance(exc, TreeError) and exc.hint
        hint = f"{exc.hint}, then corpus repair {name}" if again else f"corpus log {name} {run.deployment.number}"
        run.voice.tell(run.verdict(f"not repaired: {exc.message}", hint))
        return
    run.site.history.set_broken(name, None)
    run.move(DONE)
    run.voice.tell(run.verdict())


def _undo_again(run: Run, broken: Deployment) -> None:
    run.voice.tell(Noted(f"the roll back of deployment {broken.number} is done again"))
    again = Run.of(run.site, run.row, run.settings, broken, run.voice.log, owner=run.deployment)
    try:
        git.distrust(run.project.work_git)
        undo(again)
    finally:
        again.salt.close()


# after a crash


def stop_children(site: Site, deployment: Deployment) -> None:
    """Stop what a daemon that was killed left running, before anything is restored."""
    for child in site.history.children(deployment):
        if start_time(child.pid) == child.start and child.pid != os.getpid():
            stop_group(child.pgid)
    project = site.host.project(deployment.project)
    for checkout in (project.stage, project.pillar_stage):
        git.stop_checkout(checkout)


def recover(run: Run) -> None:
    """Bring a deployment that was interrupted to its end, forward or back; this may be interrupted too."""
    stop_children(run.site, run.deployment)
    prepare.clear_left(run)
    begun = run.site.history.steps(run.deployment)
    if run.deployment.state == RUNNING:
        _recover_running(run, begun)
    elif run.deployment.state == ROLLING_BACK:
        git.distrust(run.project.work_git)
        roll_back(run, run.deployment.reason)
    else:
        _recover_ended(run, begun)


def _recover_running(run: Run, begun: list[str]) -> None:
    interrupted = StepError("interrupted: the daemon was stopped or the host went down")
    if not run.request.sort.releases:
        run.move(FAILED, interrupted.message)
        run.voice.tell(run.verdict(interrupted.message, f"ask for the {run.request.kind} again"))
    elif "publish" in begun:
        run.voice.tell(Warned("interrupted while it was published; going on"))
        _go_on(run, _from("publish"))
    elif "sync" in begun:
        _fail_interrupted(run, begun[-1], interrupted)
    else:
        refuse(run, RefusedError(f"{interrupted.message}; nothing was touched", hint="push again"))


def _fail_interrupted(run: Run, step: str, why: CorpusError) -> None:
    """Roll back what was interrupted, for all we know by a power cut: in dev the files that it spoilt come again."""
    stays = _stays(run, step)
    if stays:
        steps.keep_edited(run)  # what was saved since
    git.distrust(run.project.work_git)
    if not stays:
        roll_back(run, why.message)
        return
    try:
        trees.bring(run)
    except CorpusError as exc:
        roll_back(run, f"{why.message}; {exc.message}")
    else:
        _leave(run, why.message)


def _recover_ended(run: Run, begun: list[str]) -> None:
    """The outcome stands; say it where that was missed, and do what comes after it."""
    done = run.deployment
    if done.state == DEPLOYED:
        if not run.voice.log.ended:
            _say_live(run)
        _go_on(run, _left(begun))
        return
    if not run.voice.log.ended:
        run.voice.tell(replace(run.verdict(done.reason), how="late"))
    if done.state in (ROLLED_BACK, FAILED) and "sync" in begun:
        _afterwards(run, begun)


def _from(name: str) -> tuple[Step, ...]:
    names = [step.name for step in PROCEDURE]
    return PROCEDURE[names.index(name) :]
