"""What states of ours wrote outside of the project: taken back with a release that did not live."""

from __future__ import annotations

from corpushooks import outside, view
from corpushooks.site import Run
from corpushooks.text import excerpt, shown

SHOWN = 5  # paths in the terminal


def begin(run: Run) -> None:
    """Before the install SLS of a release that is returned to: take back what only later ones wrote."""
    if run.undoing:
        return
    with run.site.effect("shed outside"):
        if run.request.kind == "rollback":
            _say(run, outside.take_back_later(run.project, run.request.target, run.warn))


def take_back(run: Run, label: str) -> str:
    """Make what the failed release wrote outside what it was."""
    with run.site.effect("undo outside"):
        found = outside.take_back(run.project, run.warn)
    _say(run, found)
    return view.count(len(found), "file") if found else ""


def reload(run: Run, label: str) -> str:
    """Have services read what was taken back."""
    return ", ".join(outside.reload(run.project, run.warn))


def _say(run: Run, paths: list[str]) -> None:
    for line in excerpt([f"      taken back: {run.hide(shown(path))}" for path in paths], SHOWN):
        run.log.write(line)
