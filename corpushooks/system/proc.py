"""Processes in /proc, and pid files.

A process is identified by pid and start time. One that is gone or cannot be read has empty values.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

UNIT = re.compile(r"[^/]+\.(?:service|scope)(?=/|$)")
NUMBER = re.compile(rb"\s*(\d{1,10})\s")
PID_FILES, PID_DEPTH = 5000, 4  # limits of the search below a folder
TEXT = 1 << 23  # bytes of a file of /proc


class Named(NamedTuple):
    """A process as reported to people, also after its end."""

    pid: int
    command: str


@dataclass(frozen=True)
class Process:
    """A process in /proc."""

    pid: int
    start: int  # clock ticks since boot
    parent: int
    session: int
    state: str
    thread: int = 0  # a living thread if the first has ended, which leaves the process without files in /proc

    @property
    def place(self) -> int:
        """Return the id whose files in /proc describe it."""
        return self.thread or self.pid

    @property
    def key(self) -> tuple[int, int]:
        return self.pid, self.start

    @property
    def named(self) -> Named:
        """Return it as reported to people."""
        return Named(
            self.pid, " ".join(os.fsdecode(word) for word in _read(self.place, "cmdline").split(b"\0") if word)
        )


Table = Mapping[int, Process]


def processes() -> dict[int, Process]:
    """Return all processes by pid."""
    found = (process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {each.pid: each for each in found if each}


def process(pid: int) -> Process | None:
    """Return a process; None if it is gone. Source: proc(5), stat."""
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    if len(fields) < 20:
        return None
    thread, state = (0, fields[0]) if fields[0] != b"Z" or fields[17] == b"1" else _living(pid)
    return Process(pid, int(fields[19]), int(fields[1]), int(fields[3]), state.decode(), thread)


def _living(pid: int) -> tuple[int, bytes]:
    """Return a living thread of a process whose first thread has ended, and its state."""
    for name in _names_in(pid, "task"):
        state = _read(pid, f"task/{name}/stat").rpartition(b")")[2].split()[:1]
        if state and state[0] not in b"ZX":
            return int(name), state[0]
    return 0, b"Z"


def ancestors(table: Table, pid: int) -> set[int]:
    """Return a process and its ancestors, as far as they are in a table."""
    found: set[int] = set()
    while pid in table and pid not in found:
        found.add(pid)
        pid = table[pid].parent
    return found


def environment(pid: int) -> set[bytes]:
    return set(_read(pid, "environ").split(b"\0"))


def uids(pid: int) -> set[int]:
    """Return the real, effective, saved and filesystem uid of a process."""
    for line in _read(pid, "status").splitlines():
        if line.startswith(b"Uid:"):
            return {int(number) for number in line.split()[1:]}
    return set()


def unit(pid: int) -> str:
    """Return the innermost systemd unit of a process; nothing if it has none."""
    for line in os.fsdecode(_read(pid, "cgroup")).splitlines():
        number, _, rest = line.partition(":")
        if number == "0" or rest.startswith("name=systemd:"):
            found = UNIT.findall(rest.partition(":")[2])
            if found:
                return str(found[-1])
    return ""


def writes(pid: int, folder: str) -> bool:
    """Return whether a process has a file in a folder open or mapped for writing."""
    for number in _names_in(pid, "fd"):
        if inside(link(pid, f"fd/{number}"), folder) and _is_writable(pid, number):
            return True
    inner = os.fsencode(folder) + b"/"
    for line in _read(pid, "maps").splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[1][1:2] == b"w" and fields[1][3:4] == b"s" and fields[5].startswith(inner):
            return True
    return False


def holds_folder(pid: int, folder: str) -> bool:
    """Return whether a process has a descriptor of a folder in a folder, through which it can write there.

    Folders on other mounts are ignored, since looking at them can block.
    """
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            mount = _mount(os.getpid(), str(handle))
        finally:
            os.close(handle)
        held = (number for number in _names_in(pid, "fd") if inside(link(pid, f"fd/{number}"), folder))
        return any(_mount(pid, number) == mount and os.path.isdir(f"/proc/{pid}/fd/{number}") for number in held)
    return False


def _mount(pid: int, number: str) -> bytes:
    """Return the id of the mount of a descriptor of a process."""
    lines = _read(pid, f"fdinfo/{number}").splitlines()
    return next((line.split()[1] for line in lines if line.startswith(b"mnt_id:")), b"")


def _is_writable(pid: int, number: str) -> bool:
    for line in _read(pid, f"fdinfo/{number}").splitlines():
        if line.startswith(b"flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False


def names_path(pid: int, folder: str) -> bool:
    """Return whether the command line of a process has a path in a folder."""
    return re.search(re.escape(os.fsencode(folder)) + rb"(?![^/\0\s'\";:,)&|>])", _read(pid, "cmdline")) is not None


def inside(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/") or path.removesuffix(" (deleted)") == folder


def _names_in(pid: int, name: str) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(f"/proc/{pid}/{name}")
    return []


def link(pid: int, name: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/{name}")
    return ""


def _read(pid: int, name: str) -> bytes:
    """Return a file of /proc; nothing if the process is gone or cannot be read."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read(TEXT)
    except OSError:
        return b""


def boot_time() -> float:
    """Return the boot time, in seconds since the epoch."""
    with open("/proc/stat", "rb") as file:
        return next((float(line.split()[1]) for line in file if line.startswith(b"btime ")), 0.0)


# pid files


def pids_of_files(folder: Path) -> set[int]:
    """Return the pids in the pid files below a folder, without following links or entering other mounts."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        device, left = os.stat(folder).st_dev, PID_FILES
        for at, folders, files in os.walk(folder):
            deep = at.count("/") - str(folder).count("/") >= PID_DEPTH
            folders[:] = [] if deep else [name for name in folders if _is_on(os.path.join(at, name), device)]
            for name in files if left > 0 else ():
                left -= 1
                if name.endswith("pid"):
                    found |= _pid_in(os.path.join(at, name))
    return found


def _is_on(path: str, device: int) -> bool:
    with contextlib.suppress(OSError):
        st = os.lstat(path)
        return stat.S_ISDIR(st.st_mode) and st.st_dev == device
    return False


def _pid_in(path: str) -> set[int]:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return set()
    try:
        found = NUMBER.match(os.read(handle, 64) + b"\n") if stat.S_ISREG(os.fstat(handle).st_mode) else None
        return {int(found[1])} if found else set()
    finally:
        os.close(handle)
