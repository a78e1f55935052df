"""Undo what our states wrote outside the project, when its release is rolled back."""

from __future__ import annotations

from corpushooks.core.events import NOTHING, Detail, Item, listed
from corpushooks.core.text import shown
from corpushooks.deploy.progress import Mark
from corpushooks.deploy.run import Run
from corpushooks.host import outside


def begin(run: Run) -> None:
    """Before the install SLS of an earlier release run: undo what only later releases wrote."""
    if run.undoing:
        return
    with run.site.effect("shed outside"):
        if run.request.sort.returns:
            _report_restored(run, outside.take_back_later(run.project, run.request.target, run.voice.warn))


def take_back(run: Run, mark: Mark) -> Detail:
    """Undo what the failed release wrote outside the project."""
    with run.site.effect("undo outside"):
        found = outside.take_back(run.project, run.voice.warn)
    _report_restored(run, found)
    return Detail(len(found), "file") if found else NOTHING


def reload(run: Run, mark: Mark) -> Detail:
    """Reload services whose files were restored."""
    return Detail(note=", ".join(outside.reload(run.project, run.voice.warn)))


def _report_restored(run: Run, paths: list[str]) -> None:
    if paths:
        run.voice.tell(listed("taken back", [Item(shown(path)) for path in paths]))
