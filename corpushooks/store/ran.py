"""The commands run as applications in the store: each is recorded before it starts, and at its end."""

from __future__ import annotations

import time
from dataclasses import dataclass

from corpushooks.core.command import Ran
from corpushooks.store.database import Store

KEPT = 1000  # commands of a project
OPEN = "ended IS NULL"


@dataclass(frozen=True)
class Commands:
    """The commands of a host."""

    store: Store

    def begin(self, project: str, who: str, key: str, words: str) -> Ran:
        """Record that a command starts; delete the oldest if there are too many."""
        with self.store.change() as db:
            number = db.execute(
                "INSERT INTO command (project, who, key, words, started) VALUES (?, ?, ?, ?, ?)",
                (project, who, key, words, time.time()),
            ).lastrowid
            db.execute(
                "DELETE FROM command WHERE project = ?1 AND ended IS NOT NULL AND number <= (SELECT number FROM command"
                " WHERE project = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
                (project, KEPT),
            )
        return self._read("number = ?", number)[0]

    def end(self, number: int, code: int | None, reason: str = "") -> Ran:
        """Record how a command ended."""
        with self.store.change() as db:
            db.execute(
                f"UPDATE command SET ended = ?, code = ?, reason = ? WHERE number = ? AND {OPEN}",
                (time.time(), code, reason, number),
            )
        return self._read("number = ?", number)[0]

    def interrupted(self, reason: str) -> None:
        """Record the end of all commands whose end is unknown."""
        with self.store.change() as db:
            db.execute(f"UPDATE command SET ended = ?, reason = ? WHERE {OPEN}", (time.time(), reason))

    def newest(self, project: str, limit: int) -> list[Ran]:
        """Return the commands of a project, the newest first."""
        return self._read("project = ? ORDER BY number DESC LIMIT ?", project, limit)

    def _read(self, where: str, *values: object) -> list[Ran]:
        return [Ran(**row) for row in self.store.rows(f"SELECT * FROM command WHERE {where}", *values)]
