"""A task: one task_NAME.sls, run on the live release on request."""

from __future__ import annotations

from corpushooks.core.deployment import DONE
from corpushooks.core.errors import CorpusError, RefusedError
from corpushooks.core.events import SlsBegan
from corpushooks.deploy import steps, survivors, testing
from corpushooks.deploy.run import Run
from corpushooks.release import commits, edits


def task(run: Run) -> None:
    """Run task_NAME.sls with the cfg, without archive or rollback."""
    name = run.request.task
    run.voice.tell(run.began())
    try:
        if run.row.tree_code is None:
            raise RefusedError("nothing is deployed yet", hint="git push first")
        with testing.reports(run):
            found = steps.open_session(run)
            commits.check_task(found.names(), name)
            _run(run, name)
    except CorpusError as exc:
        survivors.after(run, exc)
        run.fail(exc)
        return
    run.move(DONE)
    run.voice.tell(run.verdict())


def _run(run: Run, name: str) -> None:
    """Run its SLS; in dev its changes do not count as edits."""
    before = edits.look(run.project, run.deadline.patience()) if run.in_dev else None
    try:
        steps.run_sls(run, SlsBegan(f"task_{name}", "task"))
    finally:
        if before is not None:
            edits.changed_by(run.project, before, run.salt.touched)
