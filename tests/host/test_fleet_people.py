"""What people ask of a project on several nodes, from the controller: plans, tasks, holding, cancelling, freezing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from corpushooks.core.deployment import DEPLOYED, DONE, FAILED, HELD, ROLLED_BACK, ROLLING_BACK
from corpushooks.system.patience import beside
from corpushooks.system.process import Child
from tests.support.box import Box, Push, tree_of, until
from tests.support.browsing import Browser, Seen
from tests.support.fleet import FleetBox, fleet_box
from tests.support.web import serving

Held = Callable[[str], int]
NAMES = ("n1", "n2", "n3")
WAITS = "while test -e wait; do sleep 0.1; done; test ! -e fail"  # the roots of the nodes differ here, so no path
CWD = "    - cwd: {{ cfg.data_root }}\n"
APP = {
    ".salt/00_page.sls": "{}\n",
    ".salt/10_app.sls": f"app:\n  cmd.run:\n    - name: {WAITS}\n{CWD}"
    "{% if cfg.node == 'n2' %}\nextra:\n  cmd.run:\n    - name: 'true'\n{% endif %}\n",
    ".salt/task_where.sls": "where:\n  cmd.run:\n    - name: >-\n        echo on {% if cfg.node == 'n2' %}two{% else %}"
    f"others{{% endif %}}; echo x >> ran; {WAITS}\n{CWD}",
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetBox]:
    with fleet_box(tmp_path_factory.mktemp("fleet"), *NAMES, rollout="lease: 30") as found:
        found.know()
        found.link()
        assert found.box.app("zero", files=APP).push().code == 0
        yield found


@pytest.fixture(autouse=True)
def healthy(fleet: FleetBox) -> Iterator[None]:
    yield
    for each in data(fleet).values():
        for name in ("wait", "fail", "ran"):
            (each / name).unlink(missing_ok=True)


def data(fleet: FleetBox) -> dict[str, Path]:
    return {name: each.box.project().data for name, each in fleet.nodes.items()}


def newest(box: Box) -> int:
    with closing(box.history) as history:
        return history.newest("hello")


def live(fleet: FleetBox) -> set[str | None]:
    return {each.box.row().code for each in fleet.nodes.values()}


def app(fleet: FleetBox, page: str) -> Push:
    return fleet.box.app(page, files=APP).push()


# plans


def test_a_plan_is_made_on_all_nodes_and_equal_answers_are_one(fleet: FleetBox) -> None:
    work = fleet.box.app("planned", files=APP)
    trees = {name: tree_of(each.box.project().tree) for name, each in fleet.nodes.items()}
    before = live(fleet), fleet.box.ref()
    planned = work.push("HEAD:refs/deploy/plan")
    assert planned.code == 0, planned.transcript
    text = planned.transcript
    assert "hello (prod) plan 2 on 3 nodes: " in text
    assert "      n1 n3                  1 state would change" in text, text
    assert "      n2                     2 states would change" in text, text
    assert text.index("n1 n3 ") < text.index("n2  ") and text.count("1 state would change") == 1
    assert "index.html" in text
    assert planned.lines[-1] == "success: a plan only: nothing was changed"
    assert (live(fleet), fleet.box.ref()) == before
    assert trees == {name: tree_of(each.box.project().tree) for name, each in fleet.nodes.items()}
    number = newest(fleet.box)
    assert fleet.box.deployment(number).state == DONE
    found = json.loads(fleet.corpus("log", "hello", "--json").stdout)
    (first, second) = [each["data"] for each in found if each["event"] == "nodes"]
    assert (first["nodes"], first["changes"], second["nodes"]) == (["n1", "n3"], 1, ["n2"])
    assert b"would change" not in fleet.corpus("log", "hello", "--node", "n2", "--short").stderr
    assert b"extra" in fleet.corpus("log", "hello", "--node", "n2").stdout


def test_a_plan_says_what_would_fail_on_a_node(fleet: FleetBox) -> None:
    broken = {".salt/20_new.sls": "{% if cfg.node == 'n3' %}x:\n  no.such: []\n{% endif %}\n"}
    work = fleet.box.app("planned", files={**APP, **broken})
    planned = work.push("HEAD:refs/deploy/plan")
    assert planned.code == 0  # as on one host
    assert "      n3                     1 state would change, 1 FAILED" in planned.transcript, planned.transcript
    assert "      n1                     1 state would change\n" in planned.transcript
    work.commit({".salt/20_new.sls": None})


def test_a_plan_that_a_node_refuses_has_failed(fleet: FleetBox) -> None:
    before = live(fleet)
    assert fleet.nodes["n3"].box.ask("node release", project="hello")
    try:
        planned = fleet.box.app("planned", files=APP).push("HEAD:refs/deploy/plan")
    finally:
        fleet.link("hello", "n3")
    assert planned.code == 1 and live(fleet) == before
    assert planned.rejected.startswith("n3: "), planned.rejected
    said = " ".join(planned.transcript.split())
    assert "n3 FAILED: " in said and "for the key main" in said and "n1 1 state would change" in said
    assert "2 nodes have done it" in said and "log hello" in said


def test_a_plan_without_an_answer_of_all_nodes_is_none(fleet: FleetBox) -> None:
    node = fleet.nodes["n2"]
    node.server.kill()
    try:
        done = fleet.corpus("deploy", "hello", "--dry-run")
    finally:
        node.server.revive()
    assert done.code == 1
    assert b"n2: it does not answer: " in done.stdout and b"n1 n3" in done.stdout
    assert fleet.corpus("deploy", "hello", "--dry-run").code == 0
    done = fleet.corpus("deploy", "hello", "--dry-run", "--steps", "10_app")
    assert done.code == 3 and b"cannot be used with several nodes" in done.stdout + done.stderr


# tasks


def ran(fleet: FleetBox) -> list[str]:
    return [name for name, each in data(fleet).items() if (each / "ran").exists()]


def test_a_task_runs_on_all_nodes_or_on_one(fleet: FleetBox) -> None:
    assert [each["task"] for each in fleet.box.ask("tasks", project="hello")["value"]] == ["where"]
    done = fleet.corpus("task", "hello", "where")
    assert done.code == 0, done.stdout
    text = done.stdout.decode()
    assert "      n1 n3                  done" in text and "on others" in text and text.count("on others") == 1
    assert "on two" in text and "success: task where is done" in text
    assert ran(fleet) == list(NAMES)
    assert {(each / "ran").read_text() for each in data(fleet).values()} == {"x\n"}
    for each in data(fleet).values():
        (each / "ran").unlink()
    done = fleet.corpus("task", "hello", "where", "--node", "n2")
    assert done.code == 0 and b"on two" in done.stdout and b"others" not in done.stdout
    assert ran(fleet) == ["n2"]
    wrong = fleet.corpus("task", "hello", "where", "--node", "n9")
    assert wrong.code == 2 and wrong.stderr.startswith(b"error: hello is not on the node n9")


def test_a_task_that_fails_on_a_node_has_failed(fleet: FleetBox) -> None:
    (data(fleet)["n3"] / "fail").touch()
    done = fleet.corpus("task", "hello", "where")
    assert done.code == 1
    assert b"error: n3: task where failed: where; 2 nodes have done it" in done.stdout, done.stdout
    assert b"FAILED: task where failed: where" in done.stdout and ran(fleet) == list(NAMES)
    unknown = fleet.corpus("task", "hello", "nothing")
    assert unknown.code == 1 and b"nothing" in unknown.stdout


def test_a_task_is_cancelled_on_all_nodes(fleet: FleetBox) -> None:
    waits = [each / "wait" for each in data(fleet).values()]
    for each in waits:
        each.touch()
    number, numbers = newest(fleet.box) + 1, {name: newest(each.box) + 1 for name, each in fleet.nodes.items()}
    assert fleet.corpus("freeze", "hello", "audit").code == 0
    refused = fleet.corpus("task", "hello", "where")
    assert refused.code == 3 and b"hello is frozen" in refused.stderr
    assert fleet.corpus("thaw", "hello").code == 0
    fleet.box.ask("task", project="hello", task="where", nowait=True)
    until(lambda: ran(fleet) == list(NAMES), 60)
    done = fleet.corpus("cancel", "hello")
    assert done.code == 0 and b"cancelled by" in done.stdout
    assert fleet.box.ended(number).state == FAILED
    for name, each in fleet.nodes.items():
        assert each.box.ended(numbers[name]).state == FAILED


# cancelling, freezing and going back


def test_a_rollout_is_cancelled_and_all_nodes_return(fleet: FleetBox) -> None:
    before = live(fleet)
    for each in data(fleet).values():
        (each / "wait").touch()
    number, numbers = newest(fleet.box) + 1, {name: newest(each.box) + 1 for name, each in fleet.nodes.items()}
    pushing = fleet.box.app("cancelled", files=APP).start_push()
    until(lambda: all(_installs(fleet.nodes[name].box, number) for name, number in numbers.items()), 60)
    cancelling = beside(lambda: fleet.box.ask("cancel", project="hello"))
    until(lambda: fleet.box.deployment(number).state == ROLLING_BACK, 60)
    for each in data(fleet).values():  # the install of before runs again, and would wait, too
        (each / "wait").unlink()
    assert cancelling.result(60)["state"] == ROLLED_BACK
    assert pushing.wait(60) == 1
    assert live(fleet) == before == {fleet.box.ref()}
    assert {each.box.ended(numbers[name]).state for name, each in fleet.nodes.items()} == {ROLLED_BACK}


def _installs(box: Box, number: int) -> bool:
    return box.exists(number) and any("install" in step for step in box.steps(number))


def test_deploy_and_rollback_concern_all_nodes_and_a_freeze_none(fleet: FleetBox) -> None:
    assert app(fleet, "first").code == 0
    first = live(fleet)
    assert app(fleet, "second").code == 0
    second = live(fleet)
    assert fleet.corpus("freeze", "hello", "audit").code == 0
    numbers = {name: newest(each.box) for name, each in fleet.nodes.items()}
    for words in (("deploy", "hello"), ("rollback", "hello")):
        done = fleet.corpus(*words)
        assert done.code == 3 and b"hello is frozen" in done.stderr, words
    assert numbers == {name: newest(each.box) for name, each in fleet.nodes.items()}
    assert fleet.corpus("thaw", "hello").code == 0
    assert fleet.corpus("rollback", "hello").code == 0 and live(fleet) == first
    (code,) = second
    assert fleet.corpus("deploy", "hello", str(code)).code == 0 and live(fleet) == second


# what each node runs


def status(fleet: FleetBox) -> dict[str, dict[str, object]]:
    found = json.loads(fleet.corpus("status", "hello", "--json").stdout)["on_nodes"]
    return {each["name"]: each for each in found}


def test_status_history_and_pages_show_each_node(fleet: FleetBox) -> None:
    assert app(fleet, "shown").code == 0
    found, (code,) = status(fleet), live(fleet)
    assert {(name, each["state"], each["code"]) for name, each in found.items()} == {
        (name, "current", code) for name in NAMES
    }
    before, number = fleet.box.row().code, newest(fleet.box) + 1
    for name in ("n1", "n3"):
        (data(fleet)[name] / "wait").touch()
    (data(fleet)["n3"] / "fail").touch()
    pushing = fleet.box.app("fails on one", files=APP).start_push()
    until(lambda: {each["phase"] for each in status(fleet).values()} == {"switching", "held"}, 60)
    lines = fleet.corpus("status", "hello").stdout.decode()
    assert f"        n1           current {str(code)[:7]}, switching, seen " in lines, lines
    for name in ("n1", "n3"):
        (data(fleet)[name] / "wait").unlink()
    assert pushing.wait(60) == 1
    assert {each["phase"] for each in status(fleet).values()} == {None}
    first, *_ = json.loads(fleet.corpus("history", "hello", "--json").stdout)
    assert (first["number"], first["state"]) == (number, ROLLED_BACK)
    assert [(each["node"], each["phase"], each["before"]) for each in first["nodes"]] == [
        (name, "back", before) for name in NAMES
    ]
    assert [each["reason"].startswith("install 10_app failed") for each in first["nodes"]] == [False, False, True]
    with serving(fleet.box) as web:
        seen = Browser(web).sign_in("read", "hello")
        page = seen.get("/projects/hello")
        assert page.status == 200 and "<h2>Nodes</h2>" in page.text and page.text.count(">current<") == 3
        page = seen.get(f"/projects/hello/deployments/{number}")
        assert "install 10_app failed" in page.text
        link = f"/projects/hello/deployments/{number}/log?node=n3"
        assert link in Seen(page.text).links
        assert "exit code 1" in seen.get(link).text
        assert web.api("GET", f"/projects/hello/deployments/{number}").json["nodes"] == first["nodes"]


def test_a_node_that_runs_something_else_is_shown_so_once_it_was_asked(fleet: FleetBox) -> None:
    node = fleet.nodes["n2"].box
    assert node.ask("node release", project="hello")
    work = node.app("of its own", files=APP)
    assert work.push(flags=("--force",)).code == 0
    try:
        assert fleet.corpus("node", "show", "n2").code == 0
        assert status(fleet)["n2"]["state"] == "released"
        fleet.link("hello", "n2")
        assert fleet.corpus("node", "show", "n2").code == 0
        found = status(fleet)["n2"]
        assert (found["state"], found["code"]) == ("drift", work.head)
    finally:
        fleet.link("hello", "n2")
        assert fleet.corpus("node", "sync", "n2", "hello").code == 0
    assert status(fleet)["n2"]["state"] == "current"


# holding


@pytest.fixture
def held(fleet: FleetBox) -> Iterator[Held]:
    """Return what pushes, and returns the number of the rollout once it is held for people."""
    pushing: list[Child[bytes]] = []

    def push(page: str) -> int:
        number = newest(fleet.box) + 1
        pushing.append(fleet.box.app(page, files=APP).start_push("-o", "confirm=300", "HEAD:master"))
        until(lambda: fleet.box.exists(number) and fleet.box.deployment(number).state == HELD, 60)
        return number

    yield push
    for each in pushing:
        each.wait(60)


def test_a_held_rollout_is_live_nowhere_until_it_is_confirmed(fleet: FleetBox, held: Held) -> None:
    before, ref = live(fleet), fleet.box.ref()
    number = held("held")
    assert live(fleet) == before and fleet.box.ref() == ref
    assert b"held" in fleet.corpus("status", "hello").stdout
    done = fleet.corpus("confirm", "hello", str(number))
    assert done.code == 0, done.stdout
    assert fleet.box.ended(number).state == DEPLOYED
    assert live(fleet) == {fleet.box.work().head} == {fleet.box.ref()}
    assert "waiting for confirmation" in fleet.box.log(number)


def test_a_held_rollout_goes_back_when_it_is_cancelled(fleet: FleetBox, held: Held) -> None:
    before = live(fleet)
    number = held("not wanted")
    assert fleet.corpus("cancel", "hello").code == 0
    assert fleet.box.ended(number).state == ROLLED_BACK
    assert live(fleet) == before == {fleet.box.ref()}


def test_a_node_that_goes_back_ends_the_hold_on_all(fleet: FleetBox, held: Held) -> None:
    before = live(fleet)
    number = held("lost on one")
    node = fleet.nodes["n2"].box
    node.ask("cancel", project="hello")
    done = fleet.box.ended(number)
    assert done.state == ROLLED_BACK and done.reason.startswith("n2: cancelled by"), done.reason
    assert live(fleet) == before
    assert fleet.corpus("confirm", "hello", str(number)).code == 3


def test_a_silent_node_ends_the_hold_on_all(fleet: FleetBox, held: Held) -> None:
    before = live(fleet)
    number = held("silent")
    node = fleet.nodes["n3"]
    node.server.kill()
    try:
        until(lambda: fleet.box.deployment(number).state != HELD, 120)
    finally:
        node.server.revive()
    done = until(lambda: _ended(fleet.box, number), 60)
    assert done and fleet.box.deployment(number).reason.startswith("n3 does not answer: ")
    until(lambda: live(fleet) == before and node.box.deployment(newest(node.box)).ended, 60)


def _ended(box: Box, number: int) -> bool:
    return box.deployment(number).ended is not None


@pytest.mark.parametrize("then", ["confirm", "cancel"])
def test_the_next_daemon_of_the_controller_goes_on_holding(fleet: FleetBox, held: Held, then: str) -> None:
    before = live(fleet)
    number = held(f"restarted, then {then}")
    fleet.box.kill()
    fleet.box.start()
    assert fleet.box.deployment(number).state == HELD and live(fleet) == before
    done = fleet.corpus(then, "hello", *([str(number)] if then == "confirm" else []))
    assert done.code == 0, done
    state = fleet.box.ended(number).state
    assert state == (DEPLOYED if then == "confirm" else ROLLED_BACK)
    until(lambda: live(fleet) == ({fleet.box.work().head} if then == "confirm" else before), 60)


def test_the_next_daemon_confirms_nothing_while_the_nodes_are_silent(fleet: FleetBox, held: Held) -> None:
    """Each may have gone back by itself: before it is committed, all have to say that they hold it."""
    before = live(fleet)
    number = held("restarted, and all silent")
    for each in fleet.nodes.values():
        each.server.kill()
    try:
        fleet.box.kill()
        fleet.box.start()
        done = fleet.corpus("confirm", "hello", str(number))
        assert done.code == 3, done
        assert not fleet.box.deployment(number).confirmed
        until(lambda: fleet.box.deployment(number).state != HELD, 60)
    finally:
        for each in fleet.nodes.values():
            each.server.revive()
    assert fleet.box.ended(number).state == ROLLED_BACK
    until(lambda: live(fleet) == before, 60)
