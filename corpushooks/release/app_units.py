"""The systemd units and log files that a project names, and whether a unit belongs to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from corpushooks.core import services
from corpushooks.core.errors import RefusedError
from corpushooks.core.hints import Hint
from corpushooks.core.project import Project
from corpushooks.host.last import last_cfg
from corpushooks.host.site import Site
from corpushooks.system import units


def named(project: Project) -> services.Named:
    """Return the units and logs in the last cfg; raise RefusedError if there are none."""
    cfg = last_cfg(project)
    found = services.of(cfg) if cfg else services.Named((), ())
    if not found.units and not found.files:
        what = f"{project.name} names no units and no log files" if cfg else f"{project.name} was never deployed"
        example = f'`units: [{project.name}.service]`, `logs: ["{{data_root}}/app.log"]`'
        raise RefusedError(
            what, hint=Hint(f"add {example} beside data, and deploy: ", services.HINT) if cfg else "git push first"
        )
    return found


def is_supervised(project: Project) -> bool:
    """Say whether units can be used: systemd is running, and the host is the whole machine."""
    return units.supervised() and not project.host.embedded


def judged(site: Site, project: Project, names: Sequence[str]) -> Iterator[tuple[units.Unit, str]]:
    """Yield units, each with the reason why it does not belong to the project, or ''. Raise ProcessError."""
    projects = [each.name for each in site.history.projects()]
    for name in names:
        unit = units.look(name)
        if unit.loaded == "not-found":
            yield unit, "no such unit"
        else:
            origin = services.Origin(unit.name, unit.file, unit.user)
            yield unit, services.foreign(origin, project.user, project.name, projects)
