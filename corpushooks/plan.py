"""A plan: what a deployment would change, state by state. It changes nothing."""

from __future__ import annotations

from corpushooks import git, prepare, release, view
from corpushooks.errors import CorpusError
from corpushooks.history import DONE
from corpushooks.site import Run


def plan(run: Run) -> None:
    """Say what a deployment would change."""
    try:
        prepare.aim(run)
        prepare.check(run)
        _files(run)
        _states(run)
    except CorpusError as exc:
        run.fail(exc)
        return
    run.move(DONE)
    run.say_end("success: a plan only: nothing was changed")


def _files(run: Run) -> None:
    new = run.deployment.new_code or git.EMPTY_TREE
    for letter, path in git.differing(run.project.work_git, run.row.tree_code, new):
        run.log.write(f"      {letter} {path}")


def _states(run: Run) -> None:
    """Run every install SLS of the candidate in Salt's test mode."""
    with prepare.candidate(run) as found, run.site.engine.session(found.minion(run.settings), run) as session:
        chrono = run.deployment.archive or ""
        release.compute(session, found, run.settings, run.request, archive=run.archive, chrono=chrono)
        for stem in found.install(run.request.steps):
            result = session.run(run.project.sls_id(stem), test=True, timeout=run.time_left())
            run.log.write(view.row(f"      install {stem}", view.summary(result), None))
            errors = [line for error in result.errors for line in error.splitlines()]
            for line in [*view.indent(errors, 8), *view.states(result, test=True)]:
                run.log.write(line)
