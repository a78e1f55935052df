"""The claims of all projects in the store: each port and each address belongs to one project."""

from __future__ import annotations

from collections.abc import Sequence

from corpushooks.core.claims import NAME, Claim, Held
from corpushooks.store.database import Store


class Claimed(Store):
    """Claims in the store."""

    def held(self) -> list[Held]:
        """Return all claims."""
        rows = self.rows("SELECT kind, value, key, project, asked FROM claim ORDER BY asked, rowid")
        return [Held(Claim(*row[:3]), row[3], row[4]) for row in rows]

    def addresses(self, project: str) -> list[str]:
        """Return the URLs at which a project answers."""
        return [
            each.claim.key
            for each in self.held()
            if each.project == project and each.claim.kind == NAME and "*" not in each.claim.key
        ]

    def claim(self, project: str, number: int, wanted: Sequence[Claim]) -> Held | None:
        """Claim everything for deployment `number`, or nothing; return a conflicting claim of another project."""
        with self.change() as db:
            for each in wanted:
                row = db.execute(
                    "SELECT project, asked FROM claim WHERE kind = ? AND value = ?", (each.kind, each.value)
                ).fetchone()
                if row and row[0] != project:
                    return Held(each, *row)
            for each in wanted:
                db.execute(
                    "INSERT INTO claim (kind, value, project, key, since, asked) VALUES (?1, ?2, ?3, ?4, ?5, ?5)"
                    " ON CONFLICT (kind, value) DO UPDATE SET key = excluded.key, asked = excluded.asked",
                    (each.kind, each.value, project, each.key, number),
                )
        return None

    def unclaim(self, project: str, number: int) -> None:
        """Release the claims that only deployment `number` made."""
        with self.change() as db:
            db.execute("DELETE FROM claim WHERE project = ? AND since = ?", (project, number))
