"""What a deployment leaves running: what works in project/ is stopped, the rest is named and left alone.

Before a restore, and where it is cancelled or late.
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
LEAST, BESIDE = 12, 25  # characters of a command in a line, and of what else is in that


def settle(run: Run, mark: Mark = NOWHERE) -> Detail:
    """Stop what a deployment left at work in project/, and name what else of it goes on."""
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
    _say(run, "stopped in project/", found.stopped)
    _say(run, "cannot be stopped", found.deaf)
    _say(run, "left running, as a service is", found.left)
    _say(run, "left running, writes to project/", found.others)
    return Detail(len(found.stopped), "process", note="stopped") if found.stopped else NOTHING


def after(run: Run, exc: CorpusError) -> None:
    """Settle what a run left that was cancelled or late."""
    if isinstance(exc, CancelledError) or isinstance(exc.__cause__, SaltError):
        settle(run)


def _say(run: Run, what: str, processes: tuple[proc.Named, ...]) -> None:
    """Name processes, each once: in a few words, and whole in the log."""
    fresh = [each for each in processes if (what, each.pid) not in run.named]
    run.named |= {(what, each.pid) for each in fresh}
    run.voice.warn(*(f"{what}: {_brief(run.voice.hide(each.command), len(what))} (pid {each.pid})" for each in fresh))
    if fresh:
        named = [Item(shortened(clean(run.voice.hide(each.command)), WHOLE), str(each.pid)) for each in fresh]
        run.voice.tell(listed("processes", named))


def _brief(command: str, taken: int) -> str:
    """Return a command without the folders of its words, as long as a line has room beside so many characters."""
    words = re.sub(r"\S*/(?=[^\s/])", "", clean(command))
    return middle(words, max(LEAST, FITS - taken - BESIDE))
