"""The backups of projects in the store: a row is written once the backup is complete in the repository."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from corpushooks.store.database import Store


@dataclass(frozen=True)
class Kept:
    """A complete backup."""

    project: str
    number: int  # of the request that made it
    name: str  # in the repository
    at: float  # when it began, in seconds since the epoch
    code: str | None  # the commits that were live
    pillar: str | None
    files: int
    size: int  # bytes
    added: int  # bytes that were new in the repository
    changed: int  # files that changed while they were read
    databases: int
    drilled: float | None = None  # the time of its last drill
    wrong: str = ""  # the error of that
    overtaken: int | None = None  # the deployment that began before data/ was read

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


COLUMNS = tuple(Kept.__dataclass_fields__)


@dataclass(frozen=True)
class Backups:
    """The backups of a host."""

    store: Store

    def add(self, kept: Kept) -> None:
        """Record a complete backup."""
        marks = ", ".join("?" * len(COLUMNS))
        with self.store.change() as db:
            db.execute(
                f"INSERT INTO backup ({', '.join(COLUMNS)}) VALUES ({marks})", tuple(asdict(kept)[c] for c in COLUMNS)
            )

    def of(self, project: str) -> list[Kept]:
        """Return the backups of a project, the newest first."""
        rows = self.store.rows(
            f"SELECT {', '.join(COLUMNS)} FROM backup WHERE project = ? ORDER BY number DESC", project
        )
        return [Kept(**row) for row in rows]

    def drilled(self, name: str, at: float, wrong: str) -> None:
        """Record a drill of a backup, with its error if it failed. It is the last one, whatever the clock says."""
        with self.store.change() as db:
            same = "project = (SELECT project FROM backup WHERE name = ?)"
            db.execute(f"UPDATE backup SET drilled = ? WHERE drilled >= ? AND {same}", (at - 1, at, name))
            db.execute("UPDATE backup SET drilled = ?, wrong = ? WHERE name = ?", (at, wrong, name))

    def overdue(self, project: str) -> set[str]:
        """Return of what people were told that it is overdue in a project."""
        return {row["what"] for row in self.store.rows("SELECT what FROM overdue WHERE project = ?", project)}

    def note_overdue(self, project: str, told: Collection[str]) -> None:
        """Record of what people were told; of anything else they are told again once it is overdue."""
        with self.store.change() as db:
            db.execute("DELETE FROM overdue WHERE project = ?", (project,))
            db.executemany("INSERT INTO overdue (project, what) VALUES (?, ?)", [(project, what) for what in told])

    def forget(self, names: Iterable[str]) -> None:
        """Delete backups that are no longer in the repository."""
        with self.store.change() as db:
            db.executemany("DELETE FROM backup WHERE name = ?", [(name,) for name in names])
