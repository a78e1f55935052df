"""Both sides of the protocol against peers that stop, lie, send garbage or leave: bounded in time and memory."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from corpushooks.core.deployment import Request
from corpushooks.core.errors import NoDaemonError, RefusedError
from corpushooks.core.events import Item, Noted, SlsBegan, SlsEnded, StateEnded, Verdict, listed
from corpushooks.core.hints import Hint
from corpushooks.core.project import Host
from corpushooks.core.settings import Settings
from corpushooks.daemon import server
from corpushooks.host import layout
from corpushooks.host.site import Site
from corpushooks.operations import pushes
from corpushooks.operations.call import Conversation
from corpushooks.protocol import client, connection
from corpushooks.protocol.answers import VERSION
from corpushooks.protocol.asks import OfProject
from corpushooks.store import log
from corpushooks.store.history import History
from corpushooks.system.process import Child
from tests.support.box import until
from tests.support.engines import FakeEngine
from tests.support.hook_peers import (  # fmt: skip
    FLUSH,
    NEW,
    OLD,
    Ended,
    Hook,
    Turn,
    accepts,
    commands,
    daemon_of,
    hangs_until,
    hello,
    options,
    packet,
    packets,
    plain,
    refuses,
    says,
)

MASTER = "refs/heads/master"
PUSH = hello() + commands(MASTER)
CANCEL = OfProject(project="hello")
WHOLE = hello("push-options") + commands(MASTER) + options("nowait")
NO_DAEMON = "cannot connect to the deployment daemon"
LITTLE = 64 << 20  # bytes of data that a hook may have, whatever is sent to it: by itself it has some 10 MiB
FUZZ = settings(
    max_examples=25, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


@pytest.fixture
def hook(tmp_path: Path) -> Hook:
    """Return a hook on a host without a store, so that no daemon is ever started."""
    return Hook.make(Host(tmp_path / "host"), tmp_path)


def started(hook: Hook) -> Child[bytes]:
    """Start a hook that must do with little memory: one that wants more ends in a traceback."""
    child = hook.start()
    resource.prlimit(child.pid, resource.RLIMIT_DATA, (LITTLE, LITTLE))
    return child


def feed(child: Child[bytes], data: bytes) -> None:
    """Write to a hook that may leave in the middle."""
    assert child.stdin
    with suppress(BrokenPipeError):
        child.stdin.write(data)
        child.stdin.flush()


def ended(child: Child[bytes]) -> Ended:
    """Await the end of a hook whose stdin stays open, so that it is its own decision."""
    assert child.stdin and child.stdout and child.stderr
    said, out = child.stderr.read(), b"" if child.stdout.closed else child.stdout.read()
    child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        with suppress(BrokenPipeError):
            pipe.close()
    return Ended(child.returncode, out, said.decode("utf-8", "surrogateescape"))


# the hook and git


def test_git_that_stops_at_any_point_is_left(hook: Hook) -> None:
    cuts = range(0, len(WHOLE), 7)
    with daemon_of(hook.limit(GIT_DEADLINE=1.0).host, *[accepts(MASTER)] * len(cuts)) as peer:
        children = [started(hook) for _ in cuts]
        for cut, child in zip(cuts, children, strict=True):
            feed(child, WHOLE[:cut])
        found = [ended(child) for child in children]
    stopped = "error: git stopped in the middle of the push; nothing was requested\n"
    assert {(one.code, one.said) for one in found} == {(1, stopped)}
    assert peer.asked == []


def test_git_that_says_it_bit_by_bit_is_heard(hook: Hook) -> None:
    with daemon_of(hook.host, accepts(MASTER)):
        child = started(hook)
        for byte in WHOLE:
            feed(child, bytes([byte]))
        assert ended(child).report == [f"ok {MASTER}"]


def test_git_that_takes_for_ever_is_left(hook: Hook) -> None:
    over = threading.Event()

    def drip(child: Child[bytes]) -> None:
        for byte in commands(*[MASTER] * 100):
            feed(child, bytes([byte]))
            if over.wait(0.05):
                return

    with daemon_of(hook.limit(GIT_DEADLINE=0.5).host, accepts(MASTER)) as peer:
        child = started(hook)
        feed(child, hello())
        writer = threading.Thread(target=drip, args=(child,))
        writer.start()
        found = ended(child)
        over.set()
        writer.join()
    assert (found.code, found.said) == (1, "error: git stopped in the middle of the push; nothing was requested\n")
    assert peer.asked == []


LENGTHS = {
    "one": b"0001", "two": b"0002", "three": b"0003", "a sign": b"+005x", "spaces": b"   5x", "an underscore": b"1_00",
    "a prefix": b"0x1f", "minus": b"-001", "longer than git's": b"ffff" + b"x" * 0xFFFF, "letters": b"zzzz",
}  # fmt: skip


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("before", [b"", hello(), hello("push-options") + commands(MASTER)], ids=["1", "2", "3"])
def test_a_wrong_length_is_an_error_at_once(hook: Hook, name: str, before: bytes) -> None:
    with daemon_of(hook.host, accepts(MASTER)) as peer:
        child = started(hook)
        feed(child, before + LENGTHS[name])  # and stdin stays open: it must not wait for more
        found = ended(child)
    garbage = "error: git does not follow the protocol of this hook; nothing was requested\n"
    assert (found.code, found.said, peer.asked) == (1, garbage, [])


def test_a_flood_of_refs_takes_no_memory(hook: Hook) -> None:
    flood = packet(f"{OLD} {NEW} {MASTER}") * 10_000
    child = started(hook)
    feed(child, hello())
    for _ in range(100):  # 100 MB, if anybody took them
        feed(child, flood)
    found = ended(child)
    assert found.said.startswith("error: too many refs or options in one push; nothing was requested")
    assert found.code == 1


@pytest.mark.parametrize("before", [b"", hello(), hello("push-options") + commands(MASTER)], ids=["1", "2", "3"])
def test_a_flood_of_empty_packets_takes_no_memory(hook: Hook, before: bytes) -> None:
    child = started(hook)
    feed(child, before)
    for _ in range(100):
        feed(child, b"0004" * 10_000)
    found = ended(child)
    assert (found.code, found.said.count("\n")) == (1, 1)
    assert found.said.startswith("error: ")


def test_many_refs_are_no_flood(hook: Hook) -> None:
    refs = [f"refs/heads/topic-{number:05d}" for number in range(20_000)]
    with daemon_of(hook.host, accepts(*refs)) as peer:
        found = hook.run(hello() + commands(*refs))
    assert len(found.report) == len(peer.asked[0]["commands"]) == len(refs)
    assert len(json.dumps(peer.asked[0])) < FAST.line


def test_git_that_does_not_take_the_answer_is_left(hook: Hook) -> None:
    refs = [f"refs/heads/{'x' * 60_000}{number}" for number in range(5)]  # a pipe holds 64 KiB
    with daemon_of(hook.limit(GIT_DEADLINE=1.0).host, accepts(*refs)):
        child = started(hook)
        feed(child, hello() + commands(*refs))
        assert child.stderr  # before anything of its stdout is read
        assert child.stderr.read() == b"error: git does not read the answer to the push\n"
        assert ended(child).code == 1


def test_git_that_left_before_the_answer_is_an_error(hook: Hook) -> None:
    leaves = threading.Event()
    with daemon_of(hook.host, lambda link, asked: (leaves.wait(30), accepts(MASTER)(link, asked))[1]):
        child = started(hook)
        feed(child, PUSH)
        assert child.stdout
        assert packets(os.read(child.stdout.fileno(), 100))[0] == b"version=1"
        child.stdout.close()
        leaves.set()
        found = ended(child)
    assert (found.code, found.said) == (1, "error: git exited before the answer to the push\n")


def echo(link: socket.socket, asked: dict[str, Any]) -> None:
    """Refuse every ref that came, as the daemon would."""
    says({"report": [f"ng {command[2]} no" for command in asked["commands"]]})(link, asked)


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """A push of which some bytes are others, missing, or twice."""
    data = bytearray(WHOLE)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data) - 1))
        upto = min(len(data), at + draw(st.integers(0, 9)))
        data[at:upto] = draw(st.one_of(st.binary(max_size=9), st.just(bytes(data[at:upto]) * 2), st.just(b"0000")))
    return bytes(data)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Hook:
    folder = tmp_path_factory.mktemp("fuzzed")
    return Hook.make(Host(folder / "host"), folder)


@FUZZ
@given(st.one_of(bent(), st.binary(max_size=300)))
@example(WHOLE)
def test_whatever_git_sends_ends_in_an_answer_or_one_line(fuzzed: Hook, data: bytes) -> None:
    with daemon_of(fuzzed.host, echo) as peer:
        found = fuzzed.run(data)
    if found.code == 0:
        assert [line.split(" ")[0] for line in found.report] == ["ng"] * len(peer.asked[0]["commands"])
        assert found.said == ""
    else:
        assert found.code == 1
        assert found.said.startswith("error: ") and found.said.count("\n") == 1 and "Traceback" not in found.said
        assert peer.asked == []


# the hook and the daemon


def test_a_daemon_that_refuses_without_reading_is_heard(hook: Hook) -> None:
    big = hello() + commands(*[f"refs/heads/{'x' * 60_000}{number}" for number in range(20)])
    with daemon_of(hook.host, refuses, refuses):
        for push in (PUSH, big):
            found = hook.run(push)
            assert found.said == "error: not allowed\nhint: so it is\n"
            assert {line.rpartition(" ng ")[2].split(" ", 2)[2] for line in found.report} == {"not allowed"}


def dripping(over: threading.Event) -> Turn:
    """Return a turn that sends a byte now and then, and never a line."""

    def turn(link: socket.socket, asked: dict[str, Any]) -> None:
        with suppress(OSError):
            while not over.wait(0.02):
                link.sendall(b" ")

    return turn


def flooding(link: socket.socket, asked: dict[str, Any]) -> None:
    """Send a line that does not end."""
    with suppress(OSError):
        for _ in range(2000):
            link.sendall(b"x" * 65536)


DEEP = b"[" * 100_000 + b"\n"
LIES: dict[str, Any] = {
    "a word that is a number": {"say": 5},
    "words in a list": {"say": ["x"]},
    "an end that is a number": {"say": "x", "end": 5},
    "a number in words": {"number": "7"},
    "a number that is true": {"number": True},
    "an offset that is a mapping": {"offset": {}},
    "an error that is a number": {"error": 5, "hint": ""},
    "an error without a hint": {"error": "x"},
    "a hint that is a list": {"error": "x", "hint": ["y"]},
    "a report that is a number": {"report": 5},
    "a report that is null": {"report": None},
    "a report that is a word": {"report": f"ok {MASTER}"},
    "a report of numbers": {"report": [1]},
    "a report of nothing": {"report": []},
    "a report of another ref": {"report": ["ok refs/heads/other"]},
    "a report of another ref, too": {"report": [f"ok {MASTER}", "ok refs/heads/other"]},
    "a report of half a word": {"report": ["ok"]},
    "a report that is half a character": {"report": [f"ng {MASTER} \ud83d"]},
    "a mapping as a report": {"report": {f"ok {MASTER}": 1, "x": "\ud83d"}},
    "deep nesting": DEEP,
    "a huge number": b'{"number": ' + b"9" * 10_000 + b"}\n",
}


@pytest.mark.parametrize("name", LIES)
def test_a_daemon_that_lies_is_none(hook: Hook, name: str) -> None:
    with daemon_of(hook.host, says(LIES[name])):
        found = hook.run(PUSH)
    assert (found.code, found.report) == (0, [f"ng {MASTER} {NO_DAEMON}"])
    assert "Traceback" not in found.said
    assert found.said.splitlines()[-2] == f"error: {NO_DAEMON}"


def test_a_daemon_that_lies_after_its_number_is_asked_again(hook: Hook) -> None:
    lies = [says({"number": 7}, lie) for lie in LIES.values()]
    with daemon_of(hook.limit(LONG_PAUSE=0.05).host, *lies, accepts(MASTER)) as peer:
        found = hook.run(PUSH)
    assert found.report == [f"ok {MASTER}"]
    assert len(peer.asked) == len(lies) + 1
    assert "Traceback" not in found.said


def test_a_daemon_that_says_nothing_is_none(hook: Hook) -> None:
    over = threading.Event()
    with daemon_of(hook.limit(SILENCE=0.5).host, hangs_until(over)):
        found = hook.run(PUSH)
        over.set()
    assert found.report == [f"ng {MASTER} {NO_DAEMON}"]


def test_a_daemon_that_says_nothing_more_is_not_awaited_for_ever(hook: Hook) -> None:
    over = threading.Event()

    def stops(link: socket.socket, asked: dict[str, Any]) -> None:
        says({"number": 7}, {"say": "begun", "offset": 10})(link, asked)
        over.wait(30)

    with daemon_of(hook.limit(SILENCE=0.5).host, stops):
        child = started(hook)
        feed(child, PUSH)
        found = ended(child)
        over.set()
    assert found.report == [f"ng {MASTER} no answer from the daemon; deployment 7 continues"]
    assert found.said.splitlines()[0] == "begun"
    assert found.said.splitlines()[-1].endswith("hello 7 -f")


def test_a_daemon_that_drips_is_none(hook: Hook) -> None:
    over = threading.Event()
    with daemon_of(hook.limit(SILENCE=0.5).host, dripping(over)):
        found = hook.run(PUSH)
        over.set()
    assert found.report == [f"ng {MASTER} {NO_DAEMON}"]
    assert "TimeoutError" in found.said


def test_a_line_without_an_end_takes_no_memory(hook: Hook) -> None:
    with daemon_of(hook.host, flooding):  # 130 MB, if anybody took them
        child = started(hook)
        feed(child, PUSH)
        found = ended(child)
    assert "the line is too long" in found.said
    assert found.report == [f"ng {MASTER} {NO_DAEMON}"]


def tried_to_connect(pid: int) -> bool:
    """Say whether a hook has made its socket and sleeps, or has given up."""
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    if state == "Z":
        return True
    links = []
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(entry))
    return state == "S" and any(link.startswith("socket:") for link in links)


def test_a_full_queue_is_waited_for(hook: Hook) -> None:
    hook.host.socket.parent.mkdir(parents=True)
    folder = os.open(hook.host.socket.parent, os.O_RDONLY)
    place = f"/proc/self/fd/{folder}/{hook.host.socket.name}"  # a path may be too long for an address
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(place)
        listener.listen(0)
        first.connect(place)
        with socket.socket(socket.AF_UNIX) as probe, pytest.raises(BlockingIOError):
            probe.setblocking(False)
            probe.connect(place)
        os.close(folder)
        child = started(hook)
        feed(child, PUSH)
        assert child.stdout
        greeting = os.read(child.stdout.fileno(), 100)  # it has begun
        until(lambda: tried_to_connect(child.pid))
        listener.accept()[0].close()
        link, _ = listener.accept()
        with link:
            link.makefile("rb").readline()
            link.sendall(json.dumps({"report": [f"ok {MASTER}"]}).encode() + b"\n")
            assert greeting + ended(child).answer == packet("version=1") + FLUSH + packet(f"ok {MASTER}") + FLUSH


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from([f"ok {MASTER}", f"ng {MASTER} x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
KEYS = ("say", "end", "number", "offset", "report", "error", "hint", "code", "result")
SAID = st.lists(st.one_of(
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4).map(lambda said: json.dumps(said).encode() + b"\n"),
    VALUES.map(lambda said: json.dumps(said).encode() + b"\n"),
    st.binary(max_size=40),
), max_size=4)  # fmt: skip


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Hook:
    """Return a hook that does not wait long for a daemon that went away."""
    folder = tmp_path_factory.mktemp("hasty")
    return Hook.make(Host(folder / "host"), folder).limit(SILENCE=0.2, START_DEADLINE=0.2)


@FUZZ
@given(SAID)
def test_whatever_the_daemon_says_git_gets_an_answer(hasty: Hook, said: list[bytes]) -> None:
    with daemon_of(hasty.host, says(*said)):
        found = hasty.run(PUSH)
    assert found.code == 0
    assert "Traceback" not in found.said
    told = [line for line in found.report if line.startswith(("ok ", "ng "))]
    assert told and all(line.split(" ")[1] == MASTER for line in told)


# the command and the daemon


@FUZZ
@given(SAID)
def test_whatever_the_daemon_says_the_command_gets_a_result_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, said: list[bytes]
) -> None:
    monkeypatch.setattr(client, "PATIENCE", 1)
    host = Host(tmp_path_factory.mktemp("command"))
    with daemon_of(host, says(*said)):
        try:
            assert isinstance(client.ask(host, "cancel", CANCEL, str), dict)
        except client.CorpusError as exc:
            assert isinstance(exc.message, str) and isinstance(exc.hint, Hint)


@pytest.mark.parametrize("lie", [DEEP, b"[]\n", b'{"result": []}\n', b'{"error": 5}\n', b"\xff\n"])
def test_a_daemon_that_lies_is_none_to_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: bytes) -> None:
    monkeypatch.setattr(client, "PATIENCE", 1)
    with daemon_of(Host(tmp_path), says(lie)), pytest.raises(NoDaemonError):
        client.ask(Host(tmp_path), "cancel", CANCEL, str)


def test_a_command_that_is_refused_unread_is_told_why(tmp_path: Path) -> None:
    with daemon_of(Host(tmp_path), refuses), pytest.raises(RefusedError, match="not allowed") as caught:
        client.ask(Host(tmp_path), "cancel", OfProject(project="x" * 1_000_000), str)
    assert str(caught.value.hint) == "so it is"


def test_a_daemon_that_says_nothing_is_none_to_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(client, "SILENCE", 0.2)
    monkeypatch.setattr(client, "PATIENCE", 1)
    with daemon_of(Host(tmp_path), hangs_until(over)):
        with pytest.raises(NoDaemonError):
            client.ask(Host(tmp_path), "cancel", CANCEL, str)
        over.set()


# the daemon and those who call


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Daemon]:
    """Return a daemon that nobody has started, with one ended deployment; it is asked through a pair of sockets."""
    host = Host(tmp_path_factory.mktemp("serving"))
    history = History(host.store)
    history.add_project("hello", "prod", "master")
    layout.make(host.project("hello"), "master")
    history.end(history.move(history.enqueue("hello", Request(token="t", who="x")), "cancelled"))
    listener, other = socket.socketpair()
    with listener, other:
        made = server.Daemon(Site(host, Settings(), history, FakeEngine()), listener, limits=FAST)
        made.lanes.stopping = True  # what is queued stays so
        yield made
    history.close()


FAST = connection.Limits(hello=0.3, answer=0.3)


def answer(serving: server.Daemon, data: bytes, *, leaves: bool = True) -> list[dict[str, Any]]:
    """Have a daemon answer somebody who sends bytes, then leaves, at least with one half."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        theirs.sendall(data)
        if leaves:
            theirs.shutdown(socket.SHUT_WR)
        with suppress(connection.PeerGone):
            serving._answer(connection.Connection(ours, serving.limits))
        ours.shutdown(socket.SHUT_RDWR)
        return plain([json.loads(line) for line in theirs.makefile("rb")])


def heard(serving: server.Daemon, data: bytes) -> list[dict[str, Any]]:
    """Have a daemon answer somebody who reads while it speaks."""
    ours, theirs = socket.socketpair()
    with ours, theirs, ThreadPoolExecutor() as pool:
        theirs.sendall(data)
        reading = pool.submit(lambda: plain([json.loads(line) for line in theirs.makefile("rb")]))
        serving._answer(connection.Connection(ours, serving.limits))
        ours.shutdown(socket.SHUT_RDWR)
        return reading.result(60)


def line(**asked: Any) -> bytes:
    return json.dumps({"v": VERSION, **asked}).encode() + b"\n"


PUSHED: dict[str, Any] = {
    "op": "push", "project": "hello", "repo": "project", "commands": [[OLD, NEW, MASTER]], "options": [],
    "atomic": False, "token": "t",
}  # fmt: skip
ASKED: tuple[dict[str, Any], ...] = (
    PUSHED,
    {"op": "task", "project": "hello", "task": "x", "token": "u", "force": False},
    {"op": "log", "project": "hello", "number": 1, "offset": 0, "whole": True},
    {"op": "cancel", "project": "hello"},
    {"op": "ping"},
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=8)
    | st.sampled_from(["hello", OLD, MASTER, "refs/deploy/now", "\x00", "\ud83d", "../x", "only=sync", -1, 1 << 70]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@st.composite
def wrong(draw: st.DrawFn) -> bytes:
    """A request of which some values are others, at any depth, or missing."""
    asked = json.loads(json.dumps(draw(st.sampled_from(ASKED))))
    for _ in range(draw(st.integers(0, 3))):
        at: Any = asked
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(at[key], (dict, list)) and at[key] and draw(st.booleans()):
                at = at[key]
                continue
            at[key] = draw(JUNK)
            break
    return json.dumps(asked).encode() + b"\n"


@settings(FUZZ, max_examples=400)
@given(st.one_of(wrong(), wrong(), st.binary(max_size=200), JUNK.map(lambda junk: json.dumps(junk).encode() + b"\n")))
def test_whatever_is_asked_is_answered_or_closed(serving: server.Daemon, data: bytes) -> None:
    said = answer(serving, data)
    assert "internal error" not in str(said)
    assert all(set(one) <= {"say", "offset", "number", "end"} for one in said[:-1])
    assert not said or {"error", "report", "result", "number"} & set(said[-1])
    assert answer(serving, line(op="ping"))[0]["result"]["pid"] == os.getpid()


def test_every_byte_of_a_request_may_be_the_last(serving: server.Daemon) -> None:
    whole = line(**PUSHED)
    for cut in range(len(whole)):
        assert answer(serving, whole[:cut]) == []
    assert answer(serving, whole)[-1]["error"]


def test_half_a_request_is_not_awaited_for_ever(serving: server.Daemon) -> None:
    for cut in (0, 1, 30):
        said = answer(serving, line(**PUSHED)[:cut], leaves=False)
        assert said == [{"error": "timed out waiting for the request", "hint": "", "code": 3}]


def test_a_request_byte_by_byte_is_not_awaited_for_ever(serving: server.Daemon) -> None:
    ours, theirs = socket.socketpair()
    over = threading.Event()

    def drip() -> None:
        while not over.wait(0.01):
            theirs.sendall(b" ")

    with ours, theirs:
        dripper = threading.Thread(target=drip)
        dripper.start()
        serving._answer(connection.Connection(ours, FAST))
        over.set()
        dripper.join()
        assert b"timed out waiting for the request" in theirs.recv(1000)


def test_who_does_not_read_is_left(serving: server.Daemon) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(line(op="ping"))
        ours.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                ours.send(b"x" * 4096)
        with pytest.raises(connection.PeerGone):
            serving._answer(connection.Connection(ours, FAST))


@pytest.mark.parametrize("size", [1 << 20, 3 << 20, 8 << 20])
def test_a_line_without_an_end_is_closed(serving: server.Daemon, size: int) -> None:
    ours, theirs = socket.socketpair()

    def flood() -> None:
        with suppress(OSError):
            theirs.sendall(b"x" * size)

    with theirs:
        flooder = threading.Thread(target=flood)
        flooder.start()
        with ours:
            serving._answer(connection.Connection(ours, FAST))
        flooder.join()
        said = json.loads(theirs.recv(1000))["error"]
    assert said == ("the request is too long" if size > FAST.line else "timed out waiting for the request")


def test_a_line_of_a_deployment_is_never_longer_than_a_follower_takes(serving: server.Daemon) -> None:
    with queued(serving, token="long") as number:
        writer = log.Log(serving.site.host.project("hello").log_file(number))
        writer.tell(Noted("ä" * 5_000_000))
        writer.tell(SlsBegan("00_a", "install"))
        writer.tell(StateEnded("a", "cmd.run", True, output="\n".join(["ä" * 4000] * 200)))
        writer.tell(SlsEnded("00_a", "install", True, 1))
        writer.tell(listed("taken back", [Item("ä" * 4000)] * 1000))
        writer.tell(Verdict("refused", "deploy", "hello", number, reason="the end"))
        writer.close()
        said, told = (
            heard(serving, line(op="log", project="hello", number=number, whole=True, events=events))
            for events in (False, True)
        )
    assert said[0]["say"].startswith("ä" * 1000) and said[-2]["say"] == "error: the end"
    assert sum(one.get("say", "").count("ä" * 4000) for one in said) > 190
    assert all(len(json.dumps(one)) < client.LINE_LIMIT for one in [*said, *told])
    assert said[-1]["result"] and told[-1]["result"]
    assert [one["event"]["event"] for one in told[:-1]] == [
        "note",
        "sls_began",
        "state",
        "sls",
        "list",
        "verdict",
    ]
    assert told[-2]["event"]["data"]["reason"] == "the end"


BOMBS: dict[str, Callable[[], bytes]] = {
    "lists": lambda: b'{"op": "ping", "x": [' + b"[]," * 1_300_000 + b"[]]}\n",
    "mappings": lambda: b'{"op": "ping", "x": [' + b"{}," * 1_300_000 + b"{}]}\n",
    "numbers": lambda: b'{"op": "ping", "x": [' + b"1.5," * 1_000_000 + b"1]}\n",
    "keys": lambda: b'{"op": "ping"' + b"".join(b',"%d":1' % n for n in range(350_000)) + b"}\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_request_of_too_many_values_is_not_even_parsed(
    serving: server.Daemon, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = BOMBS[name]()
    assert len(data) < FAST.line
    monkeypatch.setattr(json, "loads", lambda text: pytest.fail("parsed"))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=theirs.sendall, args=(data,))
        sender.start()
        serving._answer(connection.Connection(ours))
        sender.join()
        assert b"the request is too long" in theirs.recv(1000)


@pytest.mark.parametrize("depth", [10, 500, 900, 950, 980, 1000, 5000, 100_000])
def test_no_depth_is_an_internal_error(serving: server.Daemon, depth: int) -> None:
    nested = b'{"v": 1, "op": "deploy", "project": "hello", "only": ' + b"[" * depth + b"]" * depth + b"}\n"
    said = answer(serving, nested)
    assert "internal error" not in str(said)


STRANGE = ("\ud83d", "a\ud83d", "\0", "a\0b", "\udcff", "\n", "x" * 60_000, "--upload-pack=x", "HEAD~" + "9" * 20)


@pytest.mark.parametrize("word", STRANGE, ids=range(len(STRANGE)))
def test_no_word_is_an_internal_error(serving: server.Daemon, word: str) -> None:
    for key in ("rev", "token"):
        wanted = {"token": f"{key} {word}", "nowait": True, key: word}
        said = answer(serving, line(op="deploy", project="hello", **wanted))
        assert said and "internal error" not in str(said), key
    for key, values in (("only", [word]), ("skip", [word]), ("steps", [word])):
        said = answer(serving, line(op="deploy", project="hello", token=word, **{key: values}))
        assert said and "internal error" not in str(said), key
        said = answer(serving, line(**{**PUSHED, "options": [f"{key}={word}"]}))
        assert said and "internal error" not in str(said), key
    for key in ("project", "repo", "token"):
        assert "internal error" not in str(answer(serving, line(**{**PUSHED, key: word}))), key
    for command in ([word, NEW, MASTER], [OLD, word, MASTER], [OLD, NEW, word], [OLD, NEW, f"refs/heads/{word}"]):
        said = answer(serving, line(**{**PUSHED, "commands": [command]}))
        assert said and "internal error" not in str(said), command


# what the hook says and the daemon can know better


@contextmanager
def queued(serving: server.Daemon, **request: Any) -> Iterator[int]:
    found = serving.site.history.enqueue("hello", Request(**request))
    yield found.number
    serving.site.history.end(serving.site.history.move(found, "cancelled"))


def test_a_number_of_its_own_making_spares_nobody_the_checks(
    serving: server.Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    monkeypatch.setattr(pushes.git, "commit", lambda repo, name: name)
    monkeypatch.setattr(pushes, "_check_now", lambda *_: checked.append("now"))
    monkeypatch.setattr(pushes, "_check_pillar", lambda *_: checked.append("pillar"))
    monkeypatch.setattr(Conversation, "enqueue", lambda *_: pytest.fail("queued") if not checked else _stop())
    for repo in ("project", "pillar"):
        answer(serving, line(**{**PUSHED, "repo": repo, "options": ["deploy"], "token": "new", "number": 1}))
    assert checked == ["now", "pillar", "now"]


def _stop() -> None:
    raise RefusedError("far enough")


def test_a_token_goes_on_with_its_own_push_only(serving: server.Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushes.git, "commit", lambda repo, name: name)
    monkeypatch.setattr(pushes, "_check_now", lambda *_: None)
    me = pwd.getpwuid(os.geteuid()).pw_name
    mine = {"repo": "project", "ref": MASTER, "old": OLD, "new": NEW, "who": me, "via": "push", "token": "mine"}
    stolen = "this token belongs to another request"
    with queued(serving, **mine) as number:
        assert answer(serving, line(**{**PUSHED, "token": "mine"}))[0] == {"number": number}
        other = {**PUSHED, "token": "mine", "commands": [[OLD, "3" * 40, MASTER]]}
        assert answer(serving, line(**other))[-1]["error"] == stolen
    with queued(serving, **{**mine, "who": "somebody else", "token": "theirs"}):
        assert answer(serving, line(**{**PUSHED, "token": "theirs"}))[-1]["error"] == stolen


def test_a_command_says_nothing_of_refs(serving: server.Daemon) -> None:
    given = {"task": "x", "token": "refs", "repo": "../x", "ref": MASTER, "old": OLD, "via": "push"}
    number = answer(serving, line(op="task", project="hello", **given))[0]["number"]
    found = serving.site.history.deployment("hello", number)
    assert (found.request.repo, found.request.ref, found.request.old) == ("project", "", "")
    assert found.request.via == "command"
    serving.site.history.end(serving.site.history.move(found, "cancelled"))
