"""Restart the systemd units that the cfg of a project names and that belong to it, on request."""

from __future__ import annotations

import time
from collections.abc import Sequence

from corpushooks.core import services
from corpushooks.core.deployment import DONE, HELD, ProjectRow, Request
from corpushooks.core.errors import CorpusError, ProcessError, RefusedError, StepError, UsageError
from corpushooks.core.events import UnitRestarted
from corpushooks.core.hints import command
from corpushooks.core.project import Project
from corpushooks.deploy.run import Run
from corpushooks.host.site import Site
from corpushooks.release import app_units
from corpushooks.screen import view
from corpushooks.system import units
from corpushooks.system.process import attend
from corpushooks.system.units import Unit

LIMIT = 120.0  # seconds until systemd has restarted a unit; more than its own TimeoutStartSec and TimeoutStopSec
SETTLED = 2.0  # seconds that a unit must keep running: one that exits at once was started, too
JOURNAL = 10  # lines shown of a unit that failed
TICK = 0.1


def wanted(site: Site, project: Project, names: Sequence[str]) -> list[Unit]:
    """Return the units to restart, by default all that the cfg names; raise UsageError or RefusedError."""
    named = app_units.named(project).units
    asked = [services.unit(name) for name in names]
    if unknown := [name for name in asked if name not in named]:
        raise UsageError(f"unknown unit {unknown[0]} of {project.name}", hint=f"its units: {' '.join(named) or 'none'}")
    if not named:
        raise RefusedError(f"{project.name} names no units", hint=services.HINT)
    if not app_units.is_supervised(project):
        raise RefusedError("systemd is not running on this host: nothing to restart", hint=services.HINT)
    found = list(app_units.judged(site, project, asked or named))
    if wrong := next(((unit, why) for unit, why in found if why), None):
        raise RefusedError(f"cannot restart {wrong[0].name}: {wrong[1]}", hint=services.HINT)
    return [unit for unit, _ in found]


def check(site: Site, row: ProjectRow, request: Request) -> None:
    """Refuse an impossible restart, or one during a deployment, which restarts units itself."""
    there = [*site.history.unfinished(row.name), *site.history.queued(row.name)]
    if busy := [each for each in there if each.token != request.token]:  # the same request can come twice
        state = "held" if busy[0].state == HELD else "waiting" if busy[0].started is None else "running"
        said = f"{view.named(busy[0].as_json())} of {row.name} is {state}"
        raise RefusedError(f"{said}; restart when it has ended", command("log", row.name, busy[0].number, "-f"))
    wanted(site, site.host.project(row.name), request.units)


def restart(run: Run) -> None:
    """Restart units one after the other, and check that they run."""
    run.voice.tell(run.began())
    try:
        found = wanted(run.site, run.project, run.request.units)
        failed = [unit.name for unit in found if not _restarted(run, unit)]
        failed += _not_running(run, [unit for unit in found if unit.name not in failed])
        if failed:
            raise StepError("not running", why=", ".join(failed))
    except CorpusError as exc:
        run.fail(run.deadline.cause(exc))
        return
    run.move(DONE)
    run.voice.tell(run.verdict())


def _restarted(run: Run, unit: Unit) -> bool:
    """Restart a unit; return whether that succeeded."""
    began = time.monotonic()
    run.site.history.begin(run.deployment, f"restart {unit.name}")
    try:
        child = run.start(units.restarting(unit.name))
        attend(child, LIMIT, run.deadline.patience())
    except ProcessError as exc:
        _say_failed(run, unit.name, exc.message)
        return False
    now = units.look(unit.name)
    if child.returncode:
        _say_failed(run, unit.name, now.state)
        return False
    run.voice.tell(UnitRestarted(unit.name, now.state, ok=True, seconds=time.monotonic() - began))
    return True


def _not_running(run: Run, found: Sequence[Unit]) -> list[str]:
    """Wait a moment; return the names of units that are not running then."""
    check, end = run.deadline.patience(), time.monotonic() + SETTLED
    before = {unit.name: units.look(unit.name).restarts for unit in found}
    while before and time.monotonic() < end:
        check()
        time.sleep(TICK)
    now = {name: units.look(name) for name in before}
    failed = [name for name, unit in now.items() if not runs(unit, before[name])]
    for name in failed:
        _say_failed(run, name, now[name].state)
    return failed


def runs(now: Unit, restarts: int) -> bool:
    """Say whether a unit is running, or finished successfully, and systemd has not restarted it again since."""
    return now.restarts <= restarts and (now.active == "active" or (now.active, now.result) == ("inactive", "success"))


def _say_failed(run: Run, name: str, why: str) -> None:
    """Report that a unit failed, with its last output."""
    run.voice.tell(UnitRestarted(name, why, ok=False, output="\n".join(units.last_lines(name, JOURNAL))))
