"""Many readers of one log: the daemon is asked once for all, and nobody slows another."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from corpushooks.access.tokens import Tokens
from corpushooks.system.process import Child
from tests.support.box import Box, until
from tests.support.command import corpus
from tests.support.web import Web, serving

PATH = "/api/v1/projects/hello/deployments/1/log"
MANY = 1000
# states that print some lines each, and one that ends when the test lets it
LINES = "".join(f"lines-{each}:\n  cmd.run:\n    - name: seq {each}000 {each}400\n" for each in range(8))
GATE = "gate:\n  cmd.run:\n    - name: while ! test -e {0}/gate; do sleep 0.01; done\n"


@contextmanager
def pushing(box: Box) -> Iterator[Child[bytes]]:
    """Push what prints lines, waits for the test, and prints more; give it when it waits."""
    gate = GATE.format(box.root)
    box.app(files={".salt/10_a.sls": LINES, ".salt/20_gate.sls": gate, ".salt/30_b.sls": LINES})
    push = box.work().start_push()
    until(lambda: box.exists(1) and "install 10_a" in box.log(1))
    yield push
    (box.root / "gate").touch()
    assert push.wait(60) == 0
    box.ended(1)


def head(web: Web, *headers: str, query: str = "", token: str = "") -> bytes:
    """Return a request for the log, answered without chunks."""
    lines = [f"GET {PATH}{query} HTTP/1.0", f"Authorization: Bearer {token or web.token('read')}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


async def told(web: Web, request: bytes, begun: Callable[[], None] = lambda: None) -> str:
    """Send a request; return the body of its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
    writer.write(request)
    status = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
    begun()
    body = await reader.read()
    writer.close()
    assert status == b"200", body
    return body.decode()


def files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def established(port: int) -> int:
    """Return how many connections a server on loopback has."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[1].endswith(f":{port:04X}") and line[3] == "01" for line in lines)


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_a_thousand_read_one_log_that_is_followed_once(box: Box) -> None:
    with serving(box) as web, pushing(box):
        assert box.daemon
        before, begun = files(box.daemon.pid), list[int]()

        async def all_of_them() -> list[str]:
            readers = [told(web, head(web), lambda: begun.append(1)) for _ in range(MANY)]
            tasks = [asyncio.ensure_future(each) for each in readers]
            while len(begun) < MANY:
                await asyncio.sleep(0.05)
            assert box.daemon
            at_work = files(box.daemon.pid)
            (box.root / "gate").touch()
            found = await asyncio.gather(*tasks)
            assert at_work - before < 6
            return found

        texts = asyncio.run(all_of_them())
    assert set(texts) == {corpus(box, "log", "hello", "1").stdout.decode()} and len(texts) == MANY


def test_who_takes_nothing_slows_nobody(box: Box) -> None:
    with serving(box) as web, pushing(box), closing(socket.socket()) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        stalled.connect(("127.0.0.1", web.port))
        stalled.sendall(head(web))
        stalled.recv(1)
        (box.root / "gate").touch()
        text = asyncio.run(told(web, head(web)))
        assert text == corpus(box, "log", "hello", "1").stdout.decode()


def test_who_falls_behind_gets_the_rest_too(box: Box) -> None:
    """The feed keeps next to nothing here, so that each reader has to ask for itself again and again."""
    with serving(box, fanout_RING=1000, fanout_PARCEL=500, fanout_PROMPT=-1.0) as web, pushing(box):

        async def some() -> list[str]:
            tasks = [asyncio.ensure_future(told(web, head(web))) for _ in range(5)]
            await asyncio.sleep(0)
            (box.root / "gate").touch()
            return await asyncio.gather(*tasks)

        assert set(asyncio.run(some())) == {corpus(box, "log", "hello", "1").stdout.decode()}


def test_the_log_goes_on_for_others_where_one_may_no_longer_read_it(box: Box) -> None:
    with serving(box, fanout_AGAIN=0.2) as web, pushing(box):

        async def both() -> tuple[str, str]:
            reads = asyncio.Event()  # it is the one with whose token the log is followed
            first = asyncio.ensure_future(told(web, head(web, token=web.token("read", name="leaves")), reads.set))
            await reads.wait()
            other = asyncio.ensure_future(told(web, head(web)))
            history = box.history
            Tokens(history).revoke("leaves")
            history.close()
            refused = await first
            (box.root / "gate").touch()
            return refused, await other

        refused, text = asyncio.run(both())
        assert refused.splitlines()[-1] == "error: invalid token: unknown, revoked or expired"
        assert text == corpus(box, "log", "hello", "1").stdout.decode()


@pytest.mark.parametrize("begin", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-"])
def test_a_head_that_does_not_come_is_cut(box: Box, begin: bytes) -> None:
    with serving(box, server_HEAD=0.3) as web, socket.create_connection(("127.0.0.1", web.port), timeout=60) as link:
        link.sendall(begin)
        with pytest.raises(ConnectionResetError):
            if not link.recv(100):
                raise ConnectionResetError
        assert web.ask("GET", "/sign-in").status == 200


def test_a_client_that_stalls_is_cut(box: Box) -> None:
    long = "long:\n  cmd.run:\n    - name: seq 1000000 1060000\n"
    files = {f".salt/{each}_long.sls": long for each in range(10, 34)}  # more than the buffers of the kernel take
    box.app(files={**files})
    assert box.work().push().code == 0
    box.ended(1)
    with serving(box, server_SLOW=0.3) as web, closing(socket.socket()) as stalled:
        request = head(web)
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        stalled.connect(("127.0.0.1", web.port))
        stalled.sendall(request)
        assert stalled.recv(1)
        assert established(web.port) == 1
        until(lambda: not established(web.port))
