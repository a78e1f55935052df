"""Check commits out to trees of files with git, and make commits from files."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from dulwich.ignore import IgnoreFilterManager

from corpushooks.core.errors import GitError
from corpushooks.git.access import call
from corpushooks.git.bare import empty_tree
from corpushooks.git.refs import is_empty, move_ref
from corpushooks.system import disk
from corpushooks.system.patience import Check, endless
from corpushooks.system.process import stop_carrying

Since = tuple[str, Sequence[tuple[str, str]]]  # a commit, and the changes since: (status letter, path)

SMALL = 2000  # files that can be counted in the time in which git starts
CHECKOUT = "CORPUS_CHECKOUT"  # in the environment of a checkout, to find it after its daemon was killed


def first_commit(path: Path, branch: str, tree: Path, message: str) -> str | None:
    """Make the files of `tree` the first commit of an empty repository; return it, or None if it is not empty.

    All of it is flushed to the disk before the branch points to it.
    """
    if not is_empty(path):
        return None
    index = tree.parent / f".{tree.name}.index"
    env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(tree)}
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": "corpushooks", f"GIT_{role}_EMAIL": "corpushooks@localhost"}
    call(path, "add", "--all", "--force", "--", ":/", env=env)
    made = call(path, "commit-tree", "-m", message, call(path, "write-tree", env=env).text, env=env).text
    disk.flush_all(path)
    return made if move_ref(path, f"refs/heads/{branch}", None, made) else None


def commit_files(path: Path, parent: str | None, files: Mapping[str, bytes | None], who: str, message: str) -> str:
    """Return a new commit on top of `parent` (or without one) with these contents of files (None: removed).

    No ref points to it. All of it is flushed to the disk. Contents are never passed on a command line.
    """
    name = re.sub(r"[^\w.@+/-]", "_", who) or "nobody"
    mail = name if "@" in name else f"{name}@localhost"
    committer = {"GIT_COMMITTER_NAME": "corpus", "GIT_COMMITTER_EMAIL": "corpus@localhost"}
    with tempfile.TemporaryDirectory(prefix="corpushooks-") as folder:
        env = {"GIT_INDEX_FILE": f"{folder}/index", "GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": mail, **committer}
        if parent:
            call(path, "read-tree", parent, env=env)
        none = "0" * len(empty_tree(path))
        rows = []
        for file, content in files.items():
            blob = none if content is None else call(path, "hash-object", "-w", "--stdin", stdin=content).text
            rows.append(f"{0 if content is None else 100644} {blob}\t{file}\0")
        call(path, "update-index", "-z", "--index-info", env=env, stdin=os.fsencode("".join(rows)))
        words = ["-p", parent] if parent else []
        made = call(path, "commit-tree", *words, "-m", message, call(path, "write-tree", env=env).text, env=env).text
    disk.flush_all(path)
    return made


def checkout(work: Path, tree: Path, name: str | None, check: Check = endless, since: Since | None = None) -> None:
    """Make the folder `tree` equal to the commit `name` (None: empty). `work` is our git dir, under its lane's lock.

    `since` is another commit and the changes from that to this one, if the caller knows them.
    """
    tree.mkdir(parents=True, exist_ok=True)
    index = work / f"{tree.name}.index"
    lock = Path(f"{index}.lock")
    lock.unlink(missing_ok=True)  # a stale one, since we hold the lock of the lane
    if name is None and not any(tree.iterdir()):
        return
    env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(tree), CHECKOUT: str(tree)}
    if index.exists() and _attributes_differ(work, index, name or empty_tree(work), env, check, since):
        index.unlink(missing_ok=True)
    try:
        call(work, "read-tree", "-u", "--reset", name or empty_tree(work), env=env, check=check)
    except GitError:  # the index is damaged, or git was killed
        index.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
        call(work, "read-tree", "-u", "--reset", name or empty_tree(work), env=env, check=check)
    if not _has_only_indexed(tree, index):
        call(work, "clean", "--quiet", "-d", "-x", "--force", "--force", env=env, check=check)
    if name:
        _record_file(index).write_text(f"{name} {_stat(index)}")


def _attributes_differ(
    work: Path, index: Path, name: str, env: dict[str, str], check: Check, since: Since | None
) -> bool:
    """Return whether a .gitattributes differs, so that unchanged files can need another form in the checkout."""
    if since and _is_recorded_as(index, since[0]):
        return any(path.rpartition("/")[2] == ".gitattributes" for _, path in since[1])
    try:
        words = ("diff-index", "--cached", "--name-only", name, "--", ":(glob)**/.gitattributes")
        return bool(call(work, *words, env=env, check=check).stdout)
    except GitError:  # a damaged index
        return True


def _record_file(index: Path) -> Path:
    """Return the file that records the commit of an index."""
    return index.with_name(f"{index.name}.commit")


def _is_recorded_as(index: Path, name: str) -> bool:
    """Return whether an index is recorded as the complete checkout of a commit."""
    try:
        return _record_file(index).read_text() == f"{name} {_stat(index)}"
    except (OSError, ValueError):
        return False


def _stat(index: Path) -> str:
    """Return a stamp that changes with an index, which git replaces."""
    st = index.stat()
    return f"{st.st_dev} {st.st_ino} {st.st_size} {st.st_ctime_ns}"


def _has_only_indexed(tree: Path, index: Path) -> bool:
    """Return whether a folder has no files but those of a small index that was just checked out."""
    with index.open("rb") as file:
        head = file.read(12)
    wanted = int.from_bytes(head[8:12], "big")
    return wanted <= SMALL and _count(tree) == wanted


def _count(folder: Path | str) -> int:
    """Return how many files a folder has; -1 if it has an empty folder, or too many files."""
    found = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            inner = _count(entry.path) if entry.is_dir(follow_symlinks=False) else 1
            if inner < 1 or found > SMALL:
                return -1
            found += inner
    return found


def is_checked_out(work: Path, tree: Path) -> bool:
    """Return whether a commit was ever completely checked out to the folder `tree`."""
    return tree.is_dir() and (work / f"{tree.name}.index").exists()


def ignored(stage: Path, path: str) -> bool:
    """Return whether the .gitignore files of a checkout ignore a path that is not in it; unreadable ones do not."""
    try:
        return bool(IgnoreFilterManager(str(stage), [], ignorecase=False).is_ignored(path))
    except (OSError, ValueError, re.error):
        return False


def blob_name(content: bytes, like: str) -> str:
    """Return the object id of a content, in the format of the id `like`."""
    hashed = hashlib.sha1(usedforsecurity=False) if len(like) == 40 else hashlib.sha256()
    hashed.update(b"blob %d\0" % len(content) + content)
    return hashed.hexdigest()


def stop_checkout(tree: Path) -> None:
    """Stop a checkout of the folder `tree` that outlived its daemon; raise GitError."""
    if not stop_carrying(f"{CHECKOUT}={tree}"):
        raise GitError(f"cannot stop the git process that writes to {tree}")


def refusal(path: Path, name: str) -> str:
    """Return why git refuses to check out a commit (it contains .git, or a path that leads out); otherwise nothing."""
    with tempfile.TemporaryDirectory(prefix="corpushooks-") as folder:
        try:
            call(path, "read-tree", "--dry-run", name, env={"GIT_INDEX_FILE": f"{folder}/index"})
        except GitError as exc:
            return re.split("error: |fatal: ", exc.said)[-1]
    return ""


def export(work: Path, tree: Path, name: str) -> None:
    """Write a tree (COMMIT or COMMIT:FOLDER) into the empty folder `tree`, independently of the checkouts."""
    tree.mkdir(parents=True, exist_ok=True)
    index = tree.parent / f".{tree.name}.index"
    env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(tree)}
    try:
        call(work, "read-tree", "-u", "--reset", name, env=env)
    finally:
        index.unlink(missing_ok=True)


def export_part(work: Path, tree: Path, name: str, folder: str) -> None:
    """Write a folder of a commit into the folder `tree`, with the attributes of a full checkout."""
    tree.mkdir(parents=True, exist_ok=True)
    index = tree.parent / f".{tree.name}.index"
    env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(tree)}
    try:
        call(work, "read-tree", name, env=env)
        listed = call(work, "ls-files", "-z", "--", folder, env=env).stdout
        call(work, "checkout-index", "--force", "-z", "--stdin", env=env, stdin=listed)
    finally:
        index.unlink(missing_ok=True)


def export_files(work: Path, tree: Path, name: str, paths: list[str]) -> None:
    """Write some files of a commit into the folder `tree`."""
    index = tree.parent / f".{tree.name}.index"
    env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(tree)}
    try:
        call(work, "read-tree", name, env=env)
        listed = b"".join(os.fsencode(path) + b"\0" for path in paths)
        call(work, "checkout-index", "--force", "-z", "--stdin", env=env, stdin=listed)
    finally:
        index.unlink(missing_ok=True)
