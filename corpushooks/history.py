"""The store: projects, deployments and the journal of those that have not ended. The only user of sqlite3.

A row is committed, and on the disk, before what it announces is done. Everything that has to be true together
changes in one transaction.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from corpushooks.deployment import (
    CANCELLED,
    DEPLOYED,
    QUEUED,
    ROLLING_BACK,
    RUNNING,
    TRANSITIONS,
    ChildRow,
    Deployment,
    ProjectRow,
    Request,
)
from corpushooks.errors import StoreError, UsageError

VERSION = 1

SCHEMA = """
CREATE TABLE project (
    name        TEXT PRIMARY KEY,
    environment TEXT NOT NULL,
    branch      TEXT NOT NULL,
    created     REAL NOT NULL,
    live        INTEGER,            -- the deployment whose result is live
    code        TEXT,               -- the live commit of project.git
    pillar      TEXT,               -- the live commit of pillar.git
    tree_code   TEXT,               -- what the stage and project/ hold: differs from code after a failure in dev
    tree_pillar TEXT,
    broken      TEXT,               -- why a person is needed
    broken_by   INTEGER             -- the deployment whose roll back failed
) STRICT;
CREATE TABLE deployment (
    project    TEXT NOT NULL,
    number     INTEGER NOT NULL,
    token      TEXT NOT NULL,          -- the request's own: asking twice queues once
    state      TEXT NOT NULL,
    request    TEXT NOT NULL,
    old_code   TEXT, new_code   TEXT,
    old_pillar TEXT, new_pillar TEXT,
    archive    TEXT,                   -- the name of its folder in archives/
    queued     REAL NOT NULL,
    started    REAL,
    decided    REAL,                   -- the state is final
    ended      REAL,                   -- nothing of it is left to do
    reason     TEXT NOT NULL DEFAULT '',
    cancelled  TEXT,                   -- by whom
    PRIMARY KEY (project, number),
    UNIQUE (project, token)
) STRICT;
CREATE INDEX deployment_open ON deployment (project, number) WHERE ended IS NULL;
CREATE TABLE journal (
    project TEXT NOT NULL,
    number  INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    step    TEXT NOT NULL,
    at      REAL NOT NULL,
    PRIMARY KEY (project, number, seq)
) STRICT;
CREATE TABLE child (
    project TEXT NOT NULL,
    number  INTEGER NOT NULL,
    pid     INTEGER NOT NULL,
    start   INTEGER NOT NULL,
    pgid    INTEGER NOT NULL
) STRICT;
CREATE INDEX child_of ON child (project, number);
"""


@dataclass
class History:
    """The open store. One connection, one lock: any thread may use it."""

    path: Path
    _db: sqlite3.Connection = field(init=False, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=30)
            self._db.row_factory = sqlite3.Row
            self.path.chmod(0o600)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._make()
        except (sqlite3.Error, OSError) as exc:
            raise StoreError(f"the store {self.path} cannot be opened: {exc}") from exc

    def _make(self) -> None:
        with self._change() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise StoreError(f"the store {self.path} is of a newer corpushooks (version {version})")
            if version == 0:
                for statement in SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """Close the store."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on the disk when it ends; nothing of it where an error ends it."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as exc:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(exc, sqlite3.Error):
                    raise StoreError(f"the store {self.path}: {exc}") from exc
                raise

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            try:
                return self._db.execute(query, values).fetchall()
            except sqlite3.Error as exc:
                raise StoreError(f"the store {self.path}: {exc}") from exc

    # projects

    def projects(self) -> list[ProjectRow]:
        """Return all projects, by name."""
        return [ProjectRow(**row) for row in self._rows("SELECT * FROM project ORDER BY name")]

    def project(self, name: str) -> ProjectRow | None:
        """Return one project, or None where there is none of that name."""
        rows = self._rows("SELECT * FROM project WHERE name = ?", name)
        return ProjectRow(**rows[0]) if rows else None

    def add_project(self, name: str, environment: str, branch: str) -> None:
        """Record a project, or change the environment and branch of one.

        One that was removed, its files and history kept, goes on from what was live then.
        """
        with self._change() as db:
            known = db.execute("SELECT 1 FROM project WHERE name = ?", (name,)).fetchone()
            db.execute(
                "INSERT INTO project (name, environment, branch, created) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET environment = excluded.environment,"
                " branch = excluded.branch",
                (name, environment, branch, time.time()),
            )
            last = db.execute(
                "SELECT number, new_code, new_pillar FROM deployment WHERE project = ? AND state = ?"
                " ORDER BY number DESC LIMIT 1",
                (name, DEPLOYED),
            ).fetchone()
            if last and not known:
                db.execute(
                    "UPDATE project SET live = ?1, code = ?2, pillar = ?3, tree_code = ?2, tree_pillar = ?3"
                    " WHERE name = ?4",
                    (*last, name),
                )

    def forget_project(self, name: str, *, purge: bool) -> None:
        """Forget a project, and what waits in it; with `purge` all its deployments too."""
        for deployment in self.queued(name):
            self.move(deployment, CANCELLED, "the project was removed")
            self.end(deployment)
        with self._change() as db:
            db.execute("DELETE FROM project WHERE name = ?", (name,))
            if purge:
                for table in ("deployment", "journal", "child"):
                    db.execute(f"DELETE FROM {table} WHERE project = ?", (name,))

    def set_tree(self, name: str, code: str | None, pillar: str | None) -> None:
        """Record which commits the stage, project/ and pillar/ hold."""
        with self._change() as db:
            db.execute("UPDATE project SET tree_code = ?, tree_pillar = ? WHERE name = ?", (code, pillar, name))

    def set_broken(self, name: str, reason: str | None, number: int | None = None) -> None:
        """Record that a project needs a person since deployment `number`, or (None) does not any more."""
        with self._change() as db:
            db.execute("UPDATE project SET broken = ?, broken_by = ? WHERE name = ?", (reason, number, name))

    # deployments

    def enqueue(self, project: str, request: Request) -> Deployment:
        """Give a request its number and queue it; a token that came before gets what it got then."""
        token = request.token or secrets.token_hex(16)
        with self._change() as db:
            old = db.execute("SELECT * FROM deployment WHERE project = ? AND token = ?", (project, token)).fetchall()
            if not old:
                db.execute(
                    "INSERT INTO deployment (project, number, token, state, request, queued) VALUES"
                    " (?, (SELECT coalesce(max(number), 0) + 1 FROM deployment WHERE project = ?), ?, ?, ?, ?)",
                    (project, project, token, QUEUED, json.dumps(asdict(request)), time.time()),
                )
        return self._read("project = ? AND token = ?", project, token)[0]

    def _read(self, where: str, *values: Any) -> list[Deployment]:
        rows = self._rows(f"SELECT * FROM deployment WHERE {where}", *values)
        return [Deployment(**{**dict(row), "request": Request.load(row["request"])}) for row in rows]

    def deployment(self, project: str, number: int) -> Deployment:
        """Return one deployment; raise UsageError where there is none of that number."""
        rows = self._read("project = ? AND number = ?", project, number)
        if not rows:
            raise UsageError(f"{project} has no deployment {number}", hint=f"corpus history {project}")
        return rows[0]

    def deployments(self, project: str, limit: int = -1) -> list[Deployment]:
        """Return the deployments of a project, the newest first."""
        return self._read("project = ? ORDER BY number DESC LIMIT ?", project, limit)

    def unfinished(self, project: str) -> list[Deployment]:
        """Return those that started and have not ended, the oldest first."""
        return self._read("project = ? AND ended IS NULL AND state != ? ORDER BY number", project, QUEUED)

    def queued(self, project: str) -> list[Deployment]:
        """Return those that wait, the oldest first."""
        return self._read("project = ? AND ended IS NULL AND state = ? ORDER BY number", project, QUEUED)

    def ahead(self, deployment: Deployment) -> Deployment | None:
        """Return what runs or waits first in the lane of a deployment, before it."""
        found = self._read(
            "project = ? AND ended IS NULL AND number < ? ORDER BY number LIMIT 1",
            deployment.project, deployment.number,
        )  # fmt: skip
        return found[0] if found else None

    def move(self, deployment: Deployment, state: str, reason: str = "") -> Deployment:
        """Change the state of a deployment: the only way, and only along the table."""
        with self._change() as db:
            self._move(db, deployment, state, reason)
        return self.deployment(deployment.project, deployment.number)

    def _move(self, db: sqlite3.Connection, deployment: Deployment, state: str, reason: str) -> None:
        key = (deployment.project, deployment.number)
        row = db.execute("SELECT state FROM deployment WHERE project = ? AND number = ?", key).fetchone()
        if state not in TRANSITIONS.get(row[0], ()):
            raise StoreError(f"{key[0]} deployment {key[1]} cannot go from {row[0]} to {state}")
        now = time.time()
        column = {RUNNING: "started", ROLLING_BACK: None}.get(state, "decided")
        if column:
            db.execute(f"UPDATE deployment SET {column} = ? WHERE project = ? AND number = ?", (now, *key))
        db.execute(
            "UPDATE deployment SET state = ?, reason = CASE ? WHEN '' THEN reason ELSE ? END"
            " WHERE project = ? AND number = ?",
            (state, reason, reason, *key),
        )

    def aim(
        self, deployment: Deployment, old: tuple[str | None, str | None], new: tuple[str | None, str | None],
        archive: str,
    ) -> Deployment:  # fmt: skip
        """Record, before anything is done, from which to which (code, pillar) a deployment goes."""
        with self._change() as db:
            db.execute(
                "UPDATE deployment SET old_code = ?, old_pillar = ?, new_code = ?, new_pillar = ?, archive = ?"
                " WHERE project = ? AND number = ?",
                (*old, *new, archive, deployment.project, deployment.number),
            )
        return self.deployment(deployment.project, deployment.number)

    def set_cancelled(self, deployment: Deployment, who: str) -> None:
        """Record who asked for the end of a deployment."""
        with self._change() as db:
            db.execute(
                "UPDATE deployment SET cancelled = ? WHERE project = ? AND number = ?",
                (who, deployment.project, deployment.number),
            )

    def publish(self, deployment: Deployment) -> Deployment:
        """Record that a deployment is live."""
        with self._change() as db:
            self._move(db, deployment, DEPLOYED, "")
            db.execute(
                "UPDATE project SET live = ?, code = ?, pillar = ?, tree_code = ?, tree_pillar = ?, broken = NULL,"
                " broken_by = NULL"
                " WHERE name = ?",
                (deployment.number, *(deployment.new_code, deployment.new_pillar) * 2, deployment.project),
            )
        return self.deployment(deployment.project, deployment.number)

    def end(self, deployment: Deployment) -> None:
        """Record that nothing of a deployment is left to do."""
        key = (deployment.project, deployment.number)
        with self._change() as db:
            db.execute("UPDATE deployment SET ended = ? WHERE project = ? AND number = ?", (time.time(), *key))
            db.execute("DELETE FROM child WHERE project = ? AND number = ?", key)

    # the journal

    def begin(self, deployment: Deployment, step: str) -> None:
        """Record that a step begins."""
        key = (deployment.project, deployment.number)
        with self._change() as db:
            db.execute(
                "INSERT INTO journal (project, number, seq, step, at) VALUES (?, ?,"
                " (SELECT coalesce(max(seq), 0) + 1 FROM journal WHERE project = ? AND number = ?), ?, ?)",
                (*key, *key, step, time.time()),
            )

    def steps(self, deployment: Deployment) -> list[str]:
        """Return the steps of a deployment that began, in order."""
        rows = self._rows(
            "SELECT step FROM journal WHERE project = ? AND number = ? ORDER BY seq",
            deployment.project, deployment.number,
        )  # fmt: skip
        return [row[0] for row in rows]

    def add_child(self, deployment: Deployment, child: ChildRow) -> None:
        """Record a process before it does anything."""
        with self._change() as db:
            db.execute(
                "INSERT INTO child VALUES (?, ?, ?, ?, ?)",
                (deployment.project, deployment.number, child.pid, child.start, child.pgid),
            )

    def children(self, deployment: Deployment) -> list[ChildRow]:
        """Return the recorded processes of a deployment."""
        rows = self._rows(
            "SELECT pid, start, pgid FROM child WHERE project = ? AND number = ?",
            deployment.project, deployment.number,
        )  # fmt: skip
        return [ChildRow(*row) for row in rows]
