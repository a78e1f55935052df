"""A fleet in simulated time: nodes that die, freeze and lie in wait, a network that loses and delays, one coordinator.

The nodes follow the rules of a real one (`operations/governing`, `deploy/prepared`, `deploy/hold`): orders have a
number and an end, leases end by themselves, a revoked order is never carried out. Everything random comes from a seed.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from corpushooks.core.policy import Policy
from corpushooks.core.rollouts import (
    BACK,
    BROKEN,
    CONFIRM,
    FINAL,
    HELD,
    LIVE,
    PREPARE,
    PREPARED,
    PREPARING,
    PUBLISHING,
    RETURNING,
    REVOKE,
    SWITCH,
    SWITCHING,
    TOLERANCE,
    UNKNOWN,
    UNTOUCHED,
    Ordered,
)
from corpushooks.fleet.coordinator import ABORT, COMMIT, Coordinator, next_order
from corpushooks.fleet.drive import PAUSE, VALID, WAIT

LONG = 4000.0  # seconds after which a run is over


class Clock:
    """Simulated time: events in their order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._count), act))

    def step(self) -> bool:
        """Let the next event happen; return whether there was one."""
        if not self._events:
            return False
        self.now, _, act = heapq.heappop(self._events)
        act()
        return True


@dataclass(frozen=True)
class Weather:
    """What can happen, as chances of one message or one node."""

    lost: float = 0.0  # a question or an answer
    slow: float = 0.0  # it takes up to 20 s
    fails: float = 0.0  # the install of a node
    refuses: float = 0.0  # a node refuses in prepare
    frozen: float = 0.0  # a node stops for up to five minutes
    dead: float = 0.0  # a node restarts: what was prepared is refused, what is held stays held
    cut: float = 0.0  # a node is not reached for up to five minutes
    broken: float = 0.0  # a rollback fails
    skew: float = 0.0  # the clock of a node is wrong, by up to a minute
    crash: float = 0.0  # the controller dies


WILD = Weather(lost=0.03, slow=0.03, fails=0.04, refuses=0.02, frozen=0.06, dead=0.05, cut=0.06, skew=0.03, crash=0.3)


@dataclass
class FakeNode:
    """One node: what it has done with the one order there is."""

    name: str
    clock: Clock
    chance: random.Random
    weather: Weather
    lease: float
    keeps: bool = False
    phase: str = UNKNOWN
    heard: float = 0.0
    wish: str = ""
    reason: str = ""
    skew: float = 0.0
    frozen: float = 0.0  # until then it does nothing
    cut: float = 0.0  # until then it is not reached
    switched: list[tuple[float, float]] = field(
        default_factory=list
    )  # when it began to switch, and the end of the order
    lapsed: bool = False  # it went back because nobody spoke to it

    def __post_init__(self) -> None:
        chance, weather = self.chance, self.weather
        if chance.random() < weather.skew:
            self.skew = chance.uniform(-60, 60)
        for often, act in ((weather.frozen, self._freeze), (weather.dead, self._die), (weather.cut, self._cut)):
            if chance.random() < often:
                self.clock.after(chance.expovariate(1 / 8), act)

    def _freeze(self) -> None:
        self.frozen = self.clock.now + self.chance.choice((1, 8, 40, 300)) * self.chance.random()

    def _cut(self) -> None:
        self.cut = self.clock.now + self.chance.choice((1, 8, 40, 300)) * self.chance.random()

    def _die(self) -> None:
        """Restart: a held deployment is held on, what had begun to switch is rolled back, the rest is refused."""
        if self.phase in (PREPARING, PREPARED):
            self._become(UNTOUCHED, "interrupted; nothing was changed")
        elif self.phase == SWITCHING:
            self._return("interrupted")

    # what goes on by itself

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something when this much time has passed, or once it is not frozen any more."""

        def try_it() -> None:
            if self.clock.now < self.frozen:
                self.clock.after(self.frozen - self.clock.now + 0.001, try_it)
            else:
                act()

        self.clock.after(seconds, try_it)

    def _become(self, phase: str, reason: str = "") -> None:
        self.phase, self.reason = phase, reason or self.reason

    def _come(self, seconds: float, was: str, phase: str, reason: str = "") -> None:
        self._later(seconds, lambda: self._become(phase, reason) if self.phase == was else None)

    def _watch(self, was: str, act: Callable[[], None]) -> None:
        """Do something if the controller is silent for longer than the lease."""

        def look() -> None:
            if self.phase != was:
                return
            left = self.heard + self.lease - self.clock.now
            if left > 0:
                self._later(left + 0.01, look)
            else:
                act()

        self._later(self.lease, look)

    def _return(self, reason: str) -> None:
        self._become(RETURNING, reason)
        ends = BROKEN if self.chance.random() < self.weather.broken else BACK
        self._come(self.chance.uniform(0.2, 3), RETURNING, ends)

    # orders

    def take(self, order: str, not_after: float) -> Ordered:
        """Carry out an order, as `operations/governing` does; raise ValueError for a refusal."""
        mine = self.clock.now + self.skew
        if order == PREPARE and self.phase == UNKNOWN:
            if self.wish == REVOKE:
                raise ValueError("the rollout was revoked")
            if mine - not_after > TOLERANCE:
                raise ValueError("the order is late")
            self._prepare()
        elif order == SWITCH and self.phase in (UNKNOWN, PREPARING, PREPARED):
            if mine - not_after > TOLERANCE:
                raise ValueError("the order is late")
            if self.wish == REVOKE or self.phase == UNKNOWN:
                raise ValueError("not prepared here, or revoked")
            self.wish = SWITCH
            if self.phase == PREPARED:
                self._switch(not_after)
        elif order == CONFIRM and self.phase == HELD and (self.keeps or self.clock.now <= self.heard + self.lease):
            self._become(PUBLISHING)
            self._come(self.chance.uniform(0.05, 0.5), PUBLISHING, LIVE)
        elif order == REVOKE:
            self._revoke()
        elif not order and self.phase not in FINAL:
            lapsed = self.phase == HELD and not self.keeps and self.clock.now > self.heard + self.lease
            self.heard = self.heard if lapsed else self.clock.now
        return self.said

    @property
    def said(self) -> Ordered:
        phase = UNTOUCHED if self.phase == UNKNOWN and self.wish == REVOKE else self.phase
        return Ordered(phase=phase, reason=self.reason)

    def _prepare(self) -> None:
        self.wish, self.heard = PREPARE, self.clock.now
        self._become(PREPARING)
        if self.chance.random() < self.weather.refuses:
            self._come(0.5, PREPARING, UNTOUCHED, "pillar.git: init.sls line 3: wrong")
            return
        self._come(self.chance.uniform(0.1, 2), PREPARING, PREPARED)
        self._watch_prepared()

    def _watch_prepared(self) -> None:
        def look() -> None:
            if self.phase in (PREPARING, PREPARED) and self.clock.now > self.heard + self.lease:
                self._become(UNTOUCHED, "the controller was silent")
            elif self.phase in (PREPARING, PREPARED):
                self._later(self.lease / 4, look)

        self._later(self.lease, look)

    def _switch(self, not_after: float) -> None:
        self.switched.append((self.clock.now + self.skew, not_after))
        self._become(SWITCHING)
        takes = self.chance.uniform(0.5, 6)
        if self.chance.random() < self.weather.fails:
            self._later(takes, lambda: self._return("install 10_app failed") if self.phase == SWITCHING else None)
        else:
            self._later(takes, self._hold)

    def _hold(self) -> None:
        if self.phase == SWITCHING:
            self.heard = self.clock.now
            self._become(HELD)
            if not self.keeps:
                self._watch(HELD, self._lapse)

    def _lapse(self) -> None:
        self.lapsed = True
        self._return("not confirmed in time")

    def _revoke(self) -> None:
        if self.phase in (PUBLISHING, LIVE):
            return
        self.wish = REVOKE
        if self.phase in (PREPARING, PREPARED):
            self._become(UNTOUCHED, "the controller revoked the rollout")
        elif self.phase in (SWITCHING, HELD):
            self._return("cancelled by the controller")


@dataclass
class FakeFleet:
    """A rollout to many nodes, over a network that does what the weather allows."""

    seed: int
    count: int
    policy: Policy
    weather: Weather
    clock: Clock = field(default_factory=Clock)
    nodes: dict[str, FakeNode] = field(default_factory=dict)
    coordinator: Coordinator = field(init=False)
    record: str = ""  # the row that decides, as on the disk
    told: dict[str, Ordered] = field(default_factory=dict)
    questions: int = 0
    writing: float = 0.05  # seconds to record the commit
    opening: bool = False
    crashes: int = 0
    left_out: set[str] = field(default_factory=set)  # nodes that an earlier life of the controller went on without
    crashed: float | None = None  # when the controller is back
    _life: int = 0  # of the controller: threads of an earlier one do nothing
    _resting: dict[str, Callable[[], None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        keeps = self.policy.on_silence == "keep"
        for number in range(1, self.count + 1):
            name, own = f"n{number}", random.Random(self.seed * 10_007 + number)
            self.nodes[name] = FakeNode(name, self.clock, own, self.weather, self.policy.lease, keeps)
        self.told = {name: Ordered() for name in self.nodes}
        self.coordinator = Coordinator.of(list(self.nodes), self.policy, 0.0)
        self.coordinator.stuck = 2 * LONG  # in calm weather none is ever waited for so long
        if self.chance.random() < self.weather.crash:
            self.clock.after(self.chance.expovariate(1 / 6), self._crash)

    def run(self) -> FakeFleet:
        """Let it go on until the rollout is finished, and the nodes have come to their end."""
        self._start()
        while self.clock.now < LONG and not self._over() and self.clock.step():
            pass
        return self

    def settle(self) -> None:
        """Let whatever still goes on by itself end: nobody asks any more."""
        end = self.clock.now + LONG
        while self.clock.now < end and self.clock.step():
            pass

    def _over(self) -> bool:
        return self.crashed is None and self.coordinator.finished(self.clock.now)

    def absent(self) -> set[str]:
        return {name for name, each in self.coordinator.members.items() if each.absent}

    # the controller

    def _start(self) -> None:
        self._life += 1
        for name in self.nodes:
            self._turn(name, self._life, self.coordinator.members[name].phase, "", PAUSE[0])
        self._tick(self._life)

    def _crash(self) -> None:
        if self._over():
            return
        self.crashes += 1
        self.left_out |= self.absent()
        self._life += 1
        self.crashed = self.clock.now
        self._resting.clear()
        self.clock.after(self.chance.choice((0.5, 5, 90)) * self.chance.random(), self._recover)

    def _recover(self) -> None:
        self.crashed = None
        decision = COMMIT if self.record == COMMIT else ABORT
        self.coordinator = Coordinator.again(self.told, self.policy, decision, self.clock.now)
        self.coordinator.stuck = 2 * LONG
        self._start()

    def _tick(self, life: int) -> None:
        if life != self._life or self._over():
            return
        for name in self.nodes:
            self._change(lambda c, name=name: c.watch(name, self.clock.now))
        self._decide()
        self.clock.after(1.0, lambda: self._tick(life))

    def _decide(self) -> None:
        """Record the commit: written to the disk first, then known."""
        if self.coordinator.prepared() and not self.opening:
            self.opening, life = True, self._life
            self.clock.after(0.05, lambda: self._opened(life))
        if not self.coordinator.decision and self.coordinator.close(self.clock.now) and not self.record:
            self.record = COMMIT
            life = self._life
            self.clock.after(self.writing, lambda: self._committed(life))

    def _opened(self, life: int) -> None:
        if life == self._life:
            self._change(lambda c: c.open())

    def _committed(self, life: int) -> None:
        if life == self._life:
            self._change(lambda c: c.commit(self.clock.now))

    def _change(self, act: Callable[[Coordinator], None]) -> None:
        before = (self.coordinator.group, self.coordinator.decision)
        act(self.coordinator)
        if (self.coordinator.group, self.coordinator.decision) != before:
            woken, self._resting = self._resting, {}
            for wake in woken.values():
                wake()

    def _turn(self, name: str, life: int, phase: str, given: str, pause: float) -> None:
        """Ask a node once, as `Drive` does."""
        c = self.coordinator
        if life != self._life or c.finished(self.clock.now) or (c.decision and c.members[name].said.final):
            return
        order = next_order(c.wish(name), phase)
        order = "" if order == given else order
        asked, not_after = self.clock.now, self.clock.now + VALID
        self.questions += 1
        state = {"answered": False}

        def answer(said: Ordered | None, refusal: str = "") -> None:
            if state["answered"] or life != self._life:
                return
            state["answered"] = True
            if said is None:
                self._change(lambda c: c.refuse(name, refusal, self.clock.now) if order
                             else c.lose(name, refusal, asked, self.clock.now))  # fmt: skip
                self._rest(name, life, phase, order, pause)
                return
            self.told[name] = said
            self._change(lambda c: c.hear(name, said, asked, self.clock.now))
            self._decide()
            if not order and said.phase == self.coordinator.wish(name):
                self._rest(name, life, said.phase, order, self.policy.lease / 3)
            else:
                again = WAIT if not order and said.phase == phase else 0.01
                self.clock.after(again, lambda: self._turn(name, life, said.phase, order, PAUSE[0]))

        def nothing() -> None:
            if not state["answered"] and life == self._life:
                state["answered"] = True
                self._change(lambda c: c.lose(name, "timed out", asked, self.clock.now))
                self._rest(name, life, phase, order, pause)

        self.clock.after(self.coordinator.patience, nothing)
        self._carry(name, lambda: self._arrive(name, order, not_after, answer))

    def _rest(self, name: str, life: int, phase: str, given: str, seconds: float) -> None:
        state = {"woken": False}

        def wake() -> None:
            if not state["woken"]:
                state["woken"] = True
                self._resting.pop(name, None)
                self._turn(name, life, phase, given, min(PAUSE[1], 2 * seconds))

        self._resting[name] = lambda: self.clock.after(0.001, wake)
        self.clock.after(seconds, wake)

    # the network

    def _carry(self, name: str, deliver: Callable[[], None]) -> None:
        node, chance = self.nodes[name], self.chance
        if self.clock.now < node.cut or chance.random() < self.weather.lost:
            return
        takes = chance.uniform(0.001, 0.02)
        if chance.random() < self.weather.slow:
            takes = chance.uniform(0, 20)
        self.clock.after(takes, deliver)

    def _arrive(self, name: str, order: str, not_after: float, answer: Callable[..., None]) -> None:
        node = self.nodes[name]
        if self.clock.now < node.frozen:  # it lies there until the node goes on
            self.clock.after(node.frozen - self.clock.now + 0.002, lambda: self._arrive(name, order, not_after, answer))
            return
        try:
            said = node.take(order, not_after)
        except ValueError as exc:
            refusal = str(exc)
            self._carry(name, lambda: answer(None, refusal))
            return
        said = replace(said)
        self._carry(name, lambda: answer(said))


def promise(fleet: FakeFleet) -> list[str]:
    """Return what breaks the promise of a rollout, after it is finished and everything has settled."""
    wrong, decision = [], fleet.coordinator.decision
    if not fleet.coordinator.finished(fleet.clock.now):
        wrong.append("it never ends")
    left_out = fleet.left_out | fleet.absent()
    said = {name: fleet.coordinator.members[name].phase for name in fleet.nodes}
    fleet.settle()
    if (decision == COMMIT) != (fleet.record == COMMIT):
        wrong.append(f"decided {decision}, recorded {fleet.record!r}")
    for name, node in fleet.nodes.items():
        if decision == ABORT and node.phase in (LIVE, PUBLISHING):
            wrong.append(f"{name} is {node.phase} though the rollout was aborted")
        if decision == COMMIT and said[name] == LIVE and node.phase != LIVE:
            wrong.append(f"{name} was called live and is {node.phase}")
        if said[name] in (BACK, UNTOUCHED) and node.phase not in (said[name], UNKNOWN):
            wrong.append(f"{name} was called {said[name]} and is {node.phase}")
        if node.phase not in (*FINAL, UNKNOWN) and not (node.keeps and node.phase == HELD):
            wrong.append(f"{name} never came to an end: {node.phase}")
        if decision == COMMIT and node.phase == BACK and not node.lapsed and name not in left_out:
            wrong.append(f"{name} went back without having been left alone: {node.reason}")
        for began, end in node.switched:
            if began > end + TOLERANCE + 1e-6:
                wrong.append(f"{name} carried out an order {began - end:.1f} s late")
    return wrong
