"""Reads the log of a node, part by part, by the number of the rollout that it belongs to.

What a node says is data: its texts are cleaned and shortened as those of a log of our own, a record that is no event
is shown as a line that cannot be read, and there is a limit to how many there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from corpushooks.core import records
from corpushooks.core.errors import UnreachableError
from corpushooks.core.events import Recorded
from corpushooks.core.redaction import Redactor
from corpushooks.protocol import gives
from corpushooks.store import log

MOST = 500_000  # records of one log
ROOM = 64 << 20  # characters of one log
WAIT = 0.5  # seconds that a node waits with its answer while there is nothing new
BIG = 1 << 60

Ask = Callable[[Mapping[str, Any]], Mapping[str, Any]]  # asks a node for a part: from which offset, how long to wait


@dataclass(frozen=True)
class Part:
    """Some records of a log; `ended`: none follow."""

    records: tuple[Recorded, ...]
    ended: bool
    size: int = 0  # characters


def parts(ask: Ask, *, follow: bool) -> Iterator[Part]:
    """Yield the log of a node up to its end, or, unless it is followed, what there is of it; raise UnreachableError.

    How long that may take is up to `ask`, which raises to end it.
    """
    offset, left, room = 0, MOST, ROOM
    while True:
        began = time.monotonic()
        said = understood(ask({"offset": offset, "wait": WAIT if follow else 0.0}), offset)
        yield said
        left, room = left - len(said.records), room - said.size
        if said.ended or not (said.records or follow):
            return
        if left <= 0:
            raise UnreachableError(f"its log has more than {MOST} lines")
        if room <= 0:
            raise UnreachableError(f"its log has more than {ROOM} characters")
        if not said.records:
            time.sleep(max(0.0, began + WAIT - time.monotonic()))  # it did not wait
        offset = said.records[-1].offset if said.records else offset


def understood(said: Any, offset: int) -> Part:
    """Return a part of a log, after an offset, as it can be shown; raise UnreachableError."""
    try:
        found = records.typed(said, gives.LogPart)
    except ValueError:
        raise UnreachableError("its answer is not understood") from None
    kept: list[Recorded] = []
    plain, size = Redactor(), 0  # a node has removed its secrets
    for each in found.records:
        at = each.pop("offset", None)
        if type(at) is not int or not offset < at < BIG:
            raise UnreachableError("its answer is not understood")
        offset = at
        record = log.safe(each, plain) if _is_small(each) else None
        size += len(repr(record))
        kept.append(log.recorded(record, offset))
    return Part(tuple(kept), found.ended, size)


def _is_small(value: Any, depth: int = 8) -> bool:
    """Return whether the numbers in a record can be shown, and it is not too deep."""
    if isinstance(value, dict):
        return depth > 0 and all(_is_small(each, depth - 1) for each in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_is_small(each, depth - 1) for each in value)
    return not isinstance(value, (int, float)) or abs(value) < BIG
