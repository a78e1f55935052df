"""What a deployment left running, outside of all that we started: found in /proc, stopped or named.

It carries the mark of its deployment in its environment, or descends from what does. A service is left alone: what is
in a unit of its own, or in a pid file below a `run` folder, with what descends from that.

A pid means a process only together with its start time; signals go through a pidfd.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

UNIT = re.compile(r"[^/]+\.(?:service|scope)(?=/|$)")
LOGIN = re.compile(r"session-[^/]*\.scope")  # of somebody who logged in: no service
NUMBER = re.compile(rb"\s*(\d{1,10})\s")
GRACE, KILLING = 3.0, 5.0  # seconds between TERM and KILL, and after that
WATCH = 0.5  # seconds in which it is seen what opens a file only now and then
TICK = 0.02
HALTED = "TtD"  # states of what does not go on: halted, traced, in the hands of the kernel
PID_FILES, PID_DEPTH = 5000, 4  # that are looked at below a folder
TEXT = 1 << 23  # bytes of a file of /proc


class Named(NamedTuple):
    """What people are told of a process, also when it is gone."""

    pid: int
    command: str


@dataclass(frozen=True)
class Process:
    """A process as /proc has it."""

    pid: int
    start: int  # clock ticks since boot
    parent: int
    session: int
    state: str
    thread: int = 0  # one that goes on, where the first has ended: then /proc says nothing of that

    @property
    def place(self) -> int:
        """Return whose files of /proc tell of it."""
        return self.thread or self.pid

    @property
    def key(self) -> tuple[int, int]:
        return self.pid, self.start

    @property
    def named(self) -> Named:
        """Return it as people are told of it."""
        return Named(
            self.pid, " ".join(os.fsdecode(word) for word in _read(self.place, "cmdline").split(b"\0") if word)
        )


Table = Mapping[int, Process]


@dataclass(frozen=True)
class Work:
    """What processes must not go on with: writing in a folder, as an account."""

    mark: str  # NAME=value in the environment
    since: float  # seconds since the epoch: when the deployment began
    folder: Path  # without a link in it
    uid: int | None
    runs: frozenset[Path]  # folders with pid files


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    stopped: tuple[Named, ...]
    left: tuple[Named, ...]  # services, and what has nothing to do with the folder
    deaf: tuple[Named, ...]  # what cannot be stopped
    others: tuple[Named, ...]  # what writes in the folder since, and is not known to be the deployment's


def stop(work: Work, *, grace: float = GRACE) -> Outcome:
    """Stop what a deployment left at work in a folder, until nothing of it is left or some seconds are over."""
    told: dict[tuple[int, int], Named] = {}
    begun = time.monotonic()
    while True:
        seen = _Seen(work)
        found = seen.at_work()
        late = time.monotonic() - begun - grace
        waits = not told and late < WATCH - grace and seen.doubtful()
        if not (found or waits) or late > KILLING:
            break
        _signal(found, told, kill=late > 0)
        time.sleep(TICK)
    deaf = {each.key for each in found}
    return Outcome(
        stopped=tuple(named for key, named in told.items() if key not in deaf),
        left=tuple(each.named for each in seen.left(deaf)),
        deaf=tuple(each.named for each in found),
        others=tuple(each.named for each in seen.others()),
    )


def _signal(found: list[Process], told: dict[tuple[int, int], Named], *, kill: bool) -> None:
    """Ask processes to end, each once; or halt them all, so that none of them forks, and kill them then."""
    fresh = [each for each in found if each.key not in told]
    told.update({each.key: each.named for each in fresh})
    moving = [each for each in found if each.state not in HALTED]
    if not kill:
        for each in fresh:
            _send(each, signal.SIGTERM)
            _send(each, signal.SIGCONT)  # what is halted hears nothing
    elif moving:
        for each in moving:
            _send(each, signal.SIGSTOP)
    else:
        for each in found:
            _send(each, signal.SIGKILL)


def _send(process: Process, number: signal.Signals) -> None:
    """Send a signal to a process, to no other that has its pid by now."""
    with contextlib.suppress(OSError):  # it is gone, or not ours
        handle = os.pidfd_open(process.pid)
        try:
            found = _process(process.pid)
            if found and found.key == process.key:
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


class _Seen:
    """One look at all processes."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._table = processes()
        mine = _ancestors(self._table, os.getpid())
        self._own_unit = _unit(os.getpid())
        mark = os.fsencode(work.mark)
        self._foreign = {pid: p for pid, p in self._table.items() if pid not in mine and p.state not in "ZX"}
        self._marked = self._with_descendants(
            {pid for pid, p in self._foreign.items() if mark in _environment(p.place)}
        )
        self._since = self._begun_since()
        self._services = self._protected()

    def _with_descendants(self, pids: set[int]) -> dict[int, Process]:
        return {pid: p for pid, p in self._foreign.items() if pids & _ancestors(self._foreign, pid)}

    def _begun_since(self) -> dict[int, Process]:
        """Return what began since the deployment did."""
        first = (self._work.since - _boot_time() - 1) * os.sysconf("SC_CLK_TCK")
        return {pid: p for pid, p in self._foreign.items() if p.start >= first}

    def _protected(self) -> set[int]:
        """Return the pids of services among what began since, or is marked."""
        named = set().union(*map(pids_of_files, self._work.runs))
        among = {**self._since, **self._marked}
        services = {pid for pid in among if pid in named or self._has_unit(among[pid].place)}
        return {pid for pid in among if services & _ancestors(among, pid)}

    def _has_unit(self, pid: int) -> bool:
        """Say whether a process is in a unit of its own: neither ours, nor the session of somebody who logged in."""
        unit = _unit(pid)
        return unit not in ("", self._own_unit) and not LOGIN.fullmatch(unit)

    def at_work(self) -> list[Process]:
        """Return what is to be stopped: what works in the folder, its descendants, and the session that it leads."""
        ours = self._ours()
        first = {pid for pid, p in ours.items() if self._works(p.place)}
        sessions = {ours[pid].session for pid in first} & ours.keys()
        first |= {pid for pid, p in ours.items() if p.session in sessions}
        return [p for pid, p in sorted(self._with_descendants(first).items()) if pid not in self._services]

    def _ours(self) -> dict[int, Process]:
        """Return what the deployment started: what is marked, or descends from that, or is in our own unit since."""
        service = self._own_unit.endswith(".service")
        besides = {pid: p for pid, p in self._since.items() if service and _unit(p.place) == self._own_unit}
        found = {**self._marked, **besides}
        return {pid: p for pid, p in found.items() if pid not in self._services}

    def doubtful(self) -> bool:
        """Say whether anything is marked that is no service: it may yet be seen at work."""
        return bool(self._marked.keys() - self._services)

    def left(self, known: set[tuple[int, int]]) -> Iterator[Process]:
        """Give what is marked and was left alone."""
        return (p for _, p in sorted(self._marked.items()) if p.key not in known)

    def others(self) -> Iterator[Process]:
        """Give what writes in the folder since, is no service, and carries no mark: it may be somebody's editor."""
        for pid, p in sorted(self._since.items()):
            if pid not in self._marked and pid not in self._services and _writes(p.place, str(self._work.folder)):
                yield p

    def _works(self, pid: int) -> bool:
        folder = str(self._work.folder)
        if self._work.uid is not None and self._work.uid in _uids(pid):
            return True
        if any(_inside(_link(pid, name), folder) for name in ("cwd", "root")):
            return True
        return _writes(pid, folder) or _holds_folder(pid, folder) or _names(pid, folder)


# what /proc says


def processes() -> dict[int, Process]:
    """Return all processes by pid."""
    found = (_process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {each.pid: each for each in found if each}


def _process(pid: int) -> Process | None:
    """Return a process; None where it is gone. Source: proc(5), stat."""
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    if len(fields) < 20:
        return None
    thread, state = (0, fields[0]) if fields[0] != b"Z" or fields[17] == b"1" else _living(pid)
    return Process(pid, int(fields[19]), int(fields[1]), int(fields[3]), state.decode(), thread)


def _living(pid: int) -> tuple[int, bytes]:
    """Return a thread that goes on of a process whose first has ended, and its state."""
    for name in _names_in(pid, "task"):
        state = _read(pid, f"task/{name}/stat").rpartition(b")")[2].split()[:1]
        if state and state[0] not in b"ZX":
            return int(name), state[0]
    return 0, b"Z"


def _ancestors(table: Table, pid: int) -> set[int]:
    """Return a process and all that it descends from, as far as a table has them."""
    found: set[int] = set()
    while pid in table and pid not in found:
        found.add(pid)
        pid = table[pid].parent
    return found


def _environment(pid: int) -> set[bytes]:
    return set(_read(pid, "environ").split(b"\0"))


def _uids(pid: int) -> set[int]:
    """Return the real, effective, saved and filesystem uid of a process."""
    for line in _read(pid, "status").splitlines():
        if line.startswith(b"Uid:"):
            return {int(number) for number in line.split()[1:]}
    return set()


def _unit(pid: int) -> str:
    """Return the innermost unit of systemd that a process is in; nothing where it is in none."""
    for line in os.fsdecode(_read(pid, "cgroup")).splitlines():
        number, _, rest = line.partition(":")
        if number == "0" or rest.startswith("name=systemd:"):
            found = UNIT.findall(rest.partition(":")[2])
            if found:
                return str(found[-1])
    return ""


def _writes(pid: int, folder: str) -> bool:
    """Say whether a process has a file in a folder open, or mapped, for writing."""
    for number in _names_in(pid, "fd"):
        if _inside(_link(pid, f"fd/{number}"), folder) and _is_writable(pid, number):
            return True
    inner = os.fsencode(folder) + b"/"
    for line in _read(pid, "maps").splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[1][1:2] == b"w" and fields[1][3:4] == b"s" and fields[5].startswith(inner):
            return True
    return False


def _holds_folder(pid: int, folder: str) -> bool:
    """Say whether a process has a folder in a folder open: it can write there by name, wherever it works.

    What lies on another mount is not looked at: nobody may answer for that.
    """
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            mount = _mount(os.getpid(), str(handle))
        finally:
            os.close(handle)
        held = (number for number in _names_in(pid, "fd") if _inside(_link(pid, f"fd/{number}"), folder))
        return any(_mount(pid, number) == mount and os.path.isdir(f"/proc/{pid}/fd/{number}") for number in held)
    return False


def _mount(pid: int, number: str) -> bytes:
    """Return the number of the mount that a descriptor of a process lies in."""
    lines = _read(pid, f"fdinfo/{number}").splitlines()
    return next((line.split()[1] for line in lines if line.startswith(b"mnt_id:")), b"")


def _is_writable(pid: int, number: str) -> bool:
    for line in _read(pid, f"fdinfo/{number}").splitlines():
        if line.startswith(b"flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False


def _names(pid: int, folder: str) -> bool:
    """Say whether the command line of a process has a path in a folder."""
    return re.search(re.escape(os.fsencode(folder)) + rb"(?![^/\0\s'\";:,)&|>])", _read(pid, "cmdline")) is not None


def _inside(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/") or path.removesuffix(" (deleted)") == folder


def _names_in(pid: int, name: str) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(f"/proc/{pid}/{name}")
    return []


def _link(pid: int, name: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/{name}")
    return ""


def _read(pid: int, name: str) -> bytes:
    """Return a file of /proc; nothing where the process is gone, or is not ours to look at."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read(TEXT)
    except OSError:
        return b""


def _boot_time() -> float:
    """Return when the machine was started, in seconds since the epoch."""
    with open("/proc/stat", "rb") as file:
        return next((float(line.split()[1]) for line in file if line.startswith(b"btime ")), 0.0)


# pid files


def pids_of_files(folder: Path) -> set[int]:
    """Return the pids that the pid files below a folder name; no link is followed, and no other mount looked into."""
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
