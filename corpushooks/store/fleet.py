"""Several machines in the store: the nodes of a controller, and on a node the controllers that it obeys."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from corpushooks.core import records
from corpushooks.core.deployment import HELD, Deployment, Request
from corpushooks.core.errors import RefusedError, UnknownError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.policy import Policy
from corpushooks.core.rollouts import (
    BACK,
    BROKEN,
    LIVE,
    PREPARE,
    REVOKE,
    SWITCH,
    Governed,
    Node,
    OnNode,
    Order,
    Ordered,
    Placed,
)
from corpushooks.store.database import Connection, Row, Store
from corpushooks.store.lease import Lease


@dataclass(frozen=True)
class Fleet:
    """The nodes of a controller, which project is on which, and what each said of a rollout."""

    store: Store

    def epoch(self) -> int:
        """Return the epoch of this store, which begins now if it has none.

        It is a time, so that a store that was made anew has a later one, and its low numbers are not taken for old.
        """
        with self.store.change() as db:
            db.execute(
                "INSERT INTO controller SELECT ? WHERE NOT EXISTS (SELECT 1 FROM controller)", (int(time.time()),)
            )
            return int(db.execute("SELECT max(epoch) FROM controller").fetchone()[0])

    def renew_epoch(self) -> None:
        """Begin a later epoch: this store is an old copy, and its next numbers are not taken for old ones."""
        with self.store.change() as db:
            db.execute("UPDATE controller SET epoch = max(epoch + 1, ?)", (int(time.time()),))

    def nodes(self) -> list[Node]:
        """Return all nodes, by name."""
        return [_node(row) for row in self.store.rows("SELECT * FROM node ORDER BY name")]

    def node(self, name: str) -> Node:
        """Return a node; raise UnknownError."""
        rows = self.store.rows("SELECT * FROM node WHERE name = ?", name)
        if not rows:
            raise UnknownError(f"unknown node {name!r}", hint=command("node", "list"))
        return _node(rows[0])

    def add(self, node: Node) -> Node:
        """Add a node, or change its address and labels; return it."""
        with self.store.change() as db:
            db.execute(
                "INSERT INTO node (name, address, labels, added, by) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET address = excluded.address, labels = excluded.labels",
                (node.name, node.address, " ".join(node.labels), time.time(), node.by),
            )
        return self.node(node.name)

    def remove(self, name: str) -> Node:
        """Remove a node; raise UnknownError, or RefusedError while projects are on it."""
        found = self.node(name)
        if on := self.on(name):
            unlink = command("node", "unlink", name, on[0])
            raise RefusedError(f"the node {name} still has projects: {' '.join(on)}", hint=unlink)
        with self.store.change() as db:
            db.execute("DELETE FROM node WHERE name = ?", (name,))
        return found

    def drain(self, name: str, *, drained: bool) -> Node:
        """Take a node out of rollouts, or back in; raise UnknownError."""
        found = self.node(name)
        with self.store.change() as db:
            db.execute("UPDATE node SET drained = ? WHERE name = ?", (int(drained), name))
        return replace(found, drained=drained)

    def saw(self, name: str, projects: Mapping[str, OnNode]) -> None:
        """Record that a node has answered, and what it runs; a project that it does not name was released there."""
        said = {project: json.dumps(records.brief(each)) for project, each in projects.items()}
        with self.store.change() as db:
            db.execute("UPDATE node SET seen = ? WHERE name = ?", (time.time(), name))
            for (project,) in db.execute("SELECT project FROM placed WHERE node = ?", (name,)).fetchall():
                known = (said.get(project, GONE), project, name)
                db.execute("UPDATE placed SET said = ? WHERE project = ? AND node = ?", known)

    def said(self, project: str) -> dict[str, OnNode | None]:
        """Return what each node of a project said last that it runs; one that has said nothing is not in it.

        None: the node has released the project.
        """
        rows = self.store.rows("SELECT node, said FROM placed WHERE project = ? AND said <> '' ORDER BY node", project)
        return {row["node"]: _on_node(row["said"]) for row in rows}

    # projects on nodes

    def place(self, project: str, node: str) -> None:
        """Record that a project is on a node, too."""
        with self.store.change() as db:
            db.execute("INSERT OR IGNORE INTO placed (project, node) VALUES (?, ?)", (project, node))

    def displace(self, project: str, node: str) -> None:
        """Record that a project is not on a node any more; raise UsageError if it was not."""
        with self.store.change() as db:
            if not db.execute("DELETE FROM placed WHERE project = ? AND node = ?", (project, node)).rowcount:
                raise UsageError(f"{project} is not on the node {node}", hint=command("node", "show", node))

    def of(self, project: str) -> tuple[Node, ...]:
        """Return the nodes of a project, by name, with those that are drained."""
        query = "SELECT node.* FROM node JOIN placed ON node = name WHERE project = ? ORDER BY name"
        return tuple(_node(row) for row in self.store.rows(query, project))

    def on(self, name: str) -> list[str]:
        """Return the projects on a node."""
        return [row[0] for row in self.store.rows("SELECT project FROM placed WHERE node = ? ORDER BY project", name)]

    def placed(self) -> dict[str, tuple[str, ...]]:
        """Return the names of the nodes of each project that has any."""
        found: dict[str, tuple[str, ...]] = {}
        for row in self.store.rows("SELECT project, node FROM placed ORDER BY project, node"):
            found[row["project"]] = (*found.get(row["project"], ()), row["node"])
        return found

    # rollouts

    def begin(self, project: str, number: int, nodes: Sequence[str], phase: str, policy: Policy) -> None:
        """Record, before any node is asked, which ones a rollout concerns, and how it is done."""
        epoch, how = self.epoch(), json.dumps(records.brief(policy))
        with self.store.change() as db:
            for node in nodes:
                db.execute(
                    "INSERT OR IGNORE INTO rollout (project, number, node, phase, epoch, policy)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (project, number, node, phase, epoch, how),
                )

    def told(self, project: str, number: int, node: str, report: Ordered) -> None:
        """Record what a node said; what it ran before is kept from its first report."""
        with self.store.change() as db:
            db.execute(
                "UPDATE rollout SET phase = ?, reason = ?,"
                " base_code = CASE base_code WHEN '' THEN ? ELSE base_code END,"
                " base_pillar = CASE base_code WHEN '' THEN ? ELSE base_pillar END"
                " WHERE project = ? AND number = ? AND node = ?",
                (report.phase, report.reason, report.code, report.pillar, project, number, node),
            )
            if report.phase in (LIVE, BACK, BROKEN):
                _runs(db, project, number, node, report)

    def rollout(self, project: str, number: int) -> list[Row]:
        """Return what each node of a rollout said last; nothing if this was none."""
        return self.store.rows("SELECT * FROM rollout WHERE project = ? AND number = ? ORDER BY node", project, number)

    def rollouts(self, project: str, first: int, last: int) -> list[Row]:
        """Return what each node said last of some rollouts."""
        query = "SELECT * FROM rollout WHERE project = ? AND number BETWEEN ? AND ? ORDER BY number, node"
        return self.store.rows(query, project, first, last)

    def epoch_of(self, project: str, number: int) -> int:
        """Return the epoch in which a rollout began, which its orders have for ever; 0: it was none."""
        return int(self.store.rows("SELECT max(epoch) FROM rollout WHERE project = ? AND number = ?",
                                   project, number)[0][0] or 0)  # fmt: skip

    def policy_of(self, project: str, number: int) -> Policy | None:
        """Return how a rollout is done; None: that was not recorded."""
        found = next((row["policy"] for row in self.rollout(project, number)), "")
        return records.typed(json.loads(found), Policy) if found else None

    def open_on(self, node: str, final: Collection[str]) -> list[tuple[str, int, int]]:
        """Return the rollouts, as project, number and epoch, of which the end on a node is not known, the oldest
        first."""
        rows = self.store.rows(
            "SELECT project, number, epoch, phase FROM rollout JOIN placed USING (project, node) WHERE node = ?"
            " ORDER BY number", node,
        )  # fmt: skip
        return [(row["project"], row["number"], row["epoch"]) for row in rows if row["phase"] not in final]


@dataclass(frozen=True)
class Obedience:
    """The controllers of the projects of this node, and their orders."""

    store: Store

    def governed(self, project: str) -> Governed | None:
        """Return who deploys a project from afar, or None."""
        rows = self.store.rows("SELECT * FROM governed WHERE project = ?", project)
        return _governed(rows[0]) if rows else None

    def all(self) -> list[Governed]:
        """Return all projects of controllers."""
        return [_governed(row) for row in self.store.rows("SELECT * FROM governed ORDER BY project")]

    def placed(self, project: str, request: Request) -> Placed:
        """Return what cfg says of this host: as a request came with it, or as the live release did, or the link."""
        found = self.governed(project)
        if found is None:
            return Placed()
        if not request.node:
            rows = self.store.rows(
                "SELECT request FROM deployment JOIN project ON project = name AND number = live WHERE name = ?",
                project,
            )
            request = Request.load(rows[0][0]) if rows else request
        if request.node:
            return Placed(node=request.node, nodes=request.peers, labels=request.labels, run_once=request.run_once)
        first = found.node == min(found.nodes, default=found.node)
        return Placed(node=found.node, nodes=found.nodes, labels=found.labels, run_once=first)

    def check_free(self, project: str) -> None:
        """Raise RefusedError if a controller deploys a project."""
        if found := self.governed(project):
            release = command("node", "release", project)
            raise RefusedError(
                f"{project} is deployed by the controller {found.controller} at {found.address}",
                hint=Hint("push there; to take it from the controller: ", release),
            )

    def put(self, wanted: Governed) -> None:
        """Place a project under a controller; raise RefusedError if it is under another one."""
        known = self.governed(wanted.project)
        if known and known.controller != wanted.controller:
            self.check_free(wanted.project)
        if known and (known.epoch, known.number) > (wanted.epoch, wanted.number):
            wanted = replace(wanted, epoch=known.epoch, number=known.number)
        values = (
            wanted.project, wanted.controller, wanted.address, wanted.epoch, wanted.number, wanted.node,
            " ".join(wanted.nodes), " ".join(wanted.labels),
        )  # fmt: skip
        with self.store.change() as db:
            db.execute("INSERT OR REPLACE INTO governed VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def release(self, project: str) -> bool:
        """Take a project from its controller; return whether it had one."""
        with self.store.change() as db:
            return db.execute("DELETE FROM governed WHERE project = ?", (project,)).rowcount > 0

    def accept(self, order: Order) -> None:
        """Record an order; raise RefusedError for one that is older than another, or was revoked."""
        key = (order.project, order.epoch, order.number)
        with self.store.change() as db:
            known = db.execute("SELECT epoch, number FROM governed WHERE project = ?", key[:1]).fetchone()
            if known is None:
                raise RefusedError(f"{order.project} is under no controller")
            wish = db.execute(f"SELECT wish FROM given_order {ONE}", key).fetchone()
            if wish and wish[0] == REVOKE:
                raise RefusedError(f"rollout {order.number} was revoked")
            if tuple(known) > key[1:]:
                raise RefusedError(f"rollout {order.number} is older than rollout {known[1]}, which this node has seen")
            db.execute("UPDATE governed SET epoch = ?, number = ? WHERE project = ?", (*key[1:], order.project))
            db.execute("INSERT OR IGNORE INTO given_order VALUES (?, ?, ?, ?)", (*key, PREPARE))

    def wish(self, project: str, epoch: int, number: int) -> str:
        """Return what was ordered last; empty: nothing of this number."""
        rows = self.store.rows(f"SELECT wish FROM given_order {ONE}", project, epoch, number)
        return str(rows[0][0]) if rows else ""

    def switch(self, project: str, epoch: int, number: int) -> bool:
        """Record the order to switch; return False if it was revoked, or never prepared."""
        with self.store.change() as db:
            found = db.execute(
                f"UPDATE given_order SET wish = ? {ONE} AND wish IN (?, ?)",
                (SWITCH, project, epoch, number, PREPARE, SWITCH),
            )
            return found.rowcount > 0

    def revoke(self, project: str, epoch: int, number: int) -> None:
        """Record that an order is revoked, also one that was never heard of: it can still arrive."""
        with self.store.change() as db:
            db.execute("INSERT OR REPLACE INTO given_order VALUES (?, ?, ?, ?)", (project, epoch, number, REVOKE))
            db.execute(
                "UPDATE governed SET epoch = ?2, number = ?3 WHERE project = ?1 AND (epoch, number) < (?2, ?3)",
                (project, epoch, number),
            )

    def forget(self, project: str) -> None:
        """Remove orders that are older than the newest: it refuses them by their number."""
        with self.store.change() as db:
            db.execute(
                "DELETE FROM given_order WHERE project = ? AND (epoch, number) <"
                " (SELECT epoch, number FROM governed WHERE governed.project = given_order.project)",
                (project,),
            )

    def renew(self, deployment: Deployment, lease: Lease) -> None:
        """Begin the lease of a held deployment again, unless it is over or was decided."""
        key = (deployment.project, deployment.number)
        with self.store.change() as db:
            db.execute(
                "UPDATE deployment SET boot = ?, until = ? WHERE project = ? AND number = ? AND state = ?"
                " AND boot = ? AND until > ?",
                (lease.boot, lease.until, *key, HELD, lease.boot, lease.until - lease.seconds),
            )


def _runs(db: Connection, project: str, number: int, node: str, report: Ordered) -> None:
    """Record what a node runs once a rollout has come to its end there."""
    row = db.execute("SELECT said FROM placed WHERE project = ? AND node = ?", (project, node)).fetchone()
    known = (_on_node(row[0]) if row and row[0] else None) or OnNode(environment="")
    if report.phase == LIVE:
        (epoch,) = db.execute("SELECT max(epoch) FROM rollout WHERE project = ? AND number = ?",
                              (project, number)).fetchone()  # fmt: skip
        known = replace(known, number=number, epoch=epoch or 0)
    broken = report.reason or BROKEN if report.phase == BROKEN else ""
    said = replace(known, code=report.code, pillar=report.pillar, broken=broken, busy=False)
    db.execute("UPDATE placed SET said = ? WHERE project = ? AND node = ?",
               (json.dumps(records.brief(said)), project, node))  # fmt: skip


GONE = "null"  # of a project that a node has released


def _on_node(text: str) -> OnNode | None:
    return None if text == GONE else records.typed(json.loads(text), OnNode)


ONE = "WHERE project = ? AND epoch = ? AND number = ?"


def _node(row: Row) -> Node:
    values: dict[str, Any] = dict(row)
    return Node(**{**values, "labels": tuple(values["labels"].split()), "drained": bool(values["drained"])})


def _governed(row: Mapping[str, Any] | Row) -> Governed:
    values: dict[str, Any] = dict(row)
    return Governed(**{**values, **{name: tuple(values[name].split()) for name in ("nodes", "labels")}})
