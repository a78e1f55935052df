"""Act on paths as root, component by component, so that no link planted by others is followed.

Each component is opened through the descriptor of its folder, so that swapping one between check and use has no
effect. A link is followed only if no one but us could have made it: it is ours, in a folder that only we can write,
and so are all folders above it. "We" are root and the user of this process.

Standard library only, and nothing of ours: Salt loads this file too, possibly with another Python
(makina/loader/_modules/mc_files.py). Every function raises OSError, with the path in question as its filename.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HOPS = 40  # links on one path, as in the kernel
LIMIT = 64 << 20  # bytes of a file that is read into memory
NAMES = 10_000  # entries of a folder that are read: others can make it endless
PLANTED = "a symbolic link that others could have planted"
NAMED = "a hard link that others could have planted"
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

Owner = tuple[int, int]  # uid, gid


@dataclass(frozen=True)
class Spot:
    """Where a path leads: a name in an open folder (an O_PATH descriptor)."""

    fd: int
    name: str
    path: str
    firm: bool  # no one else can write in the folder, or redirect the path to it

    def error(self, number: int | None, message: str = "") -> OSError:
        return OSError(number, message or os.strerror(number or errno.EIO), self.path)


# walk to a path


@dataclass(frozen=True)
class _Step:
    """An open folder on the path."""

    fd: int
    fixed: bool  # no one else can redirect the path to it
    own: bool  # no one else can write in it


def _is_ours(uid: int) -> bool:
    return uid in (0, os.geteuid())


def _absolute(path: str | os.PathLike[str]) -> str:
    """Return a path as an absolute one; the working directory is read only if needed, since it can be gone."""
    text = os.fspath(path)
    return text if os.path.isabs(text) else os.path.join(os.getcwd(), text)


def _step(fd: int, before: _Step | None) -> _Step:
    st = os.fstat(fd)
    shared = 0o022 if os.geteuid() == 0 else 0o002  # an ordinary user may have a group of his own
    own = _is_ours(st.st_uid) and not st.st_mode & shared
    fixed = before is None or (before.fixed and (before.own or _is_in_sticky_folder(os.fstat(before.fd), st)))
    return _Step(fd, fixed, own)


def _is_in_sticky_folder(folder: os.stat_result, st: os.stat_result) -> bool:
    """Return whether no one else can move a folder, since it is in a sticky one (/tmp)."""
    return bool(folder.st_mode & stat.S_ISVTX) and _is_ours(folder.st_uid) and _is_ours(st.st_uid)


@contextlib.contextmanager
def spot(
    path: str | os.PathLike[str], *, follow: bool = False, make: int | None = None, owner: Owner | None = None
) -> Iterator[Spot]:
    """Walk to a path; raise OSError if others could have planted a link on it.

    With `follow`, a link of ours at its end is followed, too. With `make`, missing folders are created with that mode
    and `owner`.
    """
    text = _absolute(path)
    way = [_step(os.open("/", FOLDER), None)]
    left = [part for part in reversed(text.split("/")) if part not in ("", ".")]
    hops = 0
    try:
        while len(left) > 1 or (left and (follow or left[0] == "..")):
            part = left.pop()
            if part == "..":
                if len(way) > 1:
                    os.close(way.pop().fd)
                continue
            if make is not None and left:
                _make(way[-1], part, make, owner)
            entry = _entry(way[-1], part, text, last=not left)
            if entry is None:  # the end, and not a link
                left.append(part)
                break
            if isinstance(entry, int):
                way.append(_step(entry, way[-1]))
                continue
            hops += 1
            if hops > HOPS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), text)
            while entry.startswith("/") and len(way) > 1:
                os.close(way.pop().fd)
            left += [each for each in reversed(entry.split("/")) if each not in ("", ".")]
        here = way[-1]
        yield Spot(here.fd, left[0] if left else ".", text, here.fixed and here.own)
    except OSError as exc:
        if not os.path.isabs(exc.filename or ""):  # a name in an open folder
            exc.filename = text
        raise
    finally:
        for step in way:
            os.close(step.fd)


def _make(folder: _Step, name: str, mode: int, owner: Owner | None) -> None:
    """Create a folder on the path if it is missing."""
    try:
        os.mkdir(name, mode, dir_fd=folder.fd)
    except FileExistsError:
        return
    if owner is not None and os.geteuid() == 0:
        fd = os.open(name, FOLDER, dir_fd=folder.fd)
        try:
            os.fchown(fd, *owner)
        finally:
            os.close(fd)


def _entry(folder: _Step, name: str, path: str, *, last: bool) -> int | str | None:
    """Return the descriptor of a folder, or the target of a link of ours; None for anything else at the end."""
    try:
        fd = os.open(name, LOOK, dir_fd=folder.fd)
    except FileNotFoundError:
        if last:
            return None
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
    st = os.fstat(fd)
    if stat.S_ISDIR(st.st_mode) and not last:
        return fd
    try:
        if stat.S_ISLNK(st.st_mode):
            if not (folder.fixed and folder.own and _is_ours(st.st_uid)):
                raise OSError(errno.ELOOP, PLANTED, f"{os.readlink(f'/proc/self/fd/{folder.fd}').rstrip('/')}/{name}")
            return os.readlink("", dir_fd=fd)
        if not last:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return None
    finally:
        os.close(fd)


# look and read


def look(at: Spot) -> os.stat_result | None:
    """Return the status of a spot, of a link itself; None if it does not exist."""
    try:
        return os.stat(at.name, dir_fd=at.fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def open_folder(path: str | os.PathLike[str], *, follow: bool = False) -> int:
    """Open a folder for reading."""
    with spot(path, follow=follow) as at:
        try:
            return os.open(at.name, FOLDER, dir_fd=at.fd)
        except OSError as exc:
            raise at.error(exc.errno) from exc


def open_file(at: Spot) -> int:
    """Open a regular file for reading: not a link, a FIFO, or a hard link that others could have planted."""
    try:
        fd = os.open(at.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=at.fd)
    except OSError as exc:
        raise at.error(exc.errno, PLANTED if exc.errno == errno.ELOOP else "") from exc
    try:
        check_file(at, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def check_file(at: Spot, st: os.stat_result) -> None:
    """Raise OSError if this is not a regular file, or is a file of root's that others could have hard-linked here."""
    if not stat.S_ISREG(st.st_mode):
        raise at.error(errno.EINVAL, PLANTED if stat.S_ISLNK(st.st_mode) else "not a regular file")
    if os.geteuid() or at.firm or st.st_nlink == 1:
        return
    if _is_ours(st.st_uid) or st.st_uid != os.fstat(at.fd).st_uid:
        raise at.error(errno.EPERM, NAMED)


def read(path: str | os.PathLike[str], *, follow: bool = True, limit: int = LIMIT) -> tuple[bytes, os.stat_result]:
    """Return the content and the status of a file."""
    with spot(path, follow=follow) as at, open(open_file(at), "rb") as file:
        data = file.read(limit + 1)
        if len(data) > limit:
            raise at.error(errno.EFBIG)
        return data, os.fstat(file.fileno())


def owner_of(path: str | os.PathLike[str]) -> int | None:
    """Return who else can write at a path; None if only we can.

    If folders are missing, the last existing one counts.
    """
    text = os.path.normpath(_absolute(path))
    while True:
        with contextlib.suppress(FileNotFoundError), spot(f"{text}/.corpushooks", follow=False) as at:
            return None if at.firm else os.fstat(at.fd).st_uid
        text = os.path.dirname(text)


# create and change


def write(
    path: str | os.PathLike[str], data: bytes, mode: int = 0o600, owner: Owner | None = None, *,
    follow: bool = False, make: int | None = None, flush: bool = True,
) -> None:  # fmt: skip
    """Write a file aside, flush it to the disk and rename it: after a power cut it is the old or the new one.

    A link in its place is replaced; with `follow`, the target of a link of ours is. `owner` is set if we are root, also
    on folders that are created. Without `flush` nothing is flushed.
    """
    with spot(path, follow=follow, make=make, owner=owner) as at:
        _check_replaceable(at)
        aside = _temporary_name(at)
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=at.fd)
        try:
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                if owner is not None and os.geteuid() == 0:
                    os.fchown(fd, *owner)
                os.fchmod(fd, mode)
                if flush:
                    os.fsync(fd)
            os.rename(aside, at.name, src_dir_fd=at.fd, dst_dir_fd=at.fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(aside, dir_fd=at.fd)
            raise
        if flush:
            _flush(at)


def link(path: str | os.PathLike[str], target: str, *, make: int | None = None) -> None:
    """Make a symbolic link aside and rename it into place; a file or link there is replaced, a folder is not."""
    with spot(path, make=make) as at:
        _check_replaceable(at)
        aside = _temporary_name(at)
        os.symlink(target, aside, dir_fd=at.fd)
        try:
            os.rename(aside, at.name, src_dir_fd=at.fd, dst_dir_fd=at.fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(aside, dir_fd=at.fd)
            raise


def remove(path: str | os.PathLike[str], *, follow: bool = False) -> None:
    """Remove a file or a link, if it exists."""
    with contextlib.suppress(FileNotFoundError), spot(path, follow=follow) as at:
        os.unlink(at.name, dir_fd=at.fd)


def change(at: Spot, st: os.stat_result, mode: int, owner: Owner | None) -> bool:
    """Set owner and mode of a spot that is still what `st` says; return whether they differed."""
    fd = os.open(at.name, LOOK, dir_fd=at.fd)
    try:
        now = os.fstat(fd)
        if (now.st_dev, now.st_ino, stat.S_IFMT(now.st_mode)) != (st.st_dev, st.st_ino, stat.S_IFMT(st.st_mode)):
            raise at.error(errno.ESTALE)
        changed = False
        if owner is not None and os.geteuid() == 0 and owner != (now.st_uid, now.st_gid):
            os.chown(f"/proc/self/fd/{fd}", *owner)  # O_PATH descriptors take no calls of their own
            changed = any(new not in (-1, old) for new, old in zip(owner, (now.st_uid, now.st_gid), strict=True))
        if changed or stat.S_IMODE(now.st_mode) != mode:
            os.chmod(f"/proc/self/fd/{fd}", mode)
            changed = True
        return changed
    finally:
        os.close(fd)


def folder(path: str | os.PathLike[str], mode: int, owner: Owner | None = None, *, make: int | None = None) -> bool:
    """Create a folder or set its owner and mode; return whether anything changed. Folders made above get the owner."""
    with spot(path, make=make, owner=owner) as at:
        made = False
        with contextlib.suppress(FileExistsError):
            os.mkdir(at.name, 0o700, dir_fd=at.fd)
            made = True
        st = os.stat(at.name, dir_fd=at.fd, follow_symlinks=False)
        if not stat.S_ISDIR(st.st_mode):
            raise at.error(errno.ENOTDIR, PLANTED if stat.S_ISLNK(st.st_mode) else "")
        return change(at, st, mode, owner) or made


def _check_replaceable(at: Spot) -> None:
    st = look(at)
    if st is not None and not (stat.S_ISREG(st.st_mode) or stat.S_ISLNK(st.st_mode)):
        raise at.error(errno.EINVAL, "not a regular file")


def _temporary_name(at: Spot) -> str:
    """Return a free temporary name: one that is found again after a crash or, where others can write, a random one."""
    if not at.firm:
        _clear_aside(at)
        return f".{at.name}.{secrets.token_hex(8)}.new"
    name = f".{at.name}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=at.fd)
    return name


def _clear_aside(at: Spot) -> None:
    """Remove the temporary files that a killed process left of this file."""
    ours = re.compile(rf"\.{re.escape(at.name)}\.[0-9a-f]{{16}}\.new")
    fd = os.open(".", FOLDER, dir_fd=at.fd)
    try:
        with os.scandir(fd) as names:
            left = [each.name for each in itertools.islice(names, NAMES) if ours.fullmatch(each.name)]
    finally:
        os.close(fd)
    for name in left:
        with contextlib.suppress(OSError):  # gone, or a folder, so not ours
            os.unlink(name, dir_fd=at.fd)


def _flush(at: Spot) -> None:
    """Flush the entries of the folder to the disk."""
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at.fd)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def is_firm(path: str | os.PathLike[str]) -> bool:
    """Return whether no one else can change the entry at a path."""
    return owner_of(Path(path).parent) is None
