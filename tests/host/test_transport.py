"""The transport over ssh: the contract of all transports, and what only ssh can do wrong."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from corpushooks import git
from corpushooks.core.errors import RefusedError, UnreachableError
from corpushooks.core.project import Project
from corpushooks.core.rollouts import Node
from corpushooks.fleet import identity
from corpushooks.fleet.address import parse
from corpushooks.fleet.identity import HostKey
from corpushooks.fleet.session import ANSWER_LIMIT
from corpushooks.fleet.ssh import Ssh
from corpushooks.system.process import run
from tests.support.box import until
from tests.support.fleet import FleetBox, NodeBox, fleet_box
from tests.support.sshd import serving
from tests.support.transports import ANSWER, EPOCH, SHORT, Contract, Reach


class OverSsh(Reach):
    """A node behind an sshd of its own."""

    def __init__(self, fleet: FleetBox, commits: list[str]) -> None:
        self.fleet, self.there = fleet, fleet.nodes["n1"]
        self.commits, self.node, self.project = commits, self.there.node, fleet.box.project()
        self.transport = Ssh(fleet.box.host)

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
        self.there.server.kill()
        try:
            yield
        finally:
            self.there.server.revive()

    def brought(self, number: int, repo: str = "project") -> str | None:
        return git.ref(self.there.box.project().git_dir / f"{repo}.git", f"refs/rollout/{number}")

    def others(self) -> Project:
        return self.fleet.box.project("own")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetBox]:
    with fleet_box(tmp_path_factory.mktemp("fleet"), "n1") as found:
        found.box.init("own")
        found.know()
        found.link()
        work = found.box.app()
        work.commit({"index.html": "two"})
        for name in ("hello", "own"):  # as they are before a rollout: in the repository, and not deployed
            work.git("push", "--quiet", str(found.box.project(name).code_git), "HEAD:refs/heads/later")
        found.box.stop()  # its daemon would look after the node meanwhile
        yield found


@pytest.fixture
def reach(fleet: FleetBox) -> Iterator[OverSsh]:
    work = fleet.box.work()
    found = OverSsh(fleet, work.git("rev-list", "--reverse", "HEAD").text.split())
    yield found
    found.transport.close()
    assert not list((fleet.identity.folder / "sockets").iterdir())  # each connection has ended


class TestSsh(Contract):
    """The cases of every transport."""


# the connection


def test_one_connection_serves_all_questions_and_git(reach: OverSsh) -> None:
    log = reach.there.server.folder / "log"
    before = log.read_text().count("Accepted publickey")
    for _ in range(3):
        reach.ask("hello")
    reach.transport.send(reach.node, reach.project, 9, reach.commits[0], "", ANSWER)
    assert log.read_text().count("Accepted publickey") == before + 1


def test_a_frozen_machine_is_unreachable_and_later_has_another_connection(reach: OverSsh) -> None:
    assert reach.ask("hello")
    reach.there.server.signal(signal.SIGSTOP)
    try:
        with pytest.raises(UnreachableError, match="no answer within 2 s"):
            reach.ask("hello", SHORT)
        with pytest.raises(UnreachableError, match="timed out"):  # of a connection that is to be made
            reach.ask("hello", SHORT)
    finally:
        reach.there.server.signal(signal.SIGCONT)
    assert reach.ask("hello")


def test_a_machine_with_another_host_key_is_not_talked_to(reach: OverSsh, tmp_path: Path) -> None:
    mine = reach.fleet.identity
    right = mine.pinned("n1")
    assert right
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"])
    kind, blob, *_ = (tmp_path / "other.pub").read_text().split()
    mine.pin("n1", HostKey(kind, blob))
    try:
        with pytest.raises(UnreachableError, match=r"[Hh]ost key"):
            reach.ask("hello")
        with pytest.raises(UnreachableError):
            reach.transport.send(reach.node, reach.project, 8, reach.commits[0], "", ANSWER)
        mine.forget("n1")
        with pytest.raises(UnreachableError, match=r"[Hh]ost key"):
            reach.ask("hello")
    finally:
        mine.pin("n1", right)
    assert reach.brought(8) is None
    assert reach.ask("hello")


def test_nobody_listens(reach: OverSsh) -> None:
    away = Node(name="n1", address="root@127.0.0.1:1")
    with pytest.raises(UnreachableError, match="refused"):
        reach.transport.ask(away, "node hello", {}, ANSWER)


def test_a_key_that_is_not_known_is_told_so(reach: OverSsh) -> None:
    history = reach.there.box.history
    with history.change() as db:
        db.execute("UPDATE key SET expires = 1 WHERE right = 'node'")
    try:
        with pytest.raises(UnreachableError, match="Permission denied"):
            reach.ask("hello")
    finally:
        with history.change() as db:
            db.execute("UPDATE key SET expires = NULL WHERE right = 'node'")
        history.close()


# what a node says


WRONG = {
    "no JSON": "b'what?\\n'",
    "no mapping": "b'[1]\\n'",
    "a number for a result": "b'{\"result\": 3}\\n'",
    "an error that is no text": "b'{\"error\": {}}\\n'",
    "too deep": "b'[' * 200_000 + b'\\n'",
    "too long": f"b'x' * {2 * ANSWER_LIMIT}",
    "not text": "b'\\xff\\xfe\\n'",
    "half of it": "b'{\"result\": '",
    "nothing": "b''",
}


@contextmanager
def liar(reach: OverSsh, folder: Path, script: str) -> Iterator[Node]:
    """Have a machine that runs a script of its own for the key of the controller."""
    (folder / "sshd").mkdir()
    (folder / "liar.py").write_text(f"import sys, os\nsays = sys.stdout.buffer\n{script}\n")
    with serving(folder / "sshd") as server:
        command = shlex.join([sys.executable, str(folder / "liar.py")])
        (folder / "sshd/key.pub").write_text(f'restrict,command="{command}" {reach.fleet.identity.public_key()}\n')
        address = reach.there.address.rpartition(":")[0] + f":{server.port}"
        reach.fleet.identity.pin("liar", identity.scan(parse(address))[0])
        yield Node(name="liar", address=address)


@pytest.mark.parametrize("said", WRONG)
def test_a_node_that_answers_nonsense_is_unreachable(reach: OverSsh, tmp_path: Path, said: str) -> None:
    script = f"sys.stdin.readline()\nsays.write({WRONG[said]})\nsays.flush()"
    with liar(reach, tmp_path, script) as node:
        with pytest.raises(UnreachableError):
            reach.transport.ask(node, "node hello", {}, ANSWER)
        reach.transport.close()


def test_a_node_that_talks_without_end_is_left(reach: OverSsh, tmp_path: Path) -> None:
    with liar(reach, tmp_path, "while True: os.write(2, b'x' * 65536)") as node:
        with pytest.raises(UnreachableError):
            reach.transport.ask(node, "node hello", {}, SHORT)
        with pytest.raises(UnreachableError):
            reach.transport.send(node, reach.project, 1, reach.commits[0], "", ANSWER)
        reach.transport.close()


def test_an_error_is_shown_as_text(reach: OverSsh, tmp_path: Path) -> None:
    said = json.dumps({"error": "no \x1b[31mway\n" + "x" * 5000, "hint": "\x07try", "code": 3})
    with liar(reach, tmp_path, f"sys.stdin.readline()\nprint({said!r}, flush=True)\nsys.stdin.read()") as node:
        with pytest.raises(RefusedError) as wrong:
            reach.transport.ask(node, "node hello", {}, ANSWER)
        assert str(wrong.value).isprintable() and len(str(wrong.value)) <= 200 and "\x07" not in str(wrong.value.hint)
        reach.transport.close()


# what the key of a controller can do


@pytest.fixture(scope="module")
def there(fleet: FleetBox) -> NodeBox:
    return fleet.nodes["n1"]


NOT_FOR_IT = (
    "status", "status hello", "log hello", "deploy hello", "key list", "node list", "node hello", "run hello true",
    "git-upload-pack /hello", "git-receive-pack /hello", "git-upload-archive /hello", "git-upload-pack /hello.pillar",
    "git-receive-pack /own", "init other", "node serve --root /", "node serve; id", "sh -c id", "/bin/sh",
    "scp -t /tmp", "sftp", "git-node-receive-pack /own/../hello",
)  # fmt: skip


@pytest.mark.parametrize("command", NOT_FOR_IT)
def test_the_key_of_a_controller_runs_nothing_else(fleet: FleetBox, there: NodeBox, command: str) -> None:
    done = there.ssh(fleet.key, command)
    assert done.code in (2, 3) and not done.stdout and done.stderr.startswith(b"error: "), done


SERVED = [
    ({"op": "status"}, "invalid request: op"),
    ({"op": "deploy", "project": "hello"}, "invalid request: op"),
    ({"op": "push", "project": "hello"}, "invalid request: op"),
    ({"op": "node release", "project": "hello"}, "invalid request: op"),
    ({"op": "node outcome", "project": "own", "epoch": 1, "number": 1}, "own is not deployed by this controller"),
    ({"op": "node hello", "v": 99}, "the caller is newer"),
    ({"op": ["node hello"]}, "invalid request: op"),
    ([], "invalid request"),
]


@pytest.mark.parametrize("asked, wrong", SERVED)
def test_a_session_takes_only_the_words_of_a_controller(
    fleet: FleetBox, there: NodeBox, asked: object, wrong: str
) -> None:
    good = {"op": "node hello", "v": 1, "admission": "", "bearer": "x"}
    lines = f"{json.dumps(asked)}\nnonsense\n{json.dumps(good)}\n"
    done = there.ssh(fleet.key, "node serve", stdin=lines.encode())
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert wrong in first["error"] and first["code"] in (2, 3)
    assert second["error"] == "invalid request"
    assert third["result"]["value"]["protocol"] == 1


def pushes(fleet: FleetBox, there: NodeBox, key: Path, *words: str) -> str:
    """Push from the controller by hand; return what git said."""
    ssh = {"GIT_SSH_COMMAND": there.server.command_with(key)}
    base = f"ssh://{there.address}"
    work = fleet.box.work()
    done = work.git("push", "--receive-pack=git-node-receive-pack", f"{base}/hello", *words, check=False, env=ssh)
    assert done.code
    return done.stderr.decode()


OTHER_REFS = ["refs/heads/master", "refs/deploy/now", "refs/tags/x", "refs/rollout/x", "refs/rollout/1/2"]


@pytest.mark.parametrize("ref", OTHER_REFS)
def test_a_controller_moves_no_other_ref(fleet: FleetBox, there: NodeBox, ref: str) -> None:
    before = there.box.row()
    assert "a controller can only push refs/rollout/NUMBER" in pushes(fleet, there, fleet.key, f"HEAD:{ref}")
    assert git.ref(there.box.project().code_git, ref) is None and there.box.row() == before


def test_another_controller_cannot_touch_the_project(fleet: FleetBox, there: NodeBox, tmp_path: Path) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "evil"])
    there.let_in((tmp_path / "evil.pub").read_text(), "evil")
    order = {"project": "hello", "epoch": EPOCH * 2, "number": 1, "not_after": time.time() + 60, "code": "0" * 40}
    words = ("prepare", "switch", "confirm", "revoke", "outcome")
    adopt = {"op": "node adopt", "project": "hello", "environment": "prod", "branch": "master", "epoch": 1, "node": "x"}
    asked = [{"op": "node hello"}, *({"op": f"node {each}", **order} for each in words), adopt]
    lines = "".join(json.dumps({"v": 1, **each}) + "\n" for each in asked)
    done = there.ssh(tmp_path / "evil", "node serve", stdin=lines.encode())
    hello, *orders, adopted = map(json.loads, done.stdout.splitlines())
    assert hello["result"]["value"]["projects"] == {}
    assert [each["error"] for each in orders] == ["hello is not deployed by this controller"] * len(words)
    assert adopted["error"].startswith("hello is deployed by the controller main at ")
    assert "unknown project 'hello' for the key evil" in pushes(fleet, there, tmp_path / "evil", "HEAD:refs/rollout/77")
    assert git.ref(there.box.project().code_git, "refs/rollout/77") is None


def test_what_a_controller_brings_is_not_shown_to_people(reach: OverSsh, tmp_path: Path) -> None:
    reach.transport.send(reach.node, reach.project, 78, reach.commits[0], "", ANSWER)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "ann"])
    reach.there.let_in((tmp_path / "ann.pub").read_text(), "ann", "admin")
    url = f"ssh://{reach.there.address}/hello"
    ssh = {"GIT_SSH_COMMAND": reach.there.server.command_with(tmp_path / "ann")}
    assert reach.brought(78)
    assert "refs/rollout" not in run(["git", "ls-remote", url], env=ssh).text
    for command in ("node serve", "git-node-receive-pack /hello"):
        done = reach.there.ssh(tmp_path / "ann", command)
        assert done.code == 3 and b"it has the right admin, not node" in done.stderr


def test_the_session_of_a_controller_ends_with_its_line(reach: OverSsh) -> None:
    reach.ask("hello")
    words = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in reach.there.server.own()}
    found = [pid for pid, each in words.items() if b"corpus-shell\0" in each and b"\0serve\0" in each]
    assert found
    reach.transport.close()
    until(lambda: not [pid for pid in found if Path(f"/proc/{pid}").exists()])
