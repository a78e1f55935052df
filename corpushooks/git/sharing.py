"""Shared repositories: a group can add objects; only the daemon writes refs, hooks and configuration.

Links that a member of the group could have made are never followed.
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

SHARED = 0o2750  # folders that the group reads
WRITABLE = 0o3770  # folders where it adds objects; members can only remove their own
LOOSE = re.compile("[0-9a-f]{2}")  # folders of loose objects


def share(path: Path, gid: int) -> None:
    """Allow a group to read a repository and add objects to it, and nothing else. New files inherit the group."""
    for name in ("refs", "logs", "objects/pack", "objects/info"):
        (path / name).mkdir(parents=True, exist_ok=True)
    with _folder(path) as top:
        for name in ("refs", "logs"):
            for _, _, files, folder in os.fwalk(name, dir_fd=top):
                _set_ownership(folder, gid, SHARED)
                for file in files:
                    _give_file(file, folder, gid)
        for file in ("HEAD", "config", "packed-refs"):
            _give_file(file, top, gid)
        with _folder("objects", top) as objects:
            _share_objects(objects, gid, new=os.fstat(top).st_gid != gid)
        _set_ownership(top, gid, SHARED)  # last: it marks the work as complete


def make_entrance(path: Path, repo: Path, gid: int) -> None:
    """Create or repair the git dir through which a group pushes to `repo`, whose content it shares.

    For a push from a shallow clone git writes a file into its git dir, which only the daemon can do in `repo`.
    """
    texts = {"HEAD": (repo / "HEAD").read_text(), "commondir": f"{repo}\n"}
    if path.is_dir() and all(_text_of_ours(path, name) == text for name, text in texts.items()):
        with _folder(path) as folder:
            _set_ownership(folder, gid, WRITABLE)
        return
    aside = path.with_suffix(".new")
    for old in (aside, path):
        shutil.rmtree(old, ignore_errors=True)
    aside.mkdir(parents=True)
    for name, text in texts.items():
        disk.write_file(aside / name, text.encode(), 0o644)
    with _folder(aside) as folder:
        _set_ownership(folder, gid, WRITABLE)
    aside.rename(path)


def _text_of_ours(path: Path, name: str) -> str:
    """Return the content of a small file of ours; nothing if it is someone else's or not a file."""
    with contextlib.suppress(OSError), _folder(path) as folder:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
                return file.read(4096).decode("utf-8", "replace")
    return ""


def _share_objects(objects: int, gid: int, *, new: bool) -> None:
    """Share a folder of objects; if that is `new`, with everything in it."""
    for name in os.listdir(objects):
        if name in ("info", "pack") or LOOSE.fullmatch(name):
            with _folder(name, objects) as folder:
                for file in os.listdir(folder) if new else ():
                    _give_file(file, folder, gid)
                _set_ownership(folder, gid, WRITABLE if name == "pack" else SHARED)
    _set_ownership(objects, gid, WRITABLE)


@contextlib.contextmanager
def _folder(name: Path | str, above: int | None = None) -> Iterator[int]:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _set_ownership(descriptor: int, gid: int, mode: int) -> None:
    """Set owner (us), group and mode of a folder, by its descriptor, which renames cannot affect."""
    found, wanted = os.fstat(descriptor), (os.geteuid(), gid)
    if (found.st_uid, found.st_gid) != wanted:
        os.fchown(descriptor, *wanted)
    if stat.S_IMODE(found.st_mode) != mode:
        os.fchmod(descriptor, mode)


def _give_file(name: str, folder: int, gid: int) -> None:
    """Make a file ours, readable but not writable for a group; anything but a plain file is left alone."""
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
    """Raise GitError if the objects of a repository include a FIFO or a link, which git would wait for or follow."""
    try:
        for name in os.listdir(path / "objects"):
            if name == "pack" or LOOSE.fullmatch(name):
                _check_files(path / "objects" / name)
    except OSError as exc:
        raise GitError(f"cannot read the objects of {path}: {exc.strerror}") from exc


def _check_files(path: Path) -> None:
    """Raise GitError if a folder has anything but regular files."""
    with _folder(path) as folder, os.scandir(folder) as entries:
        odd = next((entry.name for entry in entries if not entry.is_file(follow_symlinks=False)), None)
    if odd is not None:
        raise GitError(f"{path / odd} is not a regular file", hint=f"rm -r {shlex.quote(str(path / odd))}")
