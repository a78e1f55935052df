"""Carries out a rollout: a thread for each node asks it for what the coordinator wishes, until all is decided and done.

The coordinator is only used under the lock of `Drive`. What a node says is recorded before it counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from corpushooks.core import records
from corpushooks.core.deployment import STATES
from corpushooks.core.errors import BusyError, CorpusError, StoreError, UnreachableError
from corpushooks.core.project import Project
from corpushooks.core.rollouts import COMMIT_OR_NONE, FINAL, PHASES, PREPARE, SWITCH, Node, Order, Ordered
from corpushooks.core.text import clean, one_line
from corpushooks.fleet.coordinator import Coordinator, next_order
from corpushooks.fleet.transport import Transport
from corpushooks.system import own_log

WAIT = 0.5  # seconds that a node waits with its answer while nothing changes
SEND = 600.0  # seconds to bring the commits to a node
PAUSE = (0.2, 5.0)  # seconds between tries with a node that does not answer
TICK = 0.5  # seconds between looks at who is silent
ANEW = 60.0  # seconds that a question to all nodes anew takes at most
VALID = 30.0  # seconds in which an order can be carried out
SILENCE = (UnreachableError, StoreError, BusyError)  # these say nothing of the order
LINES, WIDTH, LONG = 20, 400, 1e9  # of what a node says

Told = Callable[[str, Ordered], None]


def understood(said: Any) -> Ordered:
    """Return what a node said as it can be shown and stored; raise UnreachableError."""
    try:
        found = records.typed(said, Ordered)
    except ValueError:
        raise UnreachableError("its answer is not understood") from None
    known = found.phase in PHASES and (not found.state or found.state in STATES)
    fine = known and all(COMMIT_OR_NONE.fullmatch(each) for each in (found.code, found.pillar))
    if not (fine and 0 <= found.took < LONG):
        raise UnreachableError("its answer is not understood")
    lines = tuple(one_line(clean(each))[:WIDTH] for each in found.lines[:LINES])
    reason, summary, step = (one_line(clean(each))[:WIDTH] for each in (found.reason, found.summary, found.step))
    return replace(found, lines=lines, reason=reason, summary=summary, step=step)


@dataclass
class _Turn:
    """What was said and asked last, of one node."""

    phase: str
    given: str = ""  # the order that was just given
    round: int = 0  # of questions to all nodes
    asked: float = 0.0  # when the last question began
    pause: float = PAUSE[0]

    def longer(self) -> float:
        """Return how long to rest after a failure: longer each time."""
        now, self.pause = self.pause, min(PAUSE[1], 2 * self.pause)
        return now


@dataclass
class Drive:
    """One rollout at work."""

    coordinator: Coordinator
    transport: Transport
    nodes: Mapping[str, Node]
    project: Project
    order: Order
    told: Told  # records what a node said
    clock: Callable[[], float] = time.monotonic
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _threads: list[threading.Thread] = field(default_factory=list)
    _news: list[tuple[str, Ordered]] = field(default_factory=list)
    _stop: bool = False
    _round: int = 0  # of questions to all nodes, also to those that rest

    def start(self) -> None:
        """Begin to ask the nodes."""
        for name in self.coordinator.members:
            thread = threading.Thread(target=self._attend, args=(name,), name=f"node {name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End the threads, whatever they do: the nodes are asked again, by number, whenever it matters."""
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        for each in self._threads:
            each.join(self.coordinator.patience + TICK)

    def wait(self, until: Callable[[Coordinator], bool], check: Callable[[], None]) -> list[tuple[str, Ordered]]:
        """Wait for news or for `until`; return the news. `check` is called meanwhile and can raise."""
        check()
        with self._changed:
            if not (self._news or until(self.coordinator)):
                self._changed.wait(TICK)
            for name in self.coordinator.members:
                self.coordinator.watch(name, self.clock())
            self._changed.notify_all()
            news, self._news = self._news, []
            return news

    def with_coordinator(self, act: Callable[[Coordinator], Any]) -> Any:
        """Look at the coordinator, or change it, while nobody else does."""
        with self._changed:
            found = act(self.coordinator)
            self._changed.notify_all()
            return found

    def unsure(self, check: Callable[[], None]) -> str:
        """Ask all nodes anew whether they hold it; return why that is not sure; empty: they do. Any thread can ask."""
        with self._changed:
            began, self._round = self.clock(), self._round + 1
            self._changed.notify_all()
            while True:
                why, waits = self.coordinator.unsure(began, self.clock())
                if not (why and waits) or self._stop or self.clock() - began > ANEW:
                    return why
                check()
                self._changed.wait(TICK)

    # one node

    def _attend(self, name: str) -> None:
        turn = _Turn(self.coordinator.members[name].phase)
        while (wish := self._wish(name)) is not None:
            order = next_order(wish, turn.phase)
            order = "" if order == turn.given else order  # it was taken: see first whether it works
            with self._changed:
                turn.asked, turn.given, turn.round = self.clock(), order, self._round
            try:
                said = self._ask(name, order, turn)
                if said.phase != turn.phase:
                    self.told(name, said)
            except Exception as exc:  # the edge of a node's thread
                self._failed(name, order, exc, turn.asked)
                self._rest(name, wish, turn, turn.longer())
                continue
            new, turn.phase, turn.pause = said.phase != turn.phase, said.phase, PAUSE[0]
            self._take(name, said, turn.asked, new=new)
            if not order and (said.phase in FINAL or self._is_there(name)):
                self._rest(name, wish, turn, self.order.lease / 3)

    def _failed(self, name: str, order: str, exc: Exception, asked: float) -> None:
        """Take an error: one that the node gave is a refusal of the order, another only silence."""
        why = exc.message if isinstance(exc, CorpusError) else f"internal error: {type(exc).__name__}"
        if not isinstance(exc, CorpusError):
            own_log.error("node failed", exc, node=name)
        with self._changed:
            if order and isinstance(exc, CorpusError) and not isinstance(exc, SILENCE):
                self.coordinator.refuse(name, why, self.clock())
            else:
                self.coordinator.lose(name, why, asked, self.clock())
            self._changed.notify_all()

    def _wish(self, name: str) -> str | None:
        """Return what the node shall do; None: nothing any more."""
        with self._changed:
            if self._stop or self.coordinator.finished(self.clock()):
                return None
            member = self.coordinator.members[name]
            if self.coordinator.decision and member.said.final:
                return None
            return self.coordinator.wish(name)

    def _is_there(self, name: str) -> bool:
        with self._changed:
            return self.coordinator.members[name].phase == self.coordinator.wish(name)

    def _rest(self, name: str, wish: str, turn: _Turn, seconds: float) -> None:
        """Wait until the wish for a node changes or all are asked anew, at most some seconds."""

        def wakes() -> bool:
            return self._stop or turn.round != self._round or self.coordinator.wish(name) != wish

        with self._changed:
            self._changed.wait_for(wakes, seconds)

    def _ask(self, name: str, order: str, turn: _Turn) -> Ordered:
        node, mine = self.nodes[name], self.order
        fields: dict[str, Any] = {"project": self.project.name, "epoch": mine.epoch, "number": mine.number}
        if order == PREPARE:
            self.transport.ask(
                node, "node outcome", fields, self.coordinator.patience, self._check
            )  # soon, whether it answers at all
            self.transport.send(node, self.project, mine.number, mine.code, mine.pillar, SEND, self._check)
            turn.asked = self.clock()  # that may have taken minutes
            fields |= {"code": mine.code, "pillar": mine.pillar, "lease": mine.lease, "keeps": mine.keeps,
                       "who": mine.who, "node": name, "nodes": list(mine.nodes), "labels": list(node.labels),
                       "run_once": name == mine.run_once, "force": mine.force}  # fmt: skip
        if order in (PREPARE, SWITCH):
            fields["not_after"] = time.time() + VALID
        if not order:
            fields |= {"seen": turn.phase, "wait": WAIT}
        said = self.transport.ask(node, f"node {order or 'outcome'}", fields, self.coordinator.patience, self._check)
        return understood(said)

    def _check(self) -> None:
        if self._stop:
            raise UnreachableError("the rollout no longer waits for it")

    def _take(self, name: str, said: Ordered, asked: float, *, new: bool) -> None:
        with self._changed:
            self.coordinator.hear(name, said, asked, self.clock())
            if new:
                self._news.append((name, said))
            self._changed.notify_all()


def in_order(nodes: Sequence[Node]) -> dict[str, Node]:
    """Return nodes by their names, those that are drained left out."""
    return {each.name: each for each in nodes if not each.drained}
