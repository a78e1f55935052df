"""The door to git: bare repositories, refs, objects, checkouts.

Objects are read and refs are moved by dulwich, in our process. Checkouts are git's own, from a git dir that is
ours alone (work.git), so that no configuration, hook or filter of anybody else is ever read.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dulwich.config import ConfigFile
from dulwich.errors import NotGitRepository
from dulwich.file import FileLocked
from dulwich.objects import Blob, Commit, ObjectID, Tag, Tree
from dulwich.refs import DiskRefsContainer, Ref
from dulwich.repo import Repo

from corpushooks import disk
from corpushooks.errors import GitError, ProcessError, UsageError
from corpushooks.run import Output, run, stop_carrying

T = TypeVar("T")
Listing = list[tuple[int, str, str]]  # of a commit: mode, object, path

MINIMUM = (2, 30)
ZERO = "0" * 40
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
PINS = "refs/corpus"
CHECKOUT = "CORPUS_CHECKOUT"  # in the environment of a checkout, so that it is found when its daemon was killed
LINK, SUBMODULE = 0o120000, 0o160000  # modes in a tree
SHARED, WRITABLE = 0o2750, 0o2770  # modes of a repository that a group pushes to, and of what it may write there
PATIENCE = 5.0  # seconds until a lock is stale
SETTLED_NS = 2_000_000_000  # some filesystems count seconds only

# Files are checked out byte for byte: no line ends, keywords, filters or encodings are changed.
ATTRIBUTES = "* -text !eol -ident -filter !working-tree-encoding\n"


@dataclass(frozen=True)
class Change:
    """What lies between two commits."""

    added: int  # commits that only the new one has
    lost: int  # commits that only the old one has


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


def _git(git_dir: Path, *words: str | Path, env: dict[str, str] | None = None, stdin: bytes = b"") -> Output:
    """Run git on a git dir of ours, reading no configuration but the one that lies in it."""
    quiet = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "HOME": "/", **(env or {})}
    try:
        return run(["git", "--git-dir", git_dir, *words], cwd=git_dir.parent, env=quiet, stdin=stdin)
    except ProcessError as exc:
        raise GitError(str(exc)) from exc


# repositories


def bare_config(path: Path, *, shared: bool = False) -> dict[str, str]:
    """Return the configuration that a repository for pushes must have; `shared` with a group that pushes."""
    return {
        "core.sharedRepository": "group" if shared else "umask",
        "core.bare": "true",
        "core.hooksPath": str(path / "hooks"),  # a global one would hide our hook
        "core.fsync": "committed,reference",  # by default git does not fsync a small push
        "core.logAllRefUpdates": "true",
        "gc.auto": "0",
        "receive.advertisePushOptions": "true",
        "receive.autogc": "false",
        "receive.denyNonFastForwards": "false",
        "receive.procReceiveRefs": "refs",
        "receive.shallowUpdate": "false",
        "receive.unpackLimit": "1",  # a push is one pack, in one folder, and not a file in each of many
        "transfer.hideRefs": PINS,
    }


def init_bare(path: Path, branch: str, *, shared: bool = False) -> bool:
    """Make or repair a bare repository; return whether anything was changed."""
    if not (path / "HEAD").exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        run(["git", "init", "--quiet", "--bare", "--template=", f"--initial-branch={branch}", path])
        new = True
    else:
        new = _point_head(path, branch)
    (path / "hooks").mkdir(exist_ok=True)
    return _configure(path, bare_config(path, shared=shared)) or new


def share(path: Path, gid: int) -> None:
    """Let a group write objects and refs of a repository, and nothing else: neither its hooks nor its configuration.

    What git makes there keeps the group; folders of refs that we made ourselves are given to it here.
    """
    for name in ("refs", "logs/refs"):
        (path / name).mkdir(parents=True, exist_ok=True)
    whole = (path.stat().st_gid, path.stat().st_mode & 0o7777) == (gid, SHARED)
    for name in ("refs", "logs") if whole else ("refs", "logs", "objects"):
        for folder, _, files in os.walk(path / name):
            _give(Path(folder), gid, WRITABLE)
            for file in () if whole else files:
                os.chown(Path(folder) / file, -1, gid, follow_symlinks=False)
    _give(path, gid, SHARED)  # the last: it says that all is done


def _give(folder: Path, gid: int, mode: int) -> None:
    found = folder.stat()
    if (found.st_gid, found.st_mode & 0o7777) != (gid, mode):
        os.chown(folder, -1, gid)
        folder.chmod(mode)


def _point_head(path: Path, branch: str) -> bool:
    wanted = f"ref: refs/heads/{branch}\n"
    if (path / "HEAD").read_text() == wanted:
        return False
    _git(path, "symbolic-ref", "HEAD", f"refs/heads/{branch}")
    return True


def _configure(path: Path, wanted: dict[str, str]) -> bool:
    """Make the configuration of a repository what it should be; return whether it was not."""
    found = _configuration(path / "config", _stamp(path / "config"))
    wrong = {key: value for key, value in wanted.items() if found.get(key.lower()) != value}
    if wrong:  # aside: git does not fsync it, and where it is empty a push is stored without a deployment
        aside = path / "config.wanted"
        aside.write_bytes((path / "config").read_bytes())
        for key, value in wrong.items():
            _git(path, "config", "--file", aside, "--replace-all", key, value)
        disk.write_file(path / "config", aside.read_bytes(), 0o644)
        aside.unlink()
    return bool(wrong)


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes with a file, or the time where it has changed so lately that it may again unseen."""
    now = time.time_ns()
    try:
        st = path.stat()
    except FileNotFoundError:
        return (now,)
    return (st.st_dev, st.st_ino, st.st_size, st.st_ctime_ns) if now - st.st_ctime_ns > SETTLED_NS else (now,)


@functools.lru_cache(maxsize=1024)
def _configuration(file: Path, stamp: tuple[int, ...]) -> dict[str, str]:
    """Return SECTION.NAME, in small letters, -> value of a file as it was at `stamp`; nothing where it is none."""
    try:
        config = ConfigFile.from_path(str(file))
    except (OSError, ValueError):
        return {}
    return {
        f"{section[0].decode()}.{name.decode()}".lower(): value.decode("utf-8", "replace")
        for section in config.sections()
        for name, value in config.items(section)
        if len(section) == 1
    }


def init_work(path: Path, sources: list[Path]) -> None:
    """Make or repair the git dir of the checkouts: it borrows the objects of the repositories `sources`."""
    if not (path / "HEAD").exists():
        run(["git", "init", "--quiet", "--bare", "--template=", path])
    _configure(path, {"core.bare": "false", "core.hooksPath": os.devnull, "core.fileMode": "true",
                      "core.symlinks": "true", "core.quotePath": "false", "gc.auto": "0"})  # fmt: skip
    for name, text in (
        ("info/attributes", ATTRIBUTES),
        ("objects/info/alternates", "".join(f"{source / 'objects'}\n" for source in sources)),
    ):
        file = path / name
        file.parent.mkdir(exist_ok=True)
        if not file.exists() or file.read_text() != text:
            disk.write_file(file, text.encode(), 0o644)


@contextmanager
def _repo(path: Path) -> Iterator[Repo]:
    try:
        repo = Repo(str(path))
    except (NotGitRepository, OSError) as exc:
        raise _no_repository(path) from exc
    try:
        yield repo
    finally:
        repo.close()


def _no_repository(path: Path) -> GitError:
    return GitError(f"{path} is no repository", hint="corpus init NAME repairs it")


# refs


def ref(path: Path, name: str) -> str | None:
    """Return the object that a ref names, or None where there is no such ref."""
    try:
        return _refs(path)[Ref(name.encode())].decode()
    except KeyError:
        return None


def _refs(path: Path) -> DiskRefsContainer:
    """Return the refs of a repository, to be read: for that nothing else need be opened."""
    if not (path / "HEAD").exists():
        raise _no_repository(path)
    return DiskRefsContainer(str(path))


def head_branch(path: Path) -> str:
    """Return the branch that a bare repository was made with."""
    try:
        return (path / "HEAD").read_text().strip().removeprefix("ref: refs/heads/")
    except OSError as exc:
        raise GitError(f"{path} has no HEAD: {exc.strerror}", hint="corpus init NAME repairs it") from exc


def move_ref(path: Path, name: str, old: str | None, new: str, *, patience: float = PATIENCE) -> bool:
    """Move a ref from `old` (None: it must not exist) to `new`; return whether it was `old`."""
    folder = (path / name).parent
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    with _repo(path) as repo:
        try:
            moved = _though_locked(
                lambda: repo.refs.set_if_equals(
                    Ref(name.encode()), ObjectID((old or ZERO).encode()), ObjectID(new.encode()),
                    message=b"deployed", committer=b"corpushooks <corpushooks@localhost>",
                ),
                patience,
            )  # fmt: skip
            for each in (folder, *(new.parent for new in made)):
                disk.flush_folder(each)
        except OSError as exc:
            raise GitError(f"{name} of {path} cannot be moved: {exc}") from exc
    return bool(moved)


def _remove_ref(path: Path, name: str, old: str | None, patience: float = PATIENCE) -> None:
    """Remove a ref if it is `old` (None: whatever it is)."""
    wanted = ObjectID(old.encode()) if old else None
    with _repo(path) as repo:
        _though_locked(lambda: repo.refs.remove_if_equals(Ref(name.encode()), wanted), patience)


def delete_ref(path: Path, name: str, old: str) -> None:
    """Remove a ref that is `old`; raise GitError where it is not."""
    try:
        with _repo(path) as repo:
            removed = _though_locked(
                lambda: repo.refs.remove_if_equals(Ref(name.encode()), ObjectID(old.encode())), PATIENCE
            )
    except OSError as exc:
        raise GitError(f"{name} cannot be removed: {exc.strerror}") from exc
    if not removed:
        raise GitError(f"{name} is not what it was")


def _though_locked(act: Callable[[], T], patience: float) -> T:
    """Do what needs a lock of git's.

    One that stays for `patience` seconds is stale (git holds one for milliseconds) and removed.
    """
    end = time.monotonic() + patience
    while True:
        try:
            return act()
        except FileLocked as exc:
            if time.monotonic() >= end:
                Path(os.fsdecode(exc.lockfilename)).unlink(missing_ok=True)
            else:
                time.sleep(0.02)


def take_back_ref(path: Path, name: str, new: str, old: str | None) -> None:
    """Move a ref from `new` back to `old` (None: remove it); one that is elsewhere stays there."""
    if old is not None:
        move_ref(path, name, new, old)
    elif ref(path, name) == new:
        _remove_ref(path, name, new)


def pin(path: Path, number: int, commit: str) -> None:
    """Keep the commit of a deployment from being collected."""
    name = f"{PINS}/{number}"
    move_ref(path, name, ref(path, name), commit, patience=0)  # only the lane moves pins: who held a lock is dead


def unpin(path: Path, number: int, *, patience: float = PATIENCE) -> None:
    """Let the commit of a deployment go."""
    _remove_ref(path, f"{PINS}/{number}", None, patience)


def clear_locks(path: Path) -> None:
    """Remove the locks of pins that a killed daemon left: nobody else pins, and never without the lane's lock."""
    for lock in (path / PINS).glob("*.lock"):
        lock.unlink(missing_ok=True)


def break_lock(path: Path, name: str) -> None:
    """Remove the stale lock of a ref that git itself will move: else no push would ever move it again."""
    lock = path / f"{name}.lock"
    with contextlib.suppress(OSError):
        if time.time() - lock.stat().st_mtime > PATIENCE:
            lock.unlink()


def pinned(path: Path, number: int) -> str | None:
    """Return the commit that is kept for a deployment."""
    return ref(path, f"{PINS}/{number}")


def pins(path: Path) -> list[int]:
    """Return the numbers of the deployments whose commits are kept."""
    return sorted(int(name) for name in _refs(path).keys(base=Ref(PINS.encode())) if name.isdigit())


# objects


def flush_objects(path: Path) -> None:
    """Bring the names of the packs that were pushed to the disk: git brings only what is in them. Raise GitError."""
    try:
        disk.flush_folder(path / "objects/pack")
    except OSError as exc:
        raise GitError(f"{path} cannot be brought to the disk: {exc.strerror}") from exc


def commit(path: Path, name: str) -> str:
    """Return the commit that an object id (a tag is followed) names; raise GitError."""
    with _repo(path) as repo:
        return _commit(repo, name).id.decode()


def _commit(repo: Repo, name: str) -> Commit:
    try:
        found = repo[ObjectID(name.encode())]
        while isinstance(found, Tag):
            found = repo[found.object[1]]
    except (KeyError, ValueError, AssertionError) as exc:
        raise GitError(f"{name[:12]} is not in the repository") from exc
    if not isinstance(found, Commit):
        raise GitError(f"{name[:12]} is no commit but a {found.type_name.decode()}")
    return found


def resolve(path: Path, revision: str) -> str:
    """Return the commit that a revision, as people write it, names; raise UsageError."""
    try:
        found = _git(path, "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}").text
    except GitError as exc:
        raise UsageError(f"{revision!r} names no commit here") from exc
    return found.splitlines()[-1]  # git before 2.43 echoes --end-of-options


def subject(path: Path, name: str) -> str:
    """Return the first line of a commit's message."""
    with _repo(path) as repo:
        message: bytes = _commit(repo, name).message
        return message.decode("utf-8", "replace").partition("\n")[0]


def _entry(repo: Repo, found: Commit, where: str) -> object:
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
    """Return the content of a file in a commit; None where there is no such (regular) file."""
    with _repo(path) as repo:
        found = _entry(repo, _commit(repo, name), where)
        return found.as_raw_string() if isinstance(found, Blob) else None


@functools.lru_cache(maxsize=64)  # commits never change, and a push asks before it and after it
def change(path: Path, old: str | None, new: str) -> Change:
    """Count the commits between two."""
    if old is None:
        return Change(int(_git(path, "rev-list", "--count", new).text), 0)
    with _repo(path) as repo:
        if _commit(repo, new).parents == [old.encode()]:  # the usual push, for which git need not be started
            return Change(1, 0)
    lost, added = _git(path, "rev-list", "--count", "--left-right", f"{old}...{new}").text.split()
    return Change(int(added), int(lost))


def lost_commits(path: Path, old: str, new: str, limit: int = 5) -> list[str]:
    """Name commits of `old` that `new` lacks, the newest first."""
    return _git(path, "log", f"--max-count={limit}", "--format=%h %s", f"{new}..{old}").text.splitlines()


def listing(path: Path, name: str) -> Listing:
    """Return what a commit has, folders too, as a checkout has it."""
    listed = os.fsdecode(_git(path, "ls-tree", "-r", "-t", "-z", "--full-tree", name).stdout)
    entries = [entry.partition("\t")[::2] for entry in listed.split("\0") if entry]
    return [(int(head.split()[0], 8), head.split()[2], where) for head, where in entries]


def listing_below(path: Path, name: str, where: str) -> Listing:
    """Return what a commit has in one folder, and the folder itself; for a small one that is quicker than git."""
    with _repo(path) as repo:
        found = _entry(repo, _commit(repo, name), where)
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
    """Return the object id of a file or folder of a commit: where it is the same, all in it is the same."""
    with _repo(path) as repo:
        found = _entry(repo, _commit(repo, name), where)
        return found.id.decode() if isinstance(found, Tree | Blob) else None


def folder(entries: Listing, where: str) -> dict[str, int] | None:
    """Return name -> mode of what lies in a folder ("": the commit itself); None where there is no such folder."""
    if where and not any(path == where and stat.S_ISDIR(mode) for mode, _, path in entries):
        return None
    start = f"{where}/" if where else ""
    found = {path[len(start) :]: mode for mode, _, path in entries if path.startswith(start)}
    return {name: mode for name, mode in found.items() if "/" not in name}


def links(path: Path, entries: Listing) -> dict[str, str]:
    """Return path -> target of the symbolic links of a commit."""
    with _repo(path) as repo:
        return {
            where: os.fsdecode(repo[ObjectID(sha.encode())].as_raw_string().partition(b"\0")[0])  # as C reads it
            for mode, sha, where in entries
            if mode == LINK
        }


def oddities(path: Path, name: str, entries: Listing) -> list[tuple[str, str]]:
    """Return (path, what) of the parts of a commit that a checkout does not bring: submodules and LFS files."""
    found = [(where, "a submodule, not fetched") for mode, _, where in entries if mode == SUBMODULE]
    for where in (where for _, _, where in entries if where.rpartition("/")[2] == ".gitattributes"):
        if b"filter=lfs" in (content(path, name, where) or b""):
            found.append((where, "it names LFS files: not fetched, the pointers are deployed"))
    return found


def is_empty(path: Path) -> bool:
    """Say whether nothing was ever pushed to a repository."""
    return not _refs(path).keys(base=Ref(b"refs"))


def first_commit(path: Path, branch: str, tree: Path, message: str) -> str | None:
    """Make the files of `tree` the first commit of a repository that is empty; return it, or None where one is not.

    All of it is on the disk before the branch names it.
    """
    if not is_empty(path):
        return None
    index = tree.parent / f".{tree.name}.index"
    env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(tree)}
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": "corpushooks", f"GIT_{role}_EMAIL": "corpushooks@localhost"}
    _git(path, "add", "--all", "--force", "--", ":/", env=env)
    made = _git(path, "commit-tree", "-m", message, _git(path, "write-tree", env=env).text, env=env).text
    disk.flush_all(path)
    return made if move_ref(path, f"refs/heads/{branch}", None, made) else None


# checkouts


def checkout(work: Path, tree: Path, name: str | None) -> None:
    """Make the folder `tree` exactly the commit `name` (None: empty). `work` is our git dir, under its lane's lock."""
    tree.mkdir(parents=True, exist_ok=True)
    index = work / f"{tree.name}.index"
    lock = Path(f"{index}.lock")
    lock.unlink(missing_ok=True)  # only a dead one: the lane is ours
    if name is None and not any(tree.iterdir()):
        return
    env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(tree), CHECKOUT: str(tree)}
    try:
        _git(work, "read-tree", "-u", "--reset", name or EMPTY_TREE, env=env)
    except GitError:  # something has torn it, or git was killed
        index.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
        _git(work, "read-tree", "-u", "--reset", name or EMPTY_TREE, env=env)
    _git(work, "clean", "--quiet", "-d", "-x", "--force", "--force", env=env)


def stop_checkout(tree: Path) -> None:
    """Stop a checkout of the folder `tree` that outlived the daemon that began it; raise GitError."""
    if not stop_carrying(f"{CHECKOUT}={tree}"):
        raise GitError(f"a git that writes to {tree} cannot be stopped")


def refusal(path: Path, name: str) -> str:
    """Say why git would not check out a commit (it has a .git in it, a path that leads out); nothing where it would."""
    with tempfile.TemporaryDirectory(prefix="corpushooks-") as folder:
        try:
            _git(path, "read-tree", "--dry-run", name, env={"GIT_INDEX_FILE": f"{folder}/index"})
        except GitError as exc:
            return re.split("error: |fatal: ", exc.message)[-1]
    return ""


def distrust(work: Path) -> None:
    """Have the next checkouts write every file: after a power cut an index may know what never reached the disk."""
    for index in work.glob("*.index"):
        index.unlink()


def export(work: Path, tree: Path, name: str) -> None:
    """Write a tree (COMMIT or COMMIT:FOLDER) into the empty folder `tree`, beside all checkouts."""
    tree.mkdir(parents=True, exist_ok=True)
    index = tree.parent / f".{tree.name}.index"
    env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(tree)}
    try:
        _git(work, "read-tree", "-u", "--reset", name, env=env)
    finally:
        index.unlink(missing_ok=True)


def export_files(work: Path, tree: Path, name: str, paths: list[str]) -> None:
    """Write some files of a commit into the folder `tree`."""
    index = tree.parent / f".{tree.name}.index"
    env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(tree)}
    try:
        _git(work, "read-tree", name, env=env)
        listed = b"".join(os.fsencode(path) + b"\0" for path in paths)
        _git(work, "checkout-index", "--force", "-z", "--stdin", env=env, stdin=listed)
    finally:
        index.unlink(missing_ok=True)


def removed(work: Path, old: str | None, new: str) -> list[str]:
    """Return the files that the commit `old` has and `new` has not."""
    if old is None:
        return []
    listed = _git(work, "diff-tree", "-r", "-z", "--name-only", "--no-renames", "--diff-filter=D", old, new)
    return [name for name in os.fsdecode(listed.stdout).split("\0") if name]


def differing(work: Path, old: str | None, new: str) -> list[tuple[str, str]]:
    """Return (status letter, path) of each file that differs between two commits."""
    listed = _git(work, "diff-tree", "-r", "-z", "--name-status", "--no-renames", old or EMPTY_TREE, new)
    words = os.fsdecode(listed.stdout).split("\0")[:-1]
    return list(zip(words[::2], words[1::2], strict=True))


def maintain(path: Path) -> None:
    """Collect what nothing needs any more; for an idle daemon."""
    _git(path, "-c", "gc.auto=2000", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet")
