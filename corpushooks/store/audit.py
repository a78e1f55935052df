"""The audit: who asked for what, from where and by which way, and what came of it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from corpushooks.store.database import Store

MOST, OFTEN = 200_000, 500  # rows that are kept, and after how many new ones that is looked at
AGAIN = 60.0  # seconds in which a refusal that is repeated is counted, not added
OTHERS = 20  # refusals of one caller in that time that are added; more are counted, too: nobody fills it
DONE, REFUSED, FAILED, LEFT = "done", "refused", "failed", "left"


@dataclass(frozen=True)
class Asked:
    """What somebody asks for."""

    who: str
    via: str
    origin: str
    operation: str
    project: str = ""
    detail: str = "{}"  # JSON


@dataclass(frozen=True)
class Audit:
    """The audit of a host."""

    store: Store

    def begin(self, asked: Asked) -> int:
        """Record what is asked for, before it is done; return its id."""
        with self.store.change() as db:
            made = db.execute(
                "INSERT INTO audit (at, who, via, origin, operation, project, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (time.time(), asked.who, asked.via, asked.origin, asked.operation, asked.project, asked.detail),
            )
            found = made.lastrowid or 0
            if found % OFTEN == 0:
                db.execute("DELETE FROM audit WHERE id <= ?", (found - MOST,))
        return found

    def end(self, row: int, outcome: str, reason: str = "", number: int | None = None) -> None:
        """Record what came of it. The same refusal, again and again, is one row."""
        with self.store.change() as db:
            db.execute(
                "UPDATE audit SET outcome = ?, reason = ?, number = ? WHERE id = ?", (outcome, reason, number, row)
            )
            if outcome != REFUSED:
                return
            before = db.execute(
                "SELECT b.id FROM audit a JOIN audit b USING (who, via, origin, operation, project, detail, outcome,"
                " reason) WHERE a.id = ? AND b.id < a.id AND b.id > a.id - 1000 AND a.at - b.at < ?"
                " ORDER BY b.id DESC LIMIT 1",
                (row, AGAIN),
            ).fetchone()
            if before is None:
                recent = db.execute(
                    "SELECT b.id FROM audit a JOIN audit b USING (who, origin, outcome) WHERE a.id = ? AND b.id < a.id"
                    " AND b.id > a.id - 1000 AND a.at - b.at < ? ORDER BY b.id DESC LIMIT ?",
                    (row, AGAIN, OTHERS),
                ).fetchall()
                before = recent[0] if len(recent) == OTHERS else None
            if before:
                db.execute("UPDATE audit SET times = times + 1 WHERE id = ?", (before[0],))
                db.execute("DELETE FROM audit WHERE id = ?", (row,))

    def add(self, asked: Asked, outcome: str, reason: str = "", number: int | None = None) -> None:
        """Record something at once with what came of it."""
        self.end(self.begin(asked), outcome, reason, number)

    def rows(
        self, projects: list[str] | None, *, who: str = "", since: float = 0.0, limit: int = 100
    ) -> list[dict[str, Any]]:
        """Return the newest rows, those of some projects or (None) all; of a deployment with the state that it has."""
        wanted = ["a.at >= ?"]
        values: list[Any] = [since]
        if projects is not None:
            wanted.append(f"a.project IN ({', '.join('?' * len(projects))})")
            values += projects
        if who:
            wanted.append("a.who = ?")
            values.append(who)
        found = self.store.rows(
            "SELECT a.*, d.state AS state FROM audit a LEFT JOIN deployment d ON d.project = a.project"
            f" AND d.number = a.number WHERE {' AND '.join(wanted)} ORDER BY a.id DESC LIMIT ?",
            *values, limit,
        )  # fmt: skip
        return [{**dict(row), "detail": json.loads(row["detail"])} for row in found]

    def has_signed_in(self, who: str, origin: str) -> bool:
        """Say whether somebody has signed in from an address."""
        return bool(self.store.rows(
            "SELECT 1 FROM audit WHERE operation = 'sign-in' AND who = ? AND origin = ? AND outcome = ? LIMIT 1",
            who, origin, DONE,
        ))  # fmt: skip
