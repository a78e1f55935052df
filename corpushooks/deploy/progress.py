"""An SLS as it runs: its states and the output of its commands, as events. Values only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from corpushooks.core.events import Event, Output, SlsBegan, SlsEnded, StateEnded
from corpushooks.core.text import lines, shortened
from corpushooks.salt import Result, State

OUTPUT, COLUMNS = 12, 160  # lines of output shown per state, and their length
LINE = 1 << 16  # bytes kept of a line

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Mark:
    """The place of a step in its procedure, as in [4/8]."""

    index: int = 0
    total: int = 0


NOWHERE = Mark()


@dataclass
class Progress:
    """Reports one SLS from its beginning to its end; `hide` redacts the output of its commands."""

    tell: Callable[[Event], None]
    began: SlsBegan
    hide: Callable[[str], str] = str
    _start: float = field(default_factory=time.monotonic)
    _told: set[Key] = field(default_factory=set)
    _last: bytes = b""  # the last line of the running command
    _part: bytes = b""  # of a line of output
    _count: int = 0  # lines of output of the running state

    def __post_init__(self) -> None:
        self.tell(self.began)

    def state(self, state: State) -> None:
        """Report that a state ended."""
        self._told.add(_key(state))
        self.tell(told(state))
        self._part, self._count, self._last = b"", 0, b""

    def output(self, data: bytes) -> None:
        """Report output of a command."""
        *whole, self._part = (self._part + data).split(b"\n")
        for line in whole:
            self._count += 1
            self._last = line.rstrip(b"\r").rpartition(b"\r")[2]  # after the last carriage return
            if self._count <= OUTPUT:
                self.tell(Output("… more" if self._count == OUTPUT else shortened(self.last(), COLUMNS)))
        self._part = self._part[:LINE]

    def last(self) -> str:
        """Return the last line of the running command, redacted."""
        return self.hide(self._last[:LINE].decode("utf-8", "replace"))

    def end(self, result: Result, command: str = "") -> None:
        """Report the remaining states and the result; `command` runs the SLS again by hand."""
        for state in result.states:
            if _key(state) not in self._told:
                self.state(state)
        self.tell(ended(self.began, result, time.monotonic() - self._start, command))


def ended(began: SlsBegan, result: Result, seconds: float | None = None, command: str = "") -> SlsEnded:
    """Return the end of an SLS as an event."""
    changed = sum(bool(state.changes) for state in result.states)
    return SlsEnded(
        began.sls, began.role, result.ok, len(result.states), changed, result.errors, seconds, command
    )  # fmt: skip


def told(state: State, doubt: str = "") -> StateEnded:
    """Return a state as an event; in a plan one that mentions the path `doubt` is uncertain: it saw the old tree."""
    code = state.changes.get("retcode")
    return StateEnded(
        state.id, state.function, state.result, state.name, bool(state.changes), state.skipped,
        _displayed(state.comment), _displayed(diff(state.changes)), _displayed(command_output(state.changes)),
        code if isinstance(code, int) and not isinstance(code, bool) else None, round(state.seconds, 3),
        state.sls, state.line, bool(doubt) and doubt in f"{state.name} {state.comment} {state.changes}",
    )  # fmt: skip


def _displayed(text: str) -> str:
    """Return a text with each line as a terminal would show it in the end."""
    return "\n".join(lines(text))


def diff(changes: Mapping[str, Any]) -> str:
    """Return the diff of a file, or of each of several, if a state reports one."""
    if text := changes.get("diff"):
        return str(text)
    each = {path: one["diff"] for path, one in changes.items() if isinstance(one, Mapping) and "diff" in one}
    return "\n".join(f"{path}\n{text}".rstrip() for path, text in each.items())


def command_output(changes: Mapping[str, Any]) -> str:
    """Return the output of a command, as cmd.run reports it."""
    parts = [str(changes[key]) for key in ("stdout", "stderr") if changes.get(key)]
    return "\n".join(parts)


def _key(state: State) -> Key:
    return state.id, state.function, state.name
