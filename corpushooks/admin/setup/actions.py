"""The kinds of actions of setup: look, do, undo.

Nothing is undone by its name alone: what is there must be what setup made.
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

Marks = tuple[str, ...]  # of what was made, newest first; empty if nothing was

ASIDE = ".disabled"  # a suffix that sshd, systemd and logrotate ignore


@dataclass(frozen=True)
class Look:
    """What is there: whether there is something to do, why it is kept, and what would change to what."""

    todo: bool
    left: str = ""
    change: str = ""


RIGHT, TODO = Look(False), Look(True)


class Action(Protocol):
    """One action; it is recorded under `kind` and `name`."""

    kind: ClassVar[str]

    @property
    def name(self) -> str: ...

    def look(self, noted: Marks) -> Look:
        """Look at what is there; `noted` are the marks of earlier runs."""

    def mark(self) -> str:
        """Return the mark that is recorded first, to tell our work from that of others."""

    def do(self) -> None:
        """Do it, even if part of it is done already. Raise CorpusError."""

    @classmethod
    def undo(cls, name: str, marks: Marks, machine: Machine | None) -> str:
        """Undo it; return why it is kept, or ''. Raise CorpusError."""


@dataclass(frozen=True)
class Skipped:
    """An action that does not apply to this host."""

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
    """The mode of a folder; the previous mode is recorded."""

    kind: ClassVar[str] = "mode"
    path: Path
    mode: int

    @property
    def name(self) -> str:
        return str(self.path)

    def look(self, noted: Marks) -> Look:
        if not self.path.exists() or self._current_mode() == self.mode:
            return RIGHT
        return Look(True, change=f"{self._current_mode():04o} -> {self.mode:04o}")

    def mark(self) -> str:
        return f"{self._current_mode():04o}"

    def do(self) -> None:
        self.path.chmod(self.mode)

    def _current_mode(self) -> int:
        return self.path.stat().st_mode & 0o7777

    @classmethod
    def undo(cls, name: str, marks: Marks, machine: Machine | None) -> str:
        with contextlib.suppress(FileNotFoundError):
            os.chmod(name, int(marks[-1], 8))
        return ""


@dataclass(frozen=True)
class Link:
    """A symbolic link, if its name is free."""

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
        return Look(False, f"exists, but is not a link to {self.target}")

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
            return "was changed since"
        os.unlink(name)
        return ""


def _target(path: Path) -> str:
    return os.readlink(path) if path.is_symlink() else ""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class File:
    """A file of ours. One that somebody else edited or created is kept."""

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
            return Look(True, change="from another version or other settings -> current")
        who = "was edited" if noted else "was there before"
        return Look(False, f"{who}; remove it to have it written again")

    def mark(self) -> str:
        return digest(self.text.encode())

    def do(self) -> None:
        disk.write_file(self.path, self.text.encode(), 0o644)
        self.after(self.machine)

    @classmethod
    def after(cls, machine: Machine | None) -> None:
        """Notify its reader of the change."""

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
        """Move an edited file where it has no effect; return a note."""
        aside = path.with_name(path.name + ASIDE)
        path.rename(aside)
        return f"was edited; kept as {aside}"


class SettingsFile(File):
    """The settings; existing ones are kept."""

    kind: ClassVar[str] = "settings"

    def look(self, noted: Marks) -> Look:
        return RIGHT if self.path.exists() else TODO

    @classmethod
    def edited(cls, path: Path) -> str:
        return "was edited"


class UnitFile(File):
    """A systemd unit file."""

    kind: ClassVar[str] = "unit file"

    @classmethod
    def after(cls, machine: Machine | None) -> None:
        if machine and machine.supervised():
            machine.read_units()


class Snippet(File):
    """A part of sshd's configuration. If sshd rejects it, it is removed: otherwise nobody could log in."""

    kind: ClassVar[str] = "part of sshd's configuration"

    def do(self) -> None:
        if self.machine is None:
            return super().do()
        if wrong := self.machine.sshd_complaint():
            raise DoorError(f"sshd's configuration was invalid before setup: {wrong}", "sshd -t")
        before = self.path.read_bytes() if self.path.exists() else None
        disk.write_file(self.path, self.text.encode(), 0o644)
        if wrong := self.machine.sshd_complaint():
            self._restore_previous(before)
            raise DoorError(
                f"sshd rejected {self.path}; it was removed: {wrong}", "check for OpenSSH 7.4 or newer: sshd -V"
            )
        return self.after(self.machine)

    def _restore_previous(self, before: bytes | None) -> None:
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
    """Units that are started and enabled."""

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
