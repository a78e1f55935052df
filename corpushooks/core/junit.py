"""JUnit files: the results of tests, as most programs that run tests write them.

What wrote them is not trusted: a file with a document type, which could define entities, is refused, and depth, number
and length of what is kept are limited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from xml.parsers import expat

from corpushooks.core.errors import UsageError
from corpushooks.core.events import Case, SuiteEnded

DEPTH = 30  # elements within each other
ELEMENTS = 200_000
CASES = 500  # that are kept of a suite: those that did not pass first
TEXT, NAME = 4000, 300  # characters that are kept of an output, and of a name
ROOM = 1 << 17  # characters that are kept of the tests of a suite
PASSED, FAILED, ERROR, SKIPPED = "passed", "failed", "error", "skipped"
RESULTS = {"failure": FAILED, "error": ERROR, "skipped": SKIPPED}
ORDER = (FAILED, ERROR, SKIPPED, PASSED)


def weight(case: Case) -> int:
    """Return about how many characters a test takes in the log."""
    return len(case.name) + len(case.group) + len(case.message) + len(case.text) + 60


@dataclass
class _Suite:
    name: str
    seconds: float | None
    cases: list[Case] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ORDER, 0))

    def add(self, case: Case) -> None:
        """Count a test, and keep it if there is room; one that passed gives its place to one that did not."""
        self.counts[case.result] += 1
        if len(self.cases) >= CASES and case.result in (FAILED, ERROR):
            place = next((at for at, one in enumerate(self.cases) if one.result not in (FAILED, ERROR)), None)
            if place is not None:
                del self.cases[place]
        if len(self.cases) < CASES:
            self.cases.append(case)

    def told(self, file: str) -> SuiteEnded:
        """Return it as an event, those that failed first; texts are kept while there is room."""
        counts, room, kept = self.counts, ROOM, list[Case]()
        for case in sorted(self.cases, key=lambda one: ORDER.index(one.result)):
            room -= weight(case)
            if room > 0:
                kept.append(case)
            elif case.result in (FAILED, ERROR):
                kept.append(replace(case, message=case.message[:NAME], text=""))
        return SuiteEnded(
            file, self.name, sum(counts.values()), counts[FAILED], counts[ERROR], counts[SKIPPED], self.seconds,
            tuple(kept),
        )  # fmt: skip


@dataclass
class _Reader:
    """Reads one file: elements as they come."""

    open: list[str] = field(default_factory=list)
    suites: list[_Suite] = field(default_factory=list)  # all, in their order
    around: list[_Suite] = field(default_factory=list)  # those that are open
    case: Case | None = None
    text: list[str] = field(default_factory=list)
    kept: int = 0
    count: int = 0

    def begin(self, name: str, given: Mapping[str, str]) -> None:
        self.count += 1
        if len(self.open) >= DEPTH or self.count > ELEMENTS:
            raise UsageError("too deep" if len(self.open) >= DEPTH else "too many elements")
        if not self.open and name not in ("testsuites", "testsuite"):
            raise UsageError(f"expected <testsuites> or <testsuite>, got <{name[:40]}>")
        self.open.append(name)
        if name == "testsuite":
            suite = _Suite(given.get("name", "")[:NAME], _seconds(given))
            self.suites.append(suite)
            self.around.append(suite)
        elif name == "testcase" and self.around:
            self.case = Case(given.get("name", "")[:NAME], given.get("classname", "")[:NAME], seconds=_seconds(given))
        elif self.case and name in RESULTS and self.case.result == PASSED:
            message = given.get("message", "")[:TEXT]
            self.case = replace(self.case, result=RESULTS[name], message=message)
        if name in RESULTS:
            self.text, self.kept = [], 0

    def said(self, text: str) -> None:
        if self.case and self.open[-1] in RESULTS and self.kept < TEXT:
            self.text.append(text[: TEXT - self.kept])
            self.kept += len(text)

    def end(self, name: str) -> None:
        self.open.pop()
        if name in RESULTS and self.case and not self.case.text:
            self.case = replace(self.case, text="".join(self.text).strip())
        elif name == "testcase" and self.case and self.around:
            self.around[-1].add(self.case)
            self.case = None
        elif name == "testsuite":
            self.around.pop()


def _seconds(given: Mapping[str, str]) -> float | None:
    try:
        found = float(given.get("time", "").replace(",", ""))
    except ValueError:
        return None
    return found if 0 <= found < 1e9 else None


def _refuse(*_: object) -> None:
    raise UsageError("it has a document type")


def parse(data: bytes, file: str) -> list[SuiteEnded]:
    """Return the suites of a file that have tests; raise UsageError."""
    reader, parser = _Reader(), expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = reader.begin, reader.end
    parser.CharacterDataHandler = reader.said
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as exc:
        raise UsageError(f"line {exc.lineno}: {expat.errors.messages.get(exc.code, 'not XML')}") from None
    except (ValueError, LookupError) as exc:  # an encoding that Python does not know
        raise UsageError(f"not XML: {exc}") from None
    return [suite.told(file) for suite in reader.suites if any(suite.counts.values())]
