"""Turn the events of a log into lines.

A Screen gets the events of one log from the first on. A slow SLS is shown while it runs, state by state; a quick one in
one line at its end. The times of its events decide which of the two, so that the same log always gives the same lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from corpushooks.core.events import (
    BackedUp,
    Began,
    Complained,
    Cut,
    Drilled,
    HealthAsked,
    Held,
    Listed,
    NodeCame,
    NodesDid,
    Noted,
    Output,
    Recorded,
    SlsBegan,
    SlsEnded,
    StateEnded,
    StepBegan,
    StepEnded,
    SuiteEnded,
    Text,
    Traced,
    UnitRestarted,
    Verdict,
    Warned,
    as_record,
)
from corpushooks.core.text import shortened
from corpushooks.screen import rows, words
from corpushooks.screen import states as sls
from corpushooks.screen.rows import BOTH, TERMINAL, WHOLE, Line, aside, both, row

QUICK = 2.0  # seconds after which an SLS is shown while it runs


@dataclass(frozen=True)
class Shown:
    """An event with its lines."""

    record: Recorded
    lines: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs: the time, the event with its fields, and the text for people."""
        data = as_record(self.record.event)
        return {"at": self.record.at, "text": "\n".join(self.lines), "event": data.pop("event"), "data": data}


@dataclass
class _Sls:
    """The running SLS: what was shown of it, and what was not yet."""

    began: SlsBegan
    at: float
    shown: bool = False  # its label and states below it
    seen: Counter[str] = field(default_factory=Counter)  # states by result
    states: list[StateEnded] = field(default_factory=list)
    waiting: list[StateEnded | str] = field(default_factory=list)  # states, and output of the running one

    @property
    def label(self) -> str:
        """Its label; empty if only its failures are shown."""
        one = self.began
        labels = {
            "install": rows.step_label(one.index, one.total, "install", one.sls, first=one.first),
            "again": f"      again: {one.sls}",
            "task": f"task {one.sls.removeprefix('task_')}",
            "plan": f"      install {one.sls}",
        }
        return labels.get(one.role, "")


@dataclass
class Screen:
    """Turns the events of a log into lines, for the whole log or for the terminal of a push."""

    whole: bool = False
    quick: float = QUICK
    _sls: _Sls | None = None

    def lines(self, record: Recorded) -> list[str]:
        """Return the lines of the next event."""
        found: list[Line] = SHOWN[type(record.event)](self, record)
        wanted = (BOTH, WHOLE if self.whole else TERMINAL)
        return [line.text for line in found if line.readers in wanted]

    def began(self, record: Recorded, event: SlsBegan) -> list[Line]:
        self._sls = _Sls(event, record.at)
        return []

    def state(self, record: Recorded, event: StateEnded) -> list[Line]:
        if self._sls is None:
            return []
        self._sls.states.append(event)
        return self._advance(record, event)

    def output(self, record: Recorded, event: Output) -> list[Line]:
        return self._advance(record, event.text) if self._sls else []

    def _advance(self, record: Recorded, new: StateEnded | str) -> list[Line]:
        """Show the progress of a slow SLS."""
        assert self._sls is not None
        now = self._sls
        if isinstance(new, StateEnded):
            now.waiting = [one for one in now.waiting if isinstance(one, StateEnded)]  # its output is in its failure
        now.waiting.append(new)
        if not now.label or now.began.role == "plan" or record.at - now.at < self.quick:
            return []
        label = [] if now.shown else [row(now.label, "", None)]
        now.shown = True
        texts = [text for one in now.waiting for text in self._told(one)]
        now.waiting.clear()
        return both([*label, *texts])

    def _told(self, one: StateEnded | str) -> list[str]:
        assert self._sls is not None
        return [f"          {one}"] if isinstance(one, str) else sls.state(one, self._sls.seen)

    def ended(self, record: Recorded, event: SlsEnded) -> list[Line]:
        """Show the rest of an SLS, and its result."""
        now, self._sls = self._sls or _Sls(SlsBegan(event.sls, event.role), record.at), None
        lines = both(_end(now, event))
        if event.ok and not event.states and event.role != "plan":
            lines += aside(f"        warning: {event.sls}.sls is empty")
        lines += aside(*sls.all_states(now.states))
        if event.command:
            lines += aside(f"        by hand: {event.command}")
        if event.role == "task" and event.ok:
            lines += both([text for one in now.states for text in rows.indent(rows.cut(one.output), 8)])
        return lines


def _end(now: _Sls, event: SlsEnded) -> list[str]:
    """Return the rest of an SLS that ended."""
    if event.role == "plan":
        head = row(now.label, sls.summary(event), None)
        return [head, *sls.errors(event), *sls.states(now.states, test=True, diffs=not event.ok)]
    if now.shown:
        late = [text for one in now.waiting if isinstance(one, StateEnded) for text in sls.state(one, now.seen)]
        changed = [] if event.ok else sls.changes(now.states)
        texts = [*late, *changed, *sls.errors(event), *sls.more(now.seen)]
    elif event.ok:
        texts = []
    else:
        label = [row(now.label, "", None)] if now.label else []
        texts = [*label, *sls.errors(event), *sls.states(now.states, diffs=True)]
    if event.ok and now.label:
        texts.append(row(_part(now) if now.shown else now.label, sls.summary(event), event.seconds))
    return texts


def _part(now: _Sls) -> str:
    """Return the label of an SLS without the mark of its step."""
    bare = now.label.lstrip("[0123456789/] ")
    return " " * (len(now.label) - len(bare)) + bare


def _step(one: StepEnded) -> list[Line]:
    told = words.detail(one.detail)
    if one.undo:
        return aside(f"      undo {one.step}: {told or 'done'}")
    if one.step == "install" and not told:
        return []  # its SLS files were shown
    return [Line(row(rows.step_label(one.index, one.total, one.step), told, one.seconds))]


def _health(one: HealthAsked) -> list[Line]:
    if one.wrong:
        return [Line(f"        FAILED   {one.check}: {one.wrong}")]
    return [Line(row(f"      health {shortened(one.check, 60)}", "", one.seconds))]


def _restart(one: UnitRestarted) -> list[Line]:
    if one.ok:
        return both([row(f"      restart {one.unit}", one.state, one.seconds)])
    said = rows.indent(one.output.split("\n"), 10) if one.output else []
    return both([f"        FAILED   {one.unit}: {one.state}", *said])


def _warning(one: Warned) -> list[Line]:
    if one.aside:
        return aside(f"warning: {one.text}")
    return both(rows.complaint("warning", one.text).split("\n"))


def _cut(one: Cut) -> list[Line]:
    return aside(f"… {one.lines} lines, {one.characters} characters dropped: the log is too long …")


def _text(one: Text) -> list[Line]:
    return [Line(one.text, TERMINAL if one.brief else WHOLE if one.more else BOTH)]


def _plain(act: Callable[[Any], list[Line]]) -> Callable[[Screen, Recorded], list[Line]]:
    """Return the function for an event that does not depend on earlier ones."""
    return lambda screen, record: act(record.event)


SHOWN: Mapping[type[Any], Callable[[Screen, Any], list[Line]]] = {
    Began: _plain(lambda one: [Line(words.opening(one))]),
    StepBegan: _plain(lambda one: []),
    StepEnded: _plain(_step),
    Held: _plain(words.held),
    HealthAsked: _plain(_health),
    UnitRestarted: _plain(_restart),
    Drilled: _plain(lambda one: both(words.drilled(one))),
    NodeCame: _plain(words.node),
    NodesDid: _plain(lambda one: both(words.nodes(one))),
    BackedUp: _plain(lambda one: both(words.backed_up(one))),
    Listed: _plain(words.things),
    SlsBegan: lambda screen, record: screen.began(record, record.event),
    Output: lambda screen, record: screen.output(record, record.event),
    StateEnded: lambda screen, record: screen.state(record, record.event),
    SlsEnded: lambda screen, record: screen.ended(record, record.event),
    SuiteEnded: _plain(words.tested),
    Warned: _plain(_warning),
    Complained: _plain(lambda one: both(rows.complaint("error", one.text).split("\n"))),
    Noted: _plain(lambda one: both(one.text.split("\n"))),
    Traced: _plain(lambda one: aside(one.text)),
    Cut: _plain(_cut),
    Verdict: _plain(words.verdict),
    Text: _plain(_text),
}  # a row for each event (a test checks this)


def show(records: Iterable[Recorded], *, whole: bool) -> Iterator[Shown]:
    """Yield the events of a log with their lines."""
    screen = Screen(whole)
    for record in records:
        yield Shown(record, tuple(screen.lines(record)))


def texts(records: Iterable[Recorded], *, whole: bool) -> list[str]:
    """Return the lines of a log."""
    return [text for one in show(records, whole=whole) for text in one.lines]
