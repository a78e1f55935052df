"""An SLS as it runs: one that takes long is shown state by state, with what its commands write. Values only.

A quick one is shown at its end, in a line.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from corpushooks import view
from corpushooks.sls import Result, State
from corpushooks.text import shortened

QUICK = 2.0  # seconds that an SLS may take before it is shown as it goes
HELD, OUTPUT, COLUMNS = 12, 12, 160  # lines of a command: kept until shown, shown of one state, their length
LINE = 1 << 16  # bytes of a line that are looked at

Key = tuple[str, str, str]


@dataclass
class Showing:
    """What is shown of one SLS; `write` takes lines, `hide` takes secrets out of what commands write."""

    write: Callable[[str], None]
    label: str
    hide: Callable[[str], str] = str
    quick: float = QUICK
    shown: bool = False  # its label stands there, and states below it
    _began: float = field(default_factory=time.monotonic)
    _seen: Counter[str] = field(default_factory=Counter)  # states, by what became of them
    _told: set[Key] = field(default_factory=set)
    _states: list[State] = field(default_factory=list)  # not shown yet
    _lines: deque[str] = field(default_factory=lambda: deque(maxlen=HELD))
    _last: bytes = b""  # the last line that the command which runs wrote
    _part: bytes = b""  # of a line of output
    _count: int = 0  # lines of output of the state that runs

    def state(self, state: State) -> None:
        """Hear that a state ended."""
        self._states.append(state)
        self._advance()
        self._lines.clear()
        self._part, self._count, self._last = b"", 0, b""

    def output(self, data: bytes) -> None:
        """Hear what a command wrote."""
        *whole, self._part = (self._part + data).split(b"\n")
        for line in whole:
            self._count += 1
            self._last = line.rstrip(b"\r").rpartition(b"\r")[2]  # of a line that was rewritten
            if self._count == OUTPUT:
                self._lines.append("… more")
            elif self._count < OUTPUT:
                self._lines.append(shortened(self.last(), COLUMNS))
        self._part = self._part[:LINE]
        self._advance()

    def last(self) -> str:
        """Return the last line that the command which runs has written, without secrets."""
        return self.hide(self._last[:LINE].decode("utf-8", "replace"))

    def _advance(self) -> None:
        """Show what is known, where the SLS takes long."""
        if not self.label or time.monotonic() - self._began < self.quick:
            return
        if not self.shown:
            self.shown = True
            self.write(view.row(self.label, "", None))
        for state in self._states:
            self._tell(state)
        self._states.clear()
        while self._lines:
            self.write(f"          {self._lines.popleft()}")

    def _tell(self, state: State) -> None:
        self._told.add(_key(state))
        for line in view.state(state, self._seen):
            self.write(line)

    def end(self, result: Result) -> None:
        """Show what is not shown yet, and what came of it all."""
        took = time.monotonic() - self._began
        if self.shown:
            for state in result.states:
                if _key(state) not in self._told:
                    self._tell(state)
            changed = () if result.ok else view.diffs(result.states)
            for line in (*changed, *view.errors(result), *view.more(self._seen)):
                self.write(line)
        if result.ok and self.label:
            label = view.part_of(self.label) if self.shown else self.label
            self.write(view.row(label, view.summary(result), took))
        elif not result.ok and not self.shown:
            for line in (
                *([view.row(self.label, "", None)] if self.label else []),
                *view.errors(result),
                *view.states(result),
            ):
                self.write(line)


def _key(state: State) -> Key:
    return state.id, state.function, state.name
