"""The procedure of a controller: prepared on all nodes, switched, decided once, confirmed.

It is a deployment in the controller's own history. The journal's row `publish` is the commit: a rollout that is
interrupted before it is rolled back on every node, one that is interrupted after it is confirmed on every node. The
controller asks what a node has done; it never infers it.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from corpushooks import git
from corpushooks.core.deployment import (
    BROKEN,
    DECIDES,
    DEPLOYED,
    HOLDS,
    ROLLED_BACK,
    ROLLING_BACK,
    RUNNING,
    enabled,
)
from corpushooks.core.deployment import (
    HELD as HELD_HERE,
)
from corpushooks.core.errors import CorpusError, GitError, RefusedError, StepError, StoppingError, StoreError
from corpushooks.core.events import Detail, Traced, Warned
from corpushooks.core.hints import Hint, command
from corpushooks.core.policy import Policy
from corpushooks.core.rollouts import (
    BACK,
    FINAL,
    GONE_BACK,
    HELD,
    LIVE,
    UNKNOWN,
    UNTOUCHED,
    Node,
    Order,
    Ordered,
)
from corpushooks.core.rollouts import BROKEN as NODE_BROKEN
from corpushooks.deploy import deploy, hold, prepare, recovery, steps
from corpushooks.deploy.procedure import OnFailure, Procedure, Step, decided
from corpushooks.deploy.progress import Mark
from corpushooks.deploy.run import Run
from corpushooks.fleet.coordinator import ABORT, COMMIT, Coordinator
from corpushooks.fleet.drive import Drive, in_order
from corpushooks.fleet.reach import transport_of
from corpushooks.fleet.said import Said
from corpushooks.release import commits
from corpushooks.screen.view import count, short
from corpushooks.store.fleet import Fleet

SWITCHES = "switch"  # from its row of the journal on, nodes can have changed


def is_on_nodes(run: Run) -> bool:
    """Return whether a project is deployed on nodes, not here."""
    return bool(Fleet(run.site.history).of(run.project.name))


def was_on_nodes(run: Run) -> bool:
    """Return whether a deployment was a rollout that has asked nodes."""
    return bool(Fleet(run.site.history).rollout(run.project.name, run.deployment.number))


def roll_out(run: Run) -> None:
    """Roll a release out to the nodes of a project."""
    try:
        policy = run.settings.rollout or Policy()
        nodes = _nodes(run, policy)
        _check_current(run)
        prepare.target(run, nodes=len(nodes), how=policy.words)
        _check(run)
        run.deadline.check()
    except CorpusError as exc:
        deploy.refuse(run, run.deadline.cause(exc))
        return
    Fleet(run.site.history).begin(run.project.name, run.deployment.number, list(nodes), UNKNOWN, policy)
    coordinator = Coordinator.of(list(nodes), policy, time.monotonic())
    with run.apart(), _begun(run, nodes, coordinator) as rollout:  # it only waits: it takes no place from others
        rollout.go(rollout.procedure.steps)


def _nodes(run: Run, policy: Policy) -> dict[str, Node]:
    """Return the nodes that take part, that for migrations first; raise RefusedError if there are none."""
    known = Fleet(run.site.history).of(run.project.name)
    policy.check(run.project.name, known)
    once = policy.once(known)
    if policy.run_once and not once and not run.request.nodes:
        raise RefusedError(f"rollout.run_once: the node {policy.run_once} is drained", hint=command("node", "list"))
    found = in_order(policy.chosen(known))
    if policy.run_once and once:
        found = {once.name: once, **found}
    if only := run.request.nodes:
        if unknown := [name for name in only if name not in found]:
            raise RefusedError(f"{run.project.name} is not on the node {unknown[0]}, or it is drained or not chosen",
                               hint=command("node", "show", unknown[0]))  # fmt: skip
        found = {name: found[name] for name in only}
    if not found:
        raise RefusedError(f"all nodes of {run.project.name} are drained", hint=command("node", "list"))
    return found


def _check_current(run: Run) -> None:
    """Refuse to bring up single nodes to what is no longer live."""
    asked, row = run.request, run.row
    if asked.nodes and (asked.new, asked.pillar) != (row.code or "", row.pillar or ""):
        raise RefusedError("another release went live meanwhile; it is brought to them instead")


def _check(run: Run) -> None:
    """Refuse what no node could deploy."""
    new = run.deployment.new_code
    if new is None:
        raise RefusedError("nothing to deploy yet", hint="git push a commit first")
    for option in ("only", "skip", "steps"):
        if getattr(run.request, option):
            raise RefusedError(f"{option} cannot be used with several nodes", hint=f"leave out {option}")
    commits.check_commit(run.project, run.row.environment, new, run.request)


@contextmanager
def _begun(run: Run, nodes: dict[str, Node], coordinator: Coordinator) -> Iterator[Rollout]:
    """Ask the nodes of a rollout while the block runs."""
    fleet, done, policy = Fleet(run.site.history), run.deployment, coordinator.policy
    known = fleet.of(done.project)
    once = policy.once(known)
    order = Order(
        project=done.project, epoch=fleet.epoch_of(done.project, done.number), number=done.number, not_after=0.0,
        code=done.new_code or "", pillar=done.new_pillar or "", lease=policy.lease,
        keeps=policy.on_silence == "keep", who=run.request.who,
        nodes=tuple(each.name for each in policy.chosen(known)), run_once=once.name if once else "",
        force=bool(run.request.nodes) and run.request.force,
    )  # fmt: skip

    def told(name: str, said: Ordered) -> None:
        fleet.told(done.project, done.number, name, said)

    transport = transport_of(run.site)
    drive = Drive(coordinator, transport, nodes, run.project, order, told)
    drive.start()
    try:
        yield Rollout(run, drive, list(nodes))
    finally:
        drive.stop()
        transport.close()


def recover(run: Run) -> None:
    """Complete a rollout that was interrupted, or take it back on every node."""
    begun, done = run.site.history.steps(run.deployment), run.deployment
    if done.state not in (RUNNING, HELD_HERE, ROLLING_BACK, DEPLOYED):
        recovery.recover(run)
        return
    fleet = Fleet(run.site.history)
    rows = {row["node"]: row["phase"] for row in fleet.rollout(done.project, done.number)}
    nodes = {each.name: each for each in fleet.nodes() if each.name in rows}
    said = {name: Ordered(phase=phase) for name, phase in rows.items() if name in nodes}
    goes_on, holds = decided(begun), done.state == HELD_HERE
    policy, now = fleet.policy_of(done.project, done.number) or run.settings.rollout or Policy(), time.monotonic()
    if holds:
        here = {name: each for name, each in said.items() if each.phase == HELD}
        once = policy.once(fleet.of(done.project)) if policy.run_once else None
        found = here if here and policy.absent == "later" else said
        coordinator = Coordinator.holding(found, policy, now, once.name if once else "")
    else:
        coordinator = Coordinator.again(said, policy, COMMIT if goes_on else ABORT, now)
    with run.apart(), _begun(run, nodes, coordinator) as rollout:
        if holds:
            rollout.go(rollout.procedure.from_step(HOLDS))
        elif goes_on:
            run.voice.tell(Warned("interrupted after the decision; continuing"))
            rollout.go(rollout.procedure.from_the_decision())
        else:
            rollout.back(StepError("interrupted", why=recovery.INTERRUPTED))


@dataclass
class Rollout:
    """A rollout at work: its steps, and the way back."""

    run: Run
    drive: Drive
    names: Sequence[str]
    said: Said = field(default_factory=Said)  # what the log has of each node so far
    left: set[str] = field(default_factory=set)  # nodes that were absent in prepare, which was said
    procedure: Procedure = field(init=False)

    def __post_init__(self) -> None:
        found = Procedure(
            (
                Step("prepare", self.prepare, OnFailure.REFUSE),
                Step(SWITCHES, self.switch, OnFailure.ROLL_BACK),
                Step(DECIDES, self.publish, OnFailure.WARN),
                Step("confirm", self.confirm, OnFailure.WARN, twice=True),
                Step("notify", self.notify, OnFailure.WARN),
            )
        )
        held = self.run.deployment.lease and not self.run.request.nodes  # a node is brought up without people
        self.procedure = found.with_before(DECIDES, Step(HOLDS, self.hold, OnFailure.ROLL_BACK)) if held else found

    def go(self, rows: Sequence[Step]) -> None:
        """Run steps up to the first that fails before the decision."""
        for step in rows:
            begun = self.run.site.history.steps(self.run.deployment)
            if self.run.deployment.state == DEPLOYED and step.name in begun and not step.twice:
                continue  # by an earlier daemon
            try:
                before = None if decided(begun) else self._decide
                self.procedure.perform(self.run, step, before if step.name == DECIDES else None)
            except StoppingError:
                return  # the next daemon goes on holding it
            except Exception as exc:  # the edge of a lane: a bug of ours must take the nodes back, too
                if not self._goes_on(step, exc):
                    return
            if step.name == "confirm":
                deploy.say_live(self.run)

    def _goes_on(self, step: Step, exc: Exception) -> bool:
        """Take the rollout back, unless it is decided: then a failure is a warning."""
        if isinstance(exc, StoreError):
            raise exc  # the lane goes on once the store is back
        if not isinstance(exc, CorpusError):
            self.run.voice.tell(Traced("".join(traceback.format_exception(exc)).rstrip()))
            exc = StepError(f"{step.name} failed", why=f"{type(exc).__name__}: {exc}")
        if self.run.look().state == HELD_HERE:
            hold.give_up(self.run, exc)  # unless it is confirmed at this moment
        if decided(self.run.site.history.steps(self.run.deployment)):
            self.run.voice.warn(exc.message)
            return True
        self.back(self.run.deadline.cause(exc))
        return False

    # forward

    def prepare(self, run: Run, mark: Mark) -> Detail:
        """Wait until all nodes are prepared."""
        self._until(lambda c: bool(c.decision) or c.prepared())
        here = self.drive.with_coordinator(lambda c: [name for name, each in c.members.items() if not each.absent])
        for name in self.names:
            if name not in here:
                self.left.add(name)
                run.voice.warn(f"{name} does not answer; it is brought up when it does")
        return Detail(len(here), "node", of=len(self.names))

    def switch(self, run: Run, mark: Mark) -> Detail:
        """Let the nodes switch, and wait until all hold the new release."""
        self.drive.with_coordinator(lambda c: c.open())
        self._until(lambda c: bool(c.decision) or c.ready(self.drive.clock()))
        return Detail(len(self._in(frozenset({HELD}))), "node", of=len(self.names))

    def hold(self, run: Run, mark: Mark) -> Detail:
        """Wait until people confirm what all nodes hold: that is the decision. The nodes are asked meanwhile."""
        if run.deployment.state != HELD_HERE:
            self._decide(run)
        run.unsure = self.drive.unsure
        try:
            return hold.hold(run, mark, self._lost)
        finally:
            run.unsure = None

    def _lost(self) -> StepError | None:
        for name, said in self.drive.wait(lambda c: True, lambda: None):
            self._show(name, said)
        why = self.drive.with_coordinator(lambda c: c.lost(self.drive.clock()))
        return StepError(why) if why else None

    def _decide(self, run: Run) -> None:
        """Look once more, before the row that decides or people do: at the nodes, and at the branch."""
        head, done = f"refs/heads/{run.row.branch}", run.deployment
        if git.ref(run.project.code_git, head) not in (done.old_code, done.new_code):
            raise StepError("publish failed", why=f"{run.row.branch} moved meanwhile")
        self._until(lambda c: bool(c.decision) or c.close(self.drive.clock()))

    def publish(self, run: Run, mark: Mark) -> Detail:
        """Move the refs and record that the release is live: its journal row was the commit."""
        self.drive.with_coordinator(lambda c: c.commit(self.drive.clock()))
        if run.deployment.state == DEPLOYED:
            return Detail(note="recorded before")
        try:
            return steps.publish(run, mark, here=False)
        except (GitError, StepError) as exc:  # it is live on the nodes, whatever the branch is
            run.voice.warn(f"{run.row.branch} was not moved: {exc.message}")
            run.deployment = run.site.history.publish(run.deployment, here=False)
            return Detail()

    def confirm(self, run: Run, mark: Mark) -> Detail:
        """Wait until every node has said that the release is live, or is silent for too long."""
        self._until(lambda c: c.finished(self.drive.clock()), decided=True)
        live, others, coordinator = self._in(frozenset({LIVE})), [], self.drive.coordinator
        for name, each in coordinator.members.items():
            if each.phase in GONE_BACK and not each.absent:
                others.append(f"{name} went back before it was told: {each.said.reason}; it is brought up again")
            elif each.phase in GONE_BACK and name not in self.left:
                others.append(f"{name} did not answer and was left out: {each.said.reason}; it is brought up again")
            elif each.phase == NODE_BROKEN:
                others.append(f"{name}: the rollback failed: {each.said.reason}")
            elif each.phase not in FINAL:
                alone = "keeps what it holds" if coordinator.policy.on_silence == "keep" else "goes back by itself"
                others.append(f"{name} does not answer: it {alone}, and is brought up when it answers")
        run.voice.warn(*others)
        return Detail(len(live), "node", of=len(self.names))

    def notify(self, run: Run, mark: Mark) -> Detail:
        """Send the notifications; notify.sls is run by the nodes."""
        told = run.announce() if enabled(run.request, "notify") else 0
        return Detail(told, "notification") if told else Detail()

    # back

    def back(self, why: CorpusError) -> None:
        """Revoke the rollout on every node."""
        run = self.run
        touched = SWITCHES in run.site.history.steps(run.deployment) or run.deployment.state == ROLLING_BACK
        if touched and run.deployment.state != ROLLING_BACK:
            run.move(ROLLING_BACK, why)
        run.deadline.lifted = True
        self.drive.with_coordinator(lambda c: c.cancel(why.message, self.drive.clock()))
        self._until(lambda c: c.finished(self.drive.clock()), decided=True)
        if not touched:
            deploy.refuse(run, RefusedError(f"{why.message}; no node was touched", hint=why.hint))
            return
        wrong = [name for name, each in self.drive.coordinator.members.items() if each.phase not in GONE_BACK]
        for name in wrong:
            run.voice.warn(self._wrong(name))
        broken = self._in(frozenset({NODE_BROKEN}))
        ended = StepError(f"{why.message}; {self._counted()}")
        ended.summary = f"{why.summary}; {self._where()}"
        run.move(BROKEN if broken else ROLLED_BACK, ended)
        said = run.verdict(ended.message, Hint(command("log", run.project.name, run.deployment.number)))
        run.voice.tell(replace(said, how="nodes"))
        run.announce()

    def _wrong(self, name: str) -> str:
        each = self.drive.coordinator.members[name]
        if each.phase == NODE_BROKEN:
            return f"{name}: the rollback failed: {each.said.reason}"
        if each.phase == LIVE:
            return f"{name} runs the new release: it was confirmed there"
        alone = "keeps what it holds" if self.drive.coordinator.policy.on_silence == "keep" else "goes back by itself"
        return f"{name} does not answer: it {alone}, and is asked when it answers"

    def _counted(self) -> str:
        """Return how many nodes went back, and how many were never touched."""
        back, untouched = len(self._in(frozenset({BACK}))), len(self._in(frozenset({UNTOUCHED})))
        left = len(self.names) - back - untouched
        parts = [f"{count(back, 'node')} went back"] if back else []
        parts += [f"{untouched} {'was' if untouched == 1 else 'were'} never touched"] if untouched else []
        parts += [f"of {left} it is not known"] if left else []
        return ", ".join(parts)

    def _where(self) -> str:
        old = self.run.row.code
        members = self.drive.coordinator.members
        at = [name for name in self._in(GONE_BACK) if members[name].said.code == (old or "")]
        return f"{'all ' if len(at) == len(self.names) else ''}{len(at)} on {short(old) if old else 'nothing'}"

    # waiting

    def _in(self, phases: frozenset[str]) -> list[str]:
        found: list[str] = self.drive.with_coordinator(lambda c: c.ended(phases))
        return found

    def _until(self, done: Callable[[Coordinator], bool], *, decided: bool = False) -> None:
        """Wait for the nodes; raise StepError if the rollout is aborted meanwhile, or what ends a deployment."""
        while True:
            news = self.drive.wait(done, self._check if not decided else lambda: None)
            for name, said in news:
                self._show(name, said)
            came = self.drive.with_coordinator(done)
            if not decided and self.drive.coordinator.decision == ABORT:  # looked at last: what came may be that
                raise self._aborted()
            if came:
                return

    def _check(self) -> None:
        self.run.deadline.check()

    def _aborted(self) -> StepError:
        found = self.drive.coordinator
        exc = StepError(found.reason)
        exc.summary = found.summary
        return exc

    def _show(self, name: str, said: Ordered) -> None:
        """Show what a node did."""
        found, hide = self.drive.coordinator, self.run.voice.hide
        canary = found.members[name].group == 0 and found.policy.canary > 0
        for each in self.said.came(name, said, blamed=name == found.blamed, canary=canary):
            self.run.voice.tell(replace(each, about=hide(each.about), lines=tuple(map(hide, each.lines))))
