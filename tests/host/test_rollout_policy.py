"""Rollouts as the setting `rollout` says, and of a controller whose store was restored; on real daemons behind sshd."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from corpushooks.core.deployment import ROLLED_BACK
from corpushooks.core.rollouts import BACK
from tests.support.box import Box, until
from tests.support.fleet import FleetBox, fleet_box
from tests.support.shared_box import corpus

ONCE = "once:\n  cmd.run:\n    - name: echo {{ cfg.node }} {{ cfg.run_once }} > {{ cfg.data_root }}/once\n"
USUAL = "patience: 60, lease: 120"  # a slow machine needs many

pytestmark = pytest.mark.timeout(600)  # with the setup of the fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetBox]:
    with fleet_box(tmp_path_factory.mktemp("fleet"), "n1", "n2", rollout=USUAL) as found:
        found.know()
        found.link()
        assert found.box.app("zero", files={".salt/10_once.sls": ONCE}).push().code == 0
        yield found


def settle(fleet: FleetBox, policy: str) -> None:
    fleet.box.settings(f"environment: prod\naddress: controller.test\nrollout: {{{policy}}}\n")


@contextmanager
def rolled(fleet: FleetBox, policy: str) -> Iterator[None]:
    """Let the setting be `policy` meanwhile; afterwards both nodes run what is live, in the usual way."""
    try:
        fleet.box.stop()
        settle(fleet, policy)
        fleet.box.start()
        yield
    finally:
        fleet.box.stop()
        settle(fleet, USUAL)
        fleet.box.start()
        done = fleet.corpus("deploy", "hello")
        assert done.code == 0, done.stderr


def pages(fleet: FleetBox) -> dict[str, str]:
    return {name: (each.box.project().tree / "index.html").read_text() for name, each in fleet.nodes.items()}


def states(fleet: FleetBox) -> dict[str, str]:
    """Return what `node list` says of the project on each node."""
    found: list[dict[str, Any]] = json.loads(fleet.corpus("node", "list", "--json").stdout)
    return {each["name"]: each["projects"][0]["state"] for each in found}


def until_states(fleet: FleetBox, wanted: dict[str, str]) -> None:
    """Await that the list of the nodes shows what it should; one that is slow to answer is `unknown` in it."""
    until(lambda: states(fleet) == wanted, 90)


def once(fleet: FleetBox) -> list[str]:
    return [(each.box.project().data / "once").read_text() for each in fleet.nodes.values()]


def test_migrations_run_on_one_node_which_switches_first(fleet: FleetBox) -> None:
    assert once(fleet) == ["n1 True\n", "n2 False\n"]
    with rolled(fleet, f"{USUAL}, run_once: n2"):
        pushed = fleet.box.app("one").push()
        assert pushed.code == 0
        assert "to 2 nodes (patience 60, lease 120, run_once n2): " in pushed.lines[0]
        healthy = [line.split()[0] for line in pushed.lines if line.split()[1:2] == ["healthy"]]
        assert healthy == ["n2", "n1"]
        assert once(fleet) == ["n1 False\n", "n2 True\n"]
        assert fleet.corpus("node", "drain", "n2").code == 0
        refused = fleet.box.app("without").push()
        assert fleet.corpus("node", "resume", "n2").code == 0
        assert "rollout.run_once: the node n2 is drained" in refused.transcript
        assert set(pages(fleet).values()) == {"one"}


def test_only_the_chosen_nodes_take_part(fleet: FleetBox) -> None:
    before = pages(fleet)["n2"]
    with rolled(fleet, f"{USUAL}, nodes: [n1]"):
        assert fleet.box.app("two").push().code == 0
        assert pages(fleet) == {"n1": "two", "n2": before}
        until_states(fleet, {"n1": "current", "n2": "excluded"})
    until_states(fleet, {"n1": "current", "n2": "current"})
    with rolled(fleet, f"{USUAL}, nodes: ['label:db']"):
        refused = fleet.box.app("three").push()
        assert refused.code == 1
        assert "rollout.nodes: no node has the label db" in refused.transcript


def test_a_node_that_freezes_at_the_end_is_not_waited_for_till_its_lease_is_over(fleet: FleetBox) -> None:
    node = fleet.nodes["n2"].box
    with rolled(fleet, "patience: 20, lease: 3600"):
        node.faults(("hold confirm", "before", "wait"))
        work = fleet.box.app("four")
        pushing = work.start_push()
        until(node.happened, 60)
        assert node.daemon
        node.daemon.send_signal(signal.SIGSTOP)
        try:
            assert pushing.wait(200) == 0
        finally:
            node.daemon.send_signal(signal.SIGCONT)
        said = " ".join((work.path / ".git/push.log").read_text().replace("remote:", "").split())
        assert "n2 does not answer: it goes back by itself, and is brought up when it answers" in said
        (node.host.root / "gate").touch()
        until_states(fleet, {"n1": "current", "n2": "current"})
        node.faults()


def test_a_node_in_drift_is_brought_back_by_one_order(fleet: FleetBox) -> None:
    node = fleet.nodes["n2"].box
    live, page = fleet.box.row().code, node.project().tree / "index.html"
    right = page.read_text()
    assert corpus(node, "node", "release", "hello").code == 0
    assert node.app("its own").push(flags=("--force",)).code == 0
    fleet.link("hello", "n2")
    until_states(fleet, {"n1": "current", "n2": "drift"})
    page.write_text("edited by hand")
    done = fleet.corpus("node", "sync", "n2")
    said = " ".join(done.stdout.decode().split())
    assert done.code == 0, done.stderr
    assert f"of hello (drift) and gets {live[:7]}; what was edited there is archived, then overwritten" in said
    assert said.index("(drift) and gets") < said.index("rollout")
    until_states(fleet, {"n1": "current", "n2": "current"})
    assert page.read_text() == right
    kept = [path.read_text() for path in node.project().archives.glob("*/project/index.html")]
    assert "edited by hand" in kept
    assert b"all projects of n2 are current" in fleet.corpus("node", "sync", "n2").stdout
    page.write_text("edited again")  # which nothing sees from afar
    assert fleet.corpus("node", "sync", "n2", "hello").code == 0
    assert page.read_text() == right
    for words, why in (
        ("n9 hello", "unknown node 'n9'"),
        ("n2 other", "unknown project"),
    ):
        assert why in fleet.corpus("node", "sync", *words.split()).stderr.decode()


def newest(box: Box) -> int:
    history = box.history
    try:
        return history.newest("hello")
    finally:
        history.close()


def test_a_restored_controller_ends_what_was_open_and_goes_on(fleet: FleetBox) -> None:
    box, copy = fleet.box, fleet.box.root / "copy.sqlite"
    store, number = box.host.store, 1 + newest(box)
    live = box.row().code
    box.faults(("2 switch", "after", "kill"))
    pushing = box.app("five").start_push()
    until(box.happened, 60)
    until(lambda: box.daemon and box.daemon.poll() is not None)
    box.stop()
    shutil.copy(store, copy)  # with its log, which a daemon that was killed leaves
    for each in ("-wal", "-shm"):
        shutil.copy(f"{store}{each}", f"{copy}{each}")
    pushing.kill()
    pushing.wait(10)
    for each in ("", "-wal", "-shm"):
        shutil.copy(f"{copy}{each}", f"{store}{each}")
    with fleet.store() as known:
        before = known.epoch()
        known.renew_epoch()
        assert known.epoch() > before == known.epoch_of("hello", number)
    box.faults()
    box.revive()
    assert until(lambda: box.deployment(number).ended, 90)
    assert box.deployment(number).state == ROLLED_BACK
    with fleet.store() as known:
        assert {row["phase"] for row in known.rollout("hello", number)} == {BACK}
    assert {each.box.row().code for each in fleet.nodes.values()} == {live}
    assert box.app("six").push().code == 0
    assert set(pages(fleet).values()) == {"six"}
    until_states(fleet, {"n1": "current", "n2": "current"})
