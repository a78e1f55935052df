"""Who else may write to a repository: a group adds objects; refs, hooks and configuration are the daemon's alone.

What a member of the group may have made is never followed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from corpushooks.core.errors import GitError
from corpushooks.system import disk

SHARED = 0o2750  # the mode of what the group reads
WRITABLE = 0o3770  # of the folders where it adds objects: each member removes only its own
LOOSE = re.compile("[0-9a-f]{2}")  # folders of objects that are in no pack


def share(path: Path, gid: int) -> None:
    """Let a group read a repository and add objects to it, and nothing else. What git makes there keeps the group."""
    for name in ("refs", "logs", "objects/pack", "objects/info"):
        (path / name).mkdir(parents=True, exist_ok=True)
    with _folder(path) as top:
        for name in ("refs", "logs"):
            for _, _, files, folder in os.fwalk(name, dir_fd=top):
                _give(folder, gid, SHARED)
                for file in files:
                    _give_file(file, folder, gid)
        for file in ("HEAD", "config", "packed-refs"):
            _give_file(file, top, gid)
        with _folder("objects", top) as objects:
            _share_objects(objects, gid, new=os.fstat(top).st_gid != gid)
        _give(top, gid, SHARED)  # the last: it says that all is done


def make_entrance(path: Path, repo: Path, gid: int) -> None:
    """Make or repair the folder from which a group pushes to a repository: a git dir in which all is that of `repo`.

    For a push from a shallow clone git writes a file into its git dir, and in `repo` only the daemon may.
    """
    texts = {"HEAD": (repo / "HEAD").read_text(), "commondir": f"{repo}\n"}
    if path.is_dir() and all(_own_text(path, name) == text for name, text in texts.items()):
        with _folder(path) as folder:
            _give(folder, gid, WRITABLE)
        return
    aside = path.with_suffix(".new")
    for old in (aside, path):
        shutil.rmtree(old, ignore_errors=True)
    aside.mkdir(parents=True)
    for name, text in texts.items():
        disk.write_file(aside / name, text.encode(), 0o644)
    with _folder(aside) as folder:
        _give(folder, gid, WRITABLE)
    aside.rename(path)


def _own_text(path: Path, name: str) -> str:
    """Return what a small file of ours says; nothing of somebody else's, or of what is no file."""
    with contextlib.suppress(OSError), _folder(path) as folder:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
                return file.read(4096).decode("utf-8", "replace")
    return ""


def _share_objects(objects: int, gid: int, *, new: bool) -> None:
    """Share a folder of objects; where that is `new` with all that is in it."""
    for name in os.listdir(objects):
        if name in ("info", "pack") or LOOSE.fullmatch(name):
            with _folder(name, objects) as folder:
                for file in os.listdir(folder) if new else ():
                    _give_file(file, folder, gid)
                _give(folder, gid, WRITABLE if name == "pack" else SHARED)
    _give(objects, gid, WRITABLE)


@contextlib.contextmanager
def _folder(name: Path | str, above: int | None = None) -> Iterator[int]:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _give(descriptor: int, gid: int, mode: int) -> None:
    """Make a folder ours, with a group and a mode; a descriptor of it stays what it is, whatever is renamed."""
    found, wanted = os.fstat(descriptor), (os.geteuid(), gid)
    if (found.st_uid, found.st_gid) != wanted:
        os.fchown(descriptor, *wanted)
    if stat.S_IMODE(found.st_mode) != mode:
        os.fchmod(descriptor, mode)


def _give_file(name: str, folder: int, gid: int) -> None:
    """Make a file ours, that a group may read and not write; what is no file of its own is left alone."""
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if (found.st_uid, found.st_gid, found.st_mode & 0o060) == (os.geteuid(), gid, 0o040):
            return
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                os.fchown(descriptor, os.geteuid(), gid)
                os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & ~0o020 | 0o040)
        finally:
            os.close(descriptor)


def check_objects(path: Path) -> None:
    """Raise GitError where among the objects of a repository is what git would wait for, or be led away by."""
    try:
        for name in os.listdir(path / "objects"):
            if name == "pack" or LOOSE.fullmatch(name):
                _check_files(path / "objects" / name)
    except OSError as exc:
        raise GitError(f"the objects of {path} cannot be read: {exc.strerror}") from exc


def _check_files(path: Path) -> None:
    """Raise GitError for what is in a folder and no file."""
    with _folder(path) as folder, os.scandir(folder) as entries:
        odd = next((entry.name for entry in entries if not entry.is_file(follow_symlinks=False)), None)
    if odd is not None:
        raise GitError(f"{path / odd} is not a regular file", hint=f"rm -r {shlex.quote(str(path / odd))}")
