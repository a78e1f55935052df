"""Set variables: commit on top of the pillar when nothing else moves it, then follow the deployment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from corpushooks.core.deployment import DEPLOYED, Deployment, ProjectRow, Request
from corpushooks.core.errors import RefusedError
from corpushooks.core.hints import command
from corpushooks.deploy.lanes import Lanes
from corpushooks.host.site import Site
from corpushooks.operations import assigning
from corpushooks.operations.follower import follow
from corpushooks.protocol.connection import Connection
from corpushooks.release.assigned import Change
from corpushooks.reports import variables
from corpushooks.screen import view
from corpushooks.screen.rows import complaint

AGAIN = 5  # attempts to commit on top of a branch that others move meanwhile

Enqueue = Callable[[str, Request], Deployment]


@dataclass(frozen=True)
class Turns:
    """Locks for setting variables, one per project."""

    locks: dict[str, threading.Lock] = field(default_factory=dict)

    @contextmanager
    def of(self, lanes: Lanes, connection: Connection, name: str) -> Iterator[ProjectRow]:
        """Hold the lock of a project, once nothing else will move its pillar.git."""
        site = lanes.site
        lock, waiting = self.locks.setdefault(name, threading.Lock()), 0
        while not lock.acquire(timeout=0.5):
            connection.check()
        try:
            while found := assigning.ahead(site, site.known(name)):
                connection.check()
                if found.number != waiting:
                    waiting = found.number
                    connection.send(say=f"waiting for pillar deployment {waiting}")
                lanes.await_change(0.2)
            yield site.known(name)
        finally:
            lock.release()


@dataclass(frozen=True)
class Call:
    """A change to set, and the connection that gets the result."""

    lanes: Lanes
    connection: Connection
    request: Request  # the caller, and how to deploy
    change: Change
    still: Callable[[], object]  # raises if the caller has lost the right
    ssh: bool

    @property
    def site(self) -> Site:
        return self.lanes.site

    def answer(self, name: str, enqueue: Enqueue | None, turns: Turns) -> dict[str, Any]:
        """Commit the change, and follow its deployment if there is one; return the result."""
        self.site.engine.warm()  # it loads while we wait for the lock
        for text in assigning.remarks(self.site, self.site.known(name), self.change.puts):
            self.connection.send(say=f"warning: {text}")
        for turn in range(AGAIN):
            if result := self._once(name, enqueue, turns, turn):
                return result
        raise RefusedError("pillar.git kept changing meanwhile", hint="try again")

    def _once(self, name: str, enqueue: Enqueue | None, turns: Turns, turn: int) -> dict[str, Any] | None:
        """Try on top of the current branch; return None if that moved meanwhile."""
        with turns.of(self.lanes, self.connection, name) as row:
            made = assigning.make(self.site, row, self.change, self.request.who)
            if made is None:
                return self._unchanged(row)
            for finding in made.findings:
                self.connection.send(say=complaint("warning", finding.text))
            self.still()
            if enqueue is None:
                return self._keep(row, made)
            deployment = enqueue(name, self._of(made, turn))
        self.connection.send(say=f"pillar {view.short(made.commit)}: {made.message}", number=deployment.number)
        deployment = follow(self.lanes, self.connection, deployment, 0, progress=self.request.progress)
        if assigning.was_overtaken(self.site, row, made, deployment):
            return None
        if deployment.state != DEPLOYED:
            self.connection.send(say="hint: nothing was set; --no-deploy sets it without deploying")
        return deployment.as_json()

    def _of(self, made: assigning.Made, turn: int) -> Request:
        token = f"{self.request.token}{turn or ''}"
        return replace(self.request, ref=made.ref, old=made.base or "", new=made.commit, token=token)

    def _unchanged(self, row: ProjectRow) -> dict[str, Any]:
        head = variables.head(self.site, row)[1]
        self.connection.send(say="nothing changed")
        if row.code and head != row.pillar:
            self.connection.send(say=f"hint: the pillar is not deployed yet: {self._deploying(row)}")
        return {"state": "unchanged", "commit": head}

    def _keep(self, row: ProjectRow, made: assigning.Made) -> dict[str, Any] | None:
        """Store a commit without deploying; return None if the branch moved meanwhile."""
        if why := assigning.store(self.site, row, made):
            if variables.head(self.site, row)[1] == made.base:
                raise RefusedError(f"cannot update pillar.git: {why}")
            return None
        self.connection.send(say=f"pillar {view.short(made.commit)}: {made.message}")
        when = f"the next deployment, or now with: {self._deploying(row)}" if row.code else "the first deployment"
        self.connection.send(say=f"stored; it takes effect with {when}")
        return {"state": "stored", "commit": made.commit}

    def _deploying(self, row: ProjectRow) -> str:
        return self.site.spell(command("deploy", row.name), ssh=self.ssh)
