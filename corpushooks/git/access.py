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


QUIET = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "HOME": "/", "GIT_NO_REPLACE_OBJECTS": "1"}
OURS = {"GIT_COMMITTER_NAME": "corpushooks", "GIT_COMMITTER_EMAIL": "corpushooks@localhost"}  # in reflogs


def call(
    git_dir: Path,
    *words: str | Path,
    env: dict[str, str] | None = None,
    stdin: bytes = b"",
    check: Check = endless,
) -> Output:
    """Run git on a git dir of ours, reading no configuration but the one in it; kill it where `check` raises."""
    quiet = {**QUIET, **(env or {})}
    try:
        return run(["git", "--git-dir", git_dir, *words], cwd=git_dir.parent, env=quiet, stdin=stdin, patience=check)
    except ProcessError as exc:
        raise GitError(str(exc)) from exc


def complaint(git_dir: Path, *words: str | Path, stdin: bytes) -> str:
    """Run git so, and return the first line of what it has against that, or nothing."""
    env = {**QUIET, **OURS}
    try:
        done = run(["git", "--git-dir", git_dir, *words], cwd=git_dir.parent, env=env, stdin=stdin, check=False)
    except ProcessError as exc:
        raise GitError(str(exc)) from exc
    lines = done.stderr.decode("utf-8", "replace").splitlines() if done.code else []
    found = next((line for line in lines if re.match("(fatal|error): ", line)), *lines[-1:] or ["it failed"])
    return re.sub("^((fatal|error|prepare|commit): )+", "", found) if done.code else ""


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
