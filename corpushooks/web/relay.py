"""One question to the daemon, with the token of the request: the only way to it from here."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from corpushooks.core.errors import NoDaemonError
from corpushooks.core.project import Host
from corpushooks.protocol.answers import request, understood
from corpushooks.protocol.client import LINE_LIMIT, complaint, connect

Said = dict[str, Any]
ORIGIN: ContextVar[str] = ContextVar("origin", default="")  # the address of who asks, in the task of a request


@dataclass(frozen=True)
class Relay:
    """The daemon of a host, as somebody with a token can ask it."""

    host: Host

    @asynccontextmanager
    async def conversation(self, name: str, asked: dict[str, Any], token: str) -> AsyncIterator[AsyncIterator[Said]]:
        """Ask for an operation; give what is said. An error that the daemon answers is raised, as is its absence."""
        link = await asyncio.to_thread(connect, self.host)
        link.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=link, limit=LINE_LIMIT)
        try:
            # a token is always presented, be it an empty one: without any the daemon would believe our account
            writer.write(
                json.dumps({**request(name, asked), "bearer": token, "came_from": ORIGIN.get()}).encode() + b"\n"
            )
            with contextlib.suppress(OSError):  # what it says before it closes is read
                await writer.drain()
            yield _said(reader)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def ask(self, name: str, asked: dict[str, Any], token: str) -> Any:
        """Ask for an operation that needs no conversation; return the value that it gives."""
        async with self.conversation(name, asked, token) as said:
            async for each in said:
                if "result" in each:
                    return each["result"].get("value", each["result"])
        raise ended()

    async def begin(self, name: str, asked: dict[str, Any], token: str) -> tuple[int, list[str]]:
        """Ask for an operation; return the number of its deployment, which goes on by itself, or 0 and what it says."""
        async with self.conversation(name, asked, token) as said:
            async for each in said:
                if "number" in each:
                    return int(each["number"]), []
                if "result" in each:
                    return 0, list(each["result"].get("lines", []))
        raise ended()


async def _said(reader: asyncio.StreamReader) -> AsyncIterator[Said]:
    while True:
        try:
            line = await reader.readline()
            said = json.loads(line) if line.endswith(b"\n") else None
        except (OSError, ValueError, RecursionError):
            said = None
        if said is None or not understood(said):
            return
        if "error" in said:
            raise complaint(said)
        yield said


def ended() -> NoDaemonError:
    """Return what is said where the daemon went away before its answer."""
    return NoDaemonError("the daemon ended the connection", hint="ask again")
