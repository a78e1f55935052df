"""Looks after the nodes between rollouts: what one still has to hear, and what one missed.

A node that answers is told what became of the rollouts that it did not end. One that runs an older release of ours,
or none, is brought up by an order of its own. Anything else that it runs was not brought by us: that is drift, which
is reported and left alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

from corpushooks.core.deployment import DECIDES, ProjectRow, Request
from corpushooks.core.errors import CorpusError, UnreachableError
from corpushooks.core.policy import Policy
from corpushooks.core.rollouts import CONFIRM, FINAL, REVOKE, Node, OnNode
from corpushooks.core.text import one_line
from corpushooks.fleet.drive import understood
from corpushooks.fleet.nodes import look
from corpushooks.fleet.reach import transport_of
from corpushooks.fleet.transport import Transport
from corpushooks.host.site import Site
from corpushooks.store.fleet import Fleet
from corpushooks.store.standing import BEHIND, DRIFT, standing
from corpushooks.system import own_log

EVERY, SOON = 180.0, 20.0  # seconds between looks at a node that answers, and at one that does not
AGAIN, LONGEST = 60.0, 900.0  # seconds until a node that could not be brought up is tried again: more each time
ANSWER = 10.0  # seconds
MOST = 8  # nodes that are asked at once
VIA = "catch-up"


@dataclass
class _Tried:
    """How often a node was to be brought up to a deployment, and when it can be tried again."""

    live: int
    times: int = 0
    again: float = 0.0

    def now(self, now: float) -> bool:
        """Return whether it can be tried now, and take that it is."""
        if now < self.again:
            return False
        self.again = now + min(LONGEST, AGAIN * 2**self.times)
        self.times += 1
        return True


@dataclass
class CatchUp:
    """A thread that looks after the nodes. `wake` starts the lane of a project."""

    site: Site
    wake: Callable[[str], None]
    reach: Callable[[Site], Transport] = transport_of
    every: float = EVERY
    soon: float = SOON
    clock: Callable[[], float] = time.monotonic
    _due: dict[str, float] = field(default_factory=dict)
    _said: dict[str, str] = field(default_factory=dict)  # what was logged last of a node
    _tried: dict[tuple[str, str], _Tried] = field(default_factory=dict)  # by node and project
    _thread: threading.Thread | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Start."""
        self._thread = threading.Thread(target=self._work, name="nodes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop."""
        self._over.set()

    def wait(self) -> None:
        """Wait a moment for questions to end: they hold the store open."""
        if self._thread:
            self._thread.join(ANSWER)

    def _work(self) -> None:
        while not self._over.wait(min(self.soon, self.every)):
            try:
                self.look()
            except Exception as exc:  # the edge of a thread
                self._say("", f"cannot look after the nodes: {exc}")

    def look(self) -> None:
        """Ask the nodes that are due."""
        now, nodes = self.clock(), Fleet(self.site.history).nodes()
        due = [each for each in nodes if not each.drained and self._due.get(each.name, 0.0) <= now]
        if not due:
            return
        with closing(self.reach(self.site)) as transport, ThreadPoolExecutor(MOST) as pool:
            for node in due:
                pool.submit(self._ask, transport, node)

    def _ask(self, transport: Transport, node: Node) -> None:
        try:
            glance = look(transport, Fleet(self.site.history), node, ANSWER, self._check)
            if glance.condition is None:
                raise glance.wrong or UnreachableError("it does not answer")
            self._tell(transport, node)
            self._bring_up(node, glance.condition.projects)
            again = [each.again for (name, _), each in self._tried.items() if name == node.name]
            self._due[node.name] = min([self.clock() + self.every, *again])
            self._say(node.name, "")
        except Exception as exc:  # the edge of a thread
            self._due[node.name] = self.clock() + self.soon
            self._say(node.name, one_line(str(exc)))

    def _check(self) -> None:
        if self._over.is_set():
            raise UnreachableError("the daemon is stopping")

    def _say(self, name: str, what: str) -> None:
        """Log what is wrong with a node, once."""
        if self._said.get(name, "") != what:
            self._said[name] = what
            own_log.warning("node", node=name, error=what or "it answers again")

    def _tell(self, transport: Transport, node: Node) -> None:
        """Tell a node what became of the rollouts of which its end is not known."""
        fleet, history = Fleet(self.site.history), self.site.history
        for project, number, epoch in fleet.open_on(node.name, FINAL):
            found = history.deployment(project, number)
            if not found.ended:
                continue  # it is at work
            order = CONFIRM if DECIDES in history.steps(found) else REVOKE
            asked = {"project": project, "epoch": epoch, "number": number}
            try:
                said = understood(transport.ask(node, f"node {order}", asked, ANSWER, self._check))
            except UnreachableError:
                raise
            except CorpusError as exc:  # of this project: the others go on
                self._say(f"{node.name} {project} {number}", one_line(exc.message))
                continue
            fleet.told(project, number, node.name, said)

    def _bring_up(self, node: Node, there: Mapping[str, OnNode]) -> None:
        """Order what a node missed; log what is not ours."""
        history, fleet = self.site.history, Fleet(self.site.history)
        for name in fleet.on(node.name):
            row, one = history.project(name), there.get(name)
            if row is None or one is None or not row.live or one.busy or one.broken:
                continue
            found = standing(history, fleet, row, one)
            if found == BEHIND:
                if self._is_chosen(name, node) and not history.open_in(name) and not history.frozen(name):
                    self._order(node, row)
                continue
            self._tried.pop((node.name, name), None)
            if found == DRIFT and self._said.get(f"{node.name} {name}") != one.code:
                self._said[f"{node.name} {name}"] = one.code
                self.site.event("drift", {"node": node.name, "project": name, "code": one.code, "pillar": one.pillar})

    def _is_chosen(self, project: str, node: Node) -> bool:
        """Return whether the rollouts of a project concern a node."""
        return bool((self.site.settings.sound(project).rollout or Policy()).chosen([node]))

    def _order(self, node: Node, row: ProjectRow) -> None:
        """Ask for a rollout to a node alone, unless the last one was a moment ago."""
        tried = self._tried.get((node.name, row.name))
        if tried is None or tried.live != row.live:
            tried = self._tried[node.name, row.name] = _Tried(row.live or 0)
        if tried.now(self.clock()):
            self.site.history.enqueue(row.name, to_node(node, row, VIA, VIA))
            self.wake(row.name)


def to_node(node: Node, row: ProjectRow, who: str, via: str) -> Request:
    """Return the request to bring what is live to a node alone."""
    token = f"{via} {node.name} {row.live} {time.time_ns()}"
    return Request(new=row.code or "", pillar=row.pillar or "", who=who, via=via, nodes=(node.name,), token=token)
