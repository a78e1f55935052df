"""The step that holds a deployment before it is final, until it is confirmed, cancelled, or its lease expires.

Everything is installed and on disk; the refs have not moved. The store decides which of the three came first; the
deciding row is written together with the confirmation. The lane waits here without using a slot of `max_parallel`, and
a daemon that stops leaves the held deployment to the next one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

from corpushooks.core.deployment import HELD, QUEUED, ROLLING_BACK, RUNNING, Deployment, state_of
from corpushooks.core.errors import CancelledError, CorpusError, RefusedError, StateError, StepError, StoppingError
from corpushooks.core.events import Detail, HealthAsked, Held
from corpushooks.core.hints import command
from corpushooks.core.text import shortened
from corpushooks.deploy import steps
from corpushooks.deploy.progress import Mark
from corpushooks.deploy.run import Run
from corpushooks.notify import announce
from corpushooks.screen.view import count
from corpushooks.store.lease import Lease, lease_of
from corpushooks.system import health

LOOK = 0.5  # seconds between looks at the store, if nothing wakes us
EVERY = 10.0  # seconds between rounds of health checks, unless `health_every` is less
LONGEST = 60.0  # seconds for one health check


def is_held(deployment: Deployment) -> bool:
    """Say whether a deployment can be confirmed now."""
    return deployment.state == HELD and lease_of(deployment).left() > 0


def refusal(deployment: Deployment) -> RefusedError:
    """Return the error for a deployment that cannot be confirmed."""
    name, number, state = deployment.project, deployment.number, deployment.state
    if state in (QUEUED, RUNNING):
        holds = "is not held yet" if deployment.lease or state == QUEUED else "is not held"
        return RefusedError(f"deployment {number} of {name} {holds}", hint=command("log", name, number, "-f"))
    late = "its lease expired" if state == HELD else f"it is {state_of(state).word}: {deployment.reason}".rstrip(": ")
    return RefusedError(f"deployment {number} of {name} cannot be confirmed: {late}", hint=command("log", name, number))


def check_connection(deployment: Deployment, connection: str) -> None:
    """Refuse a confirmation over the connection that asked for the deployment: it does not prove that login works."""
    if connection and connection == deployment.request.connection:
        raise RefusedError(
            "not confirmed: this connection also asked for the deployment",
            hint="confirm over a new connection, to prove that login works; if ssh shares them: -o ControlPath=none",
        )


Wrong = Callable[[], StepError | None]  # asked while it is held: why it can no longer be


def hold(run: Run, mark: Mark, wrong: Wrong | None = None) -> Detail:
    """Hold a deployment until it is confirmed; raise StepError if it is rolled back, StoppingError if we stop.

    `wrong` is asked meanwhile in place of the health checks: those of a rollout are run by its nodes.
    """
    if run.deployment.state != HELD:  # otherwise an earlier daemon held it
        run.salt.close()  # it is not needed while we wait
        if wrong is None:  # else nothing was changed here
            steps.conclude(run, run.deadline.patience())
        with run.site.effect("hold record"):
            _record(run)
        if not run.request.rollout and (unsent := announce.held(run.subject)):
            run.voice.warn(unsent)
    confirm = run.spell(command("confirm", run.project.name, run.deployment.number))
    left = lease_of(run.deployment).left()
    said = Held(math.ceil(left), round(time.time() + left, 3), "" if run.request.rollout else confirm)
    run.voice.tell(said)
    began = time.monotonic()
    try:
        with run.apart() if wrong is None else nullcontext():  # a rollout has left its slot before
            _await(run, wrong or _Asking(run).wrong)
    finally:
        run.deadline.since += time.monotonic() - began  # the time held does not count
    if run.deployment.state == ROLLING_BACK:
        kind = CancelledError if run.deployment.cancelled else StepError
        raise kind(run.deployment.reason)
    return Detail(note=f"confirmed by {run.deployment.confirmed}")


def _record(run: Run) -> None:
    history = run.site.history
    try:
        history.hold(run.deployment, Lease.begin(run.deployment.lease or 0.0))
    except StateError:
        run.deadline.check()  # it was cancelled at this moment
        raise
    run.look()
    run.event("state", {"state": HELD, "kind": run.request.kind, "by": run.request.who})


def _await(run: Run, wrong: Wrong) -> None:
    """Wait for the decision."""
    while run.look().state == HELD:
        if run.site.stopping:
            raise StoppingError("the daemon is stopping; the next one continues to hold it")
        lease = lease_of(run.deployment)
        left = math.inf if run.request.keeps else lease.left()  # one that keeps waits also after a boot
        if not lease.survived and not run.request.keeps:
            give_up(run, StepError("not confirmed", why="the host was restarted"))
        elif not left:
            give_up(run, StepError(f"not confirmed within {lease.seconds:g} s"))
        elif why := wrong():
            give_up(run, why)
        else:
            run.answered.wait(min(LOOK, left))
            run.answered.clear()


def give_up(run: Run, why: CorpusError) -> bool:
    """Roll back a held deployment, unless it was decided meanwhile; return whether it is rolled back."""
    try:
        with run.site.effect("hold back"):
            run.move(ROLLING_BACK, why)
    except StateError:
        run.look()
    return run.deployment.state == ROLLING_BACK


@dataclass
class _Asking:
    """Runs the health checks of a held deployment, again and again."""

    run: Run
    checks: list[health.Check] = field(init=False)
    every: float = field(init=False)
    due: float = field(init=False)
    failures: int = 0  # in a row

    def __post_init__(self) -> None:
        done = self.run.deployment
        wanted = self.run.site.history.checks_of(done.project, done.number)
        self.checks, self.every = health.once(wanted, LONGEST), min(EVERY, self.run.settings.health_every or EVERY)
        self.due = time.monotonic() + self.every

    def wrong(self) -> StepError | None:
        """Run the checks when due; return the error if they failed too often in a row."""
        if not self.checks or time.monotonic() < self.due:
            return None
        try:
            found = self._ask()
        except CancelledError:
            return None
        self.due = time.monotonic() + self.every
        self.failures = self.failures + 1 if found else 0
        if not found or self.failures < self.run.settings.health_failures:
            return None
        return StepError(f"health check failed {count(self.failures, 'time')} while held", why=found)

    def _ask(self) -> str:
        for check in self.checks:
            began = time.monotonic()
            if wrong := health.await_answer(check, self._go_on, self.run.start):
                self.run.voice.tell(HealthAsked(shortened(str(check)), time.monotonic() - began, wrong))
                return f"{shortened(str(check))}: {wrong}"
        return ""

    def _go_on(self) -> None:
        """Raise CancelledError if the answer no longer matters."""
        if self.run.answered.is_set() or self.run.site.stopping or not is_held(self.run.look()):
            raise CancelledError("no longer held")
