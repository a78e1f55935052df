"""Between rollouts: what is told to a node and ordered from it, and how often."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from corpushooks.core import records
from corpushooks.core.deployment import FAILED, RUNNING, Request, Revision
from corpushooks.core.policy import Policy
from corpushooks.core.project import Project
from corpushooks.core.rollouts import BACK, UNKNOWN, Condition, Node, OnNode, Ordered
from corpushooks.core.settings import Settings
from corpushooks.fleet.catch_up import CatchUp
from corpushooks.host.site import Site
from corpushooks.protocol.answers import VERSION
from corpushooks.store.fleet import Fleet
from corpushooks.system.patience import Check, endless
from tests.support.box import Box
from tests.support.engines import FakeEngine

OLD, NEW = "a" * 40, "b" * 40


@dataclasses.dataclass
class Said:
    """A transport to nodes that all say the same."""

    on: OnNode
    asked: list[tuple[str, dict[str, Any]]] = dataclasses.field(default_factory=list)

    def ask(
        self, node: Node, name: str, fields: Mapping[str, Any], limit: float, check: Check = endless
    ) -> dict[str, Any]:
        self.asked.append((name, dict(fields)))
        if name == "node hello":
            found = Condition(
                version="1", protocol=VERSION, time=time.time(), environment="prod", projects={"hello": self.on}
            )
            return {"value": records.plain(found)}
        return dict(records.plain(Ordered(phase=BACK)))

    def send(
        self, node: Node, project: Project, number: int, code: str, pillar: str, limit: float, check: Check = endless
    ) -> None:
        raise AssertionError("nothing is sent between rollouts")

    def close(self) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return a host that has brought two releases to its node n1."""
    box = Box(tmp_path)
    box.init("hello", "prod")
    history = box.history
    with closing(history):
        fleet = Fleet(history)
        fleet.add(Node(name="n1", address="c@n1"))
        fleet.place("hello", "n1")
        for commit in (OLD, NEW):
            fleet.begin("hello", deployed(history, commit), ["n1"], BACK, Policy())
        yield Site(box.host, box_settings(), history, FakeEngine())


def box_settings(policy: Policy | None = None) -> Any:
    return Settings(rollout=policy)


def deployed(history: Any, commit: str) -> int:
    """Record a deployment that is live; return its number."""
    one = history.move(history.enqueue("hello", Request(new=commit)), RUNNING)
    one = history.aim(one, Revision(), Revision(commit), "stamp", None)
    one = history.publish(one, here=False)
    history.end(one)
    return int(one.number)


def there(site: Site, **values: Any) -> Said:
    """Return nodes that run the older release."""
    return Said(OnNode(environment="prod", code=OLD, number=1, epoch=Fleet(site.history).epoch(), **values))


def looking(site: Site, said: Said) -> tuple[CatchUp, list[str]]:
    woken: list[str] = []
    return CatchUp(site, woken.append, lambda _: said), woken


def look(found: CatchUp) -> None:
    found._due.clear()
    found.look()


def test_a_node_that_could_not_be_brought_up_is_tried_again_soon(site: Site) -> None:
    now = 1000.0
    found, woken = looking(site, there(site))
    found.clock = lambda: now
    pauses, last = [], now
    for _ in range(6):
        while not woken:
            now += 10
            look(found)
        woken.clear()
        pauses.append(now - last)
        last = now
        (one,) = site.history.queued("hello")
        assert (one.request.nodes, one.request.new) == (("n1",), NEW)
        site.history.end(site.history.move(site.history.move(one, RUNNING), FAILED, "no"))
    assert pauses == [10, 60, 120, 240, 480, 900]
    deployed(site.history, "c" * 40)
    look(found)
    assert woken  # of another release it is not known that it fails


@pytest.mark.parametrize("runs", [{"code": NEW, "number": 2}, {"code": "e" * 40, "number": 0}])
def test_what_is_current_or_in_drift_is_left_alone(site: Site, runs: dict[str, Any]) -> None:
    said = there(site)
    found, woken = looking(site, Said(dataclasses.replace(said.on, **runs)))
    for _ in range(3):
        look(found)
    assert woken == [] == site.history.queued("hello")


def test_while_one_is_at_work_no_other_is_asked_for(site: Site) -> None:
    found, woken = looking(site, there(site))
    look(found)
    found._tried.clear()
    look(found)
    assert woken == ["hello"] and len(site.history.queued("hello")) == 1


def test_a_node_that_the_policy_does_not_choose_is_left_alone(site: Site) -> None:
    site.settings = box_settings(Policy(nodes=("label:web",)))
    found, woken = looking(site, there(site))
    look(found)
    assert woken == []
    site.settings = box_settings(Policy(nodes=("n1",)))
    look(found)
    assert woken == ["hello"]


def test_what_another_store_has_brought_is_told_from_what_this_one_has(site: Site) -> None:
    """After a restore the epoch is later; what was brought before is known by its number and its commits."""
    said = there(site)
    Fleet(site.history).renew_epoch()
    found, woken = looking(site, said)
    look(found)
    assert woken == ["hello"]
    drifted, woken = looking(site, Said(dataclasses.replace(said.on, number=7)))
    look(drifted)
    assert woken == []


def test_an_order_of_before_a_restore_is_ended_by_its_own_epoch(site: Site) -> None:
    fleet = Fleet(site.history)
    before = fleet.epoch()
    one = site.history.move(site.history.enqueue("hello", Request(new="d" * 40)), RUNNING)
    fleet.begin("hello", one.number, ["n1"], UNKNOWN, Policy(lease=7))
    site.history.end(site.history.move(one, FAILED, "lost"))
    fleet.renew_epoch()
    assert fleet.epoch() > before == fleet.epoch_of("hello", one.number)
    assert fleet.policy_of("hello", one.number) == Policy(lease=7)
    said = there(site)
    found, _ = looking(site, said)
    look(found)
    orders = [fields for name, fields in said.asked if name == "node revoke"]
    assert orders == [{"project": "hello", "epoch": before, "number": one.number}]
    assert [row["phase"] for row in fleet.rollout("hello", one.number)] == [BACK]
