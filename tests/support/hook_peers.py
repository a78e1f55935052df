"""What a hook talks to, scripted: git's receive-pack on its pipes, and a daemon on its socket."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import selectors
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpushooks.core.project import Host
from corpushooks.host import layout
from corpushooks.protocol.answers import VERSION
from corpushooks.system.process import PIPE, Child, spawn
from tests.support.box import until

OLD, NEW, ZERO = "1" * 40, "2" * 40, "0" * 40
FLUSH = b"0000"


def packet(data: bytes | str) -> bytes:
    """Return a pkt-line."""
    raw = os.fsencode(data)
    return b"%04x" % (len(raw) + 4) + raw


def hello(features: str = "") -> bytes:
    """Return git's first packets."""
    return packet("version=1" + (f"\0{features}" if features else "\n")) + FLUSH


def commands(*refs: str | bytes) -> bytes:
    """Return packets that move each ref from OLD to NEW."""
    return b"".join(packet(f"{OLD} {NEW} ".encode() + os.fsencode(ref)) for ref in refs) + FLUSH


def options(*given: str) -> bytes:
    return b"".join(map(packet, given)) + FLUSH


def packets(data: bytes) -> list[bytes | None]:
    """Take pkt-lines apart; None is a flush. Raise ValueError for what git would not take either."""
    found: list[bytes | None] = []
    while data:
        size = int(data[:4], 16)
        if size == 0:
            found.append(None)
            data = data[4:]
            continue
        if size < 5 or len(data) < size:
            raise ValueError(f"no packet: {data[:20]!r}")
        found.append(data[4:size])
        data = data[size:]
    return found


# the daemon


Turn = Callable[[socket.socket, dict[str, Any]], None]  # what it does with one connection, having read the request


def says(*lines: Any) -> Turn:
    """Return a turn that sends each line: a value as JSON, of which the first has the version, bytes as they are."""

    def turn(link: socket.socket, request: dict[str, Any]) -> None:
        for place, line in enumerate(lines):
            first = {"v": VERSION} if place == 0 and isinstance(line, dict) else {}
            data = b"" if isinstance(line, bytes) else json.dumps({**first, **line} if first else line).encode()
            link.sendall(line if isinstance(line, bytes) else data + b"\n")

    return turn


def unread(link: socket.socket, request: dict[str, Any]) -> None:
    """Be gone before the request is read: the peer's kernel says so with a reset."""


def refuses(link: socket.socket, request: dict[str, Any]) -> None:
    """Refuse whoever calls, and be gone before the request is read."""


NOT_ALLOWED = b'{"v": 1, "error": "not allowed", "hint": "so it is", "code": 3}\n'


def accepts(*refs: str) -> Turn:
    return says({"report": [f"ok {ref}" for ref in refs]})


def hangs_until(event: threading.Event) -> Turn:
    """Return a turn that says nothing and dies when the event is set."""
    return lambda link, request: (event.wait(30), None)[1]


@dataclass
class Peer:
    """A daemon that does what the test says, one turn for each connection; then it is gone."""

    turns: Sequence[Turn]
    asked: list[dict[str, Any]] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def serve(self, listener: socket.socket) -> None:
        """Take one connection for each turn, until the test is over."""
        with listener, contextlib.suppress(OSError):
            for turn in self.turns:
                link, _ = listener.accept()
                with link:
                    self._take(link, turn)
        self.done.set()

    def _take(self, link: socket.socket, turn: Turn) -> None:
        if turn is refuses:
            link.sendall(NOT_ALLOWED)
            return
        if turn is unread:
            select.select([link], [], [], 30)
            return
        self.asked.append(json.loads(link.makefile("rb").readline()))
        turn(link, self.asked[-1])


@contextmanager
def daemon_of(host: Host, *turns: Turn) -> Iterator[Peer]:
    """Be the daemon of a host for as many connections as there are turns."""
    peer = Peer(turns)
    host.socket.parent.mkdir(parents=True, exist_ok=True)
    host.socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(host.socket.parent, os.O_RDONLY)
    listener.bind(f"/proc/self/fd/{folder}/{host.socket.name}")
    os.close(folder)
    listener.listen(5)
    thread = threading.Thread(target=peer.serve, args=(listener,), daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        host.socket.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        thread.join(30)


# git


@dataclass(frozen=True)
class Ended:
    """What a hook gave."""

    code: int
    answer: bytes
    said: str

    @property
    def report(self) -> list[str]:
        """Return the lines of its report, which must be well formed and end with a flush."""
        version, flush, *lines = packets(self.answer)
        assert version is not None and version.startswith(b"version=1") and flush is None
        assert lines.pop() is None
        return [os.fsdecode(line or b"") for line in lines]


@dataclass
class Hook:
    """The hook of one project, as init installs it."""

    host: Host
    path: Path

    @classmethod
    def make(cls, host: Host, folder: Path, python: str = "") -> Hook:
        """Install the hook; `python` is what it starts a daemon with."""
        text = layout.hook_text(host.project("hello"), "project")
        if python:
            before = next(line for line in text.splitlines() if line.startswith("PYTHON = "))
            text = text.replace(before, f"PYTHON = {python!r}")
        path = folder / "proc-receive"
        path.write_text(text)
        path.chmod(0o755)
        return cls(host, path)

    def limit(self, **limits: float) -> Hook:
        """Write other limits into the hook, for a test that will not wait."""
        text = self.path.read_text()
        for name, value in limits.items():
            text, count = re.subn(rf"^{name} = [^#]*", f"{name} = {value}  ", text, flags=re.MULTILINE)
            assert count == 1, name
        self.path.write_text(text)
        return self

    def start(self, **env: str) -> Child[bytes]:
        return spawn([self.path], cwd=self.path.parent, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=env)

    def run(self, given: bytes, **env: str) -> Ended:
        """Feed the hook and await its end."""
        child = self.start(**env)
        out, err = child.communicate(given, timeout=60)
        return Ended(child.returncode, out, err.decode("utf-8", "surrogateescape"))


def unread_stderr(child: Child[bytes], given: bytes) -> bytes:
    """Feed a hook whose stderr nobody reads; return its answer."""
    assert child.stdin and child.stdout
    child.stdin.write(given)
    child.stdin.close()
    child.stdin = None
    out = b""
    with selectors.DefaultSelector() as ready:
        ready.register(child.stdout, selectors.EVENT_READ)
        while not out.endswith(FLUSH) or out.count(FLUSH) < 2:
            assert ready.select(30), "no answer"
            chunk = os.read(child.stdout.fileno(), 65536)
            if not chunk:
                break
            out += chunk
    return out


def await_end(child: Child[bytes]) -> int:
    until(lambda: child.poll() is not None)
    assert child.returncode is not None
    return child.returncode


def plain(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what a daemon answered without the version, which its first line has and no other."""
    assert [one.get("v") for one in said] == [VERSION, *[None] * (len(said) - 1)][: len(said)]
    return [{key: value for key, value in one.items() if key != "v"} for one in said]
