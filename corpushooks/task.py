"""A task: one task_NAME.sls, run on the live release when somebody asks for it."""

from __future__ import annotations

from corpushooks import edits, release, steps, survivors, view
from corpushooks.deployment import DONE
from corpushooks.errors import CorpusError, RefusedError
from corpushooks.failure import command_output
from corpushooks.site import Run
from corpushooks.sls import Result


def task(run: Run) -> None:
    """Run task_NAME.sls with cfg: no archive, no roll back."""
    name = run.request.task
    run.log.write(view.opening(run.deployment, run.row.environment, name))
    try:
        if run.row.tree_code is None:
            raise RefusedError("nothing is deployed yet", hint="git push first")
        found = steps.open_session(run)
        release.check_task(found.names(), name)
        result = _run(run, name)
        for state in result.states:
            for line in view.indent(view.screen(command_output(state.changes)), 8):
                run.log.write(line)
    except CorpusError as exc:
        survivors.after(run, exc)
        run.fail(exc)
        return
    run.move(DONE)
    run.say_end(f"success: task {name} is done")


def _run(run: Run, name: str) -> Result:
    """Run its SLS; in dev what that changes is no edit."""
    before = edits.look(run.project, run.patience()) if run.in_dev else None
    try:
        return steps.run_sls(run, f"task_{name}", f"task {name}")
    finally:
        if before is not None:
            edits.changed_by(run.project, before, run.touched)
