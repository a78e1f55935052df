"""A user's working tree: what git would send of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from corpushooks.core.errors import ProcessError
from corpushooks.system.process import Output, run

# No program in the configuration of that repository is run, and its index is not written.
LIMIT = 60.0  # seconds
QUIET = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false")


@dataclass(frozen=True)
class Worktree:
    """The state of a folder in git."""

    prefix: str  # its path in the repository; empty: it is the top
    modes: dict[str, int]  # path -> mode, of the index
    untracked: tuple[str, ...]
    ignored: tuple[str, ...]
    changed: tuple[str, ...]  # since the last commit


def worktree(folder: Path, below: str) -> Worktree | None:
    """Return the state of a folder in git, with the changes below one of its folders; None outside a repository."""
    try:
        prefix = _git(folder, "rev-parse", "--show-prefix")
        staged = _git(folder, "ls-files", "--stage", "-z")
        status = _git(
            folder, "status", "--porcelain=v1", "-z", "--no-renames", "--ignored", "--untracked-files=all", "--", below
        )  # fmt: skip
    except ProcessError:
        return None
    modes = {}
    for entry in filter(None, os.fsdecode(staged.stdout).split("\0")):
        head, _, path = entry.partition("\t")
        modes[path] = int(head.split()[0], 8)
    top = prefix.stdout.decode("utf-8", "surrogateescape").strip()
    kinds: dict[str, list[str]] = {"??": [], "!!": [], "": []}
    for entry in filter(None, os.fsdecode(status.stdout).split("\0")):
        kinds.get(entry[:2], kinds[""]).append(entry[3:].removeprefix(top))
    return Worktree(top.rstrip("/"), modes, tuple(kinds["??"]), tuple(kinds["!!"]), tuple(kinds[""]))


def _git(folder: Path, *words: str) -> Output:
    return run(["git", *QUIET, "-C", folder, *words], timeout=LIMIT)
