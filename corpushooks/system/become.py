"""Run one command with the rights of an application: the helper process that the daemon starts for `corpus run`.

    python -I -S become.py FD

FD is a socket to the daemon. It sends the length of a plan in eight bytes, the plan in JSON, and then bytes, each the
number of a signal for the command; when it closes, everything is stopped. The answer is one line of JSON,
{"code": N}, with "wrong" if the command could not be started.

This process only waits: its child drops all privileges and becomes the command. No process of the command outlives
it: they are found in their control group and, since this process adopts orphans, among its descendants, even in
sessions of their own.

Standard library only, and nothing of ours. The daemon has threads and must not fork; this has one thread and can.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import shlex
import signal
import socket
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

GRACE, KILLING = 3.0, 5.0  # seconds between TERM and KILL, and after that
TICK = 0.02
REAP = 1000  # milliseconds between looks for ended orphans
NOT_FOUND, NOT_RUN = 127, 126  # as in a shell
FORWARDED = frozenset({signal.SIGINT, signal.SIGQUIT})
# Source: linux/prctl.h, linux/capability.h
SET_PDEATHSIG, CAPBSET_DROP, SET_CHILD_SUBREAPER, SET_NO_NEW_PRIVS = 1, 24, 36, 38
CAP_AMBIENT, AMBIENT_CLEAR_ALL = 47, 4
CAPABILITY_VERSION = 0x20080522
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapAmb")


@dataclass(frozen=True)
class Plan:
    """What to run, where, and as whom."""

    words: list[str]
    env: dict[str, str]
    folder: int  # descriptors
    streams: list[int]
    account: list[int] | None  # uid and gid; None: as we are
    groups: list[int]
    umask: int
    group: str | None  # the folder of its control group


def main() -> None:
    """Run the command that the daemon asks for."""
    link = socket.socket(fileno=int(sys.argv[1]))
    link.set_inheritable(False)
    plan = Plan(**json.loads(_receive_exactly(link, int.from_bytes(_receive_exactly(link, 8), "big"))))
    told = supervise(link, plan)
    with contextlib.suppress(OSError):  # the daemon is gone
        link.sendall(json.dumps(told).encode() + b"\n")


def _receive_exactly(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = link.recv(size - len(data))
        if not chunk:
            sys.exit(1)
        data += chunk
    return data


# the parent, which waits


def supervise(link: socket.socket, plan: Plan) -> dict[str, object]:
    """Run a command until it or the connection ends; stop what it left; return the answer."""
    _prctl(SET_CHILD_SUBREAPER, 1)
    if plan.account:
        for each in plan.streams:  # so that it can open /dev/stdout and its terminal
            os.fchown(each, plan.account[0], -1)
    report, reporting = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(plan, reporting)
    for each in (*plan.streams, plan.folder, reporting):
        with contextlib.suppress(OSError):  # a descriptor can occur more than once
            os.close(each)
    wrong = _forward_signals(link, pid, report)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if _has_ended(pid) else -signal.SIGKILL
    end(plan.group, os.getpid())
    if wrong:
        return _start_error(wrong, plan.words[0])
    return {"code": code if code >= 0 else 128 - code}


def _forward_signals(link: socket.socket, pid: int, report: int) -> bytes:
    """Forward signals until the command or the connection ends; return why the command was not started."""
    handle, wrong = os.pidfd_open(pid), b""
    poll = select.poll()
    for each in (handle, report, link.fileno()):
        poll.register(each, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll(REAP)}
        _reap(pid)
        if report in ready:
            data = os.read(report, 4096)
            wrong += data
            if not data:
                poll.unregister(report)
        elif handle in ready:
            return wrong
        if link.fileno() in ready and not _pass_on(link, pid):
            return wrong


def _pass_on(link: socket.socket, pid: int) -> bool:
    """Forward received signals to the command; return whether the connection is open."""
    try:
        numbers = link.recv(64)
    except OSError:
        return False
    for number in numbers:
        with contextlib.suppress(ProcessLookupError):
            if number in FORWARDED:
                os.killpg(pid, number)
    return bool(numbers)


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _reap(but: int) -> None:
    """Reap ended orphans, but not the process whose exit code is still needed."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and found.si_pid != but:
            os.waitpid(found.si_pid, 0)


def _start_error(wrong: bytes, word: str) -> dict[str, object]:
    """Say why a command was not started."""
    step, _, number = wrong.decode().rpartition(" ")
    if step == "run" and int(number) in (errno.ENOENT, errno.ENOTDIR):
        shell = f"; for a shell: sh -c {shlex.quote(word)}" if " " in word else ""
        return {"code": NOT_FOUND, "wrong": f"{shlex.quote(word)}: command not found{shell}"}
    what = shlex.quote(word) if step == "run" else step
    return {"code": NOT_RUN, "wrong": f"{what}: {os.strerror(int(number))}"}


# the child, which becomes the command


def _child(plan: Plan, report: int) -> NoReturn:
    """Become the command, or report which step failed."""
    parent, step = os.getppid(), "terminal"
    try:
        if plan.group:
            with contextlib.suppress(OSError):  # run without it
                Path(plan.group, "cgroup.procs").write_text("0")
        os.setsid()
        _take_streams(plan.streams, {report, plan.folder})
        step = "rights"
        os.umask(plan.umask)
        _restore_signals()
        drop(plan.account, plan.groups)
        _prctl(SET_PDEATHSIG, signal.SIGKILL)  # reset by the change of user, so only now
        if os.getppid() != parent:
            os._exit(NOT_RUN)
        step = "project/"
        os.fchdir(plan.folder)
        os.set_inheritable(plan.folder, False)
        step = "run"
        if not plan.words[0]:
            raise FileNotFoundError(errno.ENOENT, "no name")
        os.execvpe(plan.words[0], plan.words, plan.env)
    except (OSError, ValueError) as exc:  # ValueError: an argument with a NUL
        os.write(report, f"{step} {getattr(exc, 'errno', 0) or errno.EINVAL}".encode())
    finally:
        os._exit(NOT_RUN)


def _take_streams(streams: list[int], kept: set[int]) -> None:
    """Use three descriptors as standard streams and close all but a few others; take over the terminal if it is one."""
    for place, each in enumerate(streams):
        os.dup2(each, place)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _restore_signals() -> None:
    """Reset all signals to their defaults and unblock them."""
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def drop(account: list[int] | None, groups: list[int]) -> None:
    """Drop all privileges but those of an account, for good; raise OSError if any would remain."""
    privileged = os.geteuid() == 0
    if privileged:
        _drop_bounding()
    _prctl(CAP_AMBIENT, AMBIENT_CLEAR_ALL)
    if account:
        uid, gid = account
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    _drop_capabilities()
    _prctl(SET_NO_NEW_PRIVS, 1)
    _check(account, [*CAPABILITIES, *(["CapBnd"] if privileged else [])])


def _drop_bounding() -> None:
    for number in range(64):
        try:
            _prctl(CAPBSET_DROP, number)
        except OSError as exc:
            if exc.errno == errno.EINVAL and number:  # beyond the last that this kernel has
                return
            raise


def _drop_capabilities() -> None:
    header, none = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


def _prctl(option: int, value: int) -> None:
    rest = (ctypes.c_ulong(0),) * 3
    if ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), *rest):
        raise OSError(ctypes.get_errno(), "prctl")


def _check(account: list[int] | None, none: list[str]) -> None:
    """Raise OSError if the kernel reports remaining privileges."""
    lines = Path("/proc/self/status").read_text().splitlines()
    said = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    wrong = [key for key in none if int(said[key][0], 16)]
    if account:
        uid, gid = account
        wrong += [key for key, number in (("Uid", uid), ("Gid", gid)) if set(said[key]) != {str(number)}]
        wrong += ["root"] if uid == 0 or gid == 0 else []
    if wrong or said["NoNewPrivs"] != ["1"]:
        raise OSError(errno.EPERM, f"not dropped: {' '.join(wrong)}")


# the processes of a command


def make_group(name: str) -> str | None:
    """Create a control group beside ours; return its folder, or None if that is not possible here."""
    home = _group_home()
    try:
        if home is None:
            return None
        (home / name).mkdir(exist_ok=True)
    except OSError:  # not allowed, or a container that has them read-only
        return None
    return str(home / name)


def groups_of(prefix: str) -> list[str]:
    """Return the control groups beside ours with a prefix."""
    home = _group_home()
    return [str(each) for each in home.glob(f"{prefix}*") if each.is_dir()] if home else []


def _group_home() -> Path | None:
    """Return the folder of our own control group. Source: cgroups(7), proc(5)."""
    own = next((line[3:] for line in _lines("/proc/self/cgroup") if line.startswith("0::")), None)
    for line in _lines("/proc/self/mountinfo") if own and ".." not in own else ():
        fields, _, rest = line.partition(" - ")
        root, at = fields.split()[3:5]
        if own and rest.startswith("cgroup2 ") and f"{own}/".startswith(root.rstrip("/") + "/"):
            found = Path(at, own.removeprefix(root.rstrip("/")).strip("/"))
            return found if found.is_dir() else None
    return None


def _lines(path: str) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(path).read_text(errors="replace").split("\n")
    return []


def end(group: str | None, parent: int = 0) -> None:
    """Stop all processes in a control group or below a process: terminate, then kill."""
    begun = time.monotonic()
    told: set[tuple[int, int]] = set()
    while left := _living_processes(group, parent):
        late = time.monotonic() - begun - GRACE
        if late > KILLING:
            break
        if late > 0:
            with contextlib.suppress(OSError):  # this file exists since Linux 5.14
                Path(group or "/nowhere", "cgroup.kill").write_text("1")
        for each in left if late > 0 else left - told:
            _send(each, (signal.SIGKILL,) if late > 0 else (signal.SIGHUP, signal.SIGTERM, signal.SIGCONT))
        told |= left
        time.sleep(TICK)
    if group:
        _remove(group)


def _remove(group: str) -> None:
    for _ in range(50):
        with contextlib.suppress(OSError):  # the kernel is not done with the last process
            os.rmdir(group)
        if not os.path.isdir(group):
            break
        time.sleep(TICK)


def _send(process: tuple[int, int], numbers: tuple[signal.Signals, ...]) -> None:
    """Send signals to a process, but not to another one that reuses its pid."""
    pid, start = process
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            fields = _stat(pid)
            for number in numbers if fields and int(fields[19]) == start else ():
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def _living_processes(group: str | None, parent: int) -> set[tuple[int, int]]:
    """Return pid and start time of the living processes in a control group or below a process."""
    if parent:
        _reap(0)
    inside = {int(line) for line in _lines(f"{group}/cgroup.procs") if line.isdigit()} if group else set()
    if not parent:
        known = {pid: _stat(pid) for pid in inside}
    else:
        known = {int(name): _stat(int(name)) for name in os.listdir("/proc") if name.isdigit()}
        inside |= _descendants({pid: int(fields[1]) for pid, fields in known.items() if fields}, parent)
    living = ((pid, known.get(pid) or ["Z"]) for pid in inside - {0, os.getpid()})
    return {(pid, int(fields[19])) for pid, fields in living if fields[0] not in "ZX"}


def _descendants(above: dict[int, int], parent: int) -> set[int]:
    """Return the descendants of a process, from a map of pids to parents."""
    found: set[int] = set()
    while more := {pid for pid, its in above.items() if its == parent or its in found} - found:
        found |= more
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of a process in stat from the state on (proc(5)); nothing if it is gone."""
    return "".join(_lines(f"/proc/{pid}/stat")).rpartition(")")[2].split()


if __name__ == "__main__":
    main()
