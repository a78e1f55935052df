"""Each running deployment is followed once, whatever the number of its readers.

A feed keeps the newest events of one log; a reader has only an offset into it. A reader that asks for earlier ones, or
is too slow and fell behind, reads those from the daemon, in its turn and as slowly as it likes: it slows nobody.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from corpushooks.core.errors import BusyError, CorpusError, NoDaemonError
from corpushooks.web.relay import Relay, Said, ended

PATIENCE, PAUSE = 60, 0.5  # how often a daemon is asked for the rest, and seconds between
AGAIN = 5.0  # seconds between checks that readers still have the right
RING = 2 << 20  # characters of events that a feed keeps
PARCEL = 1 << 16  # characters of events that a reader gets at once
TURNS = 16  # conversations that readers together have with the daemon, besides the feeds
PACE = 0.05  # seconds between two times that readers are woken: a log that grows fast costs little for each of many
PROMPT = 1.0  # seconds for a parcel to be taken, after which a reader gives its turn away


@dataclass(frozen=True)
class Event:
    """An event of a log: where it ends, its lines, and the whole as JSON."""

    offset: int
    text: str
    data: str

    @classmethod
    def of(cls, said: Said) -> Event:
        return cls(said["offset"], said["event"]["text"], json.dumps(said["event"]))


@dataclass(frozen=True)
class Log:
    """A log, as one can read it."""

    project: str
    number: int
    whole: bool = True

    @property
    def asked(self) -> dict[str, Any]:
        return {"project": self.project, "number": self.number}


async def heard(relay: Relay, wanted: dict[str, Any], token: str) -> AsyncGenerator[Said, None]:
    """Yield what is said of a deployment to the end of its log, by as many daemons as it takes, and last its result.

    The daemon's answer ends with the outcome; what comes after that in the log is asked for again, until nothing does.
    """
    failures, begun = 0, False
    while True:
        seen, result = False, None
        try:
            async with relay.conversation("log", wanted, token) as said:
                async for each in said:
                    begun = True
                    result = each if "result" in each else None
                    if "event" in each:
                        seen, failures, wanted = True, 0, {**wanted, "offset": each["offset"]}
                        yield each
        except NoDaemonError:
            if not begun:
                raise
        if result and not seen:
            yield result
            return
        if not result:
            failures += 1
            if failures > PATIENCE:
                raise ended()
            await asyncio.sleep(PAUSE)


@dataclass
class Feed:
    """The newest events of a log, followed with the token of one of its readers."""

    relay: Relay
    log: Log
    start: int = 0  # the offset before the first event that is kept
    events: list[Event] = field(default_factory=list)
    size: int = 0
    result: dict[str, Any] | None = None
    failed: CorpusError | None = None
    over: bool = False  # it follows the log no more
    readers: Counter[str] = field(default_factory=Counter)  # by token
    refused: dict[str, CorpusError] = field(default_factory=dict)
    _more: asyncio.Event = field(default_factory=asyncio.Event)
    _told: float = 0.0
    _due: asyncio.TimerHandle | None = None

    @property
    def end(self) -> int:
        return self.events[-1].offset if self.events else self.start

    def has(self, offset: int) -> bool:
        """Say whether one can go on here: an event ends at the offset, and what follows is kept."""
        place = bisect.bisect_left(self.events, offset, key=attrgetter("offset"))
        return offset == self.start or (place < len(self.events) and self.events[place].offset == offset)

    async def after(self, offset: int, token: str) -> AsyncGenerator[list[Event], None]:
        """Yield events as they come, to the end of the log, or until they are no longer kept; raise what refuses."""
        while self.start <= offset:
            if token in self.refused:
                raise self.refused[token]
            more = self._more
            if found := self._some(offset):
                offset = found[-1].offset
                yield found
            elif self.failed:
                raise self.failed
            elif self.result is not None:
                return
            else:
                await more.wait()

    def _some(self, offset: int) -> list[Event]:
        found, size = [], 0
        for each in self.events[bisect.bisect_right(self.events, offset, key=attrgetter("offset")) :]:
            found.append(each)
            size += len(each.data)
            if size > PARCEL:
                break
        return found

    def enter(self, token: str) -> None:
        """Count a reader."""
        self.refused.pop(token, None)
        self.readers[token] += 1

    def leave(self, token: str) -> None:
        """Count a reader less."""
        self.readers[token] -= 1
        self.readers = +self.readers

    async def run(self) -> None:
        """Follow the log, with the tokens of those who read it."""
        await asyncio.sleep(0)  # whoever opens it is a reader by then
        judge = asyncio.ensure_future(self._judge())
        try:
            while self.result is None:
                token = next((each for each in self.readers if each not in self.refused), None)
                if token is None:
                    return
                await self._follow(token)
        except NoDaemonError as exc:
            self.failed = exc
        finally:
            judge.cancel()
            self.over = True
            if self.result is None and self.failed is None:
                self.failed = ended()
            self._tell()

    async def _follow(self, token: str) -> None:
        wanted = {**self.log.asked, "whole": self.log.whole, "events": True, "offset": self.end}
        try:
            async with contextlib.aclosing(heard(self.relay, wanted, token)) as said:
                async for each in said:
                    self._keep(each)
        except NoDaemonError:
            raise
        except BusyError:  # as many as this reader may have with the daemon are in use: another has a turn
            self.readers[token] = self.readers.pop(token, 0)
            await asyncio.sleep(PAUSE)
        except CorpusError as exc:
            self._refuse(token, exc)

    async def _judge(self) -> None:
        """See again and again that who reads still has the right."""
        while True:
            await asyncio.sleep(AGAIN)
            for token in list(self.readers):
                try:
                    await self.relay.ask("deployment", self.log.asked, token)
                except (NoDaemonError, BusyError):
                    continue
                except CorpusError as exc:
                    self._refuse(token, exc)

    def _refuse(self, token: str, exc: CorpusError) -> None:
        self.refused[token] = exc
        self._tell()

    def _keep(self, said: Said) -> None:
        if "event" in said:
            event = Event.of(said)
            self.events.append(event)
            self.size += len(event.data)
            if self.size > 2 * RING:
                self._drop()
            self._tell_soon()
        else:
            self.result = said["result"]
            self._tell()

    def _drop(self) -> None:
        """Keep the newest events only."""
        count = 0
        while self.size > RING and count < len(self.events) - 1:
            self.size -= len(self.events[count].data)
            count += 1
        self.start = self.events[count - 1].offset
        del self.events[:count]

    def _tell_soon(self) -> None:
        """Wake the readers: at once, or where that was a moment ago, in a moment."""
        if self._due is None:
            wait = max(0.0, self._told + PACE - time.monotonic())
            self._due = asyncio.get_running_loop().call_later(wait, self._tell)

    def _tell(self) -> None:
        if self._due:
            self._due.cancel()
        self._due, self._told = None, time.monotonic()
        self._more.set()
        self._more = asyncio.Event()


Found = list[Event] | dict[str, Any]  # events of a log, and last its deployment


@dataclass
class Turn:
    """A turn of a reader, with its conversation; both end where the reader takes too long for what it got."""

    turns: asyncio.Semaphore
    said: AsyncGenerator[Said, None]
    _due: asyncio.TimerHandle | None = None
    _ending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        await self.turns.acquire()

    async def __aexit__(self, *_: object) -> None:
        if self._due:
            self._due.cancel()
        await asyncio.shield(self._ending or self._end())

    def hurry(self) -> None:
        """End the turn if it does not go on soon."""
        self._due = asyncio.get_running_loop().call_later(PROMPT, self._end)

    def goes_on(self) -> bool:
        """Say whether the turn goes on."""
        assert self._due
        self._due.cancel()
        return self._ending is None and asyncio.get_running_loop().time() < self._due.when()

    def _end(self) -> asyncio.Task[None]:
        self._ending = asyncio.ensure_future(self._leave())
        return self._ending

    async def _leave(self) -> None:
        try:
            await self.said.aclose()
        finally:
            self.turns.release()


@dataclass
class Hub:
    """The feeds of the deployments that run, and who reads them."""

    relay: Relay
    _feeds: dict[Log, Feed] = field(default_factory=dict)
    _runs: dict[Log, asyncio.Task[None]] = field(default_factory=dict)
    _asked: dict[tuple[Log, str], asyncio.Task[Any]] = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(TURNS))

    async def read(self, wanted: dict[str, Any], token: str) -> AsyncGenerator[Found, None]:
        """Yield the events of a log from an offset on, and last the deployment; raise what the daemon answers."""
        if wanted.get("node"):  # it is asked for each reader: few read that
            async with contextlib.aclosing(heard(self.relay, wanted, token)) as said:
                async for each in said:
                    yield [Event.of(each)] if "event" in each else each["result"]
            return
        offset, follow = wanted.get("offset", 0), wanted.get("follow", True)
        log = Log(wanted["project"], wanted.get("number", 0), wanted.get("whole", True))
        now = await self._judged(log, token)
        log = Log(log.project, now["number"], log.whole)
        runs, known = follow and now["ended"] is None, False
        while True:
            with self._reading(log, token) if runs else contextlib.nullcontext(Feed(self.relay, log, -1)) as feed:
                if feed.start <= offset if known else feed.has(offset):
                    async for events in feed.after(offset, token):
                        offset = events[-1].offset
                        yield events
                    if feed.result is not None and offset >= feed.end:
                        yield feed.result
                        return
                async with contextlib.aclosing(self._behind(log, offset, token)) as behind:
                    async for found in behind:
                        if isinstance(found, dict):
                            if not follow or found["ended"] is not None:
                                yield found
                                return
                        else:
                            offset = found[-1].offset
                            yield found
                known = runs = True

    async def _judged(self, log: Log, token: str) -> Any:
        """Return the deployment, if the daemon says that it may be read; who asks the same meanwhile gets the same."""
        key = (log, token)
        if key not in self._asked:
            self._asked[key] = asyncio.ensure_future(self._ask(log, token))
            self._asked[key].add_done_callback(lambda _: self._asked.pop(key))
        return await asyncio.shield(self._asked[key])

    async def _ask(self, log: Log, token: str) -> Any:
        async with self._turns:
            return await self.relay.ask("deployment", log.asked, token)

    async def _behind(self, log: Log, offset: int, token: str) -> AsyncGenerator[Found, None]:
        """Yield what is there by now, and last the deployment; a reader that is slow gives its turn away."""
        wanted = {**log.asked, "whole": log.whole, "events": True, "follow": False}
        slow = True
        while slow:
            slow, found, size = False, list[Event](), 0
            turn = Turn(self._turns, heard(self.relay, {**wanted, "offset": offset}, token))
            async with turn:
                async for each in turn.said:
                    if "result" in each:
                        break
                    found.append(Event.of(each))
                    size += len(found[-1].data)
                    if size > PARCEL:
                        offset = found[-1].offset
                        turn.hurry()
                        yield found
                        found, size = [], 0
                        if slow := not turn.goes_on():
                            break
        if found:
            yield found
        yield each["result"]

    @contextlib.contextmanager
    def _reading(self, log: Log, token: str) -> Iterator[Feed]:
        """Give the feed of a log, which goes on for as long as it has readers."""
        feed = self._feeds.get(log)
        if feed is None or (feed.over and feed.result is None):  # one that ended early tells nothing more
            feed = self._feeds[log] = Feed(self.relay, log)
            self._runs[log] = asyncio.ensure_future(feed.run())
        feed.enter(token)
        try:
            yield feed
        finally:
            feed.leave(token)
            if not feed.readers and self._feeds.get(log) is feed:
                self._runs.pop(log).cancel()
                del self._feeds[log]
