"""The JUnit files that a task leaves in $CORPUS_REPORTS: read when it ended, and kept in its log as events."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from corpushooks import tree
from corpushooks.core import junit
from corpushooks.core.errors import CorpusError, TreeError, UsageError
from corpushooks.core.events import SuiteEnded
from corpushooks.core.text import shown
from corpushooks.deploy.run import Run
from corpushooks.host import accounts
from corpushooks.system import safe_files

VARIABLE = "CORPUS_REPORTS"
ENTRIES, FILES, SUITES = 10_000, 100, 200  # that are looked at, read and kept
SIZE, TOTAL = 4 << 20, 16 << 20  # bytes of one file, and of all
ROOM = 1 << 20  # characters of tests that are kept of all suites


@contextlib.contextmanager
def reports(run: Run) -> Iterator[None]:
    """Give sessions that are opened now a new folder for JUnit files; what is in it in the end is kept."""
    folder = run.project.reports
    _make(run, folder)
    run.salt.env[VARIABLE] = str(folder)
    try:
        yield
    finally:
        del run.salt.env[VARIABLE]
        try:
            _keep(run)
            tree.remove(folder, run.deadline.patience())
        except (CorpusError, OSError) as exc:  # what became of the task is known by now
            run.voice.warn(f"not all files of tests were read: {exc}")


def _make(run: Run, folder: Path) -> None:
    """Make the folder anew, for the application and for root; raise TreeError."""
    user, group = accounts.account_ids(run.project.host, run.project.user, run.project.group)
    tree.remove(folder, run.deadline.patience())
    try:
        safe_files.folder(folder, 0o770, (user, group) if user is not None and group is not None else None)
    except OSError as exc:
        raise TreeError(f"cannot create {folder}: {exc.strerror}") from exc


def _keep(run: Run) -> None:
    """Put the suites of all files into the log."""
    room = ROOM
    for count, suite in enumerate(_suites(run), 1):
        if count > SUITES:
            run.voice.warn(f"more than {SUITES} suites of tests: the others were not kept")
            return
        room -= sum(map(junit.weight, suite.cases))
        run.voice.tell(suite if room > 0 else replace(suite, cases=()))


def _suites(run: Run) -> Iterator[SuiteEnded]:
    """Yield the suites of all files, by name; a file that is not one of tests is a warning."""
    left = TOTAL
    for name in _names(run):
        run.deadline.patience()()
        try:
            data, _ = safe_files.read(run.project.reports / name, follow=False, limit=min(SIZE, left))
            left -= len(data)
            yield from junit.parse(data, shown(name, 200))
        except OSError as exc:
            run.voice.warn(f"{VARIABLE}/{shown(name)} was not read: {exc.strerror}")
        except UsageError as exc:
            run.voice.warn(f"{VARIABLE}/{shown(name)} is not a JUnit file: {exc.message}")


def _names(run: Run) -> list[str]:
    """Return the names of the files to read."""
    fd = safe_files.open_folder(run.project.reports)
    try:
        with os.scandir(fd) as found:
            entries = itertools.islice(found, ENTRIES)
            names = sorted(each.name for each in entries if each.name.endswith(".xml"))
    finally:
        os.close(fd)
    if len(names) > FILES:
        run.voice.warn(f"{len(names)} files of tests: the first {FILES} were read")
    return names[:FILES]
