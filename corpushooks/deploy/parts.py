"""The folders that a backup keeps: data/, and others that cfg names. And what the parts of a backup are called."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from corpushooks import tree
from corpushooks.backup import vault
from corpushooks.core.errors import DoorError
from corpushooks.core.events import Item, listed
from corpushooks.deploy.run import Run
from corpushooks.host import accounts
from corpushooks.system.patience import Check
from corpushooks.tree import Fingerprint

DATA = "data"
LAST, WORK = "last", "work"  # of a project's folder for backups: what was kept last, and what is put together
CONTENTS, ABOUT = "contents", "backup.json"
MADE, CONTENTS_MADE = "made", "contents.made"  # what dump.sls wrote
VERSION = 2
ROOT = Path("/")


def contents_of(index: int) -> str:
    """Return the file with what data/ (0) or another folder had."""
    return CONTENTS if index == 0 else f"{CONTENTS}.{index}"


def below_root(path: Path) -> str:
    """Return an absolute path as a copy has it."""
    return str(path.relative_to(ROOT))


@dataclass
class Part:
    """A folder that is kept, without some paths below it."""

    label: str  # for people
    source: Path
    without: tuple[str, ...]
    taken: Fingerprint = field(default_factory=lambda: tree.NOTHING)

    @property
    def outside(self) -> list[str]:
        """The paths that are not copied."""
        return [*self.without, *sorted(self.taken.manifest.left)]

    def take(self, run: Run, check: Check) -> None:
        """Note what it has, before it is copied."""
        self.taken = tree.take(self.source, last_contents(run, self.label), self.without, check)

    def settle(self, changed: list[str], check: Check) -> None:
        """Note what changed while it was copied."""
        self.taken = tree.settle(self.taken, self.source, self.without, check).unsure(changed)


def last_of(run: Run, label: str) -> Path:
    """Return the file with what a folder had in the last backup."""
    mark = "" if label == DATA else f".{hashlib.sha256(os.fsencode(label)).hexdigest()[:16]}"
    return run.project.backups / f"{LAST}{mark}"


def last_contents(run: Run, label: str = DATA) -> Fingerprint:
    """Return the manifest of data/, or of another folder, in the last backup, if known."""
    with contextlib.suppress(OSError, ValueError):
        return Fingerprint.unpack(last_of(run, label).read_bytes())
    return tree.NOTHING


def inside(paths: tuple[str, ...], folder: str) -> list[str]:
    """Return those paths of a copy that are in a folder of it, as paths below that."""
    found = [path for path in paths if path == folder or path.startswith(f"{folder}/")]
    return ["" if path == folder else path.removeprefix(f"{folder}/") for path in found]


def check_folder(run: Run, folder: Path) -> None:
    """Raise DoorError for a folder that cannot be kept."""
    if folder.is_symlink() or not folder.is_dir():
        raise DoorError(f"{folder} is not a folder")
    kept = vault.wanted(run.settings).repository
    for own in (run.project.host.backups_dir, *([Path(kept)] if kept.startswith("/") else [])):
        if folder == own or folder in own.parents or own in folder.parents:
            raise DoorError(f"{folder} has the backups themselves: {own}")


def check_data(run: Run) -> None:
    """Raise DoorError if data/ is a link: its copy would be of the link."""
    if run.project.data.is_symlink():
        raise DoorError(
            f"{run.project.data} is a link: nothing that it leads to would be backed up",
            hint="make it a folder, and mount there what is on another disk",
        )


def check_read(part: Part, unread: list[str]) -> None:
    """Raise DoorError if the copy is missing something that existed throughout."""
    for path in unread:
        if path not in part.taken.changed:
            raise DoorError(f"{part.label}/{path} cannot be read")


def say_changed(run: Run, part: Part) -> None:
    if files := part.taken.changed_files:
        run.voice.tell(listed("changed", [Item(f"{part.label}/{path}") for path in files]))
    left = sorted(part.taken.manifest.left)
    run.voice.warn(*(f"{part.label}/{path}: not backed up: mounted or linked from elsewhere" for path in left))


def owners(taken: Iterable[Fingerprint]) -> dict[str, dict[str, str]]:
    """Return the names of the owners: their numbers differ on another host."""
    entries = [entry for one in taken for entry in (one.manifest.root, *(entry for _, entry in one.manifest.entries))]
    return accounts.names({entry.uid for entry in entries}, {entry.gid for entry in entries})
