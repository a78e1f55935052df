"""A procedure: steps in order, each journaled before it begins, and the consequence of each failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from corpushooks.core.deployment import DECIDES, RUNNING, TOUCHES
from corpushooks.core.events import Detail, StepBegan, StepEnded
from corpushooks.deploy.progress import NOWHERE, Mark
from corpushooks.deploy.run import Run


class OnFailure(Enum):
    """The consequence of a failed step."""

    REFUSE = "nothing was touched: the deployment is refused"
    ROLL_BACK = "the deployment is rolled back"
    WARN = "a warning is logged, and the next step follows"


@dataclass(frozen=True)
class Step:
    """One row of a procedure."""

    name: str
    act: Callable[[Run, Mark], Detail]  # takes its place in the procedure; returns what it did
    on_failure: OnFailure | None = None  # None: it ends the procedure, and the caller handles it
    stays: bool = True  # in dev a tree that fails in it is left for the developer: it is the tree of one commit
    twice: bool = False  # after the outcome it can be started again


@dataclass(frozen=True)
class Procedure:
    """Steps in order. `kind` prefixes their names in the labels of effects and, in a rollback, in the journal."""

    steps: tuple[Step, ...]
    kind: str = ""
    undoes: bool = False

    def mark(self, step: Step) -> Mark:
        """Return the place of a step, as shown to people: the steps of a rollback are not counted."""
        if self.undoes:
            return NOWHERE
        return Mark(next(index for index, each in enumerate(self.steps, 1) if each is step), len(self.steps))

    def with_before(self, name: str, step: Step) -> Procedure:
        """Return this procedure with one more step, before another."""
        place = [each.name for each in self.steps].index(name)
        return Procedure((*self.steps[:place], step, *self.steps[place:]), self.kind)

    def stays_in(self, name: str) -> bool:
        """Say whether, in dev, a tree that failed in a step (or a part of one) is left for the developer."""
        return next((step.stays for step in self.steps if step.name == name), True)

    def from_step(self, name: str) -> tuple[Step, ...]:
        """Return a step and those after it."""
        return self.steps[[step.name for step in self.steps].index(name) :]

    def from_the_decision(self) -> tuple[Step, ...]:
        """Return the deciding step and those after it."""
        return self.from_step(DECIDES)

    def after_the_outcome(self, begun: Sequence[str] = ()) -> tuple[Step, ...]:
        """Return the steps after the outcome that have not begun, or that can begin again."""
        return tuple(step for step in self.from_the_decision()[1:] if step.name not in begun or step.twice)

    def _label(self, step: Step) -> str:
        return f"{self.kind or self.mark(step).index} {step.name}"

    def perform(self, run: Run, step: Step, before: Callable[[Run], None] | None = None) -> None:
        """Run one step, journaled before it begins; `before` runs before that row is written."""
        mark, start = self.mark(step), time.monotonic()
        with run.site.effect(f"{self._label(step)}"):
            if before:
                before(run)
            run.site.history.begin(run.deployment, f"{self.kind} {step.name}" if self.undoes else step.name)
            run.voice.tell(StepBegan(step.name, mark.index, mark.total, self.undoes))
            detail = step.act(run, mark)
        took = time.monotonic() - start
        if not self.kind:
            run.event("step", {"step": self._label(step), "seconds": round(took, 3)})
        # a cancellation takes effect at the end of the step; a confirmed deployment is decided
        if run.deployment.state == RUNNING and not run.deployment.confirmed:
            run.deadline.check()
        seconds = None if self.undoes else took
        run.voice.tell(StepEnded(step.name, mark.index, mark.total, detail, seconds, self.undoes))


def touched(begun: Sequence[str]) -> bool:
    """Say whether the steps that have begun can have changed the trees."""
    return TOUCHES in begun


def decided(begun: Sequence[str]) -> bool:
    """Say whether the deciding row was written: from then on a deployment is completed, not rolled back."""
    return DECIDES in begun
