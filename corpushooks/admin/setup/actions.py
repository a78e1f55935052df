"""What setup does, one kind of it after the other: is it so already, do it, take it back.

Nothing is taken back by what it is called only: what stands there must be what was made.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from corpushooks.core.errors import DoorError
from corpushooks.system import disk
from corpushooks.system.machine import Machine

Marks = tuple[str, ...]  # of what was made, the newest first; nothing where it was not

ASIDE = ".disabled"  # the end of a name that neither sshd, systemd nor logrotate reads


@dataclass(frozen=True)
class Look:
    """What is there: whether something is to be done, why something is left as it is, and what is changed to what."""

    todo: bool
    left: str = ""
    change: str = ""


RIGHT, TODO = Look(False), Look(True)


class Action(Protocol):
    """One row of what setup does; `kind` and `name` together are how it is noted."""

    kind: ClassVar[str]

    @property
    def name(self) -> str: ...

    def look(self, noted: Marks) -> Look:
        """Look at what is there; `noted` are the marks of what was made before."""

    def mark(self) -> str:
        """Return what is noted before it is done, so that it can be told from what others did."""

    def do(self) -> None:
        """Do it, whatever of it was done so far. Raise CorpusError."""

    @classmethod
    def undo(cls, name: str, marks: Marks, machine: Machine | None) -> str:
        """Take it back; return why it is left, or nothing. Raise CorpusError."""


@dataclass(frozen=True)
class Skipped:
    """Something that this host cannot have."""

    kind: ClassVar[str] = "skipped"
    name: str
    why: str

    def look(self, noted: Marks) -> Look:
        return Look(False, self.why)

    def mark(self) -> str:
        return ""

    def do(self) -> None:
        """Do nothing."""

    @classmethod
    def undo(cls, name: str, marks: Marks, machine: Machine | None) -> str:
        return ""


# files


@dataclass(frozen=True)
class Folder:
    """A folder."""

    kind: ClassVar[str] = "folder"
    path: Path
    mode: int = 0o755

    @property
    def name(self) -> str:
        return str(self.path)

    def look(self, noted: Marks) -> Look:
        return RIGHT if self.path.is_dir() else TODO

    def mark(self) -> str:
        return ""

    def do(self) -> None:
        self.path.mkdir()
        self.path.chmod(self.mode)

    @classmethod
    def undo(cls, name: str, marks: Marks, machine: Machine | None) -> str:
        try:
            os.rmdir(name)
        except FileNotFoundError:
            pass
        except OSError:
            return "not empty"
        return ""


@dataclass(frozen=True)
class Mode:
    """The mode of a folder that is ours to say; what it was before is noted."""

    kind: ClassVar[str] = "mode"
    path: Path
    mode: int

    @property
    def name(self) -> str:
        return str(self.path)

    def look(self, noted: Marks) -> Look:
        if not self.path.exists() or self._now() == self.mode:
            return RIGHT
        return Look(True, change=f"{self._now():04o} -> {self.mode:04o}")

    def mark(self) -> str:
        return f"{self._now():04o}"

    def do(self) -> None:
        self.path.chmod(self.mode)

    def _now(self) -> int:
        return self.path.stat().st_mode & 0o7777

    @classmethod
    def undo(cls, name: str, marks: Marks, machine: Machine | None) -> str:
        with contextlib.suppress(FileNotFoundError):
            os.chmod(name, int(marks[-1], 8))
        return ""


@dataclass(frozen=True)
class Link:
    """A symbolic link, for a name that nobody else has."""

    kind: ClassVar[str] = "link"
    path: Path
    target: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def look(self, noted: Marks) -> Look:
        if not os.path.lexists(self.path):
            return TODO
        now = _target(self.path)
        if now == str(self.target):
            return RIGHT
        if now in noted:
            return Look(True, change=f"{now} -> {self.target}")
        return Look(False, f"is there already, and not {self.target}")

    def mark(self) -> str:
        return str(self.target)

    def do(self) -> None:
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(self.target)

    @classmethod
    def undo(cls, name: str, marks: Marks, machine: Machine | None) -> str:
        if not os.path.lexists(name):
            return ""
        if _target(Path(name)) not in marks:
            return "is another one by now"
        os.unlink(name)
        return ""


def _target(path: Path) -> str:
    return os.readlink(path) if path.is_symlink() else ""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class File:
    """A file of ours. One that somebody has edited, or made, is left as it is."""

    kind: ClassVar[str] = "file"
    path: Path
    text: str
    machine: Machine | None = None

    @property
    def name(self) -> str:
        return str(self.path)

    def look(self, noted: Marks) -> Look:
        if not self.path.exists():
            return TODO
        now = self.path.read_bytes()
        if now == self.text.encode():
            return RIGHT
        if digest(now) in noted:
            return Look(True, change="ours, of other settings or another version -> of these")
        who = "was edited" if noted else "was there before"
        return Look(False, f"{who}; it is written anew once it is away")

    def mark(self) -> str:
        return digest(self.text.encode())

    def do(self) -> None:
        disk.write_file(self.path, self.text.encode(), 0o644)
        self.after(self.machine)

    @classmethod
    def after(cls, machine: Machine | None) -> None:
        """Tell whoever reads it that it changed."""

    @classmethod
    def undo(cls, name: str, marks: Marks, machine: Machine | None) -> str:
        path, left = Path(name), ""
        with contextlib.suppress(FileNotFoundError):
            if digest(path.read_bytes()) in marks:
                path.unlink()
            else:
                left = cls.edited(path)
            cls.after(machine)
        return left

    @classmethod
    def edited(cls, path: Path) -> str:
        """Keep what somebody edited where it has no effect; return what became of it."""
        aside = path.with_name(path.name + ASIDE)
        path.rename(aside)
        return f"was edited: kept as {aside}"


class SettingsFile(File):
    """The settings: whoever has any keeps them."""

    kind: ClassVar[str] = "settings"

    def look(self, noted: Marks) -> Look:
        return RIGHT if self.path.exists() else TODO

    @classmethod
    def edited(cls, path: Path) -> str:
        return "was edited"


class UnitFile(File):
    """A unit, which systemd reads anew."""

    kind: ClassVar[str] = "unit file"

    @classmethod
    def after(cls, machine: Machine | None) -> None:
        if machine and machine.supervised():
            machine.read_units()


class Snippet(File):
    """A part of sshd's configuration. One that sshd does not take is taken back: nobody could log in any more."""

    kind: ClassVar[str] = "part of sshd's configuration"

    def do(self) -> None:
        if self.machine is None:
            return super().do()
        if wrong := self.machine.sshd_complaint():
            raise DoorError(f"sshd's configuration was wrong before we touched it: {wrong}", "sshd -t")
        before = self.path.read_bytes() if self.path.exists() else None
        disk.write_file(self.path, self.text.encode(), 0o644)
        if wrong := self.machine.sshd_complaint():
            self._take_back(before)
            raise DoorError(f"sshd does not take {self.path}, so it is away again: {wrong}", "sshd -V: 7.4 or newer?")
        return self.after(self.machine)

    def _take_back(self, before: bytes | None) -> None:
        if before is None:
            self.path.unlink()
        else:
            disk.write_file(self.path, before, 0o644)

    @classmethod
    def after(cls, machine: Machine | None) -> None:
        if machine:
            machine.reload_sshd()


# the machine


@dataclass(frozen=True)
class Started:
    """Units that run, now and after each boot."""

    kind: ClassVar[str] = "started"
    units: tuple[str, ...]
    machine: Machine

    @property
    def name(self) -> str:
        return " ".join(self.units)

    def look(self, noted: Marks) -> Look:
        found = [self.machine.unit(name) for name in self.units]
        return RIGHT if all(unit.active and unit.enabled for unit in found) else TODO

    def mark(self) -> str:
        return ""

    def do(self) -> None:
        self.machine.start_units(*self.units)

    @classmethod
    def undo(cls, name: str, marks: Marks, machine: Machine | None) -> str:
        if machine and machine.supervised():
            machine.stop_units(*name.split())
        return ""
