"""Small trees of files: made, aged, pictured, copied."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from corpushooks import tree
from corpushooks.tree import manifest

WRITING = (
    "link", "rename", "unlink", "rmdir", "mkdir", "symlink", "mkfifo", "pwrite", "utime", "chmod", "fchmod",
    "copy_file_range",
)  # fmt: skip


def write(path: Path, text: str = "", mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def age(root: Path) -> None:
    """Return when the kernel's clock has left the ctimes in `root` behind, so that stamps prove something."""
    newest = max((os.lstat(p).st_ctime_ns for p in [root, *root.rglob("*")]), default=0)
    probe = root.parent / ".clock"
    while True:
        probe.touch()
        if probe.stat().st_ctime_ns > newest + 2 * manifest.TICK_NS:
            probe.unlink()
            return


def snap(source: Path, target: Path, earlier: Path | None = None) -> tree.Report:
    age(source)
    return tree.snapshot(tree.scan(source), target, earlier)


def xattrs(path: Path) -> dict[str, bytes]:
    if path.is_symlink():
        return {}
    return {n: os.getxattr(path, n) for n in os.listxattr(path) if n.startswith("user.")}


def picture(root: Path, *, dir_mtimes: bool = True) -> dict[str, Any]:
    """Return all that a restore promises about a tree, hard links as sets of names."""
    found: dict[str, Any] = {}
    inodes: dict[int, list[str]] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        st, name = os.lstat(path), str(path.relative_to(root))
        content: Any = None
        if stat.S_ISREG(st.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(st.st_mode):
            content = os.readlink(path)
        mtime = st.st_mtime_ns if dir_mtimes or not stat.S_ISDIR(st.st_mode) else 0
        found[name] = (stat.filemode(st.st_mode), st.st_uid, st.st_gid, mtime, content, xattrs(path))
        if not stat.S_ISDIR(st.st_mode):
            inodes.setdefault(st.st_ino, []).append(name)
    found["hard links"] = sorted(names for names in inodes.values() if len(names) > 1)
    return found


def break_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Raise KeyboardInterrupt in the given one of all calls that write."""
    count = itertools.count(1)

    def breaking(real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(count) == number:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        return call

    for name in WRITING:
        monkeypatch.setattr(os, name, breaking(getattr(os, name)))


def interrupted(act: Callable[[], Any]) -> Iterator[int]:
    """Give 1, 2, … while `act` is interrupted in that call, until it gets through."""
    for number in itertools.count(1):
        with pytest.MonkeyPatch.context() as patch:
            break_at(patch, number)
            try:
                act()
            except KeyboardInterrupt:
                patch.undo()
                yield number
                continue
        return
