"""The health of live releases in the store: their checks between deployments, and the results."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from corpushooks.store.claimed import Claimed
from corpushooks.store.database import Connection

HEALTHY, FAILING = "healthy", "failing"
NOTHING = "[]"  # no checks
# The projects to check: live, not broken, without unfinished deployments, with the live revision in their trees.
ASKED = """
    SELECT vitals.project, checks, state, since, times, reason, told,
        (SELECT max(number) FROM deployment WHERE project = vitals.project) AS newest
    FROM vitals JOIN project ON project.name = vitals.project
    WHERE checks != '[]' AND live IS NOT NULL AND broken IS NULL AND tree_code IS code AND tree_pillar IS pillar
        AND NOT EXISTS (SELECT 1 FROM deployment WHERE project = vitals.project AND ended IS NULL)
"""


@dataclass(frozen=True)
class Vital:
    """The recorded health of a live release; not every one of many failures in a row is recorded."""

    project: str
    checks: str  # as JSON
    state: str = ""  # healthy, failing, or empty: not checked yet
    since: float = 0.0
    times: int = 0  # failures in a row
    reason: str = ""
    told: str = ""  # the state of the last notification: failing, or empty
    newest: int = 0  # the number of the newest deployment: a result counts only if it is still the newest


class Vitals(Claimed):
    """Health in the store."""

    def vitals(self) -> list[Vital]:
        """Return all releases to check."""
        return [Vital(**row) for row in self.rows(ASKED)]

    def vital(self, project: str) -> Vital | None:
        """Return one release, or None if it is not to be checked now."""
        rows = self.rows(f"{ASKED} AND vitals.project = ?", project)
        return Vital(**rows[0]) if rows else None

    def health(self, project: str) -> Vital | None:
        """Return the last result of a release, even if it is not checked now; None if it never was."""
        query = (
            "SELECT project, checks, state, since, times, reason, told FROM vitals WHERE project = ? AND state != ''"
        )
        rows = self.rows(query, project)
        return Vital(**rows[0]) if rows else None

    def want_checks(self, project: str, number: int, wanted: Any) -> None:
        """Record the checks (`health` of the cfg) of the release of deployment `number`, before it is live."""
        checks = json.dumps(wanted if isinstance(wanted, list) else [wanted] if wanted else [], default=str)
        live = self.rows("SELECT checks FROM vitals WHERE project = ?", project)
        if (live[0][0] if live else NOTHING) == checks:
            return
        with self.change() as db:
            db.execute(
                "INSERT INTO vitals (project, wanted, wanted_by) VALUES (?, ?, ?)"
                " ON CONFLICT (project) DO UPDATE SET wanted = excluded.wanted, wanted_by = excluded.wanted_by",
                (project, checks, number),
            )

    def checks_of(self, project: str, number: int) -> Any:
        """Return the checks of deployment `number`, which is not live yet; by default those of the live one."""
        rows = self.rows("SELECT checks, wanted, wanted_by FROM vitals WHERE project = ?", project)
        return json.loads(rows[0][1] if rows and rows[0][2] == number else rows[0][0]) if rows else []

    def _adopt_checks(self, db: Connection, project: str, number: int) -> None:
        """Adopt the checks of deployment `number`; if there are none, discard the results."""
        db.execute(
            "UPDATE vitals SET checks = wanted, wanted = NULL, wanted_by = NULL WHERE project = ? AND wanted_by = ?",
            (project, number),
        )
        db.execute(
            "UPDATE vitals SET state = '', times = 0, reason = '', told = '' WHERE project = ? AND checks = ?",
            (project, NOTHING),
        )

    def record_vital(self, found: Vital) -> bool:
        """Record a result; return False if a deployment began meanwhile, which makes it obsolete."""
        with self.change() as db:
            done = db.execute(
                "UPDATE vitals SET state = ?, since = ?, times = ?, reason = ?, told = ? WHERE project = ?"
                " AND (SELECT max(number) FROM deployment WHERE project = vitals.project) = ?",
                (found.state, found.since, found.times, found.reason, found.told, found.project, found.newest),
            )
            return done.rowcount > 0
