"""A task: one task_NAME.sls, run on the live release when somebody asks for it."""

from __future__ import annotations

from corpushooks import release, steps, view
from corpushooks.deployment import DONE
from corpushooks.errors import CorpusError, RefusedError
from corpushooks.site import Run


def task(run: Run) -> None:
    """Run task_NAME.sls with cfg: no archive, no roll back."""
    name = run.request.task
    run.log.write(view.opening(run.deployment, run.row.environment, name))
    try:
        if run.row.tree_code is None:
            raise RefusedError("nothing is deployed yet", hint="git push first")
        found = steps.open_session(run)
        release.check_task(found.names(), name)
        result = steps.run_sls(run, f"task_{name}", f"task {name}")
        for state in result.states:
            for line in view.indent(view.screen(view.command_output(state.changes)), 8):
                run.log.write(line)
    except CorpusError as exc:
        run.fail(exc)
        return
    run.move(DONE)
    run.say_end(f"success: task {name} is done")
