"""The health of live releases, in the store: what to ask them between deployments, and what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from corpushooks.store.claimed import Claimed
from corpushooks.store.database import Connection

HEALTHY, FAILING = "healthy", "failing"
NOTHING = "[]"  # no checks
# Whom to ask: what is live runs, whole, and nothing is deployed there just now.
ASKED = """
    SELECT vitals.project, checks, state, since, times, reason, told,
        (SELECT max(number) FROM deployment WHERE project = vitals.project) AS newest
    FROM vitals JOIN project ON project.name = vitals.project
    WHERE checks != '[]' AND live IS NOT NULL AND broken IS NULL AND tree_code IS code AND tree_pillar IS pillar
        AND NOT EXISTS (SELECT 1 FROM deployment WHERE project = vitals.project AND ended IS NULL)
"""


@dataclass(frozen=True)
class Vital:
    """How a live release is, as it was last written: of many failures in a row not each is."""

    project: str
    checks: str  # as JSON
    state: str = ""  # healthy, failing, or not asked yet
    since: float = 0.0
    times: int = 0  # failures in a row
    reason: str = ""
    told: str = ""  # the state that people were told of last: failing, or nothing
    newest: int = 0  # the number of the newest deployment: an answer counts only where no other came meanwhile


class Vitals(Claimed):
    """What the store says of health."""

    def vitals(self) -> list[Vital]:
        """Return every release that is to be asked."""
        return [Vital(**row) for row in self.rows(ASKED)]

    def vital(self, project: str) -> Vital | None:
        """Return one release, or None if it is not to be asked now."""
        rows = self.rows(f"{ASKED} AND vitals.project = ?", project)
        return Vital(**rows[0]) if rows else None

    def health(self, project: str) -> Vital | None:
        """Return how a release was when it was last asked, also where it is not asked now; None if it never was."""
        query = (
            "SELECT project, checks, state, since, times, reason, told FROM vitals WHERE project = ? AND state != ''"
        )
        rows = self.rows(query, project)
        return Vital(**rows[0]) if rows else None

    def want_checks(self, project: str, number: int, wanted: Any) -> None:
        """Record, before it is live, what to ask the release of deployment `number`: `health` of its cfg."""
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
        """Return what deployment `number`, which is not live yet, wants to be asked; where it said, or else is live."""
        rows = self.rows("SELECT checks, wanted, wanted_by FROM vitals WHERE project = ?", project)
        return json.loads(rows[0][1] if rows and rows[0][2] == number else rows[0][0]) if rows else []

    def _adopt_checks(self, db: Connection, project: str, number: int) -> None:
        """Ask from now on what deployment `number` wanted; where that is nothing, nothing is known any more."""
        db.execute(
            "UPDATE vitals SET checks = wanted, wanted = NULL, wanted_by = NULL WHERE project = ? AND wanted_by = ?",
            (project, number),
        )
        db.execute(
            "UPDATE vitals SET state = '', times = 0, reason = '', told = '' WHERE project = ? AND checks = ?",
            (project, NOTHING),
        )

    def record_vital(self, found: Vital) -> bool:
        """Record what came of asking; return False if a deployment began meanwhile, and it means nothing."""
        with self.change() as db:
            done = db.execute(
                "UPDATE vitals SET state = ?, since = ?, times = ?, reason = ?, told = ? WHERE project = ?"
                " AND (SELECT max(number) FROM deployment WHERE project = vitals.project) = ?",
                (found.state, found.since, found.times, found.reason, found.told, found.project, found.newest),
            )
            return done.rowcount > 0
