"""What an engine of backups can do, and what came of it. A copy is one archive of a repository: all of it, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from corpushooks.system.patience import Check, endless
from corpushooks.system.process import Child


@dataclass(frozen=True)
class Copy:
    """A copy that is in the repository; `at` in seconds since the epoch."""

    name: str
    at: float


@dataclass(frozen=True)
class Kept:
    """What came of keeping a copy: bytes in all and bytes that are new, and the paths that are not as they were.

    A path that `changed` is in the copy, in whatever state; one that is `unread` is not.
    """

    size: int
    added: int
    changed: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


class Start(Protocol):
    """Starts a program in a session of its own. Its caller can find that session after this process was killed."""

    def __call__(
        self, words: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str], stdout: int, stderr: int
    ) -> Child[bytes]: ...


class Engine(Protocol):
    """A program that keeps copies. Each function raises ProcessError, or what `check` raises, and leaves no lock."""

    def begin(self, check: Check = endless) -> None:
        """Make the repository; raise ProcessError where there is one."""

    def keep(
        self, name: str, folder: Path, paths: Sequence[str], without: Sequence[str] = (), check: Check = endless,
        *, fresh: bool = False,
    ) -> Kept:  # fmt: skip
        """Keep `paths` of a folder, but those in `without` and what is below these; no link and no mount is followed.

        If they are `fresh`, all of them are read, whatever was kept before.

        Where it raises there is no copy of that name.
        """

    def copies(self, check: Check = endless) -> list[Copy]:
        """Return what is kept, the oldest first."""

    def bring(self, name: str, into: Path, paths: Sequence[str] = (), check: Check = endless) -> None:
        """Write a copy, or some paths of it, into an empty folder that is ours alone."""

    def forget(self, names: Sequence[str], check: Check = endless) -> None:
        """Remove copies, and give the room of what nothing else needs back."""

    def verify(self, check: Check = endless) -> None:
        """Read the whole repository; raise where anything of it is damaged."""
