"""Sends notifications: by mail, chat and whatever else apprise supports.

A deployment hands its notification to a separate process and continues: a slow or failing service does not affect it.
That process logs failures. URLs contain passwords: they appear in no argument, no environment, no file except the
host's settings, and no output.
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
from corpushooks.core.notification import FAILURE, Message, Notification, Template, render, template_error
from corpushooks.core.redaction import Redactor
from corpushooks.core.text import one_line
from corpushooks.system import distribution
from corpushooks.system.process import spawn

T = TypeVar("T")

MISSING = "cannot send notifications: apprise (the extra `notify`) is not installed"
SENDING, RENDERING = 60.0, 10.0  # seconds for all of it
MEMORY = 2 << 30  # bytes that a template or library can use
LOG_SIZE = 256 << 10  # bytes of the log; one old log is kept
TEMPLATE_SIZE = 64 << 10
ERRNO = re.compile(r"\[Errno -?\d+\] [^'\")]+")


@dataclass(frozen=True)
class Outgoing:
    """A notification with its templates and URLs: the first existing template is used."""

    notification: Notification
    urls: Sequence[str]
    project: Template | None = None
    host: Template | None = None


@dataclass(frozen=True)
class Delivery:
    """The result for one URL, which is shown without secrets; `problem` is empty on success."""

    to: str
    problem: str


@dataclass(frozen=True)
class Report:
    """The results for one notification; `template` is the error in the template, if any."""

    deliveries: Sequence[Delivery]
    template: str

    @property
    def problems(self) -> list[str]:
        """Return the lines for the log."""
        failed = [f"{one.to}: {one.problem}" for one in self.deliveries if one.problem]
        return ([f"{self.template}; the built-in template was used"] if self.template else []) + failed


def missing() -> UsageError | None:
    """Return the error if apprise is missing, or None; apprise is not loaded."""
    return None if find_spec("apprise") else UsageError(MISSING, distribution.completing())


def template_in(path: Path) -> Template | None:
    """Return the template in a file, or None if it cannot be read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            return Template(str(path), file.read(TEMPLATE_SIZE).decode("utf-8", "replace"))
    except OSError:
        return None


# the separate process


def hand_over(outgoing: Outgoing, log: Path) -> None:
    """Deliver a notification in a separate process, which writes failures to `log`; raise ProcessError."""
    words: list[str | Path] = [sys.executable, "-I", "-m", "corpushooks.notify.send"]
    try:
        with open(os.memfd_create("notification"), "w+b", buffering=0) as file:  # a pipe would wait for its reader
            file.write(json.dumps({"log": str(log), **asdict(outgoing)}).encode())
            file.seek(0)
            child = spawn(words, cwd=Path("/"), stdin=file.fileno())
    except OSError as exc:
        raise ProcessError(f"cannot hand over the notification: {exc.strerror}") from exc
    threading.Thread(target=child.wait, daemon=True, name="notification").start()  # otherwise it stays a zombie


def _parsed(found: dict[str, Any]) -> Outgoing:
    project, host = (found[name] and Template(**found[name]) for name in ("project", "host"))
    what = found["notification"] if "notification" in found else found["notice"]  # of a daemon before an upgrade
    return Outgoing(Notification(**what), found["urls"], project, host)


def main() -> None:
    """Deliver the notification on stdin, and log failures."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.umask(0o077)
    found = json.load(sys.stdin)
    outgoing = _parsed(found)
    what = outgoing.notification
    about = " ".join(filter(None, (what.project, str(what.number or ""), what.event)))
    report = _Task(lambda: deliver(outgoing)).result(2 * SENDING)
    problems = report.problems if isinstance(report, Report) else [f"not sent: {type(report).__name__}: {report}"]
    write(Path(found["log"]), [f"{about}: {problem}" for problem in problems])
    os._exit(0)  # hanging threads end with us


def write(log: Path, problems: Sequence[str]) -> None:
    """Append lines to a log of bounded size."""
    if not problems:
        return
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with log.open("a", encoding="utf-8") as file:
        file.write("".join(f"{at} {problem}\n" for problem in problems))
        size = file.tell()
    if size > LOG_SIZE:
        log.replace(log.with_suffix(".log.1"))


# delivering


def deliver(outgoing: Outgoing, seconds: float = SENDING) -> Report:
    """Send to all URLs at once, within `seconds`."""
    import apprise  # here, and once: it takes a second

    _collect_logs(logging.getLogger("apprise"))
    message, wrong = _message(outgoing, min(seconds, RENDERING))
    if wrong:
        message = replace(message, body=f"{message.body}\n(The template is invalid: {wrong})\n")
    recipients = [_Recipient(apprise, index, url) for index, url in enumerate(outgoing.urls, 1)]
    kind = "failure" if outgoing.notification.event == FAILURE else "info"
    tasks = [_Task(lambda one=one: one.send(message, kind)) for one in recipients]  # type: ignore[misc]
    end = time.monotonic() + seconds
    problems = [task.result(end - time.monotonic()) for task in tasks]
    return Report(
        [
            Delivery(one.shown, one.hide(f"{type(p).__name__}: {p}") if isinstance(p, Exception) else p)
            for one, p in zip(recipients, problems, strict=True)
        ],
        wrong,
    )


def _message(outgoing: Outgoing, seconds: float) -> tuple[Message, str]:
    """Return the message, and the error in the template if the built-in one was used instead."""
    template = outgoing.project or outgoing.host
    if template is None:
        return render(outgoing.notification), ""
    made = _Task(lambda: render(outgoing.notification, template, outgoing.host)).result(seconds)
    if isinstance(made, Message):
        return made, ""
    wrong = template_error(made, template) if isinstance(made, Exception) else f"{template.name}: {made}"
    return render(outgoing.notification), wrong


class _Task(Generic[T]):
    """A function that can fail or hang, in a thread with a limited wait."""

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
        """Return its result, its exception, or that it timed out."""
        self._thread.join(max(0.0, seconds))
        if self._thread.is_alive() or self._result is None:
            return "timed out"
        return self._result


class _Recipient:
    """One URL: as apprise reads it, and the part that can be shown."""

    def __init__(self, apprise: Any, index: int, url: str) -> None:
        self._service = apprise.Apprise()
        self._valid = valid = self._service.add(url)
        known = self._service[0].url(privacy=True) if valid else url
        scheme, _, rest = known.partition("://")
        place = re.split(r"[/?#]", rest)[0].rpartition("@")[2] if valid else ""
        self.shown = f"URL {index} ({scheme if re.fullmatch('[a-zA-Z0-9+.-]{1,20}', scheme) else 'none'}://{place})"
        self._redactor = Redactor()
        self._redactor.know(part for part in _secret_parts(url) if part not in place)

    def hide(self, text: str) -> str:
        """Return a text without the secrets of the URL, as one line."""
        return one_line(self._redactor.redact(text))

    def send(self, message: Message, kind: str) -> str:
        """Send a message; return the error, or ''."""
        if not self._valid:
            return "invalid URL: apprise does not support it, or a part is missing"
        result = self._service.notify(
            body=message.body, title=message.subject, notify_type=kind, body_format="text", log_level=logging.DEBUG
        )
        return "" if result else self.hide(_cause(result))


def _secret_parts(url: str) -> set[str]:
    """Return the parts of a URL that may be secret: all but its scheme."""
    rest = url.partition("://")[2]
    place, slash, path = rest.partition("/")
    raw = {url, rest, place, slash + path, slash + path.partition("?")[0], *re.split(r"[/?#&=:@,;]", rest)}
    return {form for part in raw for form in (part, unquote(part))}


def _collect_logs(logger: logging.Logger) -> None:
    """Make apprise report failures in full, and only in its results."""
    logger.setLevel(logging.DEBUG)
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


def _cause(result: Any) -> str:
    """Return apprise's last complaint, and its cause."""
    said = list(result.logs())
    complaints = [one.message.rstrip(".") for one in said if one.level in ("WARNING", "ERROR", "CRITICAL")]
    causes = [one.message.partition(": ")[2] for one in said if one.message.startswith("Socket Exception")]
    inner = [found for cause in causes for found in ERRNO.findall(cause)]
    return ": ".join(complaints[-1:] + (inner or causes)[-1:]) or "not sent"


if __name__ == "__main__":
    main()
