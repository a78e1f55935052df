"""Who works on a push, found in /proc: only what carries the folder of our host, or descends from our own sshd."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from corpushooks.system.process import Child, start_time
from tests.support.box import Box
from tests.support.sshd import Server

VICTIMS = ("client", "sshd", "receive-pack", "hook", "daemon", "worker", "session", "prepared", "question", "command")
ENGINE = "engine"  # of backups, where the host keeps some
COMMAND = "CHAOS_COMMAND"  # in the environment of what an SLS runs
BOX = "CHAOS_BOX"  # in the environment of whatever we start


@dataclass(frozen=True)
class Process:
    """A process that lives, known by pid and start time."""

    pid: int
    parent: int
    start: int
    words: tuple[str, ...]

    @property
    def program(self) -> str:
        return os.path.basename(self.words[0]) if self.words else ""


Table = Mapping[int, Process]


def living() -> Table:
    """Return all processes of this machine that are no zombies."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                if fields[0] not in (b"Z", b"X"):
                    words = os.fsdecode(Path(f"/proc/{name}/cmdline").read_bytes()).rstrip("\0").split("\0")
                    found[int(name)] = Process(int(name), int(fields[1]), int(fields[19]), tuple(words))
    return found


def carries(process: Process, root: Path) -> bool:
    """Say whether a process has the folder `root` in its words, environment, working folder or outputs."""
    folder = os.fsencode(root) + b"/"
    proc = Path(f"/proc/{process.pid}")
    seen = ["/".join((*process.words, "")).encode(errors="surrogateescape")]
    with contextlib.suppress(OSError):
        seen.append((proc / "environ").read_bytes().replace(b"\0", b"/"))
    for name in ("cwd", "fd/0", "fd/1", "fd/2"):
        with contextlib.suppress(OSError):
            seen.append(os.fsencode(os.readlink(proc / name)) + b"/")
    return any(folder in text for text in seen)


def below(table: Table, pids: Iterable[int]) -> set[int]:
    """Return what descends from some processes, without themselves."""
    found, last = set[int](), set(pids)
    while last:
        last = {each.pid for each in table.values() if each.parent in last} - found
        found |= last
    return found


def crew(box: Box, server: Server, push: Child[bytes] | None) -> Table:
    """Return the processes of one host, with those of a push to it; never ourselves, never sshd itself."""
    table = living()
    ours = {each.pid for each in table.values() if carries(each, box.root)}
    starters = {server.process.pid, *([push.pid] if push else [])}
    ours |= below(table, starters) | ({push.pid} if push else set())
    return {pid: table[pid] for pid in ours - {os.getpid(), server.process.pid} if pid in table}


def cast(table: Table, push: Child[bytes] | None) -> dict[str, list[Process]]:
    """Return who plays which part in a push, the oldest first."""
    parts: dict[str, list[Process]] = {name: [] for name in (*VICTIMS, ENGINE)}
    for each in sorted(table.values(), key=lambda one: one.start):
        part = _part(table, each, push)
        if part:
            parts[part].append(each)
    return parts


def _part(table: Table, process: Process, push: Child[bytes] | None) -> str:
    words = process.words
    if _is_command(process):
        return "command"
    if any(os.path.basename(word) == "borg" for word in words[:2]):
        return ENGINE
    if _is_worker(process):
        return ("worker", "session", "prepared", "question", "")[_depth(table, process)]
    if "keep" in words and any(word.endswith("salt_worker") for word in words):
        return "session"
    if process.program.startswith("sshd") or words[0].startswith("sshd:"):
        return "sshd"
    if process.program == "git-receive-pack" or words[1:2] == ("receive-pack",):
        return "receive-pack"
    if any(word.endswith("hooks/proc-receive") for word in words):
        return "" if _same_as_parent(table, process) else "hook"
    if _is_daemon(process):
        return "" if _same_as_parent(table, process) else "daemon"
    client = push is not None and (process.pid == push.pid or process.parent == push.pid)
    return "client" if client and process.program in ("git", "ssh") else ""


def _is_daemon(process: Process) -> bool:
    return "tests.support.fake_daemon" in process.words or (
        "corpushooks" in process.words and "daemon" in process.words
    )


def _is_worker(process: Process) -> bool:
    return process.words[-1:] == ("serve",) and process.words[-2].endswith("salt_worker")


def _is_command(process: Process) -> bool:
    with contextlib.suppress(OSError):
        wanted = f"{COMMAND}=".encode()
        found = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        return any(each.startswith(wanted) for each in found)
    return False


def _same_as_parent(table: Table, process: Process) -> bool:
    """Say whether a process is a child that has not become another program yet."""
    parent = table.get(process.parent)
    return parent is not None and parent.words == process.words


def _depth(table: Table, process: Process) -> int:
    """Return how many workers stand above a worker: 1 is a session, 2 who prepares, 3 a question's process."""
    depth, parent = 0, table.get(process.parent)
    while parent is not None and _is_worker(parent):
        depth, parent = depth + 1, table.get(parent.parent)
    return min(depth, 4)


def sockets(process: Process) -> int:
    """Return how many sockets a process has open."""
    count = 0
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += os.readlink(descriptor).startswith("socket:")
    return count


def kill(process: Process) -> bool:
    """Kill exactly this process, with SIGKILL, and await its end; return whether it still lived."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if start_time(process.pid) != process.start:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [], 10)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True
