"""The turns of readers of a log that is not followed: a reader that takes nothing keeps none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from corpushooks.web import fanout
from corpushooks.web.fanout import Hub, Log

COUNT = 50


async def said(relay: Any, wanted: dict[str, Any], token: str) -> AsyncGenerator[dict[str, Any], None]:
    """Tell of a log in the daemon's stead."""
    for number in range(wanted["offset"] + 1, COUNT + 1):
        yield {"event": {"text": f"line {number}"}, "offset": number}
    yield {"result": {"ended": 1.0}}


def test_who_takes_nothing_gives_the_turn_away_and_goes_on_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "heard", said)
    monkeypatch.setattr(fanout, "PARCEL", 100)
    monkeypatch.setattr(fanout, "PROMPT", 0.01)

    async def read() -> None:
        hub = Hub(relay=None, _turns=asyncio.Semaphore(1))  # type: ignore[arg-type]
        slow = hub._behind(Log("hello", 1), 0, "t")
        offsets = [each.offset for each in await anext(slow) if isinstance(each, fanout.Event)]
        async with asyncio.timeout(30):  # for ever, if the slow one keeps the only turn
            quick = [each async for each in hub._behind(Log("hello", 1), 0, "t")]
        assert quick[-1] == {"ended": 1.0}
        async for found in slow:
            offsets += [each.offset for each in found if isinstance(each, fanout.Event)]
        assert offsets == list(range(1, COUNT + 1))
        assert not hub._turns.locked()

    asyncio.run(read())


def test_who_leaves_in_a_turn_gives_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "heard", said)
    monkeypatch.setattr(fanout, "PARCEL", 100)

    async def read() -> None:
        hub = Hub(relay=None, _turns=asyncio.Semaphore(1))  # type: ignore[arg-type]
        for _ in range(3):
            reader = hub._behind(Log("hello", 1), 0, "t")
            await anext(reader)
            await reader.aclose()
        assert not hub._turns.locked()

    asyncio.run(read())
