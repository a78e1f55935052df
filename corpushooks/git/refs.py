"""Read refs, move them by compare-and-swap, and break stale locks. Pins keep the commits of deployments."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from dulwich.file import FileLocked
from dulwich.objects import ObjectID
from dulwich.refs import DiskRefsContainer, Ref

from corpushooks.core.errors import GitError
from corpushooks.core.hints import command
from corpushooks.git.access import PINS, ROLLOUTS, complaint, no_repository, opened, told
from corpushooks.system import disk

T = TypeVar("T")
Update = tuple[str, str, str]  # a ref, its old and its new value; zeros: it does not exist

ZERO = "0" * 40
ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
PATIENCE = 5.0  # seconds after which a lock is stale


def ref(path: Path, name: str) -> str | None:
    """Return the object id of a ref, or None if it does not exist."""
    with told(path):
        try:
            found = refs_of(path)[_ref(name)].decode()
        except KeyError:
            return None
        if not ID.fullmatch(found):
            raise ValueError(f"{name} has no valid object id")
        return found


def is_id(text: bytes) -> bool:
    """Return whether the content of a ref file is an object id."""
    return bool(ID.fullmatch(text.decode("ascii", "replace").strip()))


def _ref(name: str) -> Ref:
    return Ref(os.fsencode(name))


def refs_of(path: Path) -> DiskRefsContainer:
    """Return the refs of a repository, to be read under `told`, without opening anything else."""
    if not (path / "HEAD").exists():
        raise no_repository(path)
    return DiskRefsContainer(str(path))


def head_branch(path: Path) -> str:
    """Return the branch of HEAD of a bare repository."""
    try:
        return (path / "HEAD").read_text(errors="replace").strip().removeprefix("ref: refs/heads/")
    except OSError as exc:
        hint = command("init", path.parent.parent.name)
        raise GitError(f"{path} has no HEAD: {exc.strerror}", hint) from exc


def is_empty(path: Path) -> bool:
    """Return whether nothing was ever pushed to a repository."""
    with told(path):
        return not refs_of(path).keys(base=Ref(b"refs"))


def move_ref(path: Path, name: str, old: str | None, new: str, *, patience: float = PATIENCE) -> bool:
    """Move a ref from `old` (None: it must not exist) to `new`; return whether it was at `old`."""
    if len(new) > len(ZERO):  # dulwich writes 40 zeros into the reflog, which git cannot read with sha256
        return _move_by_git(path, name, old, new, patience)
    folder = (path / name).parent
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    with opened(path) as repo:
        try:
            moved = _with_lock_retries(
                lambda: repo.refs.set_if_equals(
                    Ref(name.encode()), ObjectID((old or ZERO).encode()), ObjectID(new.encode()),
                    message=b"deployed", committer=b"corpushooks <corpushooks@localhost>",
                ),
                patience,
            )  # fmt: skip
            for each in (folder, *(new.parent for new in made)):
                disk.flush_folder(each)
        except OSError as exc:
            raise GitError(f"cannot move {name} of {path}: {exc}") from exc
    return bool(moved)


def _move_by_git(path: Path, name: str, old: str | None, new: str, patience: float) -> bool:
    """Move a ref with the program git, which flushes it to the disk."""
    lock, end = path / f"{name}.lock", time.monotonic() + patience
    while lock.exists() and time.monotonic() < end:
        time.sleep(0.02)
    lock.unlink(missing_ok=True)
    if wrong := _update(path, [(name, old or "0" * len(new), new)]):
        if ref(path, name) == old:
            raise GitError(f"cannot move {name} of {path}: {wrong}")
        return False
    return True


def _remove_ref(path: Path, name: str, old: str | None, patience: float = PATIENCE) -> None:
    """Remove a ref if it is at `old` (None: in any case)."""
    wanted = ObjectID(old.encode()) if old else None
    with opened(path) as repo:
        _with_lock_retries(lambda: repo.refs.remove_if_equals(Ref(name.encode()), wanted), patience)


def update_refs(path: Path, updates: Sequence[Update], *, atomic: bool = False) -> dict[str, str]:
    """Create, move and delete refs as git would for a push; return ref -> error for those that failed.

    With `atomic`, all of them or none.
    """
    left = _pending(path, updates)
    for name in ("HEAD", "packed-refs", *(name for name, _, _ in left)):
        break_lock(path, name)
    wrong = _update(path, left) if left else ""
    if wrong and not atomic and len(left) > 1:
        return {update[0]: wrong for update in left if (wrong := _update(path, [update]))}
    return {update[0]: wrong for update in left if wrong}


def _pending(path: Path, updates: Sequence[Update]) -> list[Update]:
    """Return the updates that are still to do: after the end of a daemon the same push can come again.

    Deletions come first, to make room for new names, as in git.
    """
    with told(path):
        found = refs_of(path)
        left = [each for each in updates if (found.read_ref(_ref(each[0])) or b"") != _name(each[2])]
    return sorted(left, key=lambda update: set(update[2]) != {"0"})


def _name(wanted: str) -> bytes:
    """Return an object id as stored in a ref; nothing for zeros."""
    return b"" if set(wanted) == {"0"} else wanted.encode()


def _update(path: Path, updates: Sequence[Update]) -> str:
    """Run the updates in one transaction of git; return its error."""
    lines = "".join(f"update {name}\0{new}\0{old}\0" for name, old, new in updates)
    return complaint(path, "update-ref", "--no-deref", "--stdin", "-z", "-m", "push", stdin=os.fsencode(lines))


def _with_lock_retries(act: Callable[[], T], patience: float) -> T:
    """Run an act that needs a lock of git's.

    A lock that stays for `patience` seconds is stale (git holds one for milliseconds) and removed.
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
    """Move a ref from `new` back to `old` (None: remove it); leave it alone if it is elsewhere."""
    if old is not None:
        move_ref(path, name, new, old)
    elif ref(path, name) == new:
        _remove_ref(path, name, new)


def pin(path: Path, number: int, commit: str) -> None:
    """Protect the commit of a deployment from garbage collection."""
    name = f"{PINS}/{number}"
    move_ref(path, name, ref(path, name), commit, patience=0)  # only the lane moves pins, so any lock is stale


def unpin(path: Path, number: int, *, patience: float = PATIENCE) -> None:
    """Remove the pin of a deployment and its reflog, which would keep the commit too."""
    _remove_ref(path, f"{PINS}/{number}", None, patience)
    (path / "logs" / PINS / str(number)).unlink(missing_ok=True)


def forget_rollouts(path: Path, number: int) -> None:
    """Remove the refs of all rollouts but one: the commits of deployments have pins."""
    with told(path):
        found = refs_of(path)
        names = [f"{ROLLOUTS}/{name.decode()}" for name in found.keys(base=Ref(ROLLOUTS.encode()))]
        old = [(name, (found.read_ref(_ref(name)) or b"").decode()) for name in names if name != f"{ROLLOUTS}/{number}"]
    update_refs(path, [(name, value, "0" * len(value)) for name, value in old if ID.fullmatch(value)])


def clear_locks(path: Path) -> None:
    """Remove the locks of pins that a killed daemon left: only the holder of the lane's lock writes pins."""
    for lock in (path / PINS).glob("*.lock"):
        lock.unlink(missing_ok=True)


def break_lock(path: Path, name: str) -> None:
    """Remove a stale lock, which would block all further pushes."""
    lock = path / f"{name}.lock"
    with contextlib.suppress(OSError):
        if time.time() - lock.stat().st_mtime > PATIENCE:
            lock.unlink()


def pinned(path: Path, number: int) -> str | None:
    """Return the pinned commit of a deployment."""
    return ref(path, f"{PINS}/{number}")


def pins(path: Path) -> list[int]:
    """Return the numbers of the deployments with pinned commits."""
    with told(path):
        return sorted(int(name) for name in refs_of(path).keys(base=Ref(PINS.encode())) if name.isdigit())
