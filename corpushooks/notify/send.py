"""The door to people who are not there: mail, chat and whatever else apprise reaches.

A deployment hands its notice to a process of its own and goes on: nothing that is slow, hangs or fails there comes
back. That process writes what failed to a log. URLs hold passwords: they stand in no argument, no environment, no
file but the host's settings, and in no text that is shown.
"""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import unquote

from corpushooks.core.errors import ProcessError, UsageError
from corpushooks.core.notification import FAILURE, Letter, Notice, Template, complaint, render
from corpushooks.core.redaction import Redactor
from corpushooks.core.text import one_line
from corpushooks.system import distribution
from corpushooks.system.process import spawn

T = TypeVar("T")

MISSING = "nobody is notified: apprise (the extra `notify`) is not installed"
SENDING, RENDERING = 60.0, 10.0  # seconds that all of it may take
MEMORY = 2 << 30  # bytes that a template, or a library, may ask for
LOG_SIZE = 256 << 10  # bytes of the log, of which the one before is kept
TEMPLATE_SIZE = 64 << 10
ERRNO = re.compile(r"\[Errno -?\d+\] [^'\")]+")


@dataclass(frozen=True)
class Parcel:
    """A notice, how it is said and to whom: the first template that there is counts."""

    notice: Notice
    urls: Sequence[str]
    project: Template | None = None
    host: Template | None = None


@dataclass(frozen=True)
class Delivery:
    """What came of one URL, which is shown without what is secret in it; `problem` is empty where it was sent."""

    to: str
    problem: str


@dataclass(frozen=True)
class Report:
    """What came of a parcel; `template` says what is wrong with the template that was to be used."""

    deliveries: Sequence[Delivery]
    template: str

    @property
    def problems(self) -> list[str]:
        """Return what a log has to say."""
        failed = [f"{one.to}: {one.problem}" for one in self.deliveries if one.problem]
        return ([f"{self.template}; the built-in template was used"] if self.template else []) + failed


def missing() -> UsageError | None:
    """Return why nothing can be sent, and what helps, or None where all is there. It is not loaded for that."""
    return None if find_spec("apprise") else UsageError(MISSING, distribution.completing())


def template_in(path: Path) -> Template | None:
    """Return the template that a file holds; None where there is no such file, or it is none."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            return Template(str(path), file.read(TEMPLATE_SIZE).decode("utf-8", "replace"))
    except OSError:
        return None


# in the process of its own


def hand_over(parcel: Parcel, log: Path) -> None:
    """Have a parcel delivered by a process of its own, which writes what fails to `log`; raise ProcessError."""
    words: list[str | Path] = [sys.executable, "-I", "-m", "corpushooks.notify.send"]
    try:
        with open(os.memfd_create("parcel"), "w+b", buffering=0) as file:  # a pipe would wait for its reader
            file.write(json.dumps({"log": str(log), **asdict(parcel)}).encode())
            file.seek(0)
            child = spawn(words, cwd=Path("/"), stdin=file.fileno())
    except OSError as exc:
        raise ProcessError(f"the notification cannot be handed over: {exc.strerror}") from exc
    threading.Thread(target=child.wait, daemon=True, name="notification").start()  # else it stays a zombie


def _unpacked(found: dict[str, Any]) -> Parcel:
    project, host = (found[name] and Template(**found[name]) for name in ("project", "host"))
    return Parcel(Notice(**found["notice"]), found["urls"], project, host)


def main() -> None:
    """Deliver what stands on stdin, and write to its log what failed."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.umask(0o077)
    found = json.load(sys.stdin)
    parcel = _unpacked(found)
    about = " ".join(filter(None, (parcel.notice.project, str(parcel.notice.number or ""), parcel.notice.event)))
    report = _Task(lambda: deliver(parcel)).result(2 * SENDING)
    problems = report.problems if isinstance(report, Report) else [f"not sent: {type(report).__name__}: {report}"]
    write(Path(found["log"]), [f"{about}: {problem}" for problem in problems])
    os._exit(0)  # what hangs in a thread ends with us


def write(log: Path, problems: Sequence[str]) -> None:
    """Write lines to a log that is bounded."""
    if not problems:
        return
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with log.open("a", encoding="utf-8") as file:
        file.write("".join(f"{at} {problem}\n" for problem in problems))
        size = file.tell()
    if size > LOG_SIZE:
        log.replace(log.with_suffix(".log.1"))


# delivering


def deliver(parcel: Parcel, seconds: float = SENDING) -> Report:
    """Send to all URLs at once, within `seconds`."""
    import apprise  # here, and once: it takes a second

    _listen(logging.getLogger("apprise"))
    letter, wrong = _letter(parcel, min(seconds, RENDERING))
    if wrong:
        letter = replace(letter, body=f"{letter.body}\n(The template is wrong: {wrong})\n")
    addressees = [_Addressee(apprise, index, url) for index, url in enumerate(parcel.urls, 1)]
    kind = "failure" if parcel.notice.event == FAILURE else "info"
    tasks = [_Task(lambda one=one: one.send(letter, kind)) for one in addressees]  # type: ignore[misc]
    end = time.monotonic() + seconds
    problems = [task.result(end - time.monotonic()) for task in tasks]
    return Report(
        [
            Delivery(one.shown, one.hide(f"{type(p).__name__}: {p}") if isinstance(p, Exception) else p)
            for one, p in zip(addressees, problems, strict=True)
        ],
        wrong,
    )


def _letter(parcel: Parcel, seconds: float) -> tuple[Letter, str]:
    """Return what is sent, and what is wrong with the template where the built-in one had to do."""
    template = parcel.project or parcel.host
    if template is None:
        return render(parcel.notice), ""
    made = _Task(lambda: render(parcel.notice, template, parcel.host)).result(seconds)
    if isinstance(made, Letter):
        return made, ""
    wrong = complaint(made, template) if isinstance(made, Exception) else f"{template.name}: {made}"
    return render(parcel.notice), wrong


class _Task(Generic[T]):
    """Something that may fail or hang, in a thread that nothing waits for longer than it wants to."""

    def __init__(self, act: Callable[[], T]) -> None:
        self._act = act
        self._result: T | Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._act()
        except Exception as exc:  # the edge of a thread: other people's templates and services raise anything
            self._result = exc

    def result(self, seconds: float) -> T | Exception | str:
        """Return what came of it: its result, what it raised, or that it has not ended after all."""
        self._thread.join(max(0.0, seconds))
        if self._thread.is_alive() or self._result is None:
            return "no end in time"
        return self._result


class _Addressee:
    """One URL: apprise's idea of it, and what may be shown of it."""

    def __init__(self, apprise: Any, index: int, url: str) -> None:
        self._service = apprise.Apprise()
        self._valid = valid = self._service.add(url)
        known = self._service[0].url(privacy=True) if valid else url
        scheme, _, rest = known.partition("://")
        place = re.split(r"[/?#]", rest)[0].rpartition("@")[2] if valid else ""
        self.shown = f"URL {index} ({scheme if re.fullmatch('[a-zA-Z0-9+.-]{1,20}', scheme) else 'none'}://{place})"
        self._redactor = Redactor()
        self._redactor.know(part for part in _parts(url) if part not in place)

    def hide(self, text: str) -> str:
        """Return a text without what is secret in the URL, as one line."""
        return one_line(self._redactor.redact(text))

    def send(self, letter: Letter, kind: str) -> str:
        """Send a letter; return why that was not possible, or nothing."""
        if not self._valid:
            return "this is no URL that apprise knows, or a part of it is missing"
        result = self._service.notify(
            body=letter.body, title=letter.subject, notify_type=kind, body_format="text", log_level=logging.DEBUG
        )
        return "" if result else self.hide(_cause(result))


def _parts(url: str) -> set[str]:
    """Return what may be secret in a URL: all but its scheme."""
    rest = url.partition("://")[2]
    place, slash, path = rest.partition("/")
    raw = {url, rest, place, slash + path, slash + path.partition("?")[0], *re.split(r"[/?#&=:@,;]", rest)}
    return {form for part in raw for form in (part, unquote(part))}


def _listen(logger: logging.Logger) -> None:
    """Have apprise say all of a failure, and say it in its results only."""
    logger.setLevel(logging.DEBUG)
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


def _cause(result: Any) -> str:
    """Return apprise's last complaint, and what it says of the cause."""
    said = list(result.logs())
    complaints = [one.message.rstrip(".") for one in said if one.level in ("WARNING", "ERROR", "CRITICAL")]
    causes = [one.message.partition(": ")[2] for one in said if one.message.startswith("Socket Exception")]
    inner = [found for cause in causes for found in ERRNO.findall(cause)]
    return ": ".join(complaints[-1:] + (inner or causes)[-1:]) or "it was not sent"


if __name__ == "__main__":
    main()
