"""Look up commits, and compare two."""

from __future__ import annotations

import functools
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from dulwich.objects import Blob, Commit, ObjectID, Tag, Tree
from dulwich.repo import Repo

from corpushooks.core.errors import GitError, UsageError
from corpushooks.git.access import call, opened
from corpushooks.git.bare import empty_tree


@dataclass(frozen=True)
class Change:
    """The difference between two commits."""

    added: int  # commits that only the new one has
    lost: int  # commits that only the old one has


def commit(path: Path, name: str) -> str:
    """Return the commit of an object id, also that of a tag; raise GitError."""
    with opened(path) as repo:
        return commit_of(repo, name).id.decode()


def check_commit(path: Path, name: str) -> None:
    """Raise GitError if a commit or its tree is missing or cannot be read."""
    with opened(path) as repo:
        repo[commit_of(repo, name).tree].check()


def commit_of(repo: Repo, name: str) -> Commit:
    try:
        found = repo[ObjectID(name.encode())]
        while isinstance(found, Tag):
            found = repo[found.object[1]]
    except (KeyError, ValueError, AssertionError) as exc:
        raise GitError(f"{name[:12]} is not in the repository") from exc
    if not isinstance(found, Commit):
        raise GitError(f"{name[:12]} is a {found.type_name.decode()}, not a commit")
    return found


def resolve(path: Path, revision: str) -> str:
    """Return the commit of a revision as people write it; raise UsageError."""
    try:
        found = call(path, "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}").text
    except GitError as exc:
        raise UsageError(f"unknown revision {revision!r}") from exc
    return found.splitlines()[-1]  # git before 2.43 echoes --end-of-options


def entry(repo: Repo, found: Commit, where: str) -> object:
    node: object = repo[found.tree]
    for part in where.split("/") if where else ():
        if not isinstance(node, Tree) or os.fsencode(part) not in node:
            return None
        mode, sha = node[os.fsencode(part)]
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            return None
        node = repo[sha]
    return node


def content(path: Path, name: str, where: str) -> bytes | None:
    """Return the content of a regular file in a commit; None if it does not exist."""
    with opened(path) as repo:
        found = entry(repo, commit_of(repo, name), where)
        return found.as_raw_string() if isinstance(found, Blob) else None


@functools.lru_cache(maxsize=64)  # commits never change, and a push asks twice
def change(path: Path, old: str | None, new: str) -> Change:
    """Count the commits between two."""
    if old is None:
        return Change(int(call(path, "rev-list", "--count", new).text), 0)
    with opened(path) as repo:
        if commit_of(repo, new).parents == [old.encode()]:  # the usual push, without starting git
            return Change(1, 0)
    lost, added = call(path, "rev-list", "--count", "--left-right", f"{old}...{new}").text.split()
    return Change(int(added), int(lost))


def lost_commits(path: Path, old: str, new: str | None, limit: int = 5) -> list[str]:
    """List commits of `old` that `new` lacks, the newest first."""
    span = f"{new}..{old}" if new else old
    return call(path, "log", f"--max-count={limit}", "--format=%h %s", span).text.splitlines()


def counted(work: Path, old: str | None, new: str) -> dict[str, str]:
    """Count the added and removed lines of each file that differs between two commits: +3 -1, or binary."""
    listed = call(
        work, "diff-tree", "-r", "-z", "--numstat", "--no-renames", "--no-ext-diff", old or empty_tree(work), new
    )
    rows = [row.split("\t", 2) for row in os.fsdecode(listed.stdout).split("\0") if row]
    return {path: f"+{came} -{went}" if came != "-" else "binary" for came, went, path in rows}


def differing(work: Path, old: str | None, new: str) -> list[tuple[str, str]]:
    """Return (status letter, path) of each file that differs between two commits."""
    listed = call(work, "diff-tree", "-r", "-z", "--name-status", "--no-renames", old or empty_tree(work), new)
    words = os.fsdecode(listed.stdout).split("\0")[:-1]
    return list(zip(words[::2], words[1::2], strict=True))
