"""Decides a rollout: what each node shall do next, and whether the release is committed or aborted. Values only.

It has no clock, no thread and no connection: it is told what a node said and when, and is asked for the wish that each
node shall fulfil. So the same code decides in a daemon and in a simulation of thousands of nodes. Times are seconds of
one clock that only goes forward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from corpushooks.core.policy import Policy
from corpushooks.core.rollouts import (
    CONFIRM,
    FINAL,
    GONE_BACK,
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
    UNKNOWN,
    Ordered,
)
from corpushooks.core.text import one_line

COMMIT, ABORT = "commit", "abort"  # the decisions
BACK = "back"  # the wish that a node runs what it ran before; the others are phases: PREPARED, HELD, LIVE
FRESH = 0.75  # of a lease: a node that is heard that often cannot have gone back by itself; it is asked more often
GRACE = 10.0  # seconds, beyond the lease, that a silent node is waited for
TOLD = 2.5  # times its patience: how long a silent node is waited for after the commit; it is told later
STUCK = 3600.0  # seconds that one is waited for which answers, and says nothing new

STEPS: Mapping[tuple[str, str], str] = {  # (wish, phase) -> the order that leads there; otherwise it is only asked
    (PREPARED, UNKNOWN): PREPARE,
    (HELD, PREPARED): SWITCH,
    (LIVE, HELD): CONFIRM,
}


def next_order(wish: str, phase: str) -> str:
    """Return the order for a node that is in a phase and shall fulfil a wish; empty: only ask for its outcome."""
    if wish == BACK:
        return "" if phase in FINAL or phase in (RETURNING, PUBLISHING) else REVOKE
    return STEPS.get((wish, phase), "")


@dataclass
class Member:
    """A node of a rollout, and what it said last."""

    name: str
    group: int
    said: Ordered = field(default_factory=Ordered)
    heard: float = 0.0  # when the last question was asked that it answered: its lease runs from then or later
    silent: float | None = None  # since when it does not answer
    moved: float = 0.0  # when it last said something new
    why: str = ""
    absent: bool = False  # the rollout goes on without it; it is brought up later

    @property
    def phase(self) -> str:
        return self.said.phase


@dataclass
class Coordinator:
    """One rollout: prepared everywhere, switched group by group, decided once."""

    policy: Policy
    members: dict[str, Member]
    groups: list[tuple[str, ...]]
    began: float
    patience: float  # seconds that a node can be silent before it counts as absent
    stuck: float = STUCK
    needed: str = ""  # the node without which there is no rollout
    group: int = -1  # that switches; -1: all prepare
    opened: bool = False  # it is on record that nodes switch: until then none is ordered to
    decision: str = ""
    closing: bool = False  # the commit is being recorded: nothing aborts it any more
    reason: str = ""  # of an abort, with the node
    summary: str = ""
    blamed: str = ""  # the node that it is about
    decided: float = 0.0
    _due: set[str] = field(default_factory=set)  # nodes that have not come to the present goal
    _open: set[str] = field(default_factory=set)  # nodes whose end is not known

    @classmethod
    def of(cls, names: Sequence[str], policy: Policy, now: float) -> Coordinator:
        """Return a rollout to these nodes, in their order, that begins now."""
        groups = policy.groups(tuple(names))
        members = {name: Member(name, place, heard=now) for place, group in enumerate(groups) for name in group}
        needed = names[0] if policy.run_once else ""
        return cls(policy, members, groups, now, policy.patience, needed=needed, _due=set(members), _open=set(members))

    @classmethod
    def again(cls, said: Mapping[str, Ordered], policy: Policy, decision: str, now: float) -> Coordinator:
        """Return a rollout that was decided before, and whose nodes may not know."""
        members = {name: Member(name, 0, one, heard=now) for name, one in said.items()}
        open_ones = {name for name, one in said.items() if one.phase not in FINAL}
        return cls(
            policy, members, [tuple(said)], now, policy.patience, group=0, opened=True, decision=decision, decided=now,
            _open=open_ones,
        )  # fmt: skip

    @classmethod
    def holding(cls, said: Mapping[str, Ordered], policy: Policy, now: float, needed: str = "") -> Coordinator:
        """Return a rollout that an earlier daemon held for people, undecided."""
        found = cls.again(said, policy, "", now)
        found.group, found.closing, found.needed = len(found.groups), True, needed
        return found

    # what is asked of it

    def wish(self, name: str) -> str:
        """Return what a node shall do."""
        member = self.members[name]
        if self.decision == ABORT:
            return BACK
        if self.decision == COMMIT:
            return LIVE if member.phase in (SWITCHING, HELD, PUBLISHING, LIVE) else BACK  # it was absent
        if member.absent:
            return BACK
        return HELD if member.group <= self.group else PREPARED

    def prepared(self) -> bool:
        """Return whether all nodes are prepared."""
        return not (self.decision or self._due) and self.group < 0

    def open(self) -> None:
        """Take that it is on record that nodes switch: from now on they are ordered to."""
        self.opened = True
        if not self.decision:
            self._advance()

    def ready(self, now: float) -> bool:
        """Return whether the release can be committed: all hold it, and none can have gone back by itself since."""
        if self.decision or self._due or self.group < len(self.groups):
            return False
        here = [each for each in self.members.values() if not each.absent]
        return bool(here) and all(each.phase == HELD and now - each.heard <= self.policy.lease / 2 for each in here)

    def close(self, now: float) -> bool:
        """Return whether the release can be committed, and let nothing abort it from now on: it is being recorded."""
        self.closing = self.closing or self.ready(now)
        return self.closing

    def lost(self, now: float) -> str:
        """Return why what all nodes hold can no longer be committed, while people decide; empty: it can."""
        here = [each for each in self.members.values() if not each.absent]
        limit, fresh = min(self.patience, self.policy.lease / 2), FRESH * self.policy.lease
        for each in here:
            if each.phase != HELD:
                return _not_held(each)
            silent = (each.silent is not None and now - each.silent > limit) or now - each.heard > fresh
            if silent and not self._can_be_absent(each):
                return _silent(each)
        return "" if any(now - each.heard <= fresh for each in here) else "no node answers"

    def unsure(self, since: float, now: float) -> tuple[str, bool]:
        """Return why it is not sure that all nodes hold it, of which each was asked anew `since`; empty: it is.

        With it comes whether waiting can help: they have not all answered yet.
        """
        here = [each for each in self.members.values() if not each.absent]
        if self.decision == ABORT:
            return self.reason, False
        if wrong := next((each for each in here if each.phase != HELD), None):
            return _not_held(wrong), False
        for each in here:
            if each.heard < since and not (each.silent is not None and self._can_be_absent(each)):
                return _silent(each), self._is_waited_for(each, since, now)
        if any(each.heard >= since for each in here):
            return "", False
        return "no node answers", any(self._is_waited_for(each, since, now) for each in here)

    def _is_waited_for(self, member: Member, since: float, now: float) -> bool:
        return member.silent is None or now - max(member.silent, since) <= self.patience

    def _can_be_absent(self, member: Member) -> bool:
        return self.policy.absent == "later" and member.name != self.needed

    def finished(self, now: float) -> bool:
        """Return whether it was decided, and each node has come to its end or is silent for longer than its lease."""
        if not self.decision:
            return False
        return not self._open or all(self._is_lost(self.members[name], now) for name in self._open)

    def _is_lost(self, member: Member, now: float) -> bool:
        if member.silent is None:
            return now - max(member.moved, self.decided) > self.stuck
        if self.decision == COMMIT:
            return now - max(member.heard, self.decided) > TOLD * self.patience
        untouched = self.decision == ABORT and member.group > self.group  # it was never ordered to switch
        return untouched or now - max(member.heard, self.decided) > self.policy.lease + GRACE

    # what it is told

    def hear(self, name: str, said: Ordered, asked: float, now: float) -> None:
        """Take what a node says; `asked`: when it was asked."""
        member = self.members[name]
        if (said.phase, said.step) != (member.said.phase, member.said.step):
            member.moved = now
        member.said, member.heard, member.silent, member.why = said, max(asked, member.heard), None, ""
        if said.phase in FINAL:
            self._open.discard(name)
        else:
            self._open.add(name)
        if self.decision or self.closing or member.absent:
            return
        if wrong := self._wrong(member):
            self._abort(f"{name}: {wrong}", f"{name}: {said.summary or wrong}", now, name)
        elif said.phase == self.wish(name):
            self._due.discard(name)
            self._advance()

    def _wrong(self, member: Member) -> str:
        """Return why a node cannot come to the present goal."""
        phase = member.phase
        if phase in self._present(member):
            return ""
        if phase == UNKNOWN:
            return "it knows nothing of this rollout any more"
        if phase in (LIVE, PUBLISHING):
            return "it was confirmed, but not by this rollout"
        return one_line(member.said.reason) or f"it is {phase}"

    def _present(self, member: Member) -> Sequence[str]:
        """Return the phases that are right for a node now."""
        if self.group < 0:
            return (UNKNOWN, PREPARING, PREPARED)
        if member.group < self.group:
            return (HELD,)
        return (PREPARED, SWITCHING, HELD) if member.group == self.group else (PREPARED,)

    def lose(self, name: str, why: str, asked: float, now: float) -> None:
        """Take that a node did not answer; `asked`: when it was asked."""
        member = self.members[name]
        member.silent = asked if member.silent is None else member.silent
        member.why = why
        self.watch(name, now)

    def watch(self, name: str, now: float) -> None:
        """Take that time has passed while a node was silent."""
        member = self.members[name]
        if self.decision or self.closing or member.absent or member.silent is None:
            return
        limit = self.patience if self.group < 0 else min(self.patience, self.policy.lease)
        if now - member.silent < limit:
            return
        if self._can_be_absent(member):
            member.absent = True
            self._due.discard(name)
            self._advance()
            if all(each.absent for each in self.members.values()):
                self._abort("no node answers", "no node answers", now, name)
        else:
            self._abort(f"{name} does not answer: {one_line(member.why)}", f"{name} does not answer", now, name)

    def refuse(self, name: str, why: str, now: float) -> None:
        """Take that a node refused an order."""
        if not (self.decision or self.closing or self.members[name].absent):
            self._abort(f"{name}: {one_line(why)}", f"{name}: {one_line(why)}", now, name)

    def cancel(self, why: str, now: float) -> None:
        """Abort, unless it was decided; also where recording the commit has failed."""
        if not self.decision:
            self._abort(why, why, now, "")

    def commit(self, now: float) -> None:
        """Take that the commit is on record: from now on it is carried out, whatever happens."""
        assert self.decision != ABORT
        self.decision, self.decided = COMMIT, now

    def _abort(self, reason: str, summary: str, now: float, blamed: str) -> None:
        self.decision, self.decided = ABORT, now
        self.reason, self.summary, self.blamed = reason, summary, blamed

    def _advance(self) -> None:
        """Go on with the next group once all have come to the present goal."""
        while self.opened and not self._due and self.group < len(self.groups):
            self.group += 1
            if self.group < len(self.groups):
                self._due = {name for name in self.groups[self.group] if not self.members[name].absent}

    # what became of it

    def ended(self, phases: frozenset[str] = GONE_BACK) -> list[str]:
        """Return the nodes that are in certain phases."""
        return [name for name, each in self.members.items() if each.phase in phases]


def _not_held(member: Member) -> str:
    return f"{member.name}: {one_line(member.said.reason) or f'it is {member.phase}'}"


def _silent(member: Member) -> str:
    return f"{member.name} does not answer: {one_line(member.why) or 'it was asked, and has said nothing yet'}"
