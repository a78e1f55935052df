"""One round: a push under faults, then all is healed, and what is compared with what was promised."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from corpushooks.core.deployment import CANCELLED, DEPLOYED, REFUSED, ROLLED_BACK, TOUCHES, Deployment
from corpushooks.core.rollouts import FINAL, LIVE, UNKNOWN, UNTOUCHED, phase_of, token
from tests.faults.fleet.nemesis import Nemesis, Plan
from tests.support.box import Box, tree_of, until
from tests.support.fleet import FleetBox, NodeBox

ENDS = (DEPLOYED, ROLLED_BACK, REFUSED, CANCELLED)
PUSH, SETTLED = 240.0, 150.0  # seconds at most
SUPERVISED = ("run/systemd/system", "etc/systemd/system")
FRAGILE = {".salt/10_app.sls": "app:\n  cmd.run:\n    - name: test ! -e {{ cfg.data_root }}/fail\n"}

Tree = dict[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Fate:
    """What became of a round."""

    plan: Plan
    hit: tuple[str, ...]  # kinds of the faults that happened
    state: str
    took: float
    behind: int  # nodes that went back by themselves after the decision, or were absent
    wrong: tuple[str, ...] = ()

    def __str__(self) -> str:
        policy = " ".join(str(value) for value in self.plan.policy.values())
        faults = "; ".join(map(str, self.plan.faults)) or "no faults"
        failing = f"; install fails on {self.plan.failing}" if self.plan.failing else ""
        return f"{self.plan.number:4} {self.state:11} {self.took:5.1f} s  [{policy}] {faults}{failing}"


@dataclass
class Before:
    """What a node runs before a round."""

    code: str | None
    tree: Tree


@dataclass
class Scene:
    """A fleet, and what it ran last."""

    fleet: FleetBox
    page: int = 0
    took: float = 8.0  # seconds that the last undisturbed push took
    wrong: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        """Let only an init system start the daemons of the nodes, place the project, and deploy to all."""
        for each in self.fleet.nodes.values():
            for path in SUPERVISED:
                (each.box.host.root / path).mkdir(parents=True, exist_ok=True)
            (each.box.host.root / SUPERVISED[1] / "corpushooks.socket").touch()
        self.fleet.know()
        self.fleet.link()
        self.calm()
        self.calm()

    def play(self, plan: Plan) -> Fate:
        """Do a round."""
        fleet, self.wrong = self.fleet, []
        self._settings(plan.policy)
        for name, each in fleet.nodes.items():
            if name == plan.failing:
                (each.box.project().data / "fail").touch()
        before = {name: Before(each.box.row().code, tree_of(each.box.project().tree))
                  for name, each in fleet.nodes.items()}  # fmt: skip
        old, number = fleet.box.row().code, _newest(fleet.box) + 1
        work = self._commit()
        began = time.monotonic()
        pushing, nemesis = work.start_push(), Nemesis(fleet, plan, self.took, lambda: _steps(fleet.box, number))
        nemesis.run(lambda: pushing.poll() is None)
        code = pushing.wait(PUSH)
        took = time.monotonic() - began
        self._revive()
        done = fleet.box.ended(number)
        until(self._settled, SETTLED)
        behind = self._judge(plan, number, done, code, before, old, work.head)
        fate = Fate(plan, tuple(each.kind for each in nemesis.hit), done.state, took, behind, tuple(self.wrong))
        if not fate.wrong:
            self.calm()
        return Fate(**{**fate.__dict__, "wrong": tuple(self.wrong)})

    def calm(self) -> None:
        """Deploy without faults: it must succeed, and all nodes run it."""
        for each in self.fleet.nodes.values():
            (each.box.project().data / "fail").unlink(missing_ok=True)
        self._settings({})
        work, began = self._commit(), time.monotonic()
        pushed = work.push("HEAD:refs/deploy/now", options=("force",))
        self.took = time.monotonic() - began
        if pushed.code:
            self.wrong.append(f"an undisturbed push fails: {pushed.text}")
            return
        until(self._settled, SETTLED)
        for name, each in self.fleet.nodes.items():
            if each.box.row().code != work.head or _page(each) != str(self.page):
                self.wrong.append(f"{name} does not run what was deployed undisturbed")
            self.wrong += [f"{name}: {what}" for what in self._not_as_said(name, each)]

    def _not_as_said(self, name: str, node: NodeBox) -> Iterator[str]:
        """Yield the rollouts of which a node did something else, perhaps later, than what it said in the end."""
        with self.fleet.store() as known, closing(node.box.history) as history:
            for number in range(1, _newest(self.fleet.box) + 1):
                said = next((row["phase"] for row in known.rollout("hello", number) if row["node"] == name), UNKNOWN)
                own = history.asked("hello", token(known.epoch(), number))
                done = phase_of(own, history.steps(own)) if own else UNTOUCHED
                if said in FINAL and said != done:
                    yield f"of rollout {number} it said {said}, and it is {done}"

    def _commit(self) -> Any:
        self.page += 1
        return self.fleet.box.app(str(self.page), files=FRAGILE)

    def _settings(self, policy: dict[str, Any]) -> None:
        box = self.fleet.box
        given = {"environment": "prod", "address": "controller.test", **({"rollout": policy} if policy else {})}
        box.stop()
        box.settings(yaml.safe_dump(given))
        box.revive()

    def _revive(self) -> None:
        for box in (self.fleet.box, *(each.box for each in self.fleet.nodes.values())):
            box.revive()

    def _settled(self) -> bool:
        return not any(map(_at_work, (self.fleet.box, *(each.box for each in self.fleet.nodes.values()))))

    # what was promised

    def _judge(
        self, plan: Plan, number: int, done: Deployment, code: int, before: dict[str, Before], old: str | None, new: str
    ) -> int:
        """Compare; return how many nodes run the old release though the new one was committed."""
        box, say, behind = self.fleet.box, self.wrong.append, 0
        committed = "publish" in box.steps(number)
        if done.state not in ENDS:
            say(f"the rollout is {done.state}: {done.reason}")
        if committed != (done.state == DEPLOYED):
            say(f"the rollout is {done.state}, and the journal says {box.steps(number)}")
        if (code == 0) != committed:
            say(f"git push ended with {code}, and the rollout is {done.state}: {done.reason}")
        if box.ref() != (new if committed else old):
            say(f"the branch is at {box.ref()}")
        if not plan.faults and committed == bool(plan.failing):
            say(f"undisturbed, and {done.state}: {done.reason}")
        said, token_of = self._said(number)
        for name, each in self.fleet.nodes.items():
            for what in self._of_node(each, before[name], new, committed, said[name], token_of, plan, number):
                say(f"{name}: {what}")
            behind += committed and each.box.row().code != new
        return behind

    def _said(self, number: int) -> tuple[dict[str, str], str]:
        with self.fleet.store() as known:
            rows = {str(row["node"]): str(row["phase"]) for row in known.rollout("hello", number)}
            return {name: rows.get(name, "") for name in self.fleet.nodes}, token(known.epoch(), number)

    def _of_node(
        self, node: NodeBox, before: Before, new: str, committed: bool, said: str, asked: str, plan: Plan, number: int
    ) -> Iterator[str]:
        row, tree = node.box.row(), node.box.project().tree
        with closing(node.box.history) as history:
            own = history.asked("hello", asked)
            steps = history.steps(own) if own else []
        if row.broken:
            yield f"it is broken: {row.broken}"
        if row.code not in (before.code, new):
            yield f"it runs {row.code}, neither the old release nor the new one"
        if row.code == before.code and tree_of(tree) != before.tree:
            yield f"its tree is not exactly the old one: {_differing(before.tree, tree_of(tree))}"
        if row.code == new and (foreign := self._not_new(tree)):
            yield f"its tree is not exactly the new one: {foreign}"
        if not committed and row.code != before.code:
            yield "it runs the new release, though the rollout was not committed"
        if not committed and "switch" not in self.fleet.box.steps(number) and TOUCHES in steps:
            yield "it was touched, though the rollout never switched"
        if said == LIVE and row.code != new:
            yield "the controller says that it is live"
        if committed and row.code == before.code:
            yield from _unasked(own, plan)
            if not re.search(
                rf"warning: {node.name} (does not answer|did not answer|went back)", self.fleet.box.log(number)
            ):
                yield "it is behind, and the log of the rollout does not say so"

    def _not_new(self, tree: Path) -> list[str]:
        """Return the files of a tree that are not those of the commit."""
        work = self.fleet.box.work()
        names = work.git("ls-files").text.splitlines()
        wrong = [name for name in names if not (tree / name).is_file()
                 or (tree / name).read_bytes() != (work.path / name).read_bytes()]  # fmt: skip
        there = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
        return wrong + sorted(there - set(names))


def _unasked(own: Deployment | None, plan: Plan) -> Iterator[str]:
    """Yield what is wrong with a node that is behind a rollout that was committed; nothing if that is the policy."""
    lapsed = own is not None and own.state == ROLLED_BACK and "not confirmed within" in (own.reason or "")
    back = lapsed and plan.policy["on_silence"] == "back"
    if not back and plan.policy["absent"] != "later":  # else it can have been left out
        yield f"it went back without having been left alone: {own.state if own else 'no order'}: {own and own.reason}"


def _differing(one: Tree, other: Tree) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))[:5]


def _at_work(box: Box) -> bool:
    with closing(box.history) as history:
        return bool(history.unfinished("hello"))


def _steps(box: Box, number: int) -> list[str]:
    return box.steps(number) if box.exists(number) else []


def _newest(box: Box) -> int:
    with closing(box.history) as history:
        return int(history.newest("hello"))


def _page(node: NodeBox) -> str:
    return (node.box.project().tree / "index.html").read_text()
