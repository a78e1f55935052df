"""The content of a commit."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from dulwich.objects import ObjectID, Tree
from dulwich.repo import Repo

from corpushooks.core.errors import GitError
from corpushooks.git.access import call, opened
from corpushooks.git.commits import commit_of, content, entry

Listing = list[tuple[int, str, str]]  # of a commit: mode, object, path

LINK, SUBMODULE = 0o120000, 0o160000  # modes in a tree


def listing(path: Path, name: str) -> Listing:
    """Return the files and folders of a commit."""
    listed = os.fsdecode(call(path, "ls-tree", "-r", "-t", "-z", "--full-tree", name).stdout)
    entries = [entry.partition("\t")[::2] for entry in listed.split("\0") if entry]
    return [(int(head.split()[0], 8), head.split()[2], where) for head, where in entries]


def listing_below(path: Path, name: str, where: str) -> Listing:
    """Return one folder of a commit and its content; for a small one this is faster than git."""
    with opened(path) as repo:
        found = entry(repo, commit_of(repo, name), where)
        if not isinstance(found, Tree):
            return []
        entries, todo = [(stat.S_IFDIR, found.id.decode(), where)], [(where, found)]
        while todo:
            folder, tree = todo.pop()
            for inner, mode, sha in tree.iteritems():
                entries.append((mode, sha.decode(), f"{folder}/{os.fsdecode(inner)}"))
                if stat.S_ISDIR(mode):
                    todo.append((entries[-1][2], _tree(repo, sha)))
    return entries


def _tree(repo: Repo, sha: bytes) -> Tree:
    try:
        found = repo[ObjectID(sha)]
    except KeyError as exc:
        raise GitError(f"{sha.decode()[:12]} is not in the repository") from exc
    assert isinstance(found, Tree)
    return found


def object_id(path: Path, name: str, where: str) -> str | None:
    """Return the object id of a file or folder of a commit: the same id means the same content."""
    above, _, last = where.rpartition("/")
    with opened(path) as repo:
        found = entry(repo, commit_of(repo, name), above)
        if not isinstance(found, Tree) or os.fsencode(last) not in found:
            return None
        mode, sha = found[os.fsencode(last)]  # not read: it can be in an old pack
        return sha.decode() if stat.S_ISDIR(mode) or stat.S_ISREG(mode) else None


def folder(entries: Listing, where: str) -> dict[str, int] | None:
    """Return name -> mode of the entries of a folder ("": the top); None if it does not exist."""
    if where and not any(path == where and stat.S_ISDIR(mode) for mode, _, path in entries):
        return None
    start = f"{where}/" if where else ""
    found = {path[len(start) :]: mode for mode, _, path in entries if path.startswith(start)}
    return {name: mode for name, mode in found.items() if "/" not in name}


def links(path: Path, entries: Listing) -> dict[str, str]:
    """Return path -> target of the symbolic links of a commit."""
    with opened(path) as repo:
        return {
            where: os.fsdecode(repo[ObjectID(sha.encode())].as_raw_string().partition(b"\0")[0])  # as C reads it
            for mode, sha, where in entries
            if mode == LINK
        }


def attributes(path: Path, name: str, entries: Listing) -> dict[str, str]:
    """Return path -> text of the .gitattributes files of a commit."""
    own = [where for mode, _, where in entries if where.rpartition("/")[2] == ".gitattributes" and stat.S_ISREG(mode)]
    return {where: (content(path, name, where) or b"").decode("utf-8", "replace") for where in own}
