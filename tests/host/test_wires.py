"""Rollouts to nodes in network namespaces of their own, one of which is cut off in silence: nobody is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from corpushooks.core.deployment import ROLLED_BACK
from tests.support.box import Box, tree_of, until
from tests.support.callers import needs_root
from tests.support.fleet import FleetBox, fleet_box

WAIT = "while test -e {{ cfg.data_root }}/wait; do sleep 0.1; done"
WAITS = {".salt/10_app.sls": f"app:\n  cmd.run:\n    - name: {WAIT}\n"}
LEASE = 6

pytestmark = needs_root


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetBox]:
    with fleet_box(tmp_path_factory.mktemp("wires"), "n1", "n2", rollout=f"lease: {LEASE}", wired=True) as found:
        found.know()
        found.link()
        assert found.box.app("zero", files=WAITS).push().code == 0
        yield found


def pages(fleet: FleetBox) -> list[str]:
    return [(each.box.project().tree / "index.html").read_text() for each in fleet.nodes.values()]


def newest(box: Box) -> int:
    with closing(box.history) as history:
        return history.newest("hello")


def test_each_node_is_in_a_network_of_its_own(fleet: FleetBox) -> None:
    networks = {os.readlink(f"/proc/{each.server.process.pid}/ns/net") for each in fleet.nodes.values()}
    assert len(networks | {os.readlink("/proc/self/ns/net")}) == 3
    assert fleet.box.app("one").push().code == 0
    assert pages(fleet) == ["one", "one"]


def test_a_node_that_is_cut_off_while_it_switches_goes_back_by_itself(fleet: FleetBox) -> None:
    """The controller hears nothing of it, and takes the others back; it runs what it ran."""
    node = fleet.nodes["n2"]
    wire, before = node.server.wire, pages(fleet)
    assert wire
    trees = [tree_of(each.box.project().tree) for each in fleet.nodes.values()]
    rows = [each.box.row().code for each in fleet.nodes.values()]
    wait, number = node.box.project().data / "wait", newest(node.box) + 1
    wait.touch()
    pushing = fleet.box.app("two").start_push()
    until(lambda: node.box.exists(number) and any("install" in step for step in node.box.steps(number)), 60)
    wire.cut()
    try:
        assert pushing.wait(120) == 1
        assert "n2 does not answer" in (fleet.box.work().path / ".git/push.log").read_text()
        wait.unlink()
        until(lambda: node.box.deployment(number).state == ROLLED_BACK, 10 * LEASE)
    finally:
        wire.heal()
    assert [each.box.row().code for each in fleet.nodes.values()] == rows == [fleet.box.ref()] * 2
    assert pages(fleet) == before
    assert [tree_of(each.box.project().tree) for each in fleet.nodes.values()] == trees
    assert fleet.box.work().push("HEAD:refs/deploy/now").code == 0
    assert pages(fleet) == ["two", "two"]
