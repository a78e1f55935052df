"""Processes that a deployment leaves running: those working in project/ are stopped, the rest is named only.

This runs before a restore, and after a cancellation or timeout.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from corpushooks.core.errors import CancelledError, CorpusError, SaltError
from corpushooks.core.events import NOTHING, Detail, Item, listed
from corpushooks.core.text import clean, middle, shortened
from corpushooks.deploy.progress import NOWHERE, Mark
from corpushooks.deploy.run import Run
from corpushooks.host import accounts
from corpushooks.screen.rows import FITS
from corpushooks.system import leftovers, proc

WHOLE = 4000  # characters of a command in the log
LEAST, BESIDE = 12, 25  # characters of a command in a line, and of the rest of that line


def settle(run: Run, mark: Mark = NOWHERE) -> Detail:
    """Stop processes that a deployment left working in project/, and name the others it left running."""
    run.salt.close()
    project = run.project
    uid, _ = accounts.account_ids(project.host, project.user, project.group)
    found = leftovers.stop(
        leftovers.Work(
            mark=run.mark,
            since=run.deployment.started or run.deployment.queued,
            folder=Path(os.path.realpath(project.dir)) / project.tree.name,
            uid=uid,
            runs=frozenset({Path("/run"), project.host.root / "run"}),
        )
    )
    _report(run, "stopped in project/", found.stopped)
    _report(run, "could not be stopped", found.deaf)
    _report(run, "left running (service)", found.left)
    _report(run, "left running (writes to project/)", found.others)
    return Detail(len(found.stopped), "process", note="stopped") if found.stopped else NOTHING


def after(run: Run, exc: CorpusError) -> None:
    """Handle processes left by a cancelled or timed-out run."""
    if isinstance(exc, CancelledError) or isinstance(exc.__cause__, SaltError):
        settle(run)


def _report(run: Run, what: str, processes: tuple[proc.Named, ...]) -> None:
    """Name processes, each once: shortened, and in full in the log."""
    fresh = [each for each in processes if (what, each.pid) not in run.named]
    run.named |= {(what, each.pid) for each in fresh}
    run.voice.warn(
        *(f"{what}: {_short_command(run.voice.hide(each.command), len(what))} (pid {each.pid})" for each in fresh)
    )
    if fresh:
        named = [Item(shortened(clean(run.voice.hide(each.command)), WHOLE), str(each.pid)) for each in fresh]
        run.voice.tell(listed("processes", named))


def _short_command(command: str, taken: int) -> str:
    """Return a command without the folders in it, shortened to fit in a line beside `taken` characters."""
    words = re.sub(r"\S*/(?=[^\s/])", "", clean(command))
    return middle(words, max(LEAST, FITS - taken - BESIDE))
