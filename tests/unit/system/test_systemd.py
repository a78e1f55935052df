"""The daemon under a supervisor: the socket that it is given, and what it says of itself."""

from __future__ import annotations

import math
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from corpushooks.core.errors import NoDaemonError, UsageError
from corpushooks.protocol import client, connection
from corpushooks.system.process import PIPE, Child, spawn
from corpushooks.system.supervisor import Supervisor, supervisor
from tests.support.box import Box, until
from tests.support.places import TOP

# Hands a descriptor over as systemd does: it is number 3, and the process that is meant is the one that we become.
LAUNCHER = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=sys.argv[2])
os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
"""
ASK = "from corpushooks.system.supervisor import supervisor; supervisor().listener()"
Launch = Callable[..., Child[bytes]]


@pytest.fixture
def cold(new_box: Callable[..., Box]) -> Box:
    """Return a host on which no daemon runs."""
    box = new_box()
    box.init()
    return box


@pytest.fixture
def launch(cold: Box) -> Iterator[Launch]:
    """Return what starts a daemon with a descriptor handed over."""
    begun: list[Child[bytes]] = []

    def start(fd: int, **said: str) -> Child[bytes]:
        log = os.open(cold.root / "daemon.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        words = [sys.executable, "-c", LAUNCHER, str(fd), "1", "-m", "tests.support.fake_daemon", cold.host.root]
        begun.append(spawn(words, cwd=TOP, env=said, stdout=log, stderr=log, pass_fds=[fd]))
        os.close(log)
        return begun[-1]

    yield start
    for child in begun:
        if child.poll() is None:
            child.terminate()
        child.wait(20)


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[socket.socket]:
    """Return the socket that hears what a daemon says."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(f"\0{tmp_path}"[:100])
        found.settimeout(20)
        yield found


def address(ear: socket.socket) -> str:
    return "@" + ear.getsockname()[1:].decode()


def told(cold: Box) -> str:
    return (cold.root / "daemon.log").read_text()


def test_a_socket_that_is_given_is_used_and_stays(cold: Box, launch: Launch) -> None:
    with connection.listen(cold.host.socket) as listener:
        made = cold.host.socket.lstat().st_ino
        with client.connect(cold.host):  # somebody came before the daemon was there
            child = launch(listener.fileno())
            assert cold.app().push().code == 0
            assert client.ping(cold.host) == child.pid
            assert cold.host.socket.lstat().st_ino == made
        child.terminate()
        assert child.wait(20) == 0
        assert cold.host.socket.lstat().st_ino == made
        assert launch(listener.fileno()).pid == client.ping(cold.host)  # it listened on


def udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def deaf() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


@pytest.mark.parametrize(
    ("kind", "count", "complaint"),
    [
        (udp, 1, "the socket from the supervisor is not a unix stream socket"),
        (deaf, 1, "the socket from the supervisor is not listening"),
        (Path(os.devnull).open, 1, "the descriptor from the supervisor is not a socket"),
        (deaf, 2, "expected one socket from the supervisor, got 2"),
    ],
    ids=["udp", "deaf", "file", "two"],
)
def test_any_other_descriptor_is_refused(kind: Callable[[], Any], count: int, complaint: str) -> None:
    with kind() as given:
        words = [sys.executable, "-c", LAUNCHER, str(given.fileno()), str(count), "-c", ASK]
        child = spawn(words, cwd=TOP, stderr=PIPE, pass_fds=[given.fileno()])
        assert complaint in child.communicate(timeout=20)[1].decode()


def test_what_is_meant_for_another_process_is_not_taken(cold: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    cold.start()
    assert client.ping(cold.host) > 0
    assert stat.S_IMODE(cold.host.socket.lstat().st_mode) == 0o666


def test_it_says_that_it_is_ready_lives_and_stops(cold: Box, launch: Launch, ear: socket.socket) -> None:
    with connection.listen(cold.host.socket) as listener:
        child = launch(listener.fileno(), NOTIFY_SOCKET=address(ear), WATCHDOG_USEC="300000")
        assert [ear.recv(100) for _ in range(4)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        child.terminate()
        until(lambda: ear.recv(100) == b"STOPPING=1")
        assert child.wait(20) == 0


def test_what_it_starts_is_not_told_of_the_supervisor(cold: Box, launch: Launch, ear: socket.socket) -> None:
    with connection.listen(cold.host.socket) as listener:
        launch(listener.fileno(), NOTIFY_SOCKET=address(ear), WATCHDOG_USEC="9000000")
        work = cold.app(files={".salt/10_env.sls": "say:\n  cmd.run:\n    - name: env\n"})
        assert work.push().code == 0
    assert "CORPUS_DEPLOYMENT=" in cold.log(1)
    assert not [word for word in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_") if word in cold.log(1)]


def idle(pid: int) -> bool:
    """Say whether every thread of a process sleeps, and there are the two that a daemon has at least."""
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    return len(tasks) >= 2 and all(task.joinpath("stat").read_text().rpartition(") ")[2][0] == "S" for task in tasks)


def test_who_gives_no_sign_of_life_says_where_it_hung(cold: Box, launch: Launch, ear: socket.socket) -> None:
    with connection.listen(cold.host.socket) as listener:
        child = launch(listener.fileno(), NOTIFY_SOCKET=address(ear), WATCHDOG_USEC="300000")
        assert [ear.recv(100) for _ in range(2)] == [b"READY=1", b"WATCHDOG=1"]
        until(lambda: all(idle(child.pid) for _ in range(20)))  # Python may crash over the frames of a thread that runs
        child.send_signal(signal.SIGABRT)  # as systemd does then
        assert child.wait(20) == -signal.SIGABRT
    assert "in serve" in told(cold)


@pytest.mark.parametrize("place", client.UNITS)
def test_where_systemd_starts_the_daemon_nobody_else_does(place: str, cold: Box) -> None:
    """Also a unit that was stopped on purpose stays so."""
    (cold.host.root / "run/systemd/system").mkdir(parents=True)
    unit = cold.host.root / place
    unit.parent.mkdir(parents=True)
    unit.touch()
    work = cold.app()
    pushed = work.push()
    assert "cannot connect to the deployment daemon" in pushed.rejected
    assert "on the host: systemctl start corpushooks.socket" in pushed.text
    with pytest.raises(NoDaemonError) as refused:
        client.reach(cold.host)
    assert str(refused.value.hint) == "systemctl start corpushooks.socket"
    unit.unlink()
    assert work.push().code == 0


def test_who_waits_for_a_daemon_that_cannot_start_is_told_so(cold: Box) -> None:
    """Else systemd would start it for them again at once, until it refuses to start it at all."""
    cold.host.config_file.parent.mkdir(parents=True)
    cold.host.config_file.write_text("stop_timeout: soon\n")
    with connection.listen(cold.host.socket) as listener:
        asked = [client.connect(cold.host) for _ in range(3)]
        words = [
            sys.executable,
            "-c",
            LAUNCHER,
            str(listener.fileno()),
            "1",
            "-m",
            "corpushooks",
            "--root",
            cold.host.root,
        ]
        child = spawn([*words, "daemon"], cwd=TOP, pass_fds=[listener.fileno()])
        assert child.wait(20) == 2
        for link in asked:
            with link, link.makefile() as said:
                assert "the deployment daemon cannot start: " in said.read()
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


# what is said by the environment


OF_ANOTHER = str(os.getpid() + 1)


@pytest.mark.parametrize(
    ("given", "every", "sockets"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 1.0, 0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.0, 0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": OF_ANOTHER}, math.inf, 0),
        ({"WATCHDOG_USEC": "soon"}, math.inf, 0),
        ({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}, math.inf, 1),
        ({"LISTEN_FDS": "1", "LISTEN_PID": OF_ANOTHER}, math.inf, 0),
        ({"LISTEN_FDS": "1"}, math.inf, 0),
        ({}, math.inf, 0),
    ],
)
def test_only_what_is_meant_for_us_counts_and_nothing_we_start_sees_it(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], every: float, sockets: int
) -> None:
    names = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in {"NOTIFY_SOCKET": "@there", "LISTEN_FDNAMES": "x", **given}.items():
        monkeypatch.setenv(name, value)
    found = supervisor()
    assert (found.every, found.sockets, found.address, found.watches) == (every, sockets, "\0there", every < math.inf)
    assert not set(names) & os.environ.keys()


def test_a_sign_of_life_is_given_when_one_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    said, now = list[str](), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    found = Supervisor(every=10.0)
    monkeypatch.setattr(found, "say", said.append)
    for moment in (100.0, 109.0, 110.0, 115.0, 121.0):
        now[0] = moment
        found.alive()
    assert said == ["WATCHDOG=1"] * 3
    quiet = Supervisor()
    monkeypatch.setattr(quiet, "say", said.append)
    quiet.alive()
    assert len(said) == 3


def test_nobody_who_hears_us_is_no_fault(tmp_path: Path) -> None:
    Supervisor(address=str(tmp_path / "nobody")).say("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "ear"))
        Supervisor(address=str(tmp_path / "ear")).say("READY=1")
        assert ear.recv(100) == b"READY=1"


def test_more_than_one_socket_is_refused() -> None:
    assert Supervisor().listener() is None
    with pytest.raises(UsageError, match="expected one socket from the supervisor, got 2"):
        Supervisor(sockets=2).listener()


def test_the_hint_is_about_the_socket_that_is_wanted() -> None:
    with pytest.raises(UsageError) as told:
        Supervisor(sockets=2).listener(socket.AF_INET)
    assert "an empty ListenStream= comes first" in str(told.value.hint) and "absolute path" not in str(told.value.hint)
    with pytest.raises(UsageError) as told:
        Supervisor(sockets=2).listener()
    assert "an absolute path" in str(told.value.hint)


@pytest.mark.parametrize("option", ["", "--port=9000"], ids=["plain", "port"])
def test_the_pages_listen_on_the_socket_that_is_given(cold: Box, option: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port, fd = listener.getsockname()[1], listener.fileno()
        words = [sys.executable, "-c", LAUNCHER, str(fd), "1", "-m", "corpushooks", "--root", cold.host.root, "web"]
        words += [option] if option else []
        with socket.create_connection(("127.0.0.1", port), 60) as link:  # somebody came before they were there
            link.sendall(b"GET /api/v1/openapi.json HTTP/1.0\r\n\r\n")
            with (tmp_path / "said").open("wb") as said:
                child = spawn(words, cwd=TOP, stdout=PIPE, stderr=said, pass_fds=[fd])
            assert child.stdout and child.stdout.readline() == f"listening on http://127.0.0.1:{port}\n".encode()
            assert link.recv(12) == b"HTTP/1.1 200"
        child.terminate()
        child.wait(20)
        child.stdout.close()
    warning = f"warning: --port is ignored: systemd gave the socket 127.0.0.1:{port}\nhint: "
    told = (tmp_path / "said").read_text()
    assert told.startswith(warning) if option else "ignored" not in told
