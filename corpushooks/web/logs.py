"""The log of a deployment as it grows: as text, as JSON lines, or as server-sent events.

The id of an event is its offset in the log, so that a client that reconnects continues where it was, also
after a restart of the daemon or of this process. One that takes nothing for a while is cut (`server`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from corpushooks.core.errors import CorpusError, UsageError
from corpushooks.web.fanout import Event, Found, Hub

BEAT = 10.0  # seconds of silence until we see whether the client is still there
FIRST = 0.5  # seconds to wait for a first line, or a refusal
CHUNK = 1 << 16  # characters that are sent at once
DIGITS = 19  # of an offset, at most
RETRY = 1000  # milliseconds until a browser comes again


@dataclass(frozen=True)
class Format:
    """How a log is written: an event, why it breaks off, its end, and what says that we are still there."""

    media: str
    event: Callable[[Event], str]
    refused: Callable[[str], str]
    end: Callable[[Any], str] = lambda value: ""
    begin: str = ""
    beat: str = ""


def _text(event: Event) -> str:
    return f"{event.text}\n" if event.text else ""


def _sent(event: Event) -> str:
    return f"id: {event.offset}\nevent: log\ndata: {event.data}\n\n"


def _named(name: str, value: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"


FORMATS = {
    each.media: each
    for each in (
        Format("text/plain", _text, lambda text: f"error: {text}\n"),
        Format(
            "application/jsonl", lambda event: event.data + "\n",
            lambda text: json.dumps({"error": text}) + "\n",
        ),
        Format(
            "text/event-stream", _sent, lambda text: _named("refused", {"detail": text}),
            lambda value: _named("end", value),
            begin=f"retry: {RETRY}\n\n", beat=": \n\n",
        ),
    )
}  # fmt: skip


def format_of(request: Request) -> Format:
    """Return the format that a client accepts; text where it says nothing that is known."""
    wanted = [each.partition(";")[0].strip() for each in request.headers.get("accept", "").split(",")]
    return next((FORMATS[each] for each in wanted if each in FORMATS), FORMATS["text/plain"])


def offset_of(request: Request, offset: int) -> int:
    """Return how far a client that comes again has read; raise UsageError."""
    last = request.headers.get("last-event-id", "")
    if not last:
        return offset
    if not (last.isascii() and last.isdigit() and len(last) < DIGITS):
        raise UsageError("the header Last-Event-ID is not an offset of this log")
    return max(offset, int(last))


class Stream(StreamingResponse):
    """A stream that leaves what it reads when it ends, however that comes."""

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        finally:
            if isinstance(self.body_iterator, AsyncGenerator):
                await self.body_iterator.aclose()


async def stream(request: Request, hub: Hub, asked: dict[str, Any], token: str) -> Response:
    """Answer with a log from an offset on, to its end; raise what the daemon answers at once."""
    form = format_of(request)
    wanted = {"whole": True, **asked, "events": True, "offset": offset_of(request, asked.get("offset", 0))}
    said = hub.read(wanted, token)
    first = asyncio.ensure_future(_next(said))
    try:
        await asyncio.wait({first}, timeout=FIRST)
        if first.done():
            first.result()
    except BaseException:
        await _leave(said, first)
        raise
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(_parts(request, form, said, first), media_type=form.media, headers=headers)


async def _next(said: AsyncGenerator[Found, None]) -> Found | None:
    return await anext(said, None)


async def _leave(said: AsyncGenerator[Found, None], task: asyncio.Task[Found | None]) -> None:
    task.cancel()
    await asyncio.wait({task})
    await said.aclose()


async def _parts(
    request: Request, form: Format, said: AsyncGenerator[Found, None], task: asyncio.Task[Found | None]
) -> AsyncIterator[str]:
    """Yield a log piece by piece."""
    try:
        yield form.begin
        while True:
            await asyncio.wait({task}, timeout=BEAT)
            if not task.done():
                if await request.is_disconnected():
                    return
                yield form.beat
                continue
            each = task.result()
            if each is None:
                return
            text = form.end(each) if isinstance(each, dict) else "".join(map(form.event, each))
            for begin in range(0, len(text), CHUNK):
                yield text[begin : begin + CHUNK]
            if await request.is_disconnected():
                return
            task = asyncio.ensure_future(_next(said))
    except CorpusError as exc:  # the token was revoked meanwhile, say: it is too late for a status
        yield form.refused(exc.message)
    finally:
        await _leave(said, task)
