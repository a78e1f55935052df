"""Plans and tasks on nodes: each node runs them by itself, all at once, and nothing is decided between them.

They are asked for like the orders of a rollout, by number: a request that arrives twice is run once, one that is late
is refused, and what became of it is asked, never inferred. Nodes that gave the same answer are shown together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from corpushooks.core.deployment import DONE
from corpushooks.core.errors import CorpusError, RefusedError, StepError, UnreachableError
from corpushooks.core.events import Began, Held, NodesDid, Recorded, StateEnded, Verdict
from corpushooks.core.hints import command
from corpushooks.core.policy import Policy
from corpushooks.core.rollouts import REVOKE, UNKNOWN, Node, Ordered
from corpushooks.core.text import one_line, shortened
from corpushooks.deploy import prepare
from corpushooks.deploy.run import Run
from corpushooks.fleet import logs
from corpushooks.fleet.drive import PAUSE, SEND, SILENCE, VALID, WAIT, understood
from corpushooks.fleet.reach import transport_of
from corpushooks.fleet.transport import Transport
from corpushooks.release import commits
from corpushooks.screen import screen
from corpushooks.screen.view import count
from corpushooks.store.fleet import Fleet
from corpushooks.system import own_log
from corpushooks.system.patience import beside

LINES = 200  # of an answer that are shown
WIDTH = 1000  # characters of a line
READS = 120.0  # seconds to read the log of a node
STOPS = 60.0  # seconds for a node to stop what is cancelled
AGAIN = 5.0  # seconds in which a silent node is told again to stop
TICK = 0.2  # seconds between looks at who has answered


@dataclass
class Answer:
    """What became of a request on one node."""

    node: str
    dry: bool = False  # its log is what was asked for
    said: Ordered = field(default_factory=Ordered)
    wrong: str = ""  # why there is no answer
    events: Sequence[Recorded] = ()
    unread: str = ""  # why its log could not be read

    @property
    def reason(self) -> str:
        """Why it did not succeed; empty: it did."""
        if self.wrong:
            return self.wrong
        if self.said.state != DONE:
            return one_line(self.said.reason) or f"it is {self.said.state or self.said.phase}"
        return f"its plan cannot be read: {self.unread}" if self.unread and self.dry else ""


@dataclass
class Asking:
    """A request that is being asked of nodes."""

    run: Run
    transport: Transport
    policy: Policy
    epoch: int
    fields: Mapping[str, Any]  # of the request, the same for all nodes
    once: str = ""  # the node on which migrations run
    revoked: threading.Event = field(default_factory=threading.Event)

    def of(self, node: Node) -> Answer:
        """Ask a node, and wait until it has done it; what went wrong is in the answer."""
        answer = Answer(node.name, self.run.request.sort.dry)
        try:
            self._fill(answer, node)
        except Exception as exc:  # the edge of a node's thread: it concerns no other node
            own_log.error("node failed", exc, node=node.name)
            answer.wrong = f"internal error: {type(exc).__name__}"
        return answer

    def _fill(self, answer: Answer, node: Node) -> None:
        try:
            answer.said = self._outcome(node, self._begun(node))
        except CorpusError as exc:
            silent = isinstance(exc, UnreachableError)
            answer.wrong = f"it does not answer: {one_line(exc.message)}" if silent else one_line(exc.message)
            return
        try:
            answer.events = self._events(node)
        except CorpusError as exc:  # what it has done is known, too
            answer.unread = one_line(exc.message)

    def _begun(self, node: Node) -> Ordered:
        """Ask until the node has the request, or is silent for too long."""

        def bring() -> Ordered:
            done = self.run.deployment
            if self.run.request.sort.dry:
                code, pillar = done.new_code or "", done.new_pillar or ""
                self.transport.send(node, self.run.project, done.number, code, pillar, SEND, self._check)
            about = {"node": node.name, "labels": list(node.labels), "not_after": time.time() + VALID,
                     "run_once": node.name == self.once}  # fmt: skip
            return self._ask(node, "request", {**self.fields, **about})

        return self._patiently(bring)

    def _outcome(self, node: Node, said: Ordered) -> Ordered:
        """Ask what became of the request until that is final; revoke it where it was cancelled here."""
        end = None
        while not said.final:
            if self.revoked.is_set() and end is None:
                said, end = self._revoke(node), time.monotonic() + STOPS
                continue
            if end is not None and time.monotonic() > end:
                raise UnreachableError("it was told to stop, and has not stopped yet")
            seen = {"seen": said.phase, "wait": WAIT}
            said = self._patiently(lambda seen=seen: self._ask(node, "outcome", seen))  # type: ignore[misc]
            if said.phase == UNKNOWN:
                raise UnreachableError("it knows nothing of this request any more")
        return said

    def _revoke(self, node: Node) -> Ordered:
        """Tell a node to stop; try again for a moment while it is silent."""
        end = time.monotonic() + min(AGAIN, self.policy.patience)
        while True:
            try:
                return self._ask(node, REVOKE, {})
            except SILENCE:
                if time.monotonic() > end:
                    raise
                time.sleep(PAUSE[0])

    def _events(self, node: Node) -> Sequence[Recorded]:
        end = time.monotonic() + READS

        def check() -> None:
            if self.revoked.is_set():
                raise UnreachableError("it was cancelled")
            if time.monotonic() > end:
                raise UnreachableError(f"not given within {READS:g} s")

        def ask(more: Mapping[str, Any]) -> Mapping[str, Any]:
            check()
            return self.transport.ask(node, "node log", {**self._which, **more}, self.policy.patience, check)

        return [each for part in logs.parts(ask, follow=False) for each in part.records]

    @property
    def _which(self) -> dict[str, Any]:
        done = self.run.deployment
        return {"project": done.project, "epoch": self.epoch, "number": done.number}

    def _ask(self, node: Node, order: str, more: Mapping[str, Any]) -> Ordered:
        said = understood(self.transport.ask(node, f"node {order}", {**self._which, **more}, self.policy.patience))
        Fleet(self.run.site.history).told(self.run.project.name, self.run.deployment.number, node.name, said)
        return said

    def _patiently(self, act: Callable[[], Ordered]) -> Ordered:
        """Try again while a node is silent, for as long as it may be; each question can be asked twice."""
        began, pause = time.monotonic(), PAUSE[0]
        while True:
            try:
                return act()
            except SILENCE:
                if time.monotonic() - began > self.policy.patience or self.revoked.wait(pause):
                    raise
                pause = min(PAUSE[1], 2 * pause)

    def _check(self) -> None:
        if self.revoked.is_set():
            raise UnreachableError("it was cancelled before the node was asked")


def plan(run: Run) -> None:
    """Show what a deployment would change on each node; it changes nothing anywhere."""
    try:
        policy, nodes = _chosen(run)
        if run.request.only or run.request.skip or run.request.steps:
            raise RefusedError("only, skip and steps cannot be used with several nodes", hint="leave them out")
        prepare.target(run, nodes=len(nodes))
        if run.deployment.new_code is None:
            raise RefusedError("nothing to deploy yet", hint="git push a commit first")
        commits.check_commit(run.project, run.row.environment, run.deployment.new_code, run.request)
        _on_nodes(run, nodes, policy)
    except CorpusError as exc:
        run.fail(run.deadline.cause(exc))
        return
    finally:
        prepare.unpin(run)
    run.move(DONE)
    run.voice.tell(run.verdict())


def task(run: Run) -> None:
    """Run a task on each node, or on those that were asked for."""
    try:
        policy, nodes = _chosen(run)
        run.voice.tell(replace(run.began(), nodes=len(nodes)))
        _on_nodes(run, nodes, policy)
    except CorpusError as exc:
        run.fail(run.deadline.cause(exc))
        return
    run.move(DONE)
    run.voice.tell(run.verdict())


def _chosen(run: Run) -> tuple[Policy, Sequence[Node]]:
    """Return the nodes that are asked; one that is named can be drained. Raise RefusedError if there are none."""
    project, policy = run.project.name, run.settings.rollout or Policy()
    known = Fleet(run.site.history).of(project)
    policy.check(project, known)
    if only := run.request.nodes:
        found = [each for each in known if each.name in only]
        wrong = f"{project} is not on the node {only[0]}"
    else:
        found = [each for each in policy.chosen(known) if not each.drained]
        wrong = f"all nodes of {project} are drained"
    if not found:
        raise RefusedError(wrong, hint=command("node", "list"))
    return policy, found


def _on_nodes(run: Run, nodes: Sequence[Node], policy: Policy) -> None:
    """Let nodes run a request, and show what each answered; raise StepError unless all have done it."""
    fleet, done, asked = Fleet(run.site.history), run.deployment, run.request
    fleet.begin(done.project, done.number, [each.name for each in nodes], UNKNOWN, policy)
    named = policy.chosen(fleet.of(done.project))
    once = policy.once(named)
    fields = {"kind": asked.kind, "task": asked.task, "who": asked.who, "nodes": [each.name for each in named]}
    if asked.sort.dry:
        fields |= {"code": done.new_code or "", "pillar": done.new_pillar or ""}
    with closing(transport_of(run.site)) as transport, run.apart():
        epoch = fleet.epoch_of(done.project, done.number)
        asking = Asking(run, transport, policy, epoch, fields, once.name if once else "")
        waiting = [beside(lambda each=each: asking.of(each)) for each in nodes]  # type: ignore[misc]
        try:
            while not all(each.done() for each in waiting):
                run.deadline.check()
                run.deadline.cancelled.wait(TICK)
        finally:
            asking.revoked.set()
            answers = [each.result() for each in waiting]
            for event in grouped(answers, asked.kind):
                run.voice.tell(event)
    if wrong := [each for each in answers if each.reason]:
        raise _failed(run, wrong, len(answers))


def _failed(run: Run, wrong: Sequence[Answer], total: int) -> StepError:
    first, others = wrong[0], total - len(wrong)
    hint = command("log", run.project.name, run.deployment.number, "--node", first.node)
    done = f"; {count(others, 'node')} {'has' if others == 1 else 'have'} done it" if others else ""
    exc = StepError(f"{first.node}: {first.reason}{done}")
    exc.hint = hint
    return exc


# what is shown


def grouped(answers: Sequence[Answer], kind: str) -> list[NodesDid]:
    """Return what nodes answered, those with the same answer together, the largest group first."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for each in answers:
        lines, results = _told(each)
        groups.setdefault((each.reason, results.count(None), results.count(False), lines), []).append(each.node)
    found = [
        NodesDid(tuple(names), kind, reason, changes, failed, lines[:LINES], max(0, len(lines) - LINES))
        for (reason, changes, failed, lines), names in groups.items()
    ]
    return sorted(found, key=lambda each: -len(each.nodes))


def _told(answer: Answer) -> tuple[tuple[str, ...], tuple[bool | None, ...]]:
    """Return the lines of a node's log without what differs anyway, and the results of its states."""
    kept = [each for each in answer.events if not isinstance(each.event, (Began, Verdict))]
    lines = [f"        its log cannot be read: {answer.unread}"] if answer.unread else []
    try:
        shown = [text for each in screen.show(map(_timeless, kept), whole=False) for text in each.lines]
    except Exception as exc:  # the edge of what a node can say: it must not hide what the others do
        own_log.error("log of a node not shown", exc, node=answer.node)
        shown = ["        its log cannot be read"]
    lines += [shortened(row, WIDTH) for text in shown for row in text.split("\n")]
    return tuple(lines), tuple(each.event.result for each in kept if isinstance(each.event, StateEnded))


def _timeless(record: Recorded) -> Recorded:
    """Return an event without how long it took: that differs on each node."""
    event: Any = record.event
    if hasattr(event, "seconds") and not isinstance(event, Held):
        event = replace(event, seconds=0.0 if isinstance(event, StateEnded) else None)
    return Recorded(event, 0.0, record.offset)
