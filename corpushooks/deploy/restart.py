"""A restart: units of systemd that the cfg of a project names and that are its own, when somebody asks for it."""

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
SETTLED = 2.0  # seconds that a unit has to run: one that ends at once was started, too
JOURNAL = 10  # lines that are shown of a unit that failed
TICK = 0.1


def wanted(site: Site, project: Project, names: Sequence[str]) -> list[Unit]:
    """Return the units to restart, by default all that cfg names; raise UsageError or RefusedError."""
    named = app_units.named(project).units
    asked = [services.unit(name) for name in names]
    if unknown := [name for name in asked if name not in named]:
        raise UsageError(f"{project.name} names no unit {unknown[0]}", hint=f"it names: {' '.join(named) or 'none'}")
    if not named:
        raise RefusedError(f"{project.name} names no units", hint=services.HINT)
    if not app_units.is_supervised(project):
        raise RefusedError("systemd does not run on this host: there is nothing to restart", hint=services.HINT)
    found = list(app_units.judged(site, project, asked or named))
    if wrong := next(((unit, why) for unit, why in found if why), None):
        raise RefusedError(f"{wrong[0].name} is not restarted: {wrong[1]}", hint=services.HINT)
    return [unit for unit, _ in found]


def check(site: Site, row: ProjectRow, request: Request) -> None:
    """Refuse a restart that cannot be, or that comes while a deployment runs: that restarts what it must itself."""
    there = [*site.history.unfinished(row.name), *site.history.queued(row.name)]
    if busy := [each for each in there if each.token != request.token]:  # it may be asked for again
        state = "is held" if busy[0].state == HELD else "waits" if busy[0].started is None else "runs"
        said = f"{view.named(busy[0].as_json())} of {row.name} {state}"
        raise RefusedError(f"{said}: nothing is restarted meanwhile", command("log", row.name, busy[0].number, "-f"))
    wanted(site, site.host.project(row.name), request.units)


def restart(run: Run) -> None:
    """Restart units one after the other, and see that they run."""
    run.voice.tell(run.began())
    try:
        found = wanted(run.site, run.project, run.request.units)
        failed = [unit.name for unit in found if not _restarted(run, unit)]
        failed += _settled(run, [unit for unit in found if unit.name not in failed])
        if failed:
            raise StepError("not running", why=", ".join(failed))
    except CorpusError as exc:
        run.fail(run.deadline.cause(exc))
        return
    run.move(DONE)
    run.voice.tell(run.verdict())


def _restarted(run: Run, unit: Unit) -> bool:
    """Have systemd restart a unit; say whether it did."""
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


def _settled(run: Run, found: Sequence[Unit]) -> list[str]:
    """Await that units have run for a moment; return the names of those that do not."""
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
    """Say whether a unit runs, or did what it is for, and was not started again by systemd since it was restarted."""
    return now.restarts <= restarts and (now.active == "active" or (now.active, now.result) == ("inactive", "success"))


def _say_failed(run: Run, name: str, why: str) -> None:
    """Say that a unit failed, with what it wrote last."""
    run.voice.tell(UnitRestarted(name, why, ok=False, output="\n".join(units.last_lines(name, JOURNAL))))
