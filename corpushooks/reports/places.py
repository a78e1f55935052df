"""Where a project is: its room on the disk, its tasks, and whether its names lead here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

from corpushooks.core.deployment import ProjectRow
from corpushooks.core.project import task_names
from corpushooks.host import parts
from corpushooks.host.site import Site
from corpushooks.protocol.gives import Deployment, NameOf, Storage, TaskOf, Weight
from corpushooks.release import commits, release
from corpushooks.reports.report import Report
from corpushooks.reports.weights import Weights
from corpushooks.store.fleet import Fleet
from corpushooks.system import resolving
from corpushooks.system.patience import Check

NAMES = 20  # that are looked up


def storage(site: Site, row: ProjectRow, check: Check) -> Report:
    """Report how much disk space a project takes, as measured a few minutes ago at most."""
    project = site.host.project(row.name)
    site.weights = known = site.weights or Weights()
    room = shutil.disk_usage(project.dir)
    (at, own), (also, data) = known.of(project.tree, check), known.of(project.data, check)
    archives = [(number, known.of(path, check, fixed=True)[1]) for number, path in parts.numbered(project)]
    found = Storage(
        project=row.name, tree=own, data=data, free=room.free, total=room.total, at=min(at, also),
        archives=[Weight(number=number, size=size) for number, size in archives],
    )  # fmt: skip
    sizes = [
        ("project", found.tree),
        ("data", found.data),
        *((f"archive {one.number}", one.size) for one in found.archives),
    ]
    return Report(found, [f"{name:<16} {size >> 20:>8} MiB" for name, size in [*sizes, ("free", room.free)]])


def tasks(site: Site, row: ProjectRow) -> Report:
    """Report the tasks of the live release."""
    project, names = site.host.project(row.name), list[str]()
    if Fleet(site.history).of(row.name):  # it is live there, not here
        names = task_names(commits.sls_names(project, row.environment, row.code)) if row.code else []
    elif row.tree_code:
        names = task_names(release.live(project, row.environment).names())
    ran: dict[str, Deployment] = {}
    for each in site.history.deployments(row.name):
        if each.request.task in names:
            ran.setdefault(each.request.task, Deployment(**each.as_json()))
    found = [TaskOf(task=name, last=ran.get(name)) for name in names]
    return Report(found, names or [f"{row.name} has no tasks"])


def names(site: Site, row: ProjectRow, check: Check) -> Report:
    """Report whether the names in the addresses of a project lead to this host."""
    wanted = dict.fromkeys(_names(site.history.addresses(row.name)))
    found = [name_of(each, check) for each in list(wanted)[:NAMES]]
    lines = [f"{one.name}: {'this host' if one.here else one.wrong or ' '.join(one.addresses)}" for one in found]
    return Report(found, lines or [f"{row.name} has no names"])


def name_of(name: str, check: Check) -> NameOf:
    """Return where a name leads."""
    addresses, wrong = resolving.look_up(name, check)
    here = bool(addresses) and all(map(resolving.is_here, addresses))
    return NameOf(name=name, addresses=addresses, here=here, wrong=wrong)


def _names(urls: list[str]) -> Iterator[str]:
    for url in urls:
        try:
            name = urlsplit(url).hostname
        except ValueError:
            continue
        if name:
            yield name
