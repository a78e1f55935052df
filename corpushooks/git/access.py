"""How a repository is reached: by the program git, with no configuration but its own, or by dulwich in our process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dulwich.errors import NotGitRepository
from dulwich.repo import Repo

from corpushooks.errors import GitError, ProcessError
from corpushooks.patience import Check, endless
from corpushooks.run import Output, run

MINIMUM = (2, 30)
PINS = "refs/corpus"  # hidden from those who push


def version() -> tuple[int, ...]:
    """Return git's version; raise GitError where there is no git."""
    try:
        text = run(["git", "version"]).text
    except ProcessError as exc:
        raise GitError(str(exc), hint="install git 2.30 or newer") from exc
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def check_version() -> None:
    """Raise GitError where git is too old for the proc-receive hook."""
    found = version()
    if found < MINIMUM:
        raise GitError(f"git {'.'.join(map(str, found))} is too old", hint="install git 2.30 or newer")


def call(
    git_dir: Path,
    *words: str | Path,
    env: dict[str, str] | None = None,
    stdin: bytes = b"",
    check: Check = endless,
) -> Output:
    """Run git on a git dir of ours, reading no configuration but the one in it; kill it where `check` raises."""
    quiet = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "HOME": "/", **(env or {})}
    try:
        return run(["git", "--git-dir", git_dir, *words], cwd=git_dir.parent, env=quiet, stdin=stdin, patience=check)
    except ProcessError as exc:
        raise GitError(str(exc)) from exc


@contextmanager
def opened(path: Path) -> Iterator[Repo]:
    try:
        repo = Repo(str(path))
    except (NotGitRepository, OSError) as exc:
        raise no_repository(path) from exc
    try:
        yield repo
    finally:
        repo.close()


def no_repository(path: Path) -> GitError:
    return GitError(f"{path} is no repository", hint="corpus init NAME repairs it")
