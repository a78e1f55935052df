"""Make single entries of an open folder: folders, files and their contents, links, devices, and their attributes.

Changes are made through a descriptor whose type was checked; new content goes into a new file that is renamed into
place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from corpushooks.core.errors import TreeError
from corpushooks.core.text import shown
from corpushooks.system import safe_files
from corpushooks.system.patience import Check, endless
from corpushooks.tree.descriptors import TEMP, closing
from corpushooks.tree.flags import freed, lifted, set_flags
from corpushooks.tree.manifest import KINDS, Entry
from corpushooks.tree.mounts import MountedError, umount, unmounted
from corpushooks.tree.removal import remove_at
from corpushooks.tree.report import Tally

CHUNK = 1 << 18
SMALL = 1 << 16  # up to this size reading and writing is as fast as a copy in the kernel
LARGE = 1 << 26  # bytes of one copy in the kernel, which cannot be cancelled
NO_XATTRS = (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.EINVAL)
LABELS = ("security.selinux", "security.SMACK64", "security.ima", "security.evm")  # managed by the system
NO_KERNEL_COPY = (
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EPERM,
    errno.EBADF,
    errno.ETXTBSY,
)


def makeable(entry: Entry) -> bool:
    """Return whether `make_node` can create it."""
    return entry.kind in ("link", "fifo") or (entry.kind in ("char", "block") and os.geteuid() == 0)


def make_root(path: Path, above: int | None = None) -> bool:
    """Create the root folder of a tree if it is missing; return whether it was created.

    `above` is the mode of missing folders above it, which are created, too.
    """
    with safe_files.spot(path, make=above) as at:
        return make_folder(at.fd, at.name, 0o700)


def make_folder(fd: int, name: str, mode: int, check: Check = endless) -> bool:
    """Create a folder, possibly in the place of a file or link; return whether it was created."""
    try:
        freed(fd, "", lambda: os.mkdir(name, mode, dir_fd=fd))
    except FileExistsError:
        if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            return False
        remove_at(fd, name, check)
        os.mkdir(name, mode, dir_fd=fd)
    return True


def make_node(fd: int, name: str, entry: Entry, tally: Tally, path: str) -> None:
    """Create a link, FIFO or device with its owner, mode and mtime; raise OSError."""
    freed(fd, "", lambda: _make_bare(fd, name, entry))
    with closing(os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=fd)) as handle:
        st = os.fstat(handle)
        if (KINDS[stat.S_IFMT(st.st_mode)], st.st_nlink, st.st_uid) != (entry.kind, 1, os.geteuid()):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))  # not what we made
        dress(handle, entry, tally, path)


def _make_bare(fd: int, name: str, entry: Entry) -> None:
    if entry.kind == "link":
        os.symlink(entry.target, name, dir_fd=fd)
    elif entry.kind == "fifo":
        os.mkfifo(name, 0o600, dir_fd=fd)
    else:
        kind = stat.S_IFCHR if entry.kind == "char" else stat.S_IFBLK
        os.mknod(name, kind | 0o600, entry.size, dir_fd=fd)


def hard_link(source: int, name: str, fd: int, as_name: str) -> None:
    """Make a hard link, replacing any entry of that name."""
    try:
        os.link(name, as_name, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)
    except FileExistsError:
        remove_at(fd, as_name)
        os.link(name, as_name, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)


def clear_temp(fd: int, check: Check = endless) -> None:
    """Remove any entry named TEMP; raise TreeError if that is a mount, since nothing can be written then."""
    try:
        remove_at(fd, TEMP, check)
    except MountedError as exc:
        at = Path(os.readlink(f"/proc/self/fd/{fd}"), exc.mounts[0])
        raise TreeError(f"a filesystem is mounted on {shown(str(at))}", hint=umount(at)) from exc


def take_place(fd: int, name: str, check: Check = endless) -> None:
    """Rename TEMP to `name`, replacing any entry; raise OSError, MountedError if that is a mount."""

    def rename() -> None:  # TEMP has flags if it is a hard link to a file that has
        freed(fd, TEMP, lambda: os.rename(TEMP, name, src_dir_fd=fd, dst_dir_fd=fd))

    try:
        try:
            unmounted(fd, name, lambda: freed(fd, name, rename))
        except IsADirectoryError:
            remove_at(fd, name, check)
            rename()
    except MountedError:
        remove_at(fd, TEMP)
        raise


@contextlib.contextmanager
def replacing(
    fd: int, name: str, then: Callable[[int], object] = lambda copy: None, check: Check = endless
) -> Iterator[int]:
    """Yield a new file that replaces `name` on success; then call `then` with it."""
    clear_temp(fd, check)
    making = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    copy = freed(fd, "", lambda: os.open(TEMP, making, 0o600, dir_fd=fd))
    try:
        with closing(copy):
            yield copy
            take_place(fd, name, check)
            then(copy)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(TEMP, dir_fd=fd)
        raise


# -- content ---------------------------------------------------------------------------------------------------


def same_content(one: int, other: int, check: Check = endless) -> bool:
    """Return whether two open files have the same contents; common holes are not read."""
    size = os.fstat(one).st_size
    if size != os.fstat(other).st_size:
        return False
    at = 0
    while (at := min(_data_from(one, at, size), _data_from(other, at, size))) < size:
        check()
        if os.pread(one, CHUNK, at) != os.pread(other, CHUNK, at):
            return False
        at += CHUNK
    return True


def _data_from(fd: int, at: int, size: int) -> int:
    """Return where the next data of an open file begins, at most `size`."""
    try:
        return min(os.lseek(fd, at, os.SEEK_DATA), size)
    except OSError as exc:
        if exc.errno == errno.ENXIO:  # nothing but a hole up to the end
            return size
        if exc.errno != errno.EINVAL:  # a filesystem without holes
            raise
        return at


def fill(source: int, copy: int, size: int, check: Check = endless) -> int:
    """Copy up to `size` bytes of an open file, preserving holes; return their number."""
    st = os.fstat(source)
    size = min(size, st.st_size)
    if st.st_blocks * 512 >= size:
        return _copy_bytes(check, source, copy, 0, size)
    end = 0
    while (start := _data_from(source, end, size)) < size:
        end = _data_to(source, start, size)
        _copy_bytes(check, source, copy, start, end)
    os.ftruncate(copy, size)
    return size


def _data_to(fd: int, start: int, size: int) -> int:
    """Return where the data at `start` ends, at most `size`."""
    try:
        return max(start + 1, min(os.lseek(fd, start, os.SEEK_HOLE), size))
    except OSError as exc:
        if exc.errno not in (errno.ENXIO, errno.EINVAL):  # truncated meanwhile; a filesystem without holes
            raise
        return size


def _copy_bytes(check: Check, source: int, copy: int, at: int, end: int) -> int:
    """Copy the bytes from `at` to `end`; return where the copy ended."""
    in_kernel = end - at > SMALL
    while at < end:
        check()
        if in_kernel:
            try:
                done = os.copy_file_range(source, copy, min(end - at, LARGE), at, at)
            except OSError as exc:
                if exc.errno not in NO_KERNEL_COPY:
                    raise
                in_kernel = False
                continue
        else:
            done = os.pwrite(copy, os.pread(source, min(end - at, CHUNK), at), at)
        if not done:
            break
        at += done
    return at


# -- owner, mode, times and attributes -------------------------------------------------------------------------


def set_owner(way: str | int, st: os.stat_result, entry: Entry) -> bool:
    """Set owner and mode if they differ; return whether they did. Without its owner a file is never made setuid."""
    changed, mode = False, entry.mode
    if (st.st_uid, st.st_gid) != (entry.uid, entry.gid) and os.geteuid() == 0:
        os.chown(way, entry.uid, entry.gid)
        changed = True  # and this removed setuid
    elif entry.kind != "folder":
        mode &= ~(stat.S_ISUID * (st.st_uid != entry.uid) | stat.S_ISGID * (st.st_gid != entry.gid))
    if entry.kind != "link" and (changed or stat.S_IMODE(st.st_mode) != mode):
        os.chmod(way, mode)
        changed = True
    return changed


def correct(fd: int, entry: Entry, tally: Tally, path: str) -> bool:
    """Set owner, mode, xattrs, mtime and flags of an open file or folder of a live tree, which can have flags."""
    try:
        changed = dress(fd, entry, tally, path)
    except PermissionError:
        with lifted(fd):
            changed = dress(fd, entry, tally, path)
    return put_flags(fd, entry.flags, tally, path) or changed


def put_flags(fd: int, flags: int, tally: Tally, path: str) -> bool:
    """Set the flags of an open file or folder, or warn; return whether any differed."""
    try:
        return set_flags(fd, flags)
    except OSError as exc:
        tally.warn(path, f"the flags immutable and append-only cannot be restored: {exc.strerror}")
        return False


def dress(handle: int, entry: Entry, tally: Tally, path: str) -> bool:
    """Set owner, mode, xattrs and mtime of an open entry; return whether anything important differed."""
    st = os.fstat(handle)
    with_content = entry.kind in ("file", "folder")
    way = handle if with_content else f"/proc/self/fd/{handle}"  # O_PATH descriptors take no calls of their own
    if (st.st_uid, st.st_gid) != (entry.uid, entry.gid) and os.geteuid():
        tally.warnings.append("owners are not kept: not root")
    changed = set_owner(way, st, entry)
    if with_content:
        changed |= set_xattrs(handle, entry.xattrs, tally, path)
    if st.st_mtime_ns != entry.mtime_ns:
        os.utime(way, ns=(entry.mtime_ns, entry.mtime_ns))
        changed |= entry.kind != "folder"  # the mtime of a folder changes with each file that we write
    return changed


def xattrs_of(fd: int) -> dict[str, str]:
    """Return the readable extended attributes of an open file or folder, including access lists."""
    found = {}
    try:
        for name in os.listxattr(fd):
            with contextlib.suppress(OSError):
                found[name] = os.getxattr(fd, name).decode("latin-1")
    except OSError as exc:
        if exc.errno not in NO_XATTRS:
            raise
    return found


def set_xattrs(fd: int, wanted: dict[str, str], tally: Tally, path: str) -> bool:
    """Set the extended attributes of an open file, or warn; return whether any differed."""
    there = xattrs_of(fd)
    if there == wanted:
        return False
    for name in there.keys() | wanted.keys():
        try:
            if name in wanted and there.get(name) != wanted[name]:
                os.setxattr(fd, name, wanted[name].encode("latin-1"))
            elif name not in wanted and name not in LABELS:
                os.removexattr(fd, name)
        except OSError as exc:
            if exc.errno not in NO_XATTRS:
                raise
            tally.warn(path, f"cannot keep {shown(name)}: {exc.strerror}")
    return True
