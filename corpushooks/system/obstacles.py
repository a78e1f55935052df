"""Find why our files cannot be used (type, owner, mode, disk), and the command that helps."""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import shlex
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from corpushooks.core.errors import Fault
from corpushooks.core.hints import Advice, Hint

ROOM = 1 << 20  # bytes without which nothing can be written
GET_FLAGS, FIXED = 0x80086601, 0x10 | 0x20  # linux/fs.h: FS_IOC_GETFLAGS; immutable, append-only


def away(path: Path, then: Advice = "", *, to: Path | None = None) -> Advice:
    """Return the command that moves a path aside, to a free name in its folder or in `to`.

    `then` is the command that follows.
    """
    names = ((to or path.parent) / f"{path.name}.aside{number or ''}" for number in range(1000))
    free = next(name for name in names if not os.path.lexists(name))
    return Hint(f"mv {shlex.quote(str(path))} {shlex.quote(str(free))}", " && " if then else "", then)


def editing(path: Path) -> str:
    """Return the command that opens a file in an editor."""
    return f"${{EDITOR:-vi}} {shlex.quote(str(path))}"


def replaced(paths: Sequence[Path]) -> str:
    """Describe the first of these paths that is not a regular file; nothing if all are."""
    for path in paths:
        with suppress(OSError):
            mode = path.stat().st_mode
            if not stat.S_ISREG(mode):
                return f"{path} is {'a folder' if stat.S_ISDIR(mode) else 'not a file'}"
    return ""


def obstacle(paths: Sequence[Path], folder: Path) -> Fault | None:
    """Return what prevents the owner of a folder from writing files in it, as far as can be seen."""
    return next(_obstacles(paths, folder), None)


def _obstacles(paths: Sequence[Path], folder: Path) -> Iterator[Fault]:
    try:
        found = folder.stat()
    except OSError as exc:
        yield Fault(f"{folder}: {exc.strerror}", f"ls -ld {shlex.quote(str(folder))}")
        return
    if not stat.S_ISDIR(found.st_mode):
        yield Fault(f"{folder} is not a folder", away(folder))
        return
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        yield _read_only(folder)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        yield Fault(f"{folder} is not readable and writable", f"chmod u+rwx {shlex.quote(str(folder))}")
    for path in paths:
        with suppress(FileNotFoundError):
            yield from _file_faults(path, found.st_uid)
    yield from _full(folder)


def _file_faults(path: Path, owner: int) -> Iterator[Fault]:
    quoted, found = shlex.quote(str(path)), path.stat()
    if os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        return
    if found.st_uid != owner:
        yield Fault(f"{path} belongs to {_name(found.st_uid)}, not to {_name(owner)}", f"chown {owner} {quoted}")
    elif found.st_mode & 0o600 != 0o600:
        yield Fault(f"{path} has mode {stat.S_IMODE(found.st_mode):04o}", f"chmod u+rw {quoted}")
    elif os.statvfs(path).f_flag & os.ST_RDONLY:
        yield _read_only(path)
    elif _is_fixed(path):
        yield Fault(f"{path} is immutable or append-only", f"chattr -ia {quoted}")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _read_only(path: Path) -> Fault:
    at = next(above for above in (path, *path.parents) if above in _mounts() or above == Path("/"))
    options = "remount,rw,bind" if _mounts().get(at, False) else "remount,rw"
    return Fault(f"{path} is on a read-only file system", f"mount -o {options} {shlex.quote(str(at))}")


def _mounts() -> dict[Path, bool]:
    """Return the mount points, each with whether only this mount (not its file system) is read-only."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        words, _, rest = line.partition(" - ")
        at, options = words.split(" ")[4:6]
        path = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), at))
        found[path] = "ro" in options.split(",") and "ro" not in rest.split(" ")[2].split(",")
    return found


def _is_fixed(path: Path) -> bool:
    with suppress(OSError):  # not every file system has these flags
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            (flags,) = struct.unpack("I", fcntl.ioctl(file, GET_FLAGS, bytes(8))[:4])
            return bool(flags & FIXED)
        finally:
            os.close(file)
    return False


def _full(folder: Path) -> Iterator[Fault]:
    disk, quoted = os.statvfs(folder), shlex.quote(str(folder))
    if disk.f_bavail * disk.f_frsize < ROOM:
        yield Fault(f"the disk of {folder} is full", f"du -xh --max-depth=2 {quoted} | sort -h | tail")
    elif disk.f_files and not disk.f_favail:
        look = f"du -x --inodes --max-depth=2 {quoted} | sort -n | tail"
        yield Fault(f"the disk of {folder} has no free inode", look)
