"""A deployment as its page tells it, from the events of its log: the cause first, then what changed, then the log."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

KEPT = 400_000  # characters of a log on a page: the newest
MOST = 200  # states, and files, on a page
SAID = 4000  # characters of what a state said


@dataclass
class Story:
    """What a log tells by now."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    changed: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)
    lists: list[dict[str, Any]] = field(default_factory=list)
    tests: list[dict[str, Any]] = field(default_factory=list)
    verdict: str = ""
    offset: int = 0
    _sls: str = ""
    _texts: deque[str] = field(default_factory=deque)
    _size: int = 0

    @property
    def text(self) -> str:
        """The newest lines of the log."""
        return "".join(self._texts)[-KEPT:]

    def add(self, event: dict[str, Any], offset: int) -> None:
        """Go on by an event."""
        self.offset, data, kind = offset, event["data"], event["event"]
        if event["text"]:
            self._keep(event["text"] + "\n")
        if kind == "step" and len(self.steps) < MOST:
            self.steps.append(data)
        elif kind == "sls_began":
            self._sls = data["sls"]
        elif kind == "state":
            self._state({"sls": self._sls, **data})
        elif kind == "sls" and data.get("errors") and len(self.errors) < MOST:
            self.errors.append({"sls": data["sls"], "said": "\n".join(data["errors"])[:SAID]})
        elif kind == "list" and data["items"] and len(self.lists) < MOST:
            items = [{"mark": "", "detail": "", **each} for each in data["items"][:MOST]]
            self.lists.append({"what": data["what"], "items": items, "total": data["total"]})
        elif kind == "tests" and len(self.tests) < MOST:
            self.tests.append(_suite(data))
        elif kind == "verdict":
            self.verdict = event["text"]

    def _keep(self, text: str) -> None:
        self._texts.append(text)
        self._size += len(text)
        while self._size - len(self._texts[0]) >= KEPT:
            self._size -= len(self._texts.popleft())

    def _state(self, state: dict[str, Any]) -> None:
        said = [state.get(name, "") for name in ("comment", "diff", "output")]
        shown = {"line": None, "unsure": False, **state, "said": "\n".join(each for each in said if each)[:SAID]}
        if state["result"] is False and not state.get("skipped"):
            self.failed += [shown] if len(self.failed) < MOST else []
        elif (state["result"] is None or state.get("changed")) and len(self.changed) < MOST:
            self.changed.append(shown)


def _suite(told: dict[str, Any]) -> dict[str, Any]:
    """Return a suite of tests with all fields, those that failed apart."""
    blank = {"group": "", "result": "passed", "seconds": None, "message": "", "text": ""}
    cases = [{**blank, **each} for each in told.get("cases", [])]
    wrong = [each for each in cases if each["result"] in ("failed", "error")]
    zero = {"failed": 0, "errors": 0, "skipped": 0, "seconds": None}
    return {**zero, **told, "wrong": wrong, "others": [each for each in cases if each not in wrong]}
