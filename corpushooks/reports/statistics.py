"""Statistics of deployments: counts, durations, success rates. Values only."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from corpushooks.core.deployment import DEPLOYING, FAILURES, HELD, SUCCEEDED, TRIED, Deployment, newest_tried
from corpushooks.core.events import Event, SlsEnded, Text
from corpushooks.protocol.gives import Status
from corpushooks.store import old_logs


@dataclass(frozen=True)
class Figures:
    """Statistics of a project; durations in seconds, None if nothing was deployed."""

    project: str
    deployments: int  # without refused ones
    succeeded: int
    median: float | None  # of successful ones
    p95: float | None
    slowest: list[tuple[str, float]]  # install SLS and their medians

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "success_rate": self.rate}

    @property
    def rate(self) -> float | None:
        return self.succeeded / self.deployments if self.deployments else None


def figures(project: str, found: Sequence[Deployment], took: Iterable[tuple[str, float]]) -> Figures:
    """Return the statistics of a project from its deployments and the durations of its install SLS."""
    from statistics import median  # here: it takes time and memory, and other reports do not need it

    tried = [one for one in found if one.request.sort.releases and one.state in TRIED]
    lasted = sorted(one.took for one in tried if one.state in SUCCEEDED and one.took is not None)
    each: dict[str, list[float]] = defaultdict(list)
    for stem, seconds in took:
        each[stem].append(seconds)
    medians = {stem: median(seconds) for stem, seconds in each.items()}
    return Figures(
        project, len(tried), sum(one.state in SUCCEEDED for one in tried),
        median(lasted) if lasted else None, percentile(lasted, 0.95),
        sorted(medians.items(), key=lambda pair: (-pair[1], pair[0]))[:5],
    )  # fmt: skip


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return a percentile (the nearest-rank method)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def install_times(told: Iterable[Event]) -> list[tuple[str, float]]:
    """Return (stem, seconds) of each successful install SLS in a log."""
    return [found for event in told if (found := _install_time(event))]


def _install_time(event: Event) -> tuple[str, float] | None:
    if isinstance(event, SlsEnded) and event.role == "install" and event.ok and event.seconds is not None:
        return event.sls, event.seconds
    return old_logs.install_time(event.text) if isinstance(event, Text) and not event.more else None


def lines(found: Figures) -> list[str]:
    """Return the lines of `corpus stats` for one project."""
    if not found.deployments:
        return [f"{found.project:<16} never deployed"]
    times = f", {found.median:.1f} s median, {found.p95:.1f} s p95" if found.median is not None else ""
    rate = f"{found.succeeded} of {found.deployments} succeeded ({100 * found.succeeded // found.deployments} %)"
    slow = [f"    {stem:<24} {seconds:>6.1f} s" for stem, seconds in found.slowest]
    return [f"{found.project:<16} {rate}{times}", *slow]


# for Prometheus

METRICS: Mapping[str, tuple[str, str]] = {
    "deployments_total": ("counter", "Deployments that ended, by outcome."),
    "last_success_timestamp_seconds": ("gauge", "When the live release was published."),
    "last_duration_seconds": ("gauge", "Duration of the newest deployment that started."),
    "last_failed": ("gauge", "Whether the newest deployment that started failed."),
    "last_task_failed": ("gauge", "Whether the last run of a task failed."),
    "open": ("gauge", "Running and waiting deployments."),
    "held": ("gauge", "Deployments waiting for confirmation."),
    "broken": ("gauge", "Whether a project is broken and needs a person."),
    "frozen": ("gauge", "Whether a project is frozen."),
    "drift_files": ("gauge", "Files of project/ that were changed since they were deployed."),
    "healthy": ("gauge", "Whether the live release passed its last health checks."),
    "backup_age_seconds": ("gauge", "Age of the newest complete backup."),
    "backup_size_bytes": ("gauge", "Size of the newest complete backup."),
    "drill_age_seconds": ("gauge", "Time since the last successful drill."),
    "faults": ("gauge", "Missing or damaged files of a project, as named by corpus status."),
}


def metrics(
    rows: Sequence[tuple[Status, Sequence[Deployment]]], more: Mapping[str, Mapping[str, float]] | None = None
) -> list[str]:
    """Return the metrics for Prometheus, from each project's status and deployments, with `more` gauges for some.

    Source: the text format, version 0.0.4.
    """
    samples: dict[str, list[str]] = {name: [] for name in METRICS}
    for status, deployments in rows:
        label = f'project="{status.project}"'
        for outcome, number in sorted(Counter(one.state for one in deployments if one.final).items()):
            samples["deployments_total"].append(f'{{{label},outcome="{outcome}"}} {number}')
        for name, value in {**_gauges(status, deployments), **(more or {}).get(status.project, {})}.items():
            samples[name].append(f"{{{label}}} {value:g}" if value < 1e6 else f"{{{label}}} {value:.3f}")
        for task, failed in _tasks(deployments).items():
            samples["last_task_failed"].append(f'{{{label},task="{task}"}} {failed:d}')
    found: list[str] = []
    for name, (kind, about) in METRICS.items():
        full = f"corpushooks_{name}"
        found += [f"# HELP {full} {about}", f"# TYPE {full} {kind}", *(f"{full}{sample}" for sample in samples[name])]
    return found


def _gauges(status: Status, deployments: Sequence[Deployment]) -> dict[str, float]:
    newest = newest_tried(deployments, DEPLOYING)
    found: dict[str, float] = {
        "open": len(status.open), "held": sum(one.state == HELD for one in status.open),
        "broken": bool(status.broken), "frozen": bool(status.frozen),
        "faults": len(status.faults), "last_failed": bool(newest and newest.state in FAILURES),
    }  # fmt: skip
    if status.drift is not None:
        found["drift_files"] = len(status.drift)
    if status.health:
        found["healthy"] = not status.health.times
    if status.since:
        found["last_success_timestamp_seconds"] = status.since
    if newest and newest.took is not None:
        found["last_duration_seconds"] = newest.took
    return found


def _tasks(deployments: Sequence[Deployment]) -> dict[str, bool]:
    """Return for each task whether its last run failed."""
    ran = [one for one in deployments if one.request.task and one.state in TRIED]  # the newest first
    return {one.request.task: one.state in FAILURES for one in reversed(ran)}
