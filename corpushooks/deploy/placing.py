"""The folders that a restore puts in place of those that are there: data/, and others that cfg names.

Each is written aside, on the filesystem of its place, where only root can enter, and changes places with what is there
at one moment. The journal has all of them before the first one does: the next daemon completes what a killed one began.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpushooks import tree
from corpushooks.core.errors import RefusedError, UsageError
from corpushooks.core.events import Noted
from corpushooks.core.project import Project
from corpushooks.deploy import parts
from corpushooks.deploy.run import Run
from corpushooks.system import disk, safe_files

DATA, FOLDER = "data", "folder:"  # parts that can be asked for
SWAP = "swap"  # a row of the journal: with the inode of the new folder and, unless that is data/, its path
EXTRACTING = "extract"  # a row of the journal: what is aside from then on is of this restore
EXTRACTED = ".new"
TO = "restore it with --to FOLDER"


def kept_aside(project: Project, number: int) -> Path:
    """Return where a restore keeps what it replaces in a project."""
    return project.dir / "replaced" / str(number)


def written_to(run: Run) -> Path | None:
    """Return where a restore to a folder is written until it is whole; None for one in place."""
    if not run.request.to:
        return None
    to = Path(run.request.to)
    return to.with_name(f"{to.name}.restoring-{run.project.name}-{run.deployment.number}")


@dataclass(frozen=True)
class Placed:
    """A folder that comes back; `path` is "" for data/."""

    path: str
    place: Path
    aside: Path  # where the new one is written; then what was there

    @property
    def label(self) -> str:
        return self.path or f"{DATA}/"

    @property
    def is_empty(self) -> bool:
        """Whether nothing is there that could be replaced."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.place) as names:
            return next(names, None) is None
        return True

    def is_in_place(self, inode: str) -> bool:
        """Say whether the new folder is in its place; raise OSError if that is not known."""
        with contextlib.suppress(FileNotFoundError):
            return str(self.place.lstat().st_ino) == inode
        return False


def data_of(project: Project, number: int) -> Placed:
    return Placed("", project.data, kept_aside(project, number) / DATA)


def folder_of(project: Project, number: int, path: str) -> Placed:
    """Return a folder outside data/: what is written aside is beside it, to be on its filesystem."""
    place = Path(path)
    return Placed(path, place, place.with_name(f"{place.name}.replaced-{project.name}-{number}") / place.name)


def folders_asked(run: Run) -> list[Placed]:
    """Return the folders outside data/ that are wanted."""
    named = [part.removeprefix(FOLDER) for part in run.request.parts if part.startswith(FOLDER)]
    return [folder_of(run.project, run.deployment.number, path) for path in named]


def asked(run: Run) -> list[Placed]:
    """Return all folders that are put in place."""
    if run.request.to:
        return []
    data = [data_of(run.project, run.deployment.number)] if DATA in run.request.parts else []
    return [*folders_asked(run), *data]


def check(one: Placed, needed: int, reserve: int) -> None:
    """Refuse a folder outside data/ that cannot be put in place; `needed`: its bytes."""
    above = next(path for path in one.place.parents if path.is_dir())
    if not safe_files.is_firm(one.place if above == one.place.parent else above / "x"):
        raise RefusedError(f"others can write in {above}", hint=TO)
    with contextlib.suppress(FileNotFoundError):
        found = one.place.lstat()
        if not one.place.is_dir() or one.place.is_symlink():
            raise RefusedError(f"{one.place} is not a folder", hint=TO)
        if found.st_dev != above.stat().st_dev:
            raise RefusedError(f"{one.place} is a mount", hint=TO)
    if shutil.disk_usage(above).free < needed + reserve:
        raise RefusedError(f"not enough free disk space in {above}", hint="make room, or restore to another disk: --to")


def begin(run: Run) -> None:
    """Note that something is written aside from now on; raise RefusedError if something is kept there already."""
    kept = kept_aside(run.project, run.deployment.number)
    to = written_to(run)
    for place in [to] if to else [kept, *(one.aside.parent for one in folders_asked(run))]:
        if os.path.lexists(place):
            raise RefusedError(f"{place} already exists", hint="move it away first")
    run.site.history.begin(run.deployment, EXTRACTING)


def extracted(one: Placed) -> Path:
    """Create the folder into which a folder outside data/ is extracted, below its whole path."""
    safe_files.folder(one.aside.parent, 0o700, make=0o755)
    into = one.aside.parent / EXTRACTED
    safe_files.folder(into, 0o700)
    return into


def settle(one: Placed) -> None:
    """Move what was extracted to where it changes places; raise OSError."""
    into = one.aside.parent / EXTRACTED
    os.rename(into / parts.below_root(one.place), one.aside)
    tree.remove(into)


def swap(run: Run, placed: Sequence[Placed]) -> None:
    """Put all folders in place, after noting all of them; nobody ends that."""
    disk.flush_all(*(one.aside.parent for one in placed))
    run.deadline.check()
    run.deadline.lifted = True
    for one in placed:
        row = f"{SWAP} {one.aside.lstat().st_ino}"
        run.site.history.begin(run.deployment, f"{row} {one.path}" if one.path else row)
    for one in placed:
        with run.site.effect("restore swap"):
            _exchange(one)
        say_aside(run, one)


def _exchange(one: Placed) -> None:
    if one.place.exists():
        tree.exchange(one.aside, one.place)
    else:
        tree.put(one.aside, one.place)


def say_aside(run: Run, one: Placed) -> None:
    """Say where the previous folder is kept; remove an empty one."""
    with contextlib.suppress(OSError):
        one.aside.rmdir()
    if one.aside.exists():
        run.voice.tell(Noted(f"      what was in {one.label}: {one.aside}"))
        run.voice.tell(Noted("      what runs may still use that: restart it"))


# what the journal knows


def _rows(run: Run) -> Iterator[tuple[Placed, str]]:
    """Yield the folders that were about to be put in place, each with the inode of the new one."""
    project, number = run.project, run.deployment.number
    for step in run.site.history.steps(run.deployment):
        word, _, rest = step.partition(" ")
        if word == SWAP:
            inode, _, path = rest.partition(" ")
            yield folder_of(project, number, path) if path else data_of(project, number), inode


def in_place(run: Run) -> dict[Placed, bool] | None:
    """Say of each folder in the journal whether the new one is in its place; None if that is not known."""
    try:
        return {one: one.is_in_place(inode) for one, inode in _rows(run)}
    except OSError:
        return None


def complete(run: Run) -> bool:
    """Put the rest in place of what was begun; return whether anything was. Raise TreeError or OSError."""
    found = in_place(run) or {}
    if not any(found.values()):
        return False
    for one, done in found.items():
        if not done:
            _exchange(one)
        say_aside(run, one)
    return True


def clear(run: Run) -> None:
    """Remove what an unfinished restore extracted, never what was there before; raise TreeError."""
    if EXTRACTING not in run.site.history.steps(run.deployment):
        return
    if to := written_to(run):
        tree.remove(to)
    swapped = in_place(run)
    for one in asked(run):
        for place in (one.aside.parent / EXTRACTED, one.aside):
            if place != one.aside or (swapped is not None and not swapped.get(one, False)):
                tree.remove(place)
        for folder in (one.aside.parent, *([one.aside.parent.parent] if not one.path else [])):
            with contextlib.suppress(OSError):  # something is kept there
                folder.rmdir()


def check_named(path: str, kept: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise UsageError for a folder that the backup has not, or cfg does not name."""
    if path not in kept:
        raise UsageError(f"this backup has no folder {path}", hint=f"it has: {', '.join(kept) or 'none'}")
    if path not in wanted:
        raise UsageError(f"cfg names no folder {path}", hint=TO)
