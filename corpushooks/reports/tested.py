"""The results of tests that a task left: they are in its log."""

from __future__ import annotations

from collections.abc import Sequence

from corpushooks.core.deployment import Deployment, ProjectRow
from corpushooks.core.events import SuiteEnded
from corpushooks.host.site import Site
from corpushooks.protocol.gives import CaseOf, Suite, plain
from corpushooks.reports.report import Report
from corpushooks.screen import view, words
from corpushooks.store import log

LOGS = 50  # of the newest deployments that are read


def tests(site: Site, row: ProjectRow, number: int) -> Report:
    """Report the suites of tests in the log of a deployment; 0: of the newest that has some."""
    if number:
        wanted: Sequence[Deployment] = [site.history.deployment(row.name, number)]
    else:
        wanted = [one for one in site.history.deployments(row.name, LOGS) if one.request.task]
    for one in wanted:
        records = log.read(site.host.project(row.name).log_file(one.number))
        if found := [record.event for record in records if isinstance(record.event, SuiteEnded)]:
            lines = [line.text for each in found for line in words.tested(each)]
            return Report([_suite(each) for each in found], [f"{view.named(one.as_json())}:", *lines])
    return Report([], [f"no results of tests in {f'deployment {number}' if number else row.name}"])


def _suite(found: SuiteEnded) -> Suite:
    return Suite(**{**plain(found), "cases": [CaseOf(**plain(each)) for each in found.cases]})
