"""Recovery after a crash: an interrupted deployment is rolled back, or completed."""

from __future__ import annotations

import os
from dataclasses import replace

from corpushooks import git
from corpushooks.core.deployment import DEPLOYED, FAILED, HELD, HOLDS, ROLLED_BACK, ROLLING_BACK, RUNNING, Deployment
from corpushooks.core.errors import CorpusError, RefusedError, StepError
from corpushooks.core.events import Warned
from corpushooks.deploy import deploy, keeping, parts, pausing, prepare, steps, trees
from corpushooks.deploy.procedure import decided, touched
from corpushooks.deploy.run import Run
from corpushooks.host.site import Site
from corpushooks.store import lease
from corpushooks.system.locks import is_copying
from corpushooks.system.process import start_time, stop_group

INTERRUPTED = "the daemon was stopped or the host went down"


def stop_children(site: Site, deployment: Deployment) -> None:
    """Stop processes that a killed daemon left running, before anything is restored."""
    for child in site.history.children(deployment):
        if start_time(child.pid) == child.start and child.pid != os.getpid():
            stop_group(child.pgid)
    project = site.host.project(deployment.project)
    for checkout in (project.stage, project.pillar_stage):
        git.stop_checkout(checkout)


def recover(run: Run) -> None:
    """Complete or roll back an interrupted deployment; this can be interrupted, too."""
    stop_children(run.site, run.deployment)
    prepare.clear_left(run)
    begun = run.site.history.steps(run.deployment)
    if run.deployment.state == RUNNING:
        _recover_running(run, begun)
    elif run.deployment.state == HELD:
        if not lease.lease_of(run.deployment).survived:
            git.distrust(run.project.work_git)
        deploy.go_on(run, deploy.HOLDING.from_step(HOLDS))
    elif run.deployment.state == ROLLING_BACK:
        git.distrust(run.project.work_git)
        deploy.roll_back(run, StepError(run.deployment.reason))
    else:
        _recover_ended(run, begun)


def _recover_running(run: Run, begun: list[str]) -> None:
    wrong = pausing.told(run)
    _clear_backup(run)
    interrupted = StepError("interrupted", why=f"{INTERRUPTED}; {wrong.message}" if wrong else INTERRUPTED)
    if run.request.sort.restores:
        from corpushooks.deploy import restoring  # here: few are ever interrupted

        restoring.recover(run)
    elif run.request.sort.keeps:
        keeping.recover(run, interrupted)
    elif not run.request.sort.releases:
        run.move(FAILED, interrupted)
        run.voice.tell(run.verdict(interrupted.message, f"run the {run.request.kind} again"))
    elif decided(begun):
        run.voice.tell(Warned("interrupted during publish; continuing"))
        deploy.go_on(run, deploy.procedure_of(run).from_the_decision())
    elif touched(begun):
        _fail_interrupted(run, begun[-1], interrupted)
    else:
        deploy.refuse(run, RefusedError(f"{interrupted.message}; nothing was changed", hint="push again"))


def _fail_interrupted(run: Run, step: str, why: CorpusError) -> None:
    """Roll back an interrupted deployment; in dev restore files, since a power cut may have damaged them."""
    stays = deploy.may_stay(run) and deploy.procedure_of(run).stays_in(step)
    if stays:
        steps.keep_edited(run)  # edits saved since
    git.distrust(run.project.work_git)
    if not stays:
        deploy.roll_back(run, why)
        return
    try:
        trees.bring(run)
    except CorpusError as exc:
        deploy.roll_back(run, StepError("interrupted", why=f"{INTERRUPTED}; {exc.message}"))
    else:
        deploy.leave(run, why)


def _clear_backup(run: Run) -> None:
    """Remove what an interrupted backup, drill or restore had put together: there can be dumps of databases in it.

    Unless it is that of a backup that runs beside the lane.
    """
    if not (run.project.backups / parts.WORK).exists() or is_copying(run.project):
        return
    from corpushooks.deploy import drilling  # here: few are ever interrupted

    try:
        drilling.clear(run)
    except CorpusError as exc:
        run.voice.warn(exc.message)


def _recover_ended(run: Run, begun: list[str]) -> None:
    """Log the outcome if it was missed, and run the steps after it."""
    done = run.deployment
    if done.state == DEPLOYED:
        if not run.voice.log.ended:
            deploy.say_live(run)
        deploy.go_on(run, deploy.procedure_of(run).after_the_outcome(begun))
        return
    if not run.voice.log.ended:
        run.voice.tell(replace(run.verdict(done.reason), how="late"))
    if done.state in (ROLLED_BACK, FAILED) and touched(begun):
        deploy.after_failure(run, begun)
