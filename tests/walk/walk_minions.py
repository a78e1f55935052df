"""The transport over Salt: the contract of all transports, and what only Salt, and those who use it, can do wrong."""

from __future__ import annotations

import getpass
import importlib.util
import json
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from corpushooks import git
from corpushooks.core.errors import UnreachableError
from corpushooks.core.project import Project
from corpushooks.core.rights import NODE
from corpushooks.core.rollouts import TOLERANCE, Node
from corpushooks.fleet.minions import Minions
from corpushooks.operations.table import OPERATIONS
from corpushooks.protocol.answers import VERSION
from corpushooks.salt import NODE_MODULES
from corpushooks.system.patience import beside
from corpushooks.system.process import Output, run
from tests.support.box import until
from tests.support.minions import SaltFleet, salt_fleet
from tests.support.transports import ANSWER, EPOCH, SHORT, Contract, Reach

SLOW = 240.0  # seconds for a master that was killed to be there again, with its minions
pytestmark = pytest.mark.timeout(600)  # five daemons start, three of them Salt's


class OverSalt(Reach):
    """A node whose minion connects to the controller's master."""

    transport: Minions

    def __init__(self, salt: SaltFleet, commits: list[str], python: Path) -> None:
        self.salt, self.there = salt, salt.fleet.nodes["n1"]
        self.commits, self.node, self.project = commits, salt.node("n1"), salt.fleet.box.project()
        self.transport = Minions(salt.fleet.box.host, python)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        daemon = self.there.box.daemon
        assert daemon
        daemon.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            daemon.send_signal(signal.SIGCONT)

    @contextmanager
    def cut(self) -> Iterator[None]:
        minion = self.salt.minions["n1"].program
        minion.kill()
        try:
            yield
        finally:
            minion.start()

    def brought(self, number: int, repo: str = "project") -> str | None:
        return git.ref(self.there.box.project().git_dir / f"{repo}.git", f"refs/rollout/{number}")

    def others(self) -> Project:
        return self.salt.fleet.box.project("own")


@pytest.fixture(scope="module")
def salt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SaltFleet]:
    with salt_fleet(tmp_path_factory.mktemp("fleet"), "n1", "n2") as found:
        box = found.fleet.box
        box.init("own")
        found.fleet.link("hello", "n1")
        found.fleet.link("own", "n2")
        work = box.app()
        work.commit({"index.html": "two"})
        for name in ("hello", "own"):
            work.git("push", "--quiet", str(box.project(name).code_git), "HEAD:refs/heads/later")
        yield found


@pytest.fixture(scope="module")
def reach(salt: SaltFleet) -> Iterator[OverSalt]:
    work = salt.fleet.box.work()
    found = OverSalt(salt, work.git("rev-list", "--reverse", "HEAD").text.split(), Path(sys.executable))
    yield found
    found.transport.close()


class TestSalt(Contract):
    """The cases of every transport."""


# what Salt says counts for nothing


def test_an_order_that_arrives_late_is_not_carried_out(reach: OverSalt) -> None:
    minion = reach.salt.minions["n1"].program
    minion.signal(signal.SIGSTOP)
    fields = {"project": "late", "environment": "prod", "branch": "master", "epoch": EPOCH, "node": "n1"}
    begun = time.monotonic()
    try:
        with pytest.raises(UnreachableError, match="no answer within 2 s"):
            reach.ask("adopt", SHORT, **fields)
        until(lambda: time.monotonic() - begun > SHORT + TOLERANCE + 1)
    finally:
        minion.signal(signal.SIGCONT)
    assert reach.ask("hello")  # it reads what was published before, in turn
    assert not reach.there.box.project("late").dir.exists()
    assert reach.ask("adopt", **fields)
    assert reach.there.box.project("late").dir.exists()


def test_nobody_listens(reach: OverSalt) -> None:
    with pytest.raises(UnreachableError, match="its key is not accepted"):
        reach.transport.ask(Node(name="n3", address="salt"), "node hello", {}, ANSWER)


FORGE = """\
import base64, json, sys
import salt.config, salt.channel.client, salt.crypt
name, load, body = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
key = salt.crypt.PrivateKey.from_file(name + "/pki/minion.pem")
sign = base64.b64encode(key.sign(body.encode(), "PKCS1v15-SHA224")).decode()
opts = salt.config.minion_config(name + "/minion")
opts["master_uri"] = f"tcp://127.0.0.1:{opts['master_port']}"
with salt.channel.client.ReqChannel.factory(opts) as channel:
    print(channel.send({"cmd": "_return", "jid": "20300101000000000000", "fun": "corpus_node.ask", "fun_args": [],
                        "success": True, "retcode": 0, "return": {"body": body, "sign": sign}, **load}))
"""


def forge(salt: SaltFleet, thief: str, as_: str, once: str, **how: str) -> str:
    """Send a return in the name of another node, with all that a stolen node has; return what the master said."""
    folder = salt.minions[thief].program.folder
    body = json.dumps({"node": as_, "once": once, "said": {"result": {"value": "forged"}}})
    load = json.dumps({"id": thief, **how})
    return run([sys.executable, "-c", FORGE, folder, load, body], timeout=ANSWER).text


@pytest.mark.parametrize("how", [{"resource_id": "n1"}, {"id": "n1"}, {}], ids=str)
def test_a_stolen_node_answers_for_itself_only(reach: OverSalt, how: dict[str, str]) -> None:
    bus = reach.transport._bus
    with reach.frozen():
        asked = beside(lambda: reach.ask("hello", 20.0))
        once = until(lambda: next(iter(bus._waiting), ""))
        forge(reach.salt, "n2", "n1", once, **how)
        with pytest.raises(UnreachableError, match="no answer within 20 s"):
            asked.result(ANSWER)
    assert reach.ask("hello")["value"]["protocol"] == VERSION


def test_what_a_stolen_node_says_arrives_so_that_only_the_signature_is_wrong(reach: OverSalt) -> None:
    bus = reach.transport._bus
    with reach.frozen():
        asked = beside(lambda: reach.ask("hello", 20.0))
        once = until(lambda: next(iter(bus._waiting), ""))
        forge(reach.salt, "n2", "n1", once, resource_id="n1")
        with pytest.raises(UnreachableError, match="an answer in its name was not signed with its key"):
            asked.result(ANSWER)


# what a minion can be told


TELL = """\
import json, sys
import salt.client
client = salt.client.LocalClient(sys.argv[1])
for function, given in json.loads(sys.argv[2]):
    found = client.cmd(["n1"], function, given, tgt_type="list", timeout=90, full_return=True)
    print(json.dumps(found.get("n1")))
"""


def told(salt: SaltFleet, *asked: tuple[str, list[Any]]) -> list[dict[str, Any]]:
    """Call functions of the minion by hand, as anybody who is root on the controller can."""
    words = [sys.executable, "-c", TELL, salt.master.folder / "master", json.dumps(asked)]
    lines = run(words, timeout=300).text.splitlines()
    return [json.loads(line) for line in lines[-len(asked) :]]


NOT_FOR_IT = ("test.ping", "cmd.run", "state.apply", "saltutil.sync_all", "sys.list_functions", "corpus_node._talk")


def test_a_minion_runs_nothing_else(salt: SaltFleet) -> None:
    for name, said in zip(NOT_FOR_IT, told(salt, *((name, ["id"]) for name in NOT_FOR_IT)), strict=True):
        assert said and not said.get("success") and "is not available" in str(said["ret"]), (name, said)


QUESTIONS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"op": "status"}, "invalid request: op"),
    ({"op": "push"}, "invalid request: op"),
    ({"op": ["node hello"]}, "invalid request: op"),
    ({"fields": "hello"}, "invalid request: op"),
    ({"node": "n2"}, "the order is for another node"),
    ({"until": None}, "invalid request: until"),
    ({"op": "node confirm", "until": 1.0}, "s late; nothing was changed"),
    ({"op": "node confirm", "until": float("-inf")}, "late; nothing was changed"),
    ({"fields": {"admission": "x", "bearer": "y", "op": "status", "v": 99}}, ""),  # which it does not pass on
)


def test_a_node_takes_only_the_orders_of_a_controller(salt: SaltFleet) -> None:
    plain = {"node": "n1", "until": time.time() + 300, "op": "node hello", "fields": {}}
    asked = [{**plain, "once": secrets.token_hex(16), **given} for given, _ in QUESTIONS]
    for (_, wrong), answer in zip(QUESTIONS, told(salt, *(("corpus_node.ask", [each]) for each in asked)), strict=True):
        said = json.loads(answer["ret"]["body"])["said"]
        assert wrong in said["error"] if wrong else said["result"]["value"]["protocol"] == VERSION, said


def test_a_question_without_a_mark_is_no_question(salt: SaltFleet) -> None:
    for said in told(salt, *(("corpus_node.ask", [wrong]) for wrong in ("what?", {"once": 3}, {"once": "short"}))):
        assert said["ret"] == {"error": "invalid question"}


def test_the_module_knows_all_orders_and_the_protocol() -> None:
    module = importlib.util.spec_from_file_location("corpus_node", NODE_MODULES / "_modules/corpus_node.py")
    assert module and module.loader
    found = importlib.util.module_from_spec(module)
    module.loader.exec_module(found)
    assert {name for name, row in OPERATIONS.items() if row.right == NODE} == found.ORDERS
    assert (found.VERSION, found.TOLERANCE) == (VERSION, TOLERANCE)


# what a stolen node can fetch


@pytest.fixture(scope="module")
def stolen(reach: OverSalt) -> Path:
    """The key that n1 fetches with, while a rollout of its project is offered."""
    reach.transport.send(reach.node, reach.project, 21, reach.commits[0], "", ANSWER)
    return reach.there.box.host.fleet_dir / "origins/main/key"


def git_with(reach: OverSalt, key: Path, *words: str, protocol: int = 2) -> Output:
    """Use git with a stolen key, as its thief would."""
    env = {"GIT_SSH_COMMAND": reach.salt.ssh.command_with(key)}
    folder = reach.salt.short / "thief.git"
    run(["git", "init", "--quiet", "--bare", folder])
    return run(["git", "-C", folder, "-c", f"protocol.version={protocol}", *words], env=env, check=False, timeout=60)


def url(reach: OverSalt, name: str) -> str:
    return f"ssh://{getpass.getuser()}@127.0.0.1:{reach.salt.ssh.port}/{name}"


SERVE = "--upload-pack=git-node-upload-pack"


def test_a_node_sees_only_what_is_rolled_out_to_it(reach: OverSalt, stolen: Path) -> None:
    done = git_with(reach, stolen, "ls-remote", SERVE, url(reach, "hello"))
    assert [line.split() for line in done.text.splitlines()] == [[reach.commits[0], "refs/rollout/21"]]
    for name in ("own", "own.pillar", "nothing"):
        done = git_with(reach, stolen, "ls-remote", SERVE, url(reach, name))
        assert done.code and b"unknown project" in done.stderr, done


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_a_node_gets_no_other_object_of_its_project(reach: OverSalt, stolen: Path, protocol: int) -> None:
    hidden = reach.commits[1]  # it is in the repository, and was not rolled out
    done = git_with(reach, stolen, "fetch", SERVE, url(reach, "hello"), hidden, protocol=protocol)
    assert done.code and hidden not in git_with(reach, stolen, "cat-file", "--batch-all-objects", "--batch-check").text
    done = git_with(reach, stolen, "fetch", SERVE, url(reach, "hello"), "refs/rollout/21", protocol=protocol)
    assert done.code == 0, done.stderr


COMMANDS = (
    "status", "log hello", "deploy hello", "key list", "node list", "node serve", "node hello",
    "git-upload-pack /hello", "git-receive-pack /hello", "git-node-receive-pack /hello",
    "git-upload-archive /hello", "sh -c id",
    "git-node-upload-pack /hello/../own", "git-node-upload-pack --strict /hello", "git-upload-pack /hello.pillar",
)  # fmt: skip


def test_the_key_of_a_node_runs_nothing_else(reach: OverSalt, stolen: Path) -> None:
    command = reach.salt.ssh.command_with(stolen).split()
    for words in COMMANDS:
        there = ["-T", "-p", str(reach.salt.ssh.port), f"{getpass.getuser()}@127.0.0.1", words]
        done = run([*command, *there], check=False, timeout=60)
        assert done.code in (2, 3) and not done.stdout and done.stderr.startswith(b"error: "), (words, done)


def test_a_node_without_the_project_cannot_fetch_it_any_more(reach: OverSalt, stolen: Path) -> None:
    assert reach.salt.fleet.corpus("node", "unlink", "n1", "hello").code == 0
    done = git_with(reach, stolen, "ls-remote", SERVE, url(reach, "hello"))
    assert done.code and b"unknown project" in done.stderr
    reach.salt.fleet.link("hello", "n1")
    assert git_with(reach, stolen, "ls-remote", SERVE, url(reach, "hello")).code == 0


# keys


def test_a_node_that_waits_is_accepted_only_with_its_key(reach: OverSalt) -> None:
    done = reach.salt.fleet.corpus("node", "accept", "n2")
    assert done.code == 3 and b"no minion n2 waits to be accepted" in done.stderr  # it was accepted already
    wrong = ":".join(["00"] * 32)
    done = reach.salt.fleet.corpus("node", "accept", "n2", "--fingerprint", wrong)
    assert done.code == 3 and reach.salt.keys.accepted()["n2"] == reach.salt.minions["n2"].fingerprint


def test_a_node_that_is_removed_is_refused_at_once(reach: OverSalt) -> None:
    fleet, other = reach.salt.fleet, reach.salt.node("n2")
    assert reach.transport.ask(other, "node hello", {}, ANSWER)
    key = fleet.nodes["n2"].box.host.fleet_dir / "origins/main/key"
    assert fleet.corpus("node", "unlink", "n2", "own").code == 0
    assert fleet.corpus("node", "remove", "n2").code == 0
    with pytest.raises(UnreachableError, match="its key is not accepted"):
        reach.transport.ask(other, "node hello", {}, ANSWER)
    assert b"Permission denied" in git_with(reach, key, "ls-remote", SERVE, url(reach, "own")).stderr
    assert reach.ask("hello")  # published with another key, which n2 has not
    until(lambda: "n2" in reach.salt.keys.waiting(), SLOW)  # it tries again, and nobody lets it in
    found = fleet.corpus("node", "accept", "n2")
    assert found.code == 2 and reach.salt.minions["n2"].fingerprint in found.stderr.decode()
    reach.salt.accept("n2")
    fleet.link("own", "n2")
