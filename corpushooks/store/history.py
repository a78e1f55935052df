"""The history in the store: projects, deployments, and the journal of unfinished deployments.

A row is committed and flushed to the disk before the act that it announces. Related changes are made in one
transaction.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Set
from dataclasses import asdict
from typing import Any

from corpushooks.core.deployment import (
    CANCELLED,
    DEPLOYED,
    FAILURES,
    QUEUED,
    ROLLING_BACK,
    RUNNING,
    TRIED,
    ChildRow,
    Deployment,
    Freeze,
    ProjectRow,
    Request,
    Revision,
    newest_tried,
)
from corpushooks.core.errors import LostStoreError, NotAllowedError, StoreError, UnknownError
from corpushooks.core.hints import command
from corpushooks.core.project import Host
from corpushooks.store.database import HINT, UNREADABLE, files, is_ours
from corpushooks.store.held import Held
from corpushooks.system.obstacles import away, obstacle

LIVE = f"state = '{DEPLOYED}'"  # as in its index
NUMBERS = 1 << 63  # the limit of integers in sqlite
# the highest number of a project, also of an earlier life of it: backups have it, and nodes refuse a lower one
HIGHEST = " (SELECT coalesce(max(n), 0) FROM ({}))".format(
    " UNION ALL ".join(f"SELECT max(number) AS n FROM {table} WHERE project = ?1"
                       for table in ("deployment", "backup", "rollout"))
)  # fmt: skip
PAGE = 50  # deployments that are read at once


def open_store(host: Host) -> History:
    """Open the store of a host, or create it on a new host; raise StoreError."""
    if os.path.lexists(host.state_dir) and not host.state_dir.is_dir():
        raise LostStoreError(f"{host.state_dir} is not a folder", away(host.state_dir, HINT))
    try:
        made = next(host.projects_dir.glob("*/git/project.git"), None)
        left = [path for path in files(host.store) if path.exists()]
    except PermissionError:
        found = obstacle((), host.state_dir) if is_ours(host.state_dir) else None
        if found is None:
            raise NotAllowedError(UNREADABLE) from None
        raise StoreError(f"the store {host.store} cannot be used: {found.what}", found.repair) from None
    if not host.store.exists() and (made or left):
        raise LostStoreError(f"the store {host.store} is missing, but {left[0] if left else made} exists", HINT)
    return History(host.store)


class History(Held):
    """The store, by projects and deployments."""

    # projects

    def projects(self) -> list[ProjectRow]:
        """Return all projects, by name."""
        return [ProjectRow(**row) for row in self.rows("SELECT * FROM project ORDER BY name")]

    def project(self, name: str) -> ProjectRow | None:
        """Return one project, or None if it does not exist."""
        rows = self.rows("SELECT * FROM project WHERE name = ?", name)
        return ProjectRow(**rows[0]) if rows else None

    def add_project(self, name: str, environment: str, branch: str) -> None:
        """Record a project, or change its environment and branch.

        One that was removed but not purged continues with its last live release.
        """
        with self.change() as db:
            known = db.execute("SELECT 1 FROM project WHERE name = ?", (name,)).fetchone()
            db.execute(
                "INSERT INTO project (name, environment, branch, created) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET environment = excluded.environment,"
                " branch = excluded.branch",
                (name, environment, branch, time.time()),
            )
            last = db.execute(
                f"SELECT number, new_code, new_pillar FROM deployment WHERE project = ? AND {LIVE}"
                " ORDER BY number DESC LIMIT 1",
                (name,),
            ).fetchone()
            if last and not known:
                db.execute(
                    "UPDATE project SET live = ?1, code = ?2, pillar = ?3, tree_code = ?2, tree_pillar = ?3"
                    " WHERE name = ?4",
                    (*last, name),
                )

    def forget_project(self, name: str, *, purge: bool) -> None:
        """Delete a project and cancel its queue; with `purge`, also delete all its deployments."""
        for deployment in self.queued(name):
            self.move(deployment, CANCELLED, "the project was removed")
            self.end(deployment)
        with self.change() as db:
            db.execute("DELETE FROM project WHERE name = ?", (name,))
            db.execute("DELETE FROM freeze WHERE project = ?", (name,))
            db.execute("DELETE FROM claim WHERE project = ?", (name,))
            db.execute("DELETE FROM vitals WHERE project = ?", (name,))
            for table in ("overdue", "placed", "governed", "given_order"):
                db.execute(f"DELETE FROM {table} WHERE project = ?", (name,))
            if purge:
                for table in ("deployment", "journal", "child", "command"):
                    db.execute(f"DELETE FROM {table} WHERE project = ?", (name,))
                db.execute("UPDATE audit SET number = NULL WHERE project = ?", (name,))  # another can have it

    def set_tree(self, name: str, code: str | None, pillar: str | None) -> None:
        """Record the commits in the stage, project/ and pillar/."""
        with self.change() as db:
            db.execute("UPDATE project SET tree_code = ?, tree_pillar = ? WHERE name = ?", (code, pillar, name))

    def set_broken(self, name: str, reason: str | None, number: int | None = None) -> None:
        """Record why a project is broken, since deployment `number`, or (None) that it no longer is."""
        with self.change() as db:
            db.execute("UPDATE project SET broken = ?, broken_by = ? WHERE name = ?", (reason, number, name))

    def frozen(self, name: str) -> Freeze | None:
        """Return the freeze that applies to a project, or None; one of the whole host comes first."""
        rows = self.rows("SELECT * FROM freeze WHERE project IN ('', ?) ORDER BY project LIMIT 1", name)
        return Freeze(**rows[0]) if rows else None

    def frozen_itself(self, name: str) -> Freeze | None:
        """Return the freeze of one project ("": of the host), whatever else is frozen; None if there is none."""
        rows = self.rows("SELECT * FROM freeze WHERE project = ?", name)
        return Freeze(**rows[0]) if rows else None

    def freeze(self, name: str, reason: str, who: str) -> Freeze | None:
        """Freeze a project ("": all) until it is unfrozen; return the freeze before, if any."""
        with self.change() as db:
            before = db.execute("SELECT * FROM freeze WHERE project = ?", (name,)).fetchone()
            db.execute("INSERT OR REPLACE INTO freeze VALUES (?, ?, ?, ?)", (name, reason, who, time.time()))
        return Freeze(**before) if before else None

    def thaw(self, name: str) -> bool:
        """Unfreeze a project; return whether it was frozen."""
        with self.change() as db:
            return db.execute("DELETE FROM freeze WHERE project = ?", (name,)).rowcount > 0

    # deployments

    def enqueue(self, project: str, request: Request) -> Deployment:
        """Number and queue a request; a known token returns its deployment."""
        token = request.token or secrets.token_hex(16)
        with self.change() as db:
            old = db.execute("SELECT * FROM deployment WHERE project = ? AND token = ?", (project, token)).fetchall()
            if not old:
                db.execute(
                    "INSERT INTO deployment (project, number, token, state, request, queued) VALUES"
                    f" (?1, 1 + {HIGHEST}, ?2, ?3, ?4, ?5)",
                    (project, token, QUEUED, json.dumps(asdict(request)), time.time()),
                )
        return self._read("project = ? AND token = ?", project, token)[0]

    def asked(self, project: str, token: str) -> Deployment | None:
        """Return the deployment of a token, or None if it is unknown."""
        found = self._read("project = ? AND token = ?", project, token)
        return found[0] if found else None

    def _read(self, where: str, *values: Any) -> list[Deployment]:
        rows = self.rows(f"SELECT * FROM deployment WHERE {where}", *values)
        return [Deployment(**{**dict(row), "request": _request(row["request"])}) for row in rows]

    def at_work(self) -> int:
        """Return how many deployments run, in all projects."""
        return int(self.rows("SELECT count(*) FROM deployment WHERE state IN (?, ?)", RUNNING, ROLLING_BACK)[0][0])

    def deployment(self, project: str, number: int) -> Deployment:
        """Return one deployment; raise UsageError if it does not exist."""
        rows = self._read("project = ? AND number = ?", project, number) if abs(number) < NUMBERS else []
        if not rows:
            raise UnknownError(f"{project} has no deployment {number}", hint=command("history", project))
        return rows[0]

    def deployments(self, project: str, limit: int = -1) -> list[Deployment]:
        """Return the deployments of a project, the newest first."""
        return self._read("project = ? ORDER BY number DESC LIMIT ?", project, limit)

    def earlier(self, project: str, code: str | None, pillar: str | None) -> Deployment | None:
        """Return the newest deployment that was live with other commits than these."""
        found = self._read(
            f"project = ? AND {LIVE} AND new_code IS NOT NULL AND NOT (new_code IS ? AND new_pillar IS ?)"
            " ORDER BY number DESC LIMIT 1",
            project, code, pillar,
        )  # fmt: skip
        return found[0] if found else None

    def before(self, deployment: Deployment) -> Deployment | None:
        """Return the release that was live before a deployment, or None."""
        found = self._read(
            f"project = ? AND number < ? AND {LIVE} ORDER BY number DESC LIMIT 1",
            deployment.project, deployment.number,
        )  # fmt: skip
        return found[0] if found else None

    def failed(self, project: str) -> Deployment | None:
        """Return the newest failed deployment, or None."""
        states = ", ".join(f"'{state}'" for state in FAILURES)
        found = self._read(f"project = ? AND state IN ({states}) ORDER BY number DESC LIMIT 1", project)
        return found[0] if found else None

    def tried(self, project: str, kinds: Set[str], before: int | None = None) -> Deployment | None:
        """Return the newest deployment of some kinds that ran to its end, with a number below `before`."""
        states, below = ", ".join(f"'{state}'" for state in TRIED), before or self.newest(project) + 1
        while found := self._read(
            f"project = ? AND number < ? AND state IN ({states}) ORDER BY number DESC LIMIT {PAGE}", project, below
        ):
            if newest := newest_tried(found, kinds):
                return newest
            below = found[-1].number
        return None

    def edits_since(self, project: str, number: int) -> list[Deployment]:
        """Return the deployments of edits after a number, the oldest first."""
        found = self._read("project = ? AND number > ? ORDER BY number", project, number)
        return [each for each in found if each.request.sort.edits]

    def last(self, project: str) -> Deployment:
        """Return the newest deployment; raise UsageError if there is none."""
        found = self.deployments(project, 1)
        if not found:
            raise UnknownError(f"{project} was never deployed", hint="git push first")
        return found[0]

    def newest(self, project: str) -> int:
        """Return the number of the newest deployment; 0 if there is none."""
        return int(self.rows("SELECT coalesce(max(number), 0) FROM deployment WHERE project = ?", project)[0][0])

    def open_projects(self) -> set[str]:
        """Return the projects with running or queued deployments."""
        return {row[0] for row in self.rows("SELECT DISTINCT project FROM deployment WHERE ended IS NULL")}

    def unfinished(self, project: str) -> list[Deployment]:
        """Return the deployments that started and have not ended, the oldest first."""
        return self._read("project = ? AND ended IS NULL AND state != ? ORDER BY number", project, QUEUED)

    def open_in(self, project: str) -> bool:
        """Return whether anything runs or waits in a project."""
        return bool(self.rows("SELECT 1 FROM deployment WHERE project = ? AND ended IS NULL LIMIT 1", project))

    def queued(self, project: str, limit: int = -1) -> list[Deployment]:
        """Return the queued deployments, the oldest first."""
        return self._read("project = ? AND ended IS NULL AND state = ? ORDER BY number LIMIT ?", project, QUEUED, limit)

    def ahead(self, deployment: Deployment) -> Deployment | None:
        """Return the first running or queued deployment ahead of one, or None."""
        found = self._read(
            "project = ? AND ended IS NULL AND number < ? ORDER BY number LIMIT 1",
            deployment.project, deployment.number,
        )  # fmt: skip
        return found[0] if found else None

    def move(self, deployment: Deployment, state: str, reason: str = "", summary: str = "") -> Deployment:
        """Change the state of a deployment, by an allowed transition. `summary`: the reason in short."""
        with self.change() as db:
            self._move(db, deployment, state, reason, summary)
        return self.deployment(deployment.project, deployment.number)

    def aim(
        self, deployment: Deployment, old: Revision, new: Revision, archive: str, lease: float | None = None
    ) -> Deployment:
        """Record, before anything is done, the old and new revision of a deployment, and how long it is held."""
        with self.change() as db:
            db.execute(
                "UPDATE deployment SET old_code = ?, old_pillar = ?, new_code = ?, new_pillar = ?, archive = ?,"
                " lease = ? WHERE project = ? AND number = ?",
                (*old, *new, archive, lease, deployment.project, deployment.number),
            )
        return self.deployment(deployment.project, deployment.number)

    def publish(self, deployment: Deployment, *, here: bool = True) -> Deployment:
        """Record that a deployment is live; release claims that it did not repeat.

        If it is live on nodes only, there is no tree of it `here`.
        """
        new = (deployment.new_code, deployment.new_pillar)
        with self.change() as db:
            self._move(db, deployment, DEPLOYED)
            db.execute(
                "UPDATE project SET live = ?, code = ?, pillar = ?, tree_code = ?, tree_pillar = ?, broken = NULL,"
                " broken_by = NULL"
                " WHERE name = ?",
                (deployment.number, *new, *(new if here else (None, None)), deployment.project),
            )
            db.execute("DELETE FROM claim WHERE project = ? AND asked != ?", (deployment.project, deployment.number))
            self._adopt_checks(db, deployment.project, deployment.number)
        return self.deployment(deployment.project, deployment.number)

    def end(self, deployment: Deployment) -> None:
        """Record that a deployment is complete."""
        key = (deployment.project, deployment.number)
        with self.change() as db:
            db.execute("UPDATE deployment SET ended = ? WHERE project = ? AND number = ?", (time.time(), *key))
            db.execute("DELETE FROM child WHERE project = ? AND number = ?", key)

    # the journal

    def set_backup(self, deployment: Deployment, name: str) -> Deployment:
        """Record the backup that was made before a deployment; return the deployment."""
        with self.change() as db:
            db.execute(
                "UPDATE deployment SET backup = ? WHERE project = ? AND number = ?",
                (name, deployment.project, deployment.number),
            )
        return self.deployment(deployment.project, deployment.number)

    def steps(self, deployment: Deployment) -> list[str]:
        """Return the started steps of a deployment, in order."""
        rows = self.rows(
            "SELECT step FROM journal WHERE project = ? AND number = ? ORDER BY seq",
            deployment.project, deployment.number,
        )  # fmt: skip
        return [row[0] for row in rows]

    def add_child(self, deployment: Deployment, child: ChildRow) -> None:
        """Record a process before it acts."""
        with self.change() as db:
            db.execute(
                "INSERT INTO child VALUES (?, ?, ?, ?, ?)",
                (deployment.project, deployment.number, child.pid, child.start, child.pgid),
            )

    def children(self, deployment: Deployment) -> list[ChildRow]:
        """Return the recorded processes of a deployment."""
        rows = self.rows(
            "SELECT pid, start, pgid FROM child WHERE project = ? AND number = ?",
            deployment.project, deployment.number,
        )  # fmt: skip
        return [ChildRow(*row) for row in rows]

    # for rebuilding a lost store

    def forget_project_row(self, name: str) -> None:
        """Delete the row of a project, to replace it."""
        with self.change() as db:
            db.execute("DELETE FROM project WHERE name = ?", (name,))

    def forget_deployment_row(self, deployment: Deployment) -> None:
        """Delete the row of a deployment, to replace it."""
        with self.change() as db:
            key = (deployment.project, deployment.number)
            db.execute("DELETE FROM deployment WHERE project = ? AND number = ?", key)


def _request(text: str) -> Request:
    """Read a stored request; an unreadable one has an unknown kind."""
    try:
        return Request.load(text)
    except (TypeError, ValueError):
        return Request(kind="unreadable")
