"""Rollouts on real daemons behind a real sshd: prepared everywhere, decided once."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from corpushooks.core.deployment import DEPLOYED, ROLLED_BACK, Deployment
from tests.support.box import Box, until
from tests.support.fleet import FleetBox, fleet_box
from tests.support.shared_box import corpus

NAMES = ("n1", "n2", "n3")
FRAGILE = {".salt/10_app.sls": "app:\n  cmd.run:\n    - name: test ! -e {{ cfg.data_root }}/fail\n"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetBox]:
    with fleet_box(tmp_path_factory.mktemp("fleet"), *NAMES) as found:
        found.know()
        found.link()
        assert found.box.app("zero", files=FRAGILE).push().code == 0
        yield found


@pytest.fixture(autouse=True)
def healthy(fleet: FleetBox) -> None:
    """Let no install fail because of an earlier test."""
    fails_on(fleet)


def pages(fleet: FleetBox) -> dict[str, str]:
    """Return what each node serves."""
    places = {name: each.box.project().tree / "index.html" for name, each in fleet.nodes.items()}
    return {name: place.read_text() if place.exists() else "" for name, place in places.items()}


def live(fleet: FleetBox) -> set[str | None]:
    return {each.box.row().code for each in fleet.nodes.values()}


def test_one_push_is_live_on_all_nodes(fleet: FleetBox) -> None:
    work = fleet.box.app("one")
    pushed = work.push()
    assert pushed.code == 0
    assert set(pages(fleet).values()) == {"one"}
    assert live(fleet) == {work.head} == {fleet.box.ref()}


def fails_on(fleet: FleetBox, *names: str) -> None:
    """Let the next install fail on some nodes, and on no others."""
    for name, each in fleet.nodes.items():
        mark = each.box.project().data / "fail"
        mark.unlink(missing_ok=True)
        if name in names:
            mark.touch()


def test_status_names_the_nodes_and_finds_nothing_wrong(fleet: FleetBox) -> None:
    done = fleet.corpus("status", "hello")
    assert b"on the nodes n1, n2, n3: corpus " in done.stdout
    assert (b"wrong" in done.stdout, done.stderr) == (False, b"")
    history = fleet.corpus("history", "hello")
    assert (history.code, history.stderr) == (0, b"")


def test_a_failure_on_one_node_takes_all_back(fleet: FleetBox) -> None:
    assert fleet.box.app("two").push().code == 0
    before = live(fleet), pages(fleet)
    fails_on(fleet, "n3")
    pushed = fleet.box.app("three").push()
    assert pushed.code == 1
    assert pushed.rejected.startswith("n3: install 10_app failed; all 3 on")
    assert any("n3" in line and "FAILED" in line for line in pushed.lines)
    assert (live(fleet), pages(fleet)) == before
    assert fleet.box.deployment(int(fleet.box.row().live or 0) + 1).state == ROLLED_BACK
    assert fleet.box.ref() in live(fleet)


NAMED = """\
named:
  cmd.run:
    - name: >-
        echo "{{ cfg.node }} of {{ cfg.nodes|join(',') }} {{ cfg.run_once }} {{ cfg.data.get('region', 'none') }}"
        > {{ cfg.data_root }}/named; test ! -e {{ cfg.data_root }}/fail
"""
REGIONS = "makina-projects.hello:\n  node_defaults:\n    eu: {region: europe}\n    us: {region: america}\n"


def test_cfg_names_the_node_its_labels_and_the_others(fleet: FleetBox) -> None:
    n2 = fleet.nodes["n2"]
    named = {".salt/10_app.sls": "{}\n", ".salt/20_named.sls": NAMED, ".salt/PILLAR.sample": REGIONS}
    assert fleet.corpus("node", "add", "n2", n2.address, "--label", "eu").code == 0
    assert fleet.box.app("named", files=named).push().code == 0
    written = {name: each.box.project().data / "named" for name, each in fleet.nodes.items()}
    assert {name: path.read_text() for name, path in written.items()} == {
        "n1": "n1 of n1,n2,n3 True none\n",
        "n2": "n2 of n1,n2,n3 False europe\n",
        "n3": "n3 of n1,n2,n3 False none\n",
    }
    said = corpus(n2.box, "config", "hello", "--origin").stdout.decode()
    assert "node_defaults.eu" in next(line for line in said.splitlines() if "region" in line)
    # other labels come with the next release only, and a rollback returns to those before
    assert fleet.corpus("node", "add", "n2", n2.address, "--label", "us").code == 0
    assert b"europe" in corpus(n2.box, "config", "hello").stdout
    fails_on(fleet, "n2")
    assert fleet.box.app("moved").push().code == 1
    assert written["n2"].read_text() == "n2 of n1,n2,n3 False europe\n"
    fails_on(fleet)
    assert fleet.box.work().push("HEAD:refs/deploy/now").code == 0
    assert written["n2"].read_text() == "n2 of n1,n2,n3 False america\n"
    assert fleet.box.app("unnamed", files={**FRAGILE, ".salt/20_named.sls": "{}\n"}).push().code == 0


def test_a_failure_in_prepare_touches_nothing(fleet: FleetBox) -> None:
    before, numbers = (live(fleet), pages(fleet)), {name: newest(each.box) for name, each in fleet.nodes.items()}
    assert fleet.corpus("freeze", "hello", "inventory").code == 0  # of the controller: nobody is asked
    assert fleet.box.app("frozen").push().code == 1
    assert fleet.corpus("thaw", "hello").code == 0
    node = fleet.nodes["n2"].box
    assert node.ask("freeze", project="hello", reason="audit")
    pushed = fleet.box.app("four").push()
    node.ask("thaw", project="hello")
    assert pushed.code == 1
    assert pushed.rejected.startswith("n2: hello is frozen")
    assert "no node was touched" in pushed.transcript
    assert (live(fleet), pages(fleet)) == before
    for name, each in fleet.nodes.items():
        later = range(numbers[name] + 1, newest(each.box) + 1)
        assert len(later) == (0 if name == "n2" else 1)
        assert not any("sync" in each.box.steps(number) for number in later)


def test_a_node_refuses_what_its_controller_deploys(fleet: FleetBox) -> None:
    node = fleet.nodes["n1"].box
    pushed = node.app("mine").push(flags=("--force",))
    assert pushed.code == 1
    assert "hello is deployed by the controller main" in pushed.transcript
    for act in (("deploy", "hello"), ("set", "hello", "a=b")):
        done = corpus(node, *act)
        assert done.code == 3, act
        assert b"is deployed by the controller main" in done.stderr
    assert node.project().tree.joinpath("index.html").read_text() == pages(fleet)["n2"]


def test_a_rollback_returns_all_nodes(fleet: FleetBox) -> None:
    assert fleet.box.app("five").push().code == 0
    assert fleet.box.app("six").push().code == 0
    done = fleet.corpus("rollback", "hello")
    assert done.code == 0, done.stderr
    assert set(pages(fleet).values()) == {"five"}


def test_a_frozen_node_refuses_the_rollout(fleet: FleetBox) -> None:
    before = pages(fleet)
    frozen = fleet.nodes["n2"].box.daemon
    assert frozen
    frozen.send_signal(signal.SIGSTOP)
    try:
        pushed = fleet.box.app("seven").push()
        assert pushed.code == 1
        assert pushed.rejected.startswith("n2 does not answer")
        assert pages(fleet) == before
    finally:
        frozen.send_signal(signal.SIGCONT)
    assert fleet.box.work().push("HEAD:refs/deploy/now").code == 0
    assert set(pages(fleet).values()) == {"seven"}


def test_a_dropped_push_changes_nothing(fleet: FleetBox) -> None:
    work = fleet.box.app("eight")
    number = 1 + newest(fleet.box)
    pushing = work.start_push()
    until(lambda: fleet.box.exists(number))
    pushing.kill()
    pushing.wait()
    assert fleet.box.ended(number).state == DEPLOYED
    assert set(pages(fleet).values()) == {"eight"}


def newest(box: Box) -> int:
    history = box.history
    try:
        return history.newest("hello")
    finally:
        history.close()


CRASHES = ("2 switch", "3 publish", "record live", "4 confirm")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("label", CRASHES)
def test_a_controller_that_is_killed_leaves_one_outcome(fleet: FleetBox, label: str, when: str) -> None:
    before, number, page = fleet.box.row().code, 1 + newest(fleet.box), f"{label} {when}"
    fleet.box.faults((label, when, "kill"))
    pushing = fleet.box.app(page).start_push()
    until(lambda: fleet.box.happened(), 60)
    fleet.box.revive()
    done = until(lambda: revived(fleet.box, number), 90)
    pushing.wait(60)
    fleet.box.faults()
    commit = "publish" in fleet.box.steps(number)
    assert commit == (done.state == DEPLOYED), done
    assert live(fleet) == {fleet.box.work().head if commit else before} == {fleet.box.row().code}
    assert fleet.box.ref() == fleet.box.row().code
    assert not any(each.box.history.frozen("hello") for each in fleet.nodes.values())


def revived(box: Box, number: int) -> Deployment | None:
    box.revive()
    found = box.deployment(number)
    return found if found.ended else None


@pytest.mark.parametrize("page", ["killed while prepared", "killed while held"])
def test_a_node_that_is_killed(fleet: FleetBox, page: str) -> None:
    """In prepare the rollout is refused; what is held goes on being held by the next daemon."""
    before, node = fleet.box.row().code, fleet.nodes["n3"].box
    node.faults(
        ("3 sync" if "prepared" in page else "hold record", "before" if "prepared" in page else "after", "kill")
    )
    pushing = fleet.box.app(page).start_push()
    until(lambda: node.happened(), 60)
    node.revive()
    code = pushing.wait(90)
    node.faults()
    after = {fleet.box.work().head if code == 0 else before}
    until(lambda: live(fleet) == after, 60)
    assert fleet.box.ref() in after


def test_a_node_released_is_deployed_by_itself_again(fleet: FleetBox) -> None:
    node = fleet.nodes["n1"].box
    done = corpus(node, "node", "release", "hello")
    assert done.code == 0, done.stderr
    pushed = fleet.box.app("nine").push()
    assert pushed.code == 1
    assert "n1" in pushed.rejected
    assert "not deployed by this controller" in " ".join(pushed.transcript.split())
    fleet.link("hello", "n1")
    assert fleet.box.work().push("HEAD:refs/deploy/now").code == 0
    assert set(pages(fleet).values()) == {"nine"}
