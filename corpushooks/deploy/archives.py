"""The archives of a project: find the newest, check disk space, rotate."""

from __future__ import annotations

import shutil
from pathlib import Path

from corpushooks import git, tree
from corpushooks.core.deployment import ProjectRow, enabled
from corpushooks.core.errors import ProcessError, RefusedError, UsageError
from corpushooks.core.events import LEFT_OUT, NOTHING, Detail
from corpushooks.core.hints import command
from corpushooks.core.project import Project
from corpushooks.deploy.progress import Mark
from corpushooks.deploy.run import Run
from corpushooks.system.patience import Check
from corpushooks.system.process import attend

ENLARGE_LIMIT = 600.0  # seconds for the `enlarge` command


def last(project: Project, before: str) -> Path | None:
    """Return the newest whole archive older than the one called `before`."""
    names = sorted((p.name for p in project.archives.iterdir()), key=number_of, reverse=True)
    for name in names:
        if number_of(name) < number_of(before) and tree.is_whole(project.archives / name / "project"):
            return project.archives / name / "project"
    return None


def number_of(name: str) -> int:
    number = name.rpartition("_")[2]
    return int(number) if number.isdigit() else -1


def check_room(run: Run, needed: int) -> None:
    """Raise RefusedError if the disk is too full; the host's `enlarge` command can make room first."""
    reserve = run.settings.reserve << 20
    if _free(run.project) >= needed + reserve:
        return
    if run.settings.enlarge:
        _enlarge(run)
    if (free := _free(run.project)) < needed + reserve:
        raise RefusedError(
            f"the disk is too full: {free >> 20} MiB free, {(needed + reserve) >> 20} MiB needed",
            hint="make room, or set `enlarge` in the host's settings",
        )


def _enlarge(run: Run) -> None:
    """Run the host's `enlarge` command; it can be cancelled."""
    try:
        attend(run.start(run.settings.enlarge), ENLARGE_LIMIT, run.deadline.patience())
    except ProcessError as exc:
        run.voice.warn(f"enlarge: {exc}")


def _free(project: Project) -> int:
    return shutil.disk_usage(project.dir).free


def rotate(run: Run, mark: Mark) -> Detail:
    """Keep the newest archives, and always the one that the live release would roll back to."""
    if not enabled(run.request, "rotate"):
        return LEFT_OUT
    keep = run.settings.keep_archives
    if run.salt.cfg:
        keep = int(run.salt.cfg.values.get("keep_archives", keep))
    live = run.site.history.project(run.project.name)
    names = [p.name for p in run.project.archives.iterdir() if number_of(p.name) >= 0]
    names.sort(key=number_of, reverse=True)
    old = [name for name in names[keep:] if not live or number_of(name) != live.live]
    for name in old:
        with run.site.effect("remove archive"):
            tree.remove(run.project.archives / name)
    _unpin(run.project, {number_of(name) for name in names} - {number_of(name) for name in old}, live)
    return Detail(len(old), "archive", note="removed") if old else NOTHING


def remove(project: Project, row: ProjectRow, number: int, check: Check) -> str:
    """Remove one archive and return its name; raise RefusedError if it is the newest or needed. Needs the lock."""
    names = {number_of(path.name): path.name for path in project.archives.iterdir() if number_of(path.name) >= 0}
    hint = command("archives", project.name)
    if number not in names:
        raise UsageError(f"{project.name} has no archive {number}", hint=hint)
    if number == row.live:
        raise RefusedError(f"archive {number} is what the live release would be rolled back to", hint=hint)
    if number == max(names):
        raise RefusedError(f"archive {number} is the newest", hint=hint)
    tree.remove(project.archives / names[number], check)
    _unpin(project, names.keys() - {number}, row)
    return names[number]


def _unpin(project: Project, kept: set[int], live: ProjectRow | None) -> None:
    """Unpin commits without an archive, also those that an interrupted rotation left pinned."""
    for number in {*git.pins(project.code_git), *git.pins(project.pillar_git)} - kept:
        if live is None or git.pinned(project.code_git, number) != live.tree_code:  # a failed tree stays, in dev
            git.unpin(project.code_git, number)
            git.unpin(project.pillar_git, number)
