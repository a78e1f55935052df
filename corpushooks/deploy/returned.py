"""A backup that was brought back aside: which one it is, what it says of itself, and whether it is what it was."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpushooks import backup as door
from corpushooks import tree
from corpushooks.backup import dumps
from corpushooks.core import backups
from corpushooks.core.errors import DoorError, UsageError
from corpushooks.core.events import Item, listed
from corpushooks.core.hints import command
from corpushooks.deploy import parts
from corpushooks.deploy.run import Run
from corpushooks.host import accounts
from corpushooks.screen import view
from corpushooks.system.patience import Check
from corpushooks.tree import Fingerprint

Place = tuple[str, Fingerprint, Path]  # a folder: its name for people, what it had, and where it is
FOLDERS = "folders"  # beside data/: the folders outside it, by their paths


@dataclass(frozen=True)
class Returned:
    """What a backup says of itself: its description, and what its folders had."""

    name: backups.Name
    about: dict[str, Any] = field(default_factory=dict)
    contents: Fingerprint = field(default_factory=lambda: tree.NOTHING)  # of data/
    folders: tuple[Fingerprint, ...] = ()
    made: Fingerprint = field(default_factory=lambda: tree.NOTHING)  # by dump.sls

    @classmethod
    def read(cls, work: Path, name: backups.Name) -> Returned:
        """Read it from the copy that completes the backup; raise DoorError."""
        try:
            about = json.loads((work / parts.ABOUT).read_text())
            if about["version"] > parts.VERSION:
                raise DoorError(f"{name} was made by a newer corpushooks ({about['corpushooks']})")
            found = [_contents(work / parts.contents_of(index)) for index in range(1 + len(about.get("folders", [])))]
            made = _contents(work / parts.CONTENTS_MADE) if about.get("made") else tree.NOTHING
            return cls(name, about, found[0], tuple(found[1:]), made)
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise DoorError(f"{name} is damaged: its description is missing") from exc

    @classmethod
    def begin(cls, engine: door.Engine, work: Path, name: backups.Name, check: Check) -> Returned:
        """Extract what a backup says of itself, and read it; raise ProcessError or DoorError."""
        engine.bring(str(name), work, [parts.ABOUT, parts.CONTENTS], check)
        if more := _more(work):
            engine.bring(str(name), work, more, check)
        return cls.read(work, name)

    @property
    def paths(self) -> list[str]:
        """The folders outside data/."""
        return [str(path) for path in self.about.get("folders", [])]

    @property
    def files(self) -> int:
        return self.contents.manifest.files + sum(one.manifest.files for one in self.folders)

    @property
    def size(self) -> int:
        """Bytes of its folders."""
        return self.contents.size + sum(one.size for one in self.folders)

    @property
    def dumped(self) -> int:
        """Bytes of its dumps."""
        return int(sum(one["size"] for one in self.about["databases"])) + self.made.size

    @property
    def owner(self) -> tree.Owner:
        """Return who owns its files here."""
        return accounts.here(self.about["accounts"])

    def fetch_folders(self, engine: door.Engine, place: Path, check: Check) -> None:
        """Extract the folders outside data/, below `place`."""
        if self.paths:
            (place / FOLDERS).mkdir(mode=0o700)
            engine.bring(self.name.folders, place / FOLDERS, (), check)

    def check_dumps(self, folder: Path, check: Check) -> None:
        """Raise DoorError if a dump is not as it was."""
        for one in self.about["databases"]:
            if dumps.digest(folder / one["file"], check) != one["digest"]:
                raise DoorError(f"the dump of {one['name']} differs from the backup")
        if self.made is not tree.NOTHING:
            for path, what in tree.compare(self.made, folder / parts.MADE, self.owner, check):
                raise DoorError(f"what dump.sls wrote differs from the backup: {path or parts.MADE} {what}")

    def of_folder(self, path: str) -> Fingerprint:
        """Return what a folder outside data/ had; raise UsageError if it is not in the backup."""
        if path not in self.paths:
            there = ", ".join(self.paths) or "none"
            raise UsageError(f"this backup has no folder {path}", hint=f"it has: {there}")
        return self.folders[self.paths.index(path)]

    def places(self, place: Path, *, whole: bool = True) -> list[Place]:
        """Return where data/, and the other folders if it is `whole`, are below the folder that has them."""
        found = [(parts.DATA, self.contents, place / parts.DATA)]
        for path, contents in zip(self.paths, self.folders, strict=True) if whole else ():
            found.append((path, contents, place / FOLDERS / parts.below_root(Path(path))))
        return found

    def check_files(self, run: Run, places: Sequence[Place], check: Check) -> None:
        """Compare every file of some folders; raise DoorError."""
        found = [
            (f"{label}/{path}", what)
            for label, contents, there in places
            for path, what in tree.compare(contents, there, self.owner, check)
        ]
        if found:
            run.voice.tell(listed("different from the backup", [Item(f"{path}: it {what}") for path, what in found]))
            raise DoorError(f"{view.count(len(found), 'path is', 'paths are')} different from the backup")


def _more(work: Path) -> list[str]:
    """Return the other files that belong to the description of a backup."""
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):  # told by who reads it
        about = json.loads((work / parts.ABOUT).read_text())
        made = [parts.CONTENTS_MADE] if about.get("made") else []
        return [*(parts.contents_of(index) for index, _ in enumerate(about.get("folders", []), 1)), *made]
    return []


def _contents(path: Path) -> Fingerprint:
    return Fingerprint.unpack(path.read_bytes())


def chosen(
    copies: Sequence[door.Copy], project: str, number: int, host: str, *, alone: bool = False
) -> backups.Name:  # fmt: skip
    """Return the newest complete backup of a project, or the one with a number; those of this host first, or `alone`.

    The newest of a host has the highest number: its clock can have been wrong.

    Raise UsageError where there is none.
    """
    there = {copy.name for copy in copies}
    read = [backups.Name.read(name) for name in there]
    whole = [one[0] for one in read if one and not one[1] and one[0].project == project and one[0].files in there]
    found = [name for name in whole if not number or name.number == number]
    own = [name for name in found if name.host == backups.host_name(host)]
    if not own and (alone or not found):
        what = f"{project} has no backup {number}" if number else f"{project} has no backups"
        raise UsageError(what, hint=command("backups", project))
    return max(own, key=lambda name: (name.number, name.at)) if own else max(found, key=lambda name: name.at)
