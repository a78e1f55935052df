"""The report on the audit: who asked for what, from where, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from corpushooks.core.deployment import ProjectRow
from corpushooks.host.site import Site
from corpushooks.protocol import gives
from corpushooks.reports.report import Report
from corpushooks.store.audit import Audit

LIMIT = 1000  # rows at once


def trail(
    site: Site, rows: Sequence[ProjectRow], *, everything: bool, one: bool, who: str, since: float, limit: int
) -> Report:
    """Report the newest rows: of some projects, or of the host and what is no longer there, too."""
    projects = None if everything and not one else [row.name for row in rows]
    found = Audit(site.history).rows(projects, who=who, since=since, limit=min(limit, LIMIT))
    shown = [_row(each) for each in found]
    return Report(shown, [_line(each) for each in shown] or ["nothing was asked for"])


def _row(found: dict[str, Any]) -> gives.Audited:
    outcome = found["state"] or found["outcome"] or "running"
    names = ("id", "at", "who", "via", "origin", "operation", "project", "number", "detail", "reason", "times")
    return gives.Audited(**{name: found[name] for name in names}, outcome=outcome)


def _line(row: gives.Audited) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(row.at))
    what = " ".join(
        [row.operation, *([row.project] if row.project else []), *([str(row.number)] if row.number else [])]
    )
    given = " ".join(f"{name}={_text(value)}" for name, value in row.detail.items())
    came = f"{row.outcome}{f' ({row.times} times)' if row.times > 1 else ''}{f': {row.reason}' if row.reason else ''}"
    return f"{at}  {row.who}  {row.via} from {row.origin or 'unknown'}  {what}{f'  {given}' if given else ''}  {came}"


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
