"""Find which processes listen on the TCP ports of this machine, from /proc.

Standard library only, and nothing of ours: Salt loads this file too, possibly with another Python
(makina/loader/_modules/mc_services.py).
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

LISTENS = "0A"  # the state in /proc/net/tcp
UNIT = re.compile(r"([^/\n]+)\.service(?:/|$)", re.MULTILINE)


def listening(proc: Path = Path("/proc")) -> dict[int, dict[int, int]]:
    """Return the ports with listening sockets: the inodes of these, and the uid of each."""
    found: dict[int, dict[int, int]] = {}
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (proc / "self/net" / name).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == LISTENS:
                    port = int(words[1].rpartition(":")[2], 16)
                    found.setdefault(port, {})[int(words[9])] = int(words[7])
    return found


def holders(inodes: set[int]) -> list[int]:
    """Return the processes that have one of these sockets open, as far as this account can see them."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
            if any(_target(entry.path) in wanted for entry in entries):
                found.append(pid)
    return sorted(found)


def _target(path: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(path)
    return ""


def unit(pid: int) -> str:
    """Return the systemd service of a process, without its suffix; nothing if there is none."""
    with contextlib.suppress(OSError):
        found = UNIT.findall(Path(f"/proc/{pid}/cgroup").read_text())
        return str(found[-1]) if found else ""
    return ""


def described(pid: int) -> str:
    """Describe a process for people."""
    with contextlib.suppress(OSError):
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        service = unit(pid)
        return f"{name} (pid {pid}{f', {service}.service' if service else ''})"
    return f"pid {pid}"


def works_in(pid: int, folder: Path) -> bool:
    """Return whether the working directory or the program of a process is in a folder."""
    return any(Path(_target(f"/proc/{pid}/{name}")).is_relative_to(folder) for name in ("cwd", "exe"))
