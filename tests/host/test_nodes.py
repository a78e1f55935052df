"""The nodes of a controller: adding them, placing projects on them, and what is refused."""

from __future__ import annotations

import getpass
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpushooks.core.errors import RefusedError, UnreachableError, UsageError
from corpushooks.core.policy import Policy
from corpushooks.core.rollouts import TOLERANCE, Condition, Node, OnNode, Ordered
from corpushooks.fleet import nodes
from corpushooks.fleet.address import Address, parse
from corpushooks.fleet.nodes import Glance
from corpushooks.operations import nodes as acts
from corpushooks.protocol import gives
from corpushooks.store import standing
from corpushooks.store.fleet import Fleet
from corpushooks.store.history import History
from corpushooks.system.process import Output, run
from tests.support.fleet import CONTROLLER, FleetBox, fleet_box, node_box
from tests.support.ssh_keys import ED25519


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetBox]:
    """Return a controller with two nodes, which let it in, and that it does not know."""
    with fleet_box(tmp_path_factory.mktemp("fleet"), "n1", "n2") as found:
        found.box.init("other")
        for each in found.nodes.values():
            each.let_in(found.identity.public_key())
        found.box.stop()  # its daemon would look after the nodes meanwhile
        yield found


@pytest.fixture(autouse=True)
def forgotten(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave the controller without nodes, and the nodes without a controller."""
    yield
    if "fleet" not in request.fixturenames:
        return
    fleet = request.getfixturevalue("fleet")
    with fleet.store() as known:
        for each in known.nodes():
            for project in known.on(each.name):
                known.displace(project, each.name)
            known.remove(each.name)
            fleet.identity.forget(each.name)
        for name, placed in known.placed().items():
            for each in placed:
                known.displace(name, each)
    for each in fleet.nodes.values():
        history = each.box.history
        with history.change() as db:
            db.execute("DELETE FROM governed")
        history.close()


def text(output: Output) -> str:
    return (output.stdout + output.stderr).decode()


def shown(fleet: FleetBox, *words: str) -> Any:
    """Return what a command prints with --json."""
    done = fleet.corpus("node", *words, "--json")
    assert done.code == 0, text(done)
    return json.loads(done.stdout)


def refused(fleet: FleetBox, *words: str) -> str:
    """Return the error of a command that is refused; each is one line, with at most one hint."""
    done = fleet.corpus(*words)
    assert done.code in (1, 2, 3) and not done.stdout, text(done)
    assert len(done.stderr.splitlines()) <= 2, text(done)
    return done.stderr.decode()


# adding


def test_a_node_is_added_listed_changed_and_removed(fleet: FleetBox) -> None:
    n1 = fleet.nodes["n1"]
    assert text(fleet.corpus("node", "list")).startswith("no nodes: corpus --root")
    added = fleet.corpus("node", "add", "n1", n1.address, "--label", "web", "--label", "eu", "--label", "web")
    assert added.code == 0 and not added.stderr, text(added)
    host_key = run(["ssh-keygen", "-l", "-f", n1.server.folder / "host.pub"]).text.split()[1]
    assert f"added n1, host key {host_key}" in added.stdout.decode()
    (found,) = shown(fleet, "list")
    assert (found["name"], found["address"], found["labels"]) == ("n1", n1.address, ["web", "eu"])
    assert (found["wrong"], found["environment"], found["drained"], found["projects"]) == ("", "prod", False, [])
    assert found["host_key"] == host_key and found["seen"] and found["places"] and found["memory"] and found["disk"]
    assert abs(found["clock"]) < TOLERANCE
    assert text(fleet.corpus("node", "add", "n1", n1.address)).startswith("changed n1")
    assert shown(fleet, "show", "n1")["labels"] == []
    assert shown(fleet, "drain", "n1")["drained"] and shown(fleet, "show", "n1")["drained"]
    assert "[drained]" in text(fleet.corpus("node", "list"))
    assert not shown(fleet, "resume", "n1")["drained"]
    assert shown(fleet, "remove", "n1") == {"name": "n1", "address": n1.address}
    assert shown(fleet, "list") == []
    assert fleet.identity.pinned("n1") is None


@pytest.mark.parametrize("words", [
    ("add", "N1", "root@h"), ("add", "local", "root@h"), ("add", "../x", "root@h"), ("add", "n1", "h"),
    ("add", "n1", "root@-oProxyCommand=id"), ("add", "n1", "root@h:0"), ("add", "n1", "root@h:99999"),
    ("add", "n1", "-oX@h"), ("add", "n1", "root@h;id"), ("add", "n1", "root@h", "--label", "A b"),
    ("show", "n9"), ("drain", "n9"), ("resume", "n9"), ("remove", "n9"), ("link", "n9", "hello"),
    ("unlink", "n9", "hello"), ("link", "n9", "nothing"), ("link", "local", "hello"),
])  # fmt: skip
def test_what_is_no_node_is_wrong_usage(fleet: FleetBox, words: tuple[str, ...]) -> None:
    done = fleet.corpus("node", *words)
    assert done.code == 2 and not done.stdout, text(done)
    assert shown(fleet, "list") == []


@pytest.mark.parametrize("words", [("add", "local", "root@h"), ("link", "local", "hello")])
def test_a_controller_is_no_node_of_its_own(fleet: FleetBox, words: tuple[str, ...]) -> None:
    assert refused(fleet, "node", *words).startswith(
        "error: local cannot be a node: a controller deploys to other hosts"
    )


def test_an_address_is_an_account_and_a_host() -> None:
    assert parse("corpus@example.org") == Address("corpus", "example.org", 22)
    assert parse("corpus@[2001:db8::1]:2222") == Address("corpus", "2001:db8::1", 2222)
    for each in ("corpus@example.org", "a@h:2222", "a@[::1]", "a@[::1]:2222"):
        assert str(parse(each)) == each
    assert parse("a@[::1]:2222").url == "ssh://a@[::1]:2222"


def test_where_nobody_answers_no_node_is_added(fleet: FleetBox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "no ssh server answers at root@127.0.0.1" in refused(fleet, "node", "add", "n1", f"root@127.0.0.1:{port}")
    assert shown(fleet, "list") == []


def test_a_machine_that_does_not_let_us_in_is_added_and_said(fleet: FleetBox, tmp_path: Path) -> None:
    with node_box(tmp_path, "n3") as n3:
        done = fleet.corpus("node", "add", "n3", n3.address)
        assert done.code == 0 and b"added n3" in done.stdout
        assert b"warning: n3 does not answer: " in done.stderr and b"Permission denied" in done.stderr
        assert b"key add controller - --node" in done.stderr and b"node key" in done.stderr
        assert "Permission denied" in refused(fleet, "node", "link", "n3", "hello")
        with fleet.store() as known:
            assert known.of("hello") == ()
        n3.let_in(fleet.identity.public_key())
        assert shown(fleet, "show", "n3")["wrong"] == ""


def test_a_host_key_is_required_pinned_and_changed_only_on_demand(fleet: FleetBox, tmp_path: Path) -> None:
    n1, n2 = fleet.nodes["n1"], fleet.nodes["n2"]
    wrong = "SHA256:" + "a" * 43
    said = refused(fleet, "node", "add", "n1", n1.address, "--fingerprint", wrong)
    assert f"not {wrong}; nothing was changed" in said
    assert shown(fleet, "list") == [] and fleet.identity.pinned("n1") is None
    right = run(["ssh-keygen", "-l", "-f", n1.server.folder / "host.pub"]).text.split()[1]
    assert shown(fleet, "add", "n1", n1.address, "--fingerprint", right)["host_key"] == right
    other = run(["ssh-keygen", "-l", "-f", n2.server.folder / "host.pub"]).text.split()[1]
    said = refused(fleet, "node", "add", "n1", n2.address)  # another machine under the name
    assert f"the host key of n1 is {other}, not {right}" in said and f"--fingerprint {other}" in said
    assert shown(fleet, "show", "n1")["address"] == n1.address
    assert shown(fleet, "add", "n1", n2.address, "--fingerprint", other)["host_key"] == other


def test_nodes_that_do_not_answer_are_shown_with_those_that_do(fleet: FleetBox) -> None:
    fleet.know()
    n1 = fleet.nodes["n1"]
    n1.server.kill()
    try:
        first, second = shown(fleet, "list")
        lines = text(fleet.corpus("node", "list"))
    finally:
        n1.server.revive()
    assert "refused" in first["wrong"] and first["version"] is None and first["seen"]
    assert second["wrong"] == "" and second["version"]
    assert "does not answer: " in lines and "ago)" in lines


def test_the_key_of_a_controller_is_made_once(fleet: FleetBox) -> None:
    found = shown(fleet, "key")
    assert found == shown(fleet, "key") and found["key"].startswith("ssh-ed25519 ")
    folder = fleet.identity.folder
    assert {oct(each.stat().st_mode & 0o77) for each in (folder, folder / "key")} == {"0o0"}
    assert found["fingerprint"] == run(["ssh-keygen", "-l", "-f", folder / "key"]).text.split()[1]


# placing projects


def test_a_project_is_placed_on_nodes_and_taken_from_them(fleet: FleetBox) -> None:
    fleet.know()
    assert shown(fleet, "link", "n1", "hello") == {"name": "n1", "project": "hello", "linked": True}
    assert "hello is deployed to n2" in text(fleet.corpus("node", "link", "n2", "hello"))
    for name, each in fleet.nodes.items():
        history = each.box.history
        with history.change() as db:
            (row,) = db.execute("SELECT project, controller, node, nodes, address FROM governed").fetchall()
        history.close()
        assert tuple(row)[:4] == ("hello", CONTROLLER, name, "n1 n2") and "controller.test" in row["address"]
        assert each.box.row().environment == "prod"
    (first, _) = shown(fleet, "list")
    assert [(each["project"], each["state"]) for each in first["projects"]] == [("hello", "current")]
    assert "still has projects: hello" in refused(fleet, "node", "remove", "n1")
    done = fleet.corpus("node", "unlink", "n1", "hello")
    assert done.code == 0 and b"corpus node release hello" in done.stdout
    assert "hello is not on the node n1" in refused(fleet, "node", "unlink", "n1", "hello")
    assert shown(fleet, "remove", "n1")["name"] == "n1"
    with fleet.store() as known:
        assert [each.name for each in known.of("hello")] == ["n2"]


def test_other_nodes_are_told_beside_each_other(fleet: FleetBox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is asked before any has answered; one that fails is a warning, and the others know."""
    asked, together = [], threading.Barrier(3, timeout=20)

    class Wire:
        def ask(self, node: Node, name: str, fields: Any, *_: Any) -> dict[str, Any]:
            if name == "node adopt" and node.name != "n1":
                together.wait()
                asked.append(node.name)
                if node.name == "n3":
                    raise UnreachableError("gone")
            now = Condition(version="1", protocol=1, time=time.time(), environment="prod", projects={})
            return {"value": gives.plain(now)}

        def close(self) -> None:
            """Nothing is open."""

    with fleet.store() as known:
        for each in ("n1", "n2", "n3", "n4"):
            known.add(Node(name=each, address="a@b"))
        for each in ("n2", "n3", "n4"):
            known.place("hello", each)
    monkeypatch.setattr(acts, "transport_of", lambda site: Wire())
    done = fleet.corpus("node", "link", "n1", "hello")
    assert done.code == 0 and sorted(asked) == ["n2", "n3", "n4"], text(done)
    assert done.stderr.decode().startswith("warning: n3 does not know of the change: gone\nhint: ")


def test_linking_twice_changes_nothing(fleet: FleetBox) -> None:
    fleet.know("n1")
    assert shown(fleet, "link", "n1", "hello") == shown(fleet, "link", "n1", "hello")
    assert len(shown(fleet, "show", "n1")["projects"]) == 1


def test_what_a_node_runs_otherwise_is_drift(fleet: FleetBox) -> None:
    fleet.know("n1")
    fleet.link("hello", "n1")
    n1 = fleet.nodes["n1"]
    assert n1.box.ask("node release", project="hello")
    assert shown(fleet, "show", "n1")["projects"][0]["state"] == "released"
    work = n1.box.app("of its own")
    assert work.push().code == 0
    fleet.link("hello", "n1")
    (found,) = shown(fleet, "show", "n1")["projects"]
    assert (found["state"], found["code"], found["rollout"]) == ("drift", work.head, 0)
    assert f"drift {work.head[:7]}" in text(fleet.corpus("node", "list"))


def test_another_environment_is_refused(fleet: FleetBox, tmp_path: Path) -> None:
    with node_box(tmp_path, "n3", environment="staging") as n3:
        n3.let_in(fleet.identity.public_key())
        assert fleet.corpus("node", "add", "n3", n3.address).code == 0
        said = refused(fleet, "node", "link", "n3", "hello")
        assert said.startswith("error: n3: this node is staging here, not prod: all nodes of a project have one")
        assert "init hello --env prod" in said
        with fleet.store() as known:
            assert known.of("hello") == ()
        n3.box.init("hello", env="prod")
        assert fleet.corpus("node", "link", "n3", "hello").code == 0


def test_a_node_of_another_controller_is_refused(fleet: FleetBox, tmp_path: Path) -> None:
    fleet.know("n1")
    fleet.link("hello", "n1")
    n1, history = fleet.nodes["n1"], fleet.nodes["n1"].box.history
    with history.change() as db:
        db.execute("UPDATE governed SET controller = 'elsewhere', address = 'root@elsewhere'")
    history.close()
    assert shown(fleet, "show", "n1")["projects"][0]["state"] == "released"
    said = refused(fleet, "node", "link", "n1", "hello")
    assert "n1: hello is deployed by the controller elsewhere at root@elsewhere" in said
    assert n1.box.row()


def test_a_frozen_node_is_not_linked(fleet: FleetBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts, "ANSWER", 2.0)
    fleet.know("n1")
    daemon = fleet.nodes["n1"].box.daemon
    assert daemon
    daemon.send_signal(signal.SIGSTOP)
    try:
        assert "n1: no answer within 12 s" in refused(fleet, "node", "link", "n1", "hello")
    finally:
        daemon.send_signal(signal.SIGCONT)
    with fleet.store() as known:
        assert known.of("hello") == ()


# over ssh, and for whom


def test_a_host_key_manages_nodes_over_ssh_and_an_admin_key_does_not(fleet: FleetBox, tmp_path: Path) -> None:
    n2 = fleet.nodes["n2"]  # it can be a controller, too
    for name, right in (("hostess", "host"), ("anna", "admin")):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name])
        n2.let_in((tmp_path / f"{name}.pub").read_text(), name, right)
    key = n2.ssh(tmp_path / "hostess", "node key")
    assert key.code == 0 and key.stdout.startswith(b"ssh-ed25519 ")
    assert n2.ssh(tmp_path / "hostess", "node list").stdout.startswith(b"no nodes: ")
    for command in ("node key", "node list", "node add n1 root@h", "node link n1 hello", "node remove n1"):
        assert n2.ssh(tmp_path / "anna", command).code == 3, command


def test_the_right_of_a_controller_is_given_on_the_host_only(fleet: FleetBox, tmp_path: Path) -> None:
    n2 = fleet.nodes["n2"]
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "keeper"])
    n2.let_in((tmp_path / "keeper.pub").read_text(), "keeper", "host")
    line = f"ssh-ed25519 {ED25519} x\n".encode()
    assert n2.ssh(tmp_path / "keeper", "key add evil - --node", stdin=line).code == 2  # no such word
    file = tmp_path / "x.pub"
    file.write_bytes(line)
    one = FleetBox(n2.box, {})
    assert "applies to the whole host" in refused(one, "key", "add", "ctl", str(file), "--node", "--project", "own")
    added = one.corpus("key", "add", "ctl", str(file), "--node")
    assert added.code == 0 and b"node   every project" in added.stdout, text(added)
    assert "the right node goes with no other right" in refused(one, "key", "add", "ctl", str(file), "--push")
    assert one.corpus("key", "remove", "ctl").code == 0


# what a node says


PROD: dict[str, Any] = {"environment": "prod"}


def said(**given: Any) -> dict[str, Any]:
    return {"version": "1", "protocol": 1, "time": time.time(), "projects": {}, **PROD, **given}


class Told:
    """A transport that gives one answer."""

    def __init__(self, value: object) -> None:
        self.value = value

    def ask(self, *given: object) -> dict[str, Any]:
        return {"value": self.value}

    send = close = ask  # type: ignore[assignment]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Fleet]:
    history = History(tmp_path / "store.sqlite")
    found = Fleet(history)
    found.add(Node(name="n1", address="root@h"))
    found.place("hello", "n1")
    yield found
    history.close()


def glance(store: Fleet, value: object) -> Glance:
    return nodes.look(Told(value), store, store.node("n1"))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [
    None, [], "x", {}, said(time="x"), said(time=float("nan")), said(time=-1.0), said(memory=-1), said(disk=1 << 70),
    said(protocol=float("inf")), said(projects={"hello": {}}), said(projects={"hello": {**PROD, "code": "x"}}),
    said(projects={"hello": {**PROD, "number": -1}}),
])  # fmt: skip
def test_what_no_node_says_is_no_answer(store: Fleet, value: object) -> None:
    found = glance(store, value)
    assert isinstance(found.wrong, UnreachableError) and found.condition is None
    assert store.node("n1").seen is None
    with pytest.raises(UnreachableError, match="n1: its answer is not understood"):
        nodes.check_usable(found)


def test_what_a_node_says_is_cleaned_and_about_its_projects_only(store: Fleet) -> None:
    on = {"environment": "\x1b[2Jprod" * 20, "broken": "\x07x\n" * 300}
    found = glance(store, said(version="\x1b[31m9" + "x" * 999, projects={"hello": on, "secret": on})).condition
    assert found and set(found.projects) == {"hello"}
    texts = (found.version, found.projects["hello"].environment, found.projects["hello"].broken)
    assert all(each.isprintable() and len(each) <= 200 for each in texts)


@pytest.mark.parametrize("given, wrong", [
    ({"protocol": 0}, "n1 has version 0 of the protocol"), ({"protocol": 2}, "this controller 1"),
    ({"time": time.time() + 3600}, "s ahead of ours"), ({"time": time.time() - 3600}, "s behind ours"),
])  # fmt: skip
def test_a_node_that_cannot_be_used_is_refused_in_a_line(store: Fleet, given: dict[str, Any], wrong: str) -> None:
    with pytest.raises(RefusedError, match=wrong) as found:
        nodes.check_usable(glance(store, said(**given)))
    assert "\n" not in str(found.value) and found.value.hint


def test_a_slow_answer_says_less_of_the_clock() -> None:
    node = Node(name="n1", address="root@h")
    condition = Condition(version="1", protocol=1, time=0.0, environment="prod", projects={})
    assert nodes.check_usable(Glance(node, condition, clock=TOLERANCE + 1, unsure=2.0)) is condition
    with pytest.raises(RefusedError):
        nodes.check_usable(Glance(node, condition, clock=TOLERANCE + 1, unsure=0.5))


def test_states_of_a_project_on_a_node(store: Fleet) -> None:
    history = store.store
    assert isinstance(history, History)
    history.add_project("hello", "prod", "master")
    row = history.project("hello")
    assert row
    there: list[dict[str, Any]] = [{}, {"code": "a" * 40}, {"busy": True}, {"busy": True, "broken": "x"}]
    node = Node(name="n1", address="a@b")

    def state(there: OnNode | None, policy: Policy = Policy()) -> str:  # noqa: B008
        return standing.shown(history, row, node, there, policy)

    assert [state(OnNode(**PROD, **each)) for each in there] == ["current", "drift", "busy", "broken"]
    assert state(None) == "released"
    assert state(OnNode(**PROD, code="a" * 40), Policy(nodes=("n2",))) == "excluded"


def test_what_a_node_said_last_is_kept_until_it_says_something_else(store: Fleet) -> None:
    node = store.add(Node(name="n1", address="a@b"))
    store.place("hello", "n1")
    assert store.said("hello") == {}
    one = OnNode(**PROD, code="a" * 40, number=3, epoch=7, busy=True)
    store.saw(node.name, {"hello": one, "foreign": one})
    assert store.said("hello") == {"n1": one}
    store.begin("hello", 4, ["n1"], "unknown", Policy())
    store.told("hello", 4, "n1", Ordered(phase="held", code="a" * 40))
    assert store.said("hello") == {"n1": one}
    store.told("hello", 4, "n1", Ordered(phase="live", code="b" * 40))
    now = store.said("hello")["n1"]
    assert now == OnNode(**PROD, code="b" * 40, number=4, epoch=store.epoch())
    store.told("hello", 4, "n1", Ordered(phase="broken", code="b" * 40, reason="no space"))
    assert store.said("hello") == {"n1": replace(now, broken="no space")}
    store.saw(node.name, {})
    assert store.said("hello") == {"n1": None}


def test_a_name_on_the_command_line_is_no_option() -> None:
    with pytest.raises(UsageError):
        parse(f"{getpass.getuser()}@-x")
