"""State changes in the store: only allowed transitions, and only from the state that the caller saw.

So of a confirmation, a cancellation and the end of the lease exactly one wins.
"""

from __future__ import annotations

import time
from dataclasses import replace

from corpushooks.core.deployment import DECIDES, HELD, ROLLING_BACK, RUNNING, TRANSITIONS, Deployment
from corpushooks.core.errors import StateError
from corpushooks.store.database import Connection
from corpushooks.store.lease import Lease
from corpushooks.store.vitals import Vitals

OF_ONE = "WHERE project = ? AND number = ?"
TIMES = {RUNNING: "started", ROLLING_BACK: None, HELD: "held"}  # state -> column of its time; others: "decided"


class Held(Vitals):
    """States and holds in the store."""

    def _move(self, db: Connection, deployment: Deployment, state: str, reason: str = "", summary: str = "") -> None:
        key = (deployment.project, deployment.number)
        (now,) = db.execute(f"SELECT state FROM deployment {OF_ONE}", key).fetchone()
        if now != deployment.state or state not in TRANSITIONS.get(now, ()):
            raise StateError(f"{key[0]} deployment {key[1]} cannot change from {now} to {state}")
        for column in filter(None, (TIMES.get(state, "decided"), "answered" if now == HELD else None)):
            db.execute(f"UPDATE deployment SET {column} = coalesce({column}, ?) {OF_ONE}", (time.time(), *key))
        said = {"reason": reason, "summary": summary or reason}
        for column, value in {"state": state, **{name: text for name, text in said.items() if text}}.items():
            db.execute(f"UPDATE deployment SET {column} = ? {OF_ONE}", (value, *key))

    def begin(self, deployment: Deployment, step: str) -> None:
        """Record that a step begins."""
        with self.change() as db:
            self._begin(db, deployment, step)

    def _begin(self, db: Connection, deployment: Deployment, step: str) -> None:
        key = (deployment.project, deployment.number)
        db.execute(
            "INSERT INTO journal (project, number, seq, step, at) VALUES (?, ?,"
            f" (SELECT coalesce(max(seq), 0) + 1 FROM journal {OF_ONE}), ?, ?)",
            (*key, *key, step, time.time()),
        )

    def hold(self, deployment: Deployment, lease: Lease) -> None:
        """Record that a deployment is held; raise StateError if it was cancelled."""
        key = (deployment.project, deployment.number)
        with self.change() as db:
            (cancelled,) = db.execute(f"SELECT cancelled FROM deployment {OF_ONE}", key).fetchone()
            if cancelled:
                raise StateError(f"cancelled by {cancelled}")
            self._move(db, deployment, HELD)
            db.execute(
                f"UPDATE deployment SET lease = ?, boot = ?, until = ? {OF_ONE}",
                (lease.seconds, lease.boot, lease.until, *key),
            )

    def confirm(self, deployment: Deployment, who: str) -> None:
        """Record the confirmation of a held deployment, with the deciding row of the journal; raise StateError."""
        with self.change() as db:
            self._move(db, deployment, RUNNING)
            db.execute(f"UPDATE deployment SET confirmed = ? {OF_ONE}", (who, deployment.project, deployment.number))
            self._begin(db, deployment, DECIDES)

    def set_cancelled(self, deployment: Deployment, who: str) -> None:
        """Record who cancelled a deployment; a held one rolls back. Raise StateError if it was confirmed."""
        key = (deployment.project, deployment.number)
        with self.change() as db:
            confirmed, state = db.execute(f"SELECT confirmed, state FROM deployment {OF_ONE}", key).fetchone()
            if confirmed:
                raise StateError(f"deployment {key[1]} was confirmed by {confirmed}")
            if state == HELD:
                self._move(db, replace(deployment, state=HELD), ROLLING_BACK, f"cancelled by {who}")
            db.execute(f"UPDATE deployment SET cancelled = ? {OF_ONE}", (who, *key))
