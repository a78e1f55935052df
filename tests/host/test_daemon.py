"""The daemon's socket, by hand: whatever is sent to it, it answers, or hangs up, and goes on."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from corpushooks.core.deployment import CANCELLED, Deployment, Request
from corpushooks.core.errors import NoDaemonError, RefusedError, UsageError
from corpushooks.core.events import Verdict
from corpushooks.core.project import Host
from corpushooks.core.settings import Settings
from corpushooks.daemon import server
from corpushooks.deploy.lanes import Lanes
from corpushooks.host.site import Site
from corpushooks.operations.follower import follow
from corpushooks.protocol import client
from corpushooks.protocol.answers import VERSION
from corpushooks.protocol.answers import request as request_for
from corpushooks.protocol.asks import Deploy
from corpushooks.protocol.connection import Semaphores
from corpushooks.store import log
from corpushooks.store.history import History
from corpushooks.system.process import run
from tests.support.box import Box, until
from tests.support.engines import FakeEngine
from tests.support.hook_peers import daemon_of, plain, says, unread
from tests.support.shared_box import shared_box

GATE = "gate:\n  cmd.run:\n    - name: while ! test -e {0}/gate; do sleep 0.05; done\n"
PATIENCE = 30  # seconds until an answer that never comes is a failure


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Return a host with one deployment, whose daemon the tests of this module share."""
    with shared_box(tmp_path_factory.mktemp("live"), page="one") as box:
        yield box


@contextmanager
def connected(box: Box, patience: float = PATIENCE) -> Iterator[socket.socket]:
    with client.connect(box.host) as link:
        link.settimeout(patience)
        yield link


def heard(link: socket.socket) -> bytes:
    """Return all that the daemon says until it hangs up."""
    data = b""
    while True:
        try:
            chunk = link.recv(65536)
        except ConnectionError:
            return data
        if not chunk:
            return data
        data += chunk


def tell(box: Box, data: bytes, patience: float = PATIENCE) -> list[Any]:
    """Send bytes; return what is answered, line by line."""
    with connected(box, patience) as link:
        with suppress(ConnectionError):
            link.sendall(data)
        return plain([json.loads(line) for line in heard(link).splitlines()])


def request(**asked: Any) -> bytes:
    return json.dumps({"v": VERSION, **asked}).encode() + b"\n"


def serves(box: Box) -> bool:
    """Say whether the daemon is still the one that was started, and answers."""
    assert box.daemon is not None
    return bool(box.ask(op="ping")["pid"] == box.daemon.pid)


def deployments(box: Box) -> int:
    store = box.history
    count = len(store.deployments("hello"))
    store.close()
    return count


# wrong bytes


NOT_UNDERSTOOD = {
    "nothing": b"\n",
    "no JSON": b"GET / HTTP/1.0\r\n",
    "wrong UTF-8": b'{"op": "\xff\xfe"}\n',
    "zeros": b"\0" * 5000 + b"\n",
    "a list": b"[]\n",
    "a string": b'"ping"\n',
    "a number": b"1\n",
    "null": b"null\n",
    "two values": b'{"op": "ping"} {"op": "ping"}\n',
    "two lines": b'{"op": "ping"}\n{"op": "ping"}\n',
    "no operation": b'{"v": 1}\n',
    "an unknown operation": b'{"v": 1, "op": "explode"}\n',
    "an operation of another type": b'{"v": 1, "op": ["ping"]}\n',
    "a method that is no operation": b'{"v": 1, "op": "serve"}\n',
    "a private one": b'{"v": 1, "op": "_enqueue"}\n',
    "a huge number": b'{"op": ' + b"9" * 10_000 + b"}\n",
}


@pytest.mark.parametrize("name", NOT_UNDERSTOOD)
def test_what_is_no_request_is_answered_so(live: Box, name: str) -> None:
    said = tell(live, NOT_UNDERSTOOD[name])
    assert said == [{"error": "invalid request", "hint": "", "code": 2}]
    assert serves(live)


def test_half_a_line_is_forgotten(live: Box) -> None:
    with connected(live) as link:
        link.sendall(b'{"op": "pi')
    assert serves(live)


def test_half_a_line_keeps_nobody_waiting_and_its_rest_is_heard(live: Box) -> None:
    with connected(live) as link:
        link.sendall(b'{"op": "pi')
        assert serves(live)
        link.sendall(b'ng"}\n')
        assert b'"result"' in heard(link)


def test_a_request_without_an_end_is_too_long(live: Box) -> None:
    said = tell(live, b"x" * (8 << 20))
    assert said in ([{"error": "the request is too long", "hint": "", "code": 2}], [])
    assert serves(live)


def test_a_long_request_is_no_problem(live: Box) -> None:
    assert tell(live, request(op="ping", more="x" * 500_000))[0]["result"]


def test_deep_nesting_ends_the_connection_only(live: Box) -> None:
    assert tell(live, b"[" * 200_000 + b"\n") in (
        [],
        [{"error": "invalid request", "hint": "", "code": 2}],
    )
    assert serves(live)


# wrong fields


PUSH = {
    "op": "push", "project": "hello", "repo": "project", "commands": [], "options": [], "atomic": False, "token": "t",
}  # fmt: skip
DEPLOY = {"op": "deploy", "project": "hello", "token": "wrong"}
WRONG: dict[str, dict[str, Any]] = {
    "push, nothing": {"op": "push"},
    "push, commands are numbers": {**PUSH, "commands": [1, 2, 3]},
    "push, commands are words": {**PUSH, "commands": ["a", "b"]},
    "push, commands are short": {**PUSH, "commands": [["0", "1"]]},
    "push, commands are long": {**PUSH, "commands": [["0", "1", "refs/heads/master", "more"]]},
    "push, commands are a mapping": {**PUSH, "commands": {"a": 1}},
    "push, commands are null": {**PUSH, "commands": [[None, None, None]]},
    "push, no ids": {**PUSH, "commands": [["x", "y", "refs/heads/master"]]},
    "push, an id of another length": {**PUSH, "commands": [["1" * 39, "2" * 41, "refs/heads/master"]]},
    "push, an id that is nowhere": {**PUSH, "commands": [["1" * 40, "2" * 40, "refs/heads/master"]]},
    "push, options are a number": {**PUSH, "options": 7},
    "push, no such project": {**PUSH, "project": "nobody"},
    "push, the project is a path": {**PUSH, "project": "../hello"},
    "push, the project is a list": {**PUSH, "project": ["hello"]},
    "push, no ids for what is only stored": {**PUSH, "commands": [["x", "y", "refs/heads/topic"]]},
    "push, no such repository to store in": {
        **PUSH,
        "repo": "x",
        "commands": [["1" * 40, "2" * 40, "refs/heads/topic"]],
    },
    "push, no such repository": {**PUSH, "repo": "../../x", "commands": [["1" * 40, "2" * 40, "refs/deploy/now"]]},
    "deploy, nothing": {"op": "deploy"},
    "deploy, no project": {"op": "deploy", "rev": ""},
    "deploy, an unknown revision": {**DEPLOY, "rev": "nowhere"},
    "deploy, an option as revision": {**DEPLOY, "rev": "--all"},
    "deploy, the revision is a number": {**DEPLOY, "rev": 5},
    "deploy, force is a number": {**DEPLOY, "force": 1},
    "rollback, the number is huge": {"op": "rollback", "project": "hello", "number": 10**30},
    "rollback, the number is negative": {"op": "rollback", "project": "hello", "number": -1},
    "rollback, the number is a truth": {"op": "rollback", "project": "hello", "number": True},
    "task, no task": {"op": "task", "project": "hello"},
    "deploy, only is a word": {**DEPLOY, "only": "sync"},
    "deploy, skip is a list of numbers": {**DEPLOY, "skip": [1]},
    "deploy, steps is a list of lists": {**DEPLOY, "steps": [[]]},
    "deploy, the token is a list": {**DEPLOY, "token": []},
    "deploy, the token is null": {**DEPLOY, "token": None},
    "log, nothing": {"op": "log"},
    "log, the number is a word": {"op": "log", "project": "hello", "number": "one"},
    "log, the number is null": {"op": "log", "project": "hello", "number": None},
    "log, no such number": {"op": "log", "project": "hello", "number": 999},
    "log, a number that no store takes": {"op": "log", "project": "hello", "number": 10**30},
    "log, the number is infinite": {"op": "log", "project": "hello", "number": float("inf")},
    "log, the offset is negative": {"op": "log", "project": "hello", "number": 1, "offset": -5},
    "log, the offset is a word": {"op": "log", "project": "hello", "number": 1, "offset": "x"},
    "log, the offset is huge": {"op": "log", "project": "hello", "number": 1, "offset": 10**30},
    "cancel, nothing": {"op": "cancel"},
    "cancel, no such project": {"op": "cancel", "project": "nobody"},
    "cancel, nothing runs": {"op": "cancel", "project": "hello"},
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_fields_deploy_nothing(live: Box, name: str) -> None:
    before = deployments(live)
    said = tell(live, request(**WRONG[name]))
    last = said[-1]
    assert "internal error" not in str(said)
    assert "error" in last or all(line.startswith("ng ") for line in last["report"])
    assert "result" not in last
    assert deployments(live) == before
    assert serves(live)


def test_a_request_without_a_token_is_a_request_of_its_own(box: Box) -> None:
    said = [tell(box, request(op="task", project="hello", task=task)) for task in ("one", "two")]
    numbers = [answer[-1].get("result", {}).get("number") for answer in said]
    assert numbers in ([1, 2], [None, None])  # or refused, both


# many


def test_two_hundred_connections_keep_nobody_waiting(live: Box) -> None:
    with ExitStack() as stack:
        links = [stack.enter_context(connected(live)) for _ in range(200)]
        assert serves(live)
        for link in links[::2]:
            link.sendall(request(op="ping"))
        assert all(b'"result"' in heard(link) for link in links[::2])
    assert serves(live)


def most_memory(box: Box) -> int:
    """Return the most memory that the daemon ever took, in KiB."""
    assert box.daemon is not None
    text = Path(f"/proc/{box.daemon.pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM:")))


@contextmanager
def many_descriptors(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def refusals(box: Box) -> list[dict[str, Any]]:
    """Return what the daemon has logged of refused callers."""
    lines = [json.loads(line) for line in (box.root / "daemon.log").read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "refused"]


TOO_MANY = {
    "v": VERSION, "error": "too many connections at once", "hint": "wait for some of them to end", "code": 3,
    "kind": "busy",
}  # fmt: skip


def test_of_a_thousand_connections_the_last_are_refused_at_once(live: Box) -> None:
    before, places, earlier = most_memory(live), Semaphores().own, len(refusals(live))
    with many_descriptors(1500), ExitStack() as stack:
        links = [stack.enter_context(connected(live)) for _ in range(1000)]
        assert all(json.loads(heard(link)) == TOO_MANY for link in links[places:])
        for link in links[:places:50]:
            link.sendall(request(op="ping"))
            assert b'"result"' in heard(link)
    until(lambda: "pid" in (tell(live, request(op="ping"))[0].get("result") or {}))  # the places are free again
    assert most_memory(live) - before < 100 << 10

    def counted() -> int:
        tell(live, b"no request\n")  # the next line that is logged counts those that were not
        return sum(1 + refusal["more"] for refusal in refusals(live)[earlier:])

    until(lambda: counted() >= 1000 - places)
    assert len(refusals(live)) - earlier < 100  # a flood does not fill the disk


def test_big_requests_take_little_memory(live: Box) -> None:
    before = most_memory(live)
    bombs = [b'{"op": "ping", "x": [' + part * ((4 << 20) // len(part) - 50) + b"1]}\n" for part in (b"[],", b"1,")]
    for bomb in bombs * 4:
        assert tell(live, bomb)[-1]["error"] == "the request is too long"
    assert most_memory(live) - before < 100 << 10


def test_without_a_thread_nobody_is_answered_and_the_daemon_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(Host(tmp_path).store)
    ours, theirs = socket.socketpair()

    def no_thread(*args: object, **named: object) -> None:
        raise RuntimeError("can't start new thread")

    with ours, theirs:
        serving = server.Daemon(Site(Host(tmp_path), Settings(), history, FakeEngine()), ours)
        monkeypatch.setattr(server.threading, "Thread", no_thread)
        serving._admit(server.Connection(ours))
        assert heard(theirs) == b""
        assert not serving.semaphores.busy()
    history.close()


def test_a_daemon_with_nothing_to_do_waits_long_and_yet_stops_at_once(tmp_path: Path) -> None:
    history = History(Host(tmp_path).store)
    history.add_project("hello", "prod", "master")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        serving = server.Daemon(Site(Host(tmp_path), Settings(), history, FakeEngine()), ours)
        assert serving._pause() == server.REST >= 10
        serving.semaphores.take(1, own=True)
        assert serving._pause() == server.GLANCE
        serving.semaphores.leave(1, own=True)
        serving.lanes.untidy.add("hello")
        serving._active -= server.QUIET - 1
        assert 0 < serving._pause() < 2
        serving._active -= 2
        assert serving._pause() == server.REST
        with serving._bell:
            serving.stop()
            assert select.select([serving._bell.wire], [], [], 0)[0]
    history.close()


def test_only_the_lanes_in_which_something_is_left_are_begun(tmp_path: Path) -> None:
    """With hundreds of projects a start would else begin as many threads, and have git collect in all of them."""
    history = History(Host(tmp_path).store)
    for name in ("ended", "waits", "new", "old"):
        history.add_project(name, "prod", "master")
    done = history.enqueue("ended", Request())
    history.end(history.move(done, CANCELLED))
    history.enqueue("waits", Request())
    history.set_tree("old", "a" * 40, "b" * 40)  # by a version that checked out no pillar for Salt
    assert server.lanes_to_wake(Site(Host(tmp_path), Settings(), history, FakeEngine())) == ["old", "waits"]
    history.close()


def gone(box: Box) -> bool:
    return box.daemon is None or box.daemon.poll() is not None


def test_no_descriptor_left_is_no_reason_to_leave(box: Box) -> None:
    assert box.daemon is not None
    files = f"/proc/{box.daemon.pid}/fd"
    limit = len(os.listdir(files)) + 10
    resource.prlimit(box.daemon.pid, resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connected(box))
        looks = iter(range(50))  # it is full, or gone, at so many looks: it has tried to accept one more
        until(lambda: (gone(box) or len(os.listdir(files)) >= limit) and next(looks, 50) == 50)
    until(box.reachable)
    assert serves(box)


# who may


def test_anybody_may_connect_since_the_kernel_says_who_it_is(live: Box) -> None:
    assert stat.S_IMODE(live.host.socket.stat().st_mode) == 0o666
    assert stat.S_IMODE(live.host.socket.parent.stat().st_mode) == 0o755


def test_the_kernel_says_who_asks(box: Box) -> None:
    tell(box, request(op="task", project="hello", task="x", token="t", who="somebody else", via="push"))
    found = box.deployment(1).request
    assert (found.who, found.via) == (run(["id", "-un"]).text, "command")


def test_there_is_one_daemon(live: Box) -> None:
    second = run([sys.executable, "-m", "corpushooks", "--root", live.host.root, "daemon"], check=False)
    assert (second.code, second.stderr.decode()) == (3, "error: a daemon is already running\n")
    assert serves(live)


def test_a_long_root_is_no_obstacle(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.root = box.root / ("long" * 30)
    box.root.mkdir()
    box.init()
    box.start()
    assert len(str(box.host.socket)) > 108
    assert box.app().push().code == 0


# followers


def offsets(box: Box) -> list[int]:
    """Return where the lines begin that a follower of the first deployment gets."""
    said = tell(box, request(op="log", project="hello", number=1))
    return [line["offset"] for line in said if "offset" in line]


def test_following_from_the_middle_gives_the_rest(live: Box) -> None:
    whole = tell(live, request(op="log", project="hello", number=1))
    for index, line in enumerate(whole[:-1]):
        rest = tell(live, request(op="log", project="hello", number=1, offset=line["offset"]))
        assert [line for line in rest if line in whole] == whole[index + 1 :]
        assert index == len(whole) - 2 or rest == whole[index + 1 :]  # what came after the verdict is told, too
    assert whole[-1]["result"]["state"] == "deployed"
    assert whole[-2]["say"].startswith("success: hello is live")


def test_the_whole_log_is_more(live: Box) -> None:
    short = tell(live, request(op="log", project="hello", number=1))
    whole = tell(live, request(op="log", project="hello", number=1, whole=True))
    few, all_of_it = (
        [text for one in told if "say" in one for text in one["say"].split("\n")] for told in (short, whole)
    )
    assert few == [text for text in all_of_it if text in few]
    assert len(all_of_it) > len(few)


@pytest.mark.parametrize("beyond", [0, 10**9])
def test_a_follower_that_has_seen_the_end_is_told_the_outcome(live: Box, beyond: int) -> None:
    said = tell(live, request(op="log", project="hello", number=1, offset=max(offsets(live)) + beyond))
    assert said[-1].get("result", {}).get("state") == "deployed"


def test_an_offset_within_a_line_ends_the_connection_only(live: Box) -> None:
    said = tell(live, request(op="log", project="hello", number=1, offset=3))
    assert not [line for line in said if "say" in line or "result" in line]
    assert serves(live)


def test_a_follower_that_leaves_is_not_missed(box: Box) -> None:
    work = box.app(files={".salt/10_gate.sls": GATE.format(box.root)})
    pushing = work.start_push()
    until(lambda: box.exists(1) and box.deployment(1).state == "running")
    for _ in range(5):
        with connected(box) as link:
            link.sendall(request(op="log", project="hello", number=1))
            assert link.recv(100)
    with connected(box) as stays:
        stays.sendall(request(op="log", project="hello", number=1))
        stays.recv(1)
        (box.root / "gate").touch()
        assert json.loads(heard(stays).splitlines()[-1])["result"]["state"] == "deployed"
    assert pushing.wait(30) == 0


def test_a_follower_that_does_not_read_holds_nothing_up(box: Box) -> None:
    noise = "noise:\n  cmd.run:\n    - name: yes " + "x" * 70 + " | head -n 20000; exit 1\n"
    work = box.app(files={".salt/10_noise.sls": noise})
    asked = request(op="task", project="hello", task="none", token="t")
    with connected(box) as link:
        link.sendall(asked)
        heard(link)
    with connected(box) as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        pushing = work.start_push()
        until(lambda: box.exists(2))
        lazy.sendall(request(op="log", project="hello", number=2, whole=True))
        assert pushing.wait(60) == 1
        assert box.ended(2).state == "rolled_back"


def test_a_verdict_that_falls_between_two_looks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path)
    history = History(host.store)
    history.add_project("hello", "prod", "master")
    queued = history.enqueue("hello", Request(token="t"))
    writer = log.Log(host.project("hello").log_file(queued.number))
    look = history.deployment

    def meanwhile(project: str, number: int) -> Deployment:
        """End the deployment just when somebody looks."""
        if not writer.ended:
            writer.tell(Verdict("cancelled", "deploy", "hello", 1, reason="cancelled"))
            history.end(history.move(queued, "cancelled"))
        return look(project, number)

    monkeypatch.setattr(history, "deployment", meanwhile)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        site = Site(host, Settings(), history, FakeEngine())
        assert follow(Lanes(site, {}), server.Connection(ours), queued, 0).state == "cancelled"
        ours.close()
        assert b"error: cancelled" in heard(theirs)
    writer.close()
    history.close()


# being stopped


def test_stopping_lets_what_runs_end_and_keeps_what_waits(box: Box) -> None:
    work = box.app(files={".salt/10_gate.sls": GATE.format(box.root)})
    assert work.push("HEAD:topic").code == 0
    for token in ("one", "two"):
        box.ask(op="deploy", project="hello", rev=work.head, token=token, nowait=True)
    until(lambda: box.deployment(1).state == "running")
    assert box.daemon
    leaving, box.daemon = box.daemon, None
    leaving.send_signal(signal.SIGTERM)
    until(lambda: not box.reachable())
    assert leaving.poll() is None
    (box.root / "gate").touch()
    assert leaving.wait(30) == 0
    assert box.deployment(1).ended
    assert [box.deployment(number).state for number in (1, 2)] == ["deployed", "queued"]
    assert not box.host.socket.exists()
    box.start()
    assert box.ended(2).state == "deployed"


# the command's side of the socket


def ask(host: Host, say: list[str] | None = None) -> dict[str, Any]:
    said = say if say is not None else []
    return client.ask(host, "deploy", Deploy(project="hello"), said.append)


@pytest.mark.parametrize(("code", "error"), [(2, UsageError), (3, RefusedError)])
def test_an_error_of_the_daemon_is_raised(tmp_path: Path, code: int, error: type[Exception]) -> None:
    peer = daemon_of(Host(tmp_path), says({"error": "so it is", "hint": "do", "code": code}))
    with peer, pytest.raises(error, match="so it is") as caught:
        ask(Host(tmp_path))
    assert str(getattr(caught.value, "hint", "")) == "do"


def test_what_has_a_number_is_followed_on_the_next_connection(tmp_path: Path) -> None:
    said: list[str] = []
    first = says({"number": 7}, {"say": "one", "offset": 10})
    with daemon_of(Host(tmp_path), first, says({"say": "two", "offset": 20}, {"result": {"state": "done"}})) as peer:
        assert ask(Host(tmp_path), said) == {"state": "done"}
    assert said == ["one", "two"]
    assert peer.asked[1] == request_for("log", {"project": "hello", "number": 7, "progress": False, "offset": 10})


def test_a_daemon_that_ends_before_its_number_is_none(tmp_path: Path) -> None:
    with daemon_of(Host(tmp_path), says()), pytest.raises(NoDaemonError):
        ask(Host(tmp_path))


def test_a_torn_line_is_followed_up(tmp_path: Path) -> None:
    torn = says({"number": 7}, {"say": "one", "offset": 10}, b'{"say": "tw')
    with daemon_of(Host(tmp_path), torn, says({"result": {"state": "done"}})):
        assert ask(Host(tmp_path)) == {"state": "done"}


def test_a_daemon_that_leaves_without_reading_is_none(tmp_path: Path) -> None:
    with daemon_of(Host(tmp_path), unread), pytest.raises(NoDaemonError):
        ask(Host(tmp_path))
