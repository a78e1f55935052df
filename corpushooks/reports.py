"""What is told of projects to whoever asks: by the command where it may read the store, by the daemon elsewhere."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from corpushooks import init, inspection, view
from corpushooks.deployment import ProjectRow
from corpushooks.keys import PUSH, READ
from corpushooks.site import Site

Options = Mapping[str, Any]  # a missing one is as false


@dataclass(frozen=True)
class Report:
    """What is told: as JSON has it, and as people read it."""

    value: Any
    lines: Sequence[str]


def status(site: Site, rows: Sequence[ProjectRow], options: Options) -> Report:
    """Tell what is live, and what runs or waits; with `urls` where to push, with `one` of one project."""
    urls, one = bool(options.get("urls")), bool(options.get("one"))
    found = []
    for row in rows:
        places = init.urls(site.host.project(row.name), site.settings) if urls else {}
        found.append({**inspection.status(site.host, site.history, row), **places})
    lines = [line for each in found for line in (*view.status(each), *(f"  {each[key]}" for key in init.URLS if urls))]
    return Report(found[0] if one else found, lines or ["no projects: corpus init NAME"])


def history(site: Site, rows: Sequence[ProjectRow], options: Options) -> Report:
    """Tell of the deployments of a project, the newest first: `limit` of them."""
    (row,), limit = rows, options.get("limit")
    found = site.history.deployments(row.name, limit if type(limit) is int and limit > 0 else 20)
    lines = [view.history_row(each, live=each.number == row.live) for each in found]
    return Report([each.as_json() for each in found], lines or [f"{row.name} was never deployed"])


def config(site: Site, rows: Sequence[ProjectRow], options: Options) -> Report:
    """Tell the cfg of a project; with `origin` where each value is from, with `secrets` also what is masked."""
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        cfg = inspection.cfg(site, rows[0], Path(folder), secrets=bool(options.get("secrets")))
    if not options.get("origin"):
        return Report(cfg.values, [yaml.safe_dump(cfg.values, sort_keys=True, allow_unicode=True).rstrip()])
    columns = [(path, each["layer"], each["file"]) for path, each in cfg.origin.items()]
    paths, layers = (max(len(column[place]) for column in columns) for place in (0, 1))
    return Report(cfg.origin, [f"{path:<{paths}}  {layer:<{layers}}  {file}".rstrip() for path, layer, file in columns])


Tell = Callable[[Site, Sequence[ProjectRow], Options], Report]
REPORTS: Mapping[str, tuple[str, Tell]] = {  # what can be told, and the right that it needs
    "status": (READ, status),
    "history": (READ, history),
    "config": (PUSH, config),
}
