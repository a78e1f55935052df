"""Waits: whatever is awaited from outside ends: in time, by a cancel, and by a stop of the daemon."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import corpushooks
from corpushooks import tree
from corpushooks.core.errors import TreeError
from corpushooks.system import health
from corpushooks.system.patience import Check, within
from corpushooks.system.process import attend, group_alive, run, spawn
from tests.support.box import Box, until
from tests.support.places import TOP

LONG = 1000.0
HEAD = b"HTTP/1.1 200 OK\r\n"
CANCELLED = "cancelled by "


class Enough(Exception):
    """Whoever asks has waited enough."""


def after(rounds: int) -> Check:
    """Return a check that raises Enough when it is asked for the last of so many times."""
    left = [None] * rounds

    def check() -> None:
        left.pop()
        if not left:
            raise Enough

    return check


# health


def said(first: bytes, drip: bytes) -> Callable[[socket.socket], None]:
    """Return a talk that begins with `first`, and goes on with `drip` for ever."""

    def talk(link: socket.socket) -> None:
        link.sendall(first)
        while link.send(drip):
            link.settimeout(0.02)
            with contextlib.suppress(TimeoutError):
                if not link.recv(1 << 16):
                    return

    return talk


def silent(link: socket.socket) -> None:
    while link.recv(1 << 16):
        pass


TALKS: dict[str, tuple[str, Callable[[socket.socket], None]]] = {
    "a body that drips": ("http", said(HEAD + b"Content-Length: 1000000\r\n\r\n", b"x")),
    "a body without a length": ("http", said(HEAD + b"\r\n", b"x")),
    "a chunk that drips": ("http", said(HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n", b"x")),
    "headers that drip": ("http", said(HEAD + b"X: ", b"x")),
    "a status that drips": ("http", said(b"H", b"T")),
    "ever another 100": ("http", said(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
    "an error that drips": ("http", said(b"HTTP/1.1 500 No\r\nContent-Length: 1000000\r\n\r\n", b"x")),
    "a redirection that drips": ("http", said(b"HTTP/1.1 302 No\r\nLocation: ", b"/")),
    "silence": ("http", silent),
    "silence where TLS begins": ("https", silent),
    "a TLS that drips": ("https", said(b"\x16\x03\x03\x3f\xff\x02", b"\0")),
}


@contextlib.contextmanager
def talking(talk: Callable[[socket.socket], None]) -> Iterator[tuple[str, Callable[[], bool], Check]]:
    """Be what is asked; give the address, whether the other end hung up, and a check that ends what is connected."""
    begun, ended = threading.Event(), threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = server.accept()
                threading.Thread(target=answer, args=(link,), daemon=True).start()

    def answer(link: socket.socket) -> None:
        begun.set()
        with link, contextlib.suppress(OSError):
            talk(link)
        ended.set()

    def check() -> None:
        if begun.is_set():
            raise Enough

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}", ended.is_set, check
        server.shutdown(socket.SHUT_RDWR)


def asked(tell: Check = lambda: None, **given: Any) -> str:
    """Ask once; fail where that has no end."""
    (check,) = health.checks({"retries": 0, "delay": 0, **given})
    return within(30, lambda: health.await_answer(check, tell))


@pytest.mark.parametrize("what", TALKS)
def test_an_answer_without_end_ends_with_its_timeout(what: str) -> None:
    scheme, talk = TALKS[what]
    with talking(talk) as (address, left, _):
        assert asked(http=f"{scheme}://{address}/", timeout=0.2) == "no complete answer within 0.2 s"
        until(left)


@pytest.mark.parametrize("what", TALKS)
def test_an_answer_without_end_ends_when_whoever_asks_has_enough(what: str) -> None:
    """A timeout of 0 is none."""
    scheme, talk = TALKS[what]
    with talking(talk) as (address, left, check), pytest.raises(Enough):
        asked(check, http=f"{scheme}://{address}/", timeout=0)
    until(left)


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_a_name_that_is_never_found_and_a_connection_that_is_never_taken(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://{}/" if kind == "http" else "{}"
    with socket.socket() as server, contextlib.ExitStack() as stack:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        host, port = server.getsockname()
        for _ in range(3):  # the queue of a listener that takes nobody holds one or two
            link = stack.enter_context(socket.socket())
            link.setblocking(False)
            link.connect_ex((host, port))
        assert asked(**{kind: url.format(f"{host}:{port}")}, timeout=0.2) == "no complete answer within 0.2 s"
    gate = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: gate.wait() and [])
    assert asked(**{kind: url.format("nowhere.example.org:80")}, timeout=0.2) == "no complete answer within 0.2 s"
    with pytest.raises(Enough):
        asked(after(4), **{kind: url.format("nowhere.example.org:80")}, timeout=0)
    gate.set()


def test_a_command_that_is_deaf_and_leaves_a_child_ends_with_its_timeout(tmp_path: Path) -> None:
    script = f'trap "" TERM; sleep 1000 & echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; wait; sleep 1000'
    assert asked(command=["sh", "-c", script], timeout=0.3) == "timed out after 0.3 s"
    assert not group_alive(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_a_time_is_a_number_that_ends(number: float) -> None:
    with pytest.raises(Exception, match="timeout: expected a number"):
        health.checks({"tcp": "a:1", "timeout": number})


# a deployment


SAMPLE = "makina-projects.hello:\n  health:\n    http: http://{}/\n    retries: 0\n    timeout: 0\n"


def raises(check: Check) -> bool:
    """Say whether somebody has connected: only then can they be seen to leave."""
    try:
        check()
    except Enough:
        return True
    return False


def in_health(box: Box) -> bool:
    return box.exists(2) and any(step.startswith("health") for step in box.steps(2))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("step_timeout: 1\n", "timed out after 1 s (step_timeout)"),
        ("timeout: 2\n", "timed out after 2 s (timeout)"),
        ("", CANCELLED),
        ("stop_timeout: 0.1\n", "cancelled by the daemon, which was told to stop"),
    ],
)
def test_a_health_check_that_drips_holds_up_nobody(new_box: Callable[..., Box], settings: str, reason: str) -> None:
    """It has no timeout of its own."""
    box = new_box()
    box.init()
    box.start()
    assert box.app().push().code == 0
    box.ended(1)
    box.stop()
    box.settings(settings)  # for the second alone: on a busy machine the first would run out of time
    box.start()
    with talking(TALKS["a body that drips"][1]) as (address, left, check):
        box.work().commit({"index.html": "two", ".salt/PILLAR.sample": SAMPLE.format(address)})
        push = box.work().start_push()
        if reason is CANCELLED:
            until(lambda: in_health(box) and raises(check))
            assert box.ask(op="cancel", project="hello")["state"] == "rolled_back"
        elif settings.startswith("stop"):
            until(lambda: in_health(box) and raises(check))
            box.stop()
        box.ended(2)
        push.wait(30)
        until(left)
    assert box.deployment(2).reason.startswith(reason)
    assert (box.project().tree / "index.html").read_text() == "one"


# trees


TIB = 1 << 40


def sparse(path: Path, *data: tuple[int, bytes], size: int = 15 * TIB) -> None:
    """Make a file of holes, with some data, and a time that is always the same."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        for at, content in data:
            os.pwrite(file.fileno(), content, at)
        file.truncate(size)
    os.utime(path, ns=(10**18, 10**18))


def content(path: Path, *places: int) -> list[bytes]:
    with path.open("rb") as file:
        return [os.pread(file.fileno(), 4, at) for at in places]


def test_holes_are_neither_read_nor_written(tmp_path: Path) -> None:
    """Archive, compare, restore, sync: of files that are equal but for one block in the middle."""
    live, saved, places = tmp_path / "live", tmp_path / "saved", (0, 7 * TIB, 15 * TIB - 4)
    live.mkdir()
    sparse(live / "disk", (0, b"head"), (7 * TIB, b"body"))
    tree.snapshot(tree.scan(live, after(10)), saved, None, after(100))
    assert content(saved / "disk", *places) == [b"head", b"body", b"\0\0\0\0"]
    sparse(live / "disk", (0, b"head"), (7 * TIB, b"body"))
    again = tree.snapshot(tree.scan(live, after(10)), tmp_path / "again", saved, after(100))
    assert (again.changed, (tmp_path / "again/disk").stat().st_ino) == (0, (saved / "disk").stat().st_ino)
    sparse(live / "disk", (0, b"head"), (7 * TIB, b"soul"))
    tree.snapshot(tree.scan(live, after(10)), tmp_path / "third", saved, after(100))
    assert content(tmp_path / "third/disk", *places) == [b"head", b"soul", b"\0\0\0\0"]
    within(60, lambda: tree.restore(saved, live))
    assert content(live / "disk", *places) == [b"head", b"body", b"\0\0\0\0"]
    tree.sync(tmp_path / "third", live, [], tmp_path / "cache", after(100))
    assert content(live / "disk", *places) == [b"head", b"soul", b"\0\0\0\0"]
    tree.drift(saved, live, tmp_path / "cache", after(100))
    for folder in (live, saved, tmp_path / "third"):
        assert (folder / "disk").stat().st_size == 15 * TIB
        assert (folder / "disk").stat().st_blocks * 512 < 1 << 20


def test_data_and_a_hole_of_zeros_are_the_same_content(tmp_path: Path) -> None:
    sparse(tmp_path / "a", (1 << 20, b"\0" * 4096), size=4 << 20)
    sparse(tmp_path / "b", (3 << 20, b"\0" * 4096), size=4 << 20)
    sparse(tmp_path / "c", (3 << 20, b"\0\1"), size=4 << 20)
    with (tmp_path / "a").open() as a, (tmp_path / "b").open() as b, (tmp_path / "c").open() as c:
        assert tree.entries.same_content(a.fileno(), b.fileno())
        assert not tree.entries.same_content(a.fileno(), c.fileno())
        assert not tree.entries.same_content(c.fileno(), b.fileno())


def test_a_full_disk_is_an_error_in_a_file_with_holes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an archive lacks what did not fit."""
    (tmp_path / "live").mkdir()
    sparse(tmp_path / "live/disk", (1 << 20, b"x" * (1 << 20)), size=1 << 30)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(TreeError, match="No space left"):
        tree.snapshot(tree.scan(tmp_path / "live"), tmp_path / "saved", None)


def many(folder: Path) -> Path:
    """Return a folder with more files than anybody waits for."""
    for number in range(300):
        (folder / f"sub{number % 3}").mkdir(parents=True, exist_ok=True)
        (folder / f"sub{number % 3}/{number}").write_text(str(number))
    return folder


def over(target: Path, stage: Path, cache: Path, check: Check) -> None:
    """Bring a file, a link and files of no interest where the application has folders."""
    for name, target_of_link in {"sub0": None, "sub1": "elsewhere", "sub2": None}.items():
        stage.mkdir(exist_ok=True)
        (stage / name).symlink_to(target_of_link) if target_of_link else (stage / name).write_text("of the commit")
    tree.sync(stage, target, [], cache, check, frozenset({"sub0", "sub1", "sub2"}))


WALKS: dict[str, Callable[[Path, Path, Check], object]] = {
    "scan": lambda source, _, check: tree.scan(source, check),
    "snapshot": lambda source, place, check: tree.snapshot(tree.scan(source), place / "saved", place / "first", check),
    "sync": lambda source, place, check: tree.sync(source, place / "live", [], place / "cache", check),
    "sync over a folder": lambda source, place, check: over(source, place / "stage", place / "cache", check),
    "drift": lambda source, place, check: tree.drift(source, source, place / "cache", check),
    "fix": lambda source, _, check: tree.fix(source, uid=None, gid=None, check=check),
    "remove": lambda source, _, check: tree.remove(source, check),
}


@pytest.mark.parametrize("walk", WALKS)
def test_every_walk_asks_whether_it_shall_go_on(walk: str, tmp_path: Path) -> None:
    source = many(tmp_path / "source")
    (tmp_path / "live").mkdir()
    tree.snapshot(tree.scan(source), tmp_path / "first", None)  # what is shared with it is not even opened
    with pytest.raises(Enough):
        WALKS[walk](source, tmp_path, after(250))


@pytest.mark.parametrize("in_kernel", [True, False])
def test_a_copy_asks_in_each_chunk(tmp_path: Path, in_kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if in_kernel:
        monkeypatch.setattr(tree.entries, "LARGE", 1 << 18)
    else:
        monkeypatch.setattr(tree.entries, "SMALL", 1 << 40)
    with (tmp_path / "a").open("wb+") as source, (tmp_path / "b").open("wb+") as copy:
        source.write(os.urandom(1 << 20) * 4)
        source.flush()
        with pytest.raises(Enough):
            tree.entries.fill(source.fileno(), copy.fileno(), 4 << 20, after(10))
        tree.entries.fill(source.fileno(), copy.fileno(), 4 << 20, after(100))
        with pytest.raises(Enough):
            tree.entries.same_content(source.fileno(), copy.fileno(), after(10))


def test_a_file_that_grows_is_read_as_far_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "live").mkdir()
    path = tmp_path / "live/log"
    path.write_bytes(b"x" * (1 << 20))
    real = tree.entries._copy_bytes

    def growing(*args: Any) -> int:
        with path.open("ab") as file:
            file.write(b"y" * (1 << 20))
        return real(*args)

    monkeypatch.setattr(tree.entries, "_copy_bytes", growing)
    report = tree.snapshot(tree.scan(tmp_path / "live"), tmp_path / "saved", None, after(1000))
    assert report.warnings == ("log: changed while it was read",)


SCANNED = {"scan", "snapshot", "sync", "drift", "fix"}


def test_no_deployment_walks_a_tree_that_nobody_can_end() -> None:
    """A roll back ends by itself; what stands below is no deployment's."""
    allowed = {("steps", "tree.fix"), ("resetperms", "tree.fix")}  # of one folder alone; of a program of its own
    bare = set()
    for path in Path(corpushooks.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {f"tree.{name}" for name in SCANNED}:
                given = [*node.args, *(word.value for word in node.keywords)]
                if not any(ast.unparse(each) in ("check", "run.deadline.patience()") for each in given):
                    bare.add((path.stem, ast.unparse(node.func)))
    assert bare == allowed


def test_a_lease_on_a_file_delays_no_cancel(box: Box) -> None:
    """The kernel gives whoever holds it three quarters of a minute."""
    box.app().push()
    box.ended(1)
    held = box.project().tree / "held"
    held.write_text("held")
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        with held.open("r+") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            box.work().commit({"index.html": "two"})
            push = box.work().start_push()
            until(lambda: fcntl.fcntl(file, fcntl.F_GETLEASE) != fcntl.F_WRLCK)  # it is being broken
            assert box.ask(op="cancel", project="hello")["state"] == "refused"
            push.wait(20)
    finally:
        signal.signal(signal.SIGIO, before)
    assert box.work().push().code == 0


# programs


def test_a_program_is_killed_where_whoever_waits_has_enough() -> None:
    with pytest.raises(Enough):
        run(["sleep", "1000"], patience=after(3))
    assert run(["cat"], stdin=b"x" * (1 << 20), patience=lambda: None).stdout == b"x" * (1 << 20)


def test_a_program_that_is_stopped_is_ended_too() -> None:
    child = spawn(["sleep", "1000"])
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(Enough):
        attend(child, LONG, after(3), grace=0.1)
    assert child.returncode == -signal.SIGKILL


# the end of a daemon


def test_a_stop_leaves_what_hangs_to_the_next_daemon(new_box: Callable[..., Box]) -> None:
    """A thread of a roll back hangs, in what nothing can end."""
    box = new_box()
    box.settings("stop_timeout: 0.1\n")
    box.init()
    box.start()
    box.app().push()
    box.ended(1)
    box.faults(("undo restore", "before", "wait"))
    box.work().commit({"index.html": "two", ".salt/10_no.sls": "no:\n  test.fail_without_changes: []\n"})
    assert box.work().push(options=("nowait",)).code == 0
    until(box.happened)
    assert box.daemon
    box.daemon.terminate()
    assert box.daemon.wait(40) == 0
    box.daemon = None
    assert box.deployment(2).state == "rolling_back"
    assert '"left to the next daemon"' in (box.root / "daemon.log").read_text()
    box.start()
    assert box.ended(2).state == "rolled_back"
    assert (box.project().tree / "index.html").read_text() == "one"


HANGING = """\
import sys, time
from pathlib import Path
from tests.support import fake_daemon
fake_daemon.FakeEngine.close = lambda self: time.sleep(1000)
fake_daemon.main(Path(sys.argv[1]), embedded=False)
"""


@pytest.mark.slow
def test_a_daemon_that_hangs_as_a_whole_ends_and_its_log_says_where(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.settings("stop_timeout: 0.1\n")
    box.init()
    words = [sys.executable, "-c", HANGING, str(box.host.root)]
    with (box.root / "daemon.log").open("ab") as out:
        child = spawn(words, cwd=TOP, stdout=out.fileno(), stderr=out.fileno())
    until(box.reachable)
    box.ask("ping")  # from then on it minds signals
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(60)
    assert child.poll() == 1
    assert "line 4 in <lambda>" in (box.root / "daemon.log").read_text()
