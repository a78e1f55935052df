"""What a program did to the disk, in order: strace's words made operations on the disk of a model."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.power.model import Change, Data, Disk, Mark, Meta, Names, Size, Sync

MARK = "/corpus-mark/"  # a path that is asked for and never there: what it names begins now
CALLS = (
    "open,openat,dup,dup2,dup3,fcntl,lseek,read,write,pwrite64,writev,copy_file_range,sendfile,ftruncate,truncate,"
    "fallocate,mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mknod,"
    "mknodat,chmod,fchmod,fchmodat,utimensat,fsync,fdatasync,sync,syncfs,mmap,clone,clone3,fork,vfork,chdir,fchdir,"
    "access,faccessat,faccessat2,sendto"
)
WORD = re.compile(r'"(?:[^"\\]|\\.)*"(?:\.\.\.)?|<[^>]*>(?:\(deleted\))?|[{}\[\](),]|[^"<{}\[\](),]+')
OPENED = re.compile(r"/proc/self/fd/(\d+)")
LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>)?(.*)", re.DOTALL)

CHILD = re.compile(r"(\d+) +(?:(<\.\.\.) )?(?:clone3?|v?fork)\b")


class TraceError(Exception):
    """The trace says something that the model does not know."""


def strace(words: Sequence[str | Path], output: Path) -> list[str | Path]:
    """Return the words that run a program under strace."""
    return ["strace", "--follow-forks", "--seccomp-bpf", "-y", "-x", "-s", "100000000", "-e", f"trace={CALLS}",
            "-e", "raw=read", "-e", "signal=none", "-o", output, *words]  # fmt: skip


@dataclass
class Open:
    """An open file: what all descriptors of one `open` share."""

    offset: int = 0
    append: bool = False


@dataclass
class Process:
    """What a process has open, and where it is."""

    cwd: str
    files: dict[int, Open] = field(default_factory=dict)
    paths: dict[int, str] = field(default_factory=dict)

    def copy(self) -> Process:
        return Process(self.cwd, dict(self.files), dict(self.paths))


@dataclass(frozen=True)
class Call:
    """One system call that succeeded."""

    pid: int
    name: str
    args: list[str]
    result: str
    began: int  # the number of operations that were complete when it began


def split(text: str) -> list[str]:
    """Return the arguments of a call."""
    found, depth = [""], 0
    for word in WORD.findall(text):
        depth += (word in "{[(") - (word in "}])")
        if word == "," and depth == 0:
            found.append("")
        else:
            found[-1] += word
    return [each.strip() for each in found]


def calls(lines: Iterator[str], done: Callable[[], int]) -> Iterator[Call]:
    """Yield the calls of a trace in the order in which they ended."""
    open_ones: dict[int, tuple[str, int]] = {}
    for line in lines:
        match = LINE.fullmatch(line.rstrip("\n"))
        if match is None or match[3].startswith(("+++", "---")):
            continue
        pid, rest, began = int(match[1]), match[3], done()
        if match[2]:
            start, began = open_ones.pop(pid)
            rest = start + rest
        if rest.endswith("<unfinished ...>"):
            open_ones[pid] = (rest.removesuffix("<unfinished ...>"), began)
            continue
        body, _, result = rest.rpartition(" = ")
        if not result.startswith(("-1 ", "?")):
            name, _, args = body.strip().removesuffix(")").partition("(")
            yield Call(pid, name, split(args), result, began)
        elif MARK in rest:
            yield Call(pid, "mark", [rest.partition(MARK)[2].partition('"')[0]], "0", began)


def text(argument: str) -> bytes:
    """Return the bytes of a string."""
    if argument.endswith("..."):
        raise TraceError(f"cut short: {argument[:60]}")
    found: bytes = ast.literal_eval("b" + argument)
    return found


def descriptor(argument: str) -> tuple[int, str]:
    """Return the number and the path of a descriptor."""
    number, _, path = argument.partition("<")
    return (-100 if number == "AT_FDCWD" else int(number)), path.removesuffix("(deleted)").removesuffix(">")


class Reader:
    """Turns calls into operations, on a disk on which all that was done so far is done."""

    def __init__(self, disk: Disk, cwd: str) -> None:
        self.disk, self.start = disk, Process(cwd)
        self.processes: dict[int, Process] = {}
        self.parents: dict[int, tuple[int, bool]] = {}  # pid -> parent, and whether it shares all with it
        self._cloning: dict[int, bool] = {}  # pid -> whether it makes a thread

    def read(self, path: Path) -> None:
        """Do all that a trace says."""
        with path.open() as file:
            for line in file:
                self._note_child(line)
        with path.open() as file:
            for call in calls(iter(file), lambda: len(self.disk.done)):
                act = getattr(self, f"_{call.name}", None)
                if act is not None:
                    act(call)

    def _note_child(self, line: str) -> None:
        match = CHILD.match(line)
        if match is None:
            return
        pid = int(match[1])
        if match[2] is None:
            self._cloning[pid] = "CLONE_THREAD" in line
        if result := re.search(r" = (\d+)$", line):
            self.parents[int(result[1])] = (pid, self._cloning.pop(pid))

    def process(self, pid: int) -> Process:
        if pid not in self.processes:
            parent, shares = self.parents.get(pid, (0, False))
            above = self.process(parent) if parent else self.start
            self.processes[pid] = above if shares else above.copy()
        return self.processes[pid]

    # where

    def _path(self, call: Call, argument: str, folder: str | None = None) -> str:
        """Return the absolute path that an argument names, below the descriptor `folder`."""
        name, process = os.fsdecode(text(argument)), self.process(call.pid)
        base = process.cwd if folder is None or folder.startswith("AT_FDCWD") else descriptor(folder)[1]
        path = os.path.join(base, name)
        match = OPENED.fullmatch(path)
        return process.paths[int(match[1])] if match else path

    def _found(self, call: Call, argument: str, folder: str | None = None, *, follow: bool = True) -> int | None:
        """Return the inode that an argument names; what is open is not followed, it may be a link."""
        follow = follow and not OPENED.fullmatch(os.fsdecode(text(argument)))
        return self.disk.inode(self._path(call, argument, folder), follow)

    def _file(self, call: Call, argument: str) -> tuple[int | None, Open]:
        """Return the inode behind a descriptor (None: not ours) and what is open."""
        number, path = descriptor(argument)
        file = self.process(call.pid).files.setdefault(number, Open())
        return (None if argument.endswith("(deleted)") else self.disk.inode(path)), file

    def _do(self, call: Call, change: Change) -> None:
        self.disk.do(change, call.began)

    # descriptors and processes

    def _openat(self, call: Call) -> None:
        self._opened(call, call.args[2], self._path(call, call.args[1], call.args[0]))

    def _open(self, call: Call) -> None:
        self._opened(call, call.args[1], self._path(call, call.args[0]))

    def _opened(self, call: Call, flags: str, asked: str) -> None:
        number, path = descriptor(call.result)
        process = self.process(call.pid)
        process.files[number], process.paths[number] = Open(append="O_APPEND" in flags), path
        if "O_TMPFILE" in flags and self.disk.holds(path):
            raise TraceError("O_TMPFILE")
        known = self.disk.inode(path)
        if known is None and "O_CREAT" in flags and self.disk.holds(path):
            mode = int(call.args[-1], 8)
            self._add(call, path, self.disk.new("file", mode & ~0o022))
        elif known is not None and "O_TRUNC" in flags:
            self._do(call, Size(known, 0))

    def _dup(self, call: Call) -> None:
        self._share(call, descriptor(call.args[0])[0], descriptor(call.result)[0])

    _dup2 = _dup3 = _dup

    def _fcntl(self, call: Call) -> None:
        if call.args[1].startswith("F_DUPFD"):
            self._dup(call)

    def _share(self, call: Call, old: int, new: int) -> None:
        process = self.process(call.pid)
        process.files[new] = process.files.setdefault(old, Open())
        if old in process.paths:
            process.paths[new] = process.paths[old]

    def _chdir(self, call: Call) -> None:
        process = self.process(call.pid)
        process.cwd = os.path.normpath(self._path(call, call.args[0]))

    def _fchdir(self, call: Call) -> None:
        self.process(call.pid).cwd = descriptor(call.args[0])[1]

    def _lseek(self, call: Call) -> None:
        self._file(call, call.args[0])[1].offset = int(call.result)

    def _read(self, call: Call) -> None:
        self.process(call.pid).files.setdefault(int(call.args[0], 0), Open()).offset += int(call.result, 0)

    # what is in files

    def _write(self, call: Call) -> None:
        self._written(call, text(call.args[1]))

    def _writev(self, call: Call) -> None:
        parts = re.findall(r'iov_base=("(?:[^"\\]|\\.)*"(?:\.\.\.)?)', call.args[1])
        self._written(call, b"".join(text(part) for part in parts))

    def _written(self, call: Call, data: bytes) -> None:
        inode, file = self._file(call, call.args[0])
        if "<socket:" in call.args[0] or "<UNIX" in call.args[0]:
            self._do(call, Mark("said " + data.decode(errors="replace")))
        if inode is None:
            return
        data = data[: int(call.result)]
        at = self.disk.inodes[inode].size if file.append else file.offset
        self._do(call, Data(inode, at, data))
        file.offset = at + len(data)

    def _pwrite64(self, call: Call) -> None:
        inode, _ = self._file(call, call.args[0])
        if inode is not None:
            self._do(call, Data(inode, int(call.args[3]), text(call.args[1])[: int(call.result)]))

    def _copy_file_range(self, call: Call) -> None:
        source, target, length = call.args[0], call.args[2], int(call.result)
        offsets = [None if each == "NULL" else int(each.strip("[]").partition(" ")[0])
                   for each in (call.args[1], call.args[3])]  # fmt: skip
        self._copied(call, source, offsets[0], target, offsets[1], length)

    def _sendfile(self, call: Call) -> None:
        offset = None if call.args[2] == "NULL" else int(call.args[2].strip("[]").partition(" ")[0])
        self._copied(call, call.args[1], offset, call.args[0], None, int(call.result))

    def _copied(self, call: Call, source: str, start: int | None, target: str, at: int | None, length: int) -> None:
        inode, file = self._file(call, target)
        from_inode, from_file = self._file(call, source)
        if inode is None:
            return
        if from_inode is None:
            raise TraceError(f"copied from elsewhere: {source}")
        begin = from_file.offset if start is None else start
        data = bytes(self.disk.inodes[from_inode].content()[begin : begin + length])
        self._do(call, Data(inode, file.offset if at is None else at, data))
        from_file.offset += length if start is None else 0
        file.offset += length if at is None else 0

    def _ftruncate(self, call: Call) -> None:
        inode, _ = self._file(call, call.args[0])
        if inode is not None:
            self._do(call, Size(inode, int(call.args[1])))

    def _truncate(self, call: Call) -> None:
        inode = self.disk.inode(self._path(call, call.args[0]))
        if inode is not None:
            self._do(call, Size(inode, int(call.args[1])))

    def _fallocate(self, call: Call) -> None:
        inode, end = self._file(call, call.args[0])[0], int(call.args[2]) + int(call.args[3])
        if inode is not None and call.args[1] != "0":
            raise TraceError(f"fallocate: {call.args[1]}")
        if inode is not None and end > self.disk.inodes[inode].size:
            self._do(call, Size(inode, end))

    def _mmap(self, call: Call) -> None:
        if "PROT_WRITE" in call.args[2] and "MAP_SHARED" in call.args[3] and "<" in call.args[4]:
            path = descriptor(call.args[4])[1]
            if self.disk.holds(path) and not path.endswith("-shm"):  # sqlite makes that one anew after a crash
                raise TraceError(f"written through memory: {path}")

    # names

    def _add(self, call: Call, path: str, inode: int) -> None:
        folder, name = self.disk.place(path)
        self._do(call, Names(((folder, name, inode),)))

    def _remove(self, call: Call, path: str) -> None:
        if self.disk.inode(path, follow=False) is not None:
            folder, name = self.disk.place(path)
            self._do(call, Names(((folder, name, None),)))

    def _mkdir(self, call: Call) -> None:
        self._made(call, self._path(call, call.args[0]), call.args[1])

    def _mkdirat(self, call: Call) -> None:
        self._made(call, self._path(call, call.args[1], call.args[0]), call.args[2])

    def _made(self, call: Call, path: str, mode: str) -> None:
        if self.disk.holds(path):
            self._add(call, path, self.disk.new("folder", int(mode, 8) & ~0o022))

    def _rmdir(self, call: Call) -> None:
        self._remove(call, self._path(call, call.args[0]))

    _unlink = _rmdir

    def _unlinkat(self, call: Call) -> None:
        self._remove(call, self._path(call, call.args[1], call.args[0]))

    def _rename(self, call: Call) -> None:
        self._renamed(call, self._path(call, call.args[0]), self._path(call, call.args[1]))

    def _renameat(self, call: Call) -> None:
        old, new = self._path(call, call.args[1], call.args[0]), self._path(call, call.args[3], call.args[2])
        self._renamed(call, old, new)

    def _renameat2(self, call: Call) -> None:
        if "RENAME_EXCHANGE" in call.args[4]:
            raise TraceError("RENAME_EXCHANGE")
        self._renameat(call)

    def _renamed(self, call: Call, old: str, new: str) -> None:
        inode = self.disk.inode(old, follow=False)
        if inode is not None:
            self._do(call, Names(((*self.disk.place(old), None), (*self.disk.place(new), inode))))
        elif self.disk.holds(new):
            raise TraceError(f"renamed from elsewhere: {old}")

    def _link(self, call: Call) -> None:
        self._linked(call, self._path(call, call.args[0]), self._path(call, call.args[1]))

    def _linkat(self, call: Call) -> None:
        old, new = self._path(call, call.args[1], call.args[0]), self._path(call, call.args[3], call.args[2])
        self._linked(call, old, new)

    def _linked(self, call: Call, old: str, new: str) -> None:
        inode = self.disk.inode(old, follow=False)
        if inode is not None:
            self._add(call, new, inode)

    def _symlink(self, call: Call) -> None:
        self._symlinked(call, call.args[0], self._path(call, call.args[1]))

    def _symlinkat(self, call: Call) -> None:
        self._symlinked(call, call.args[0], self._path(call, call.args[2], call.args[1]))

    def _symlinked(self, call: Call, target: str, path: str) -> None:
        if self.disk.holds(path):
            self._add(call, path, self.disk.new("link", 0o777, os.fsdecode(text(target))))

    def _mknod(self, call: Call) -> None:
        if self.disk.holds(self._path(call, call.args[0])):
            raise TraceError("mknod")

    def _mknodat(self, call: Call) -> None:
        if self.disk.holds(self._path(call, call.args[1], call.args[0])):
            raise TraceError("mknodat")

    # what a file bears

    def _chmod(self, call: Call) -> None:
        self._bears(call, self._found(call, call.args[0]), mode=int(call.args[1], 8))

    def _fchmod(self, call: Call) -> None:
        self._bears(call, self._file(call, call.args[0])[0], mode=int(call.args[1], 8))

    def _fchmodat(self, call: Call) -> None:
        inode = self._found(call, call.args[1], call.args[0])
        self._bears(call, inode, mode=int(call.args[2], 8))

    def _utimensat(self, call: Call) -> None:
        found = re.findall(r"tv_sec=(\d+)[^,]*, tv_nsec=(\d+)", call.args[2])
        if len(found) != 2:
            return  # now: we give what has no time of its own that of the replay
        if call.args[1] == "NULL":
            inode = self._file(call, call.args[0])[0]
        else:
            inode = self._found(call, call.args[1], call.args[0], follow="NOFOLLOW" not in call.args[3])
        self._bears(call, inode, mtime_ns=int(found[1][0]) * 10**9 + int(found[1][1]))

    def _bears(self, call: Call, inode: int | None, mode: int | None = None, mtime_ns: int | None = None) -> None:
        if inode is not None:
            self._do(call, Meta(inode, mode, mtime_ns))

    # what is brought to the disk, and what is said

    def _fsync(self, call: Call) -> None:
        inode = self._file(call, call.args[0])[0]
        if inode is not None:
            self._do(call, Sync(inode, descriptor(call.args[0])[1]))

    _fdatasync = _fsync

    def _syncfs(self, call: Call) -> None:
        self._do(call, Sync(None, "everything"))

    _sync = _syncfs

    def _mark(self, call: Call) -> None:
        self._do(call, Mark(call.args[0]))

    def _sendto(self, call: Call) -> None:
        self._do(call, Mark("said " + text(call.args[1]).decode(errors="replace")))
