"""The door to other processes, and the only place that imports subprocess."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpushooks.core.errors import ProcessError
from corpushooks.system.patience import TICK, Check, endless

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
Child = subprocess.Popen


@dataclass(frozen=True)
class Account:
    """The account that a process runs as, with no other rights than those of these ids."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


@dataclass(frozen=True)
class Output:
    """The exit code and output of a program."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "surrogateescape").strip()

    @property
    def complaint(self) -> str:
        """Return the last line of stderr, or else of stdout, for an error message."""
        lines = (self.stderr or self.stdout).decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self.code}"


def clean_env(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return our environment without git's variables (which a hook's children inherit), plus `extra`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return {**kept, "LC_ALL": "C.UTF-8", **(extra or {})}


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    timeout: float | None = None,
    check: bool = True,
    patience: Check = endless,
) -> Output:
    """Run a program to its end.

    `env` is added to the clean environment; `timeout` is in seconds. Raise ProcessError if the program cannot be
    started, times out, or (with `check`) exits with an error. If `patience` raises, the program is killed.
    """
    words = [os.fspath(word) for word in argv]
    with _piped(words, cwd, env) as child:
        try:
            output = _ended(child, stdin, timeout, patience)
        except TimeoutError:
            child.kill()
            raise ProcessError(f"{words[0]}: timed out after {timeout:g} s") from None
        except BaseException:
            child.kill()
            raise
    if check and output.code:
        failed = ProcessError(f"{' '.join(words[:3])}: {output.complaint}")
        failed.said = output.complaint
        raise failed
    return output


def _piped(words: list[str], cwd: Path | None, env: Mapping[str, str] | None) -> Child[bytes]:
    """Start a program, with pipes; raise ProcessError."""
    try:
        return subprocess.Popen(words, cwd=cwd, env=clean_env(env), stdin=PIPE, stdout=PIPE, stderr=PIPE)
    except OSError as exc:
        raise ProcessError(f"{words[0]}: {exc.strerror}") from exc


def _ended(child: Child[bytes], stdin: bytes, timeout: float | None, patience: Check) -> Output:
    """Wait for the end of a program and return its output; raise TimeoutError, or what `patience` raises."""
    end = float("inf") if timeout is None else time.monotonic() + timeout
    given: bytes | None = stdin
    while True:
        left = max(0.0, end - time.monotonic())
        try:
            said = child.communicate(given, _slice(left, patience))
            return Output(child.returncode, *said)
        except subprocess.TimeoutExpired:
            given = None  # communicate() keeps the input of the first call
        if time.monotonic() >= end:
            raise TimeoutError
        patience()


def _slice(left: float, patience: Check) -> float | None:
    """Return how long to wait until the next check; None: for ever."""
    if patience is not endless:
        return min(TICK, left)
    return None if left == float("inf") else left


def show(argv: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> int:
    """Run a program with our stdout; return its exit code. Raise ProcessError.

    An interrupt from the terminal reaches only us, and we kill the program: an interpreter that is interrupted while it
    starts shows a traceback.
    """
    words = [os.fspath(word) for word in argv]
    interrupt = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children inherit this mask
    try:
        child = subprocess.Popen(words, cwd=cwd, env=clean_env(env), stdin=DEVNULL, stderr=subprocess.STDOUT)
    except OSError as exc:
        raise ProcessError(f"{words[0]}: {exc.strerror}") from exc
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, interrupt)
    with child:
        try:
            return child.wait()
        except BaseException:
            child.kill()
            raise


def spawn(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int = DEVNULL,
    stdout: int = DEVNULL,
    stderr: int = DEVNULL,
    pass_fds: Sequence[int] = (),
    account: Account | None = None,
) -> Child[bytes]:
    """Start a program in a new session, without our descriptors; raise ProcessError.

    With an `account` it runs as that, and gets nothing of our environment, which the account could read.
    """
    words = [os.fspath(word) for word in argv]
    given = clean_env(env) if account is None else {"PATH": os.defpath, "LC_ALL": "C.UTF-8", **(env or {})}
    uid, gid, groups = (account.uid, account.gid, account.groups) if account else (None, None, None)
    try:
        return subprocess.Popen(
            words, cwd=cwd, env=given, stdin=stdin, stdout=stdout, stderr=stderr,
            pass_fds=tuple(pass_fds), start_new_session=True, user=uid, group=gid, extra_groups=groups,
        )  # fmt: skip
    except OSError as exc:
        raise ProcessError(f"{words[0]}: {exc.strerror}") from exc


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if it does not exist.

    A pid alone is not enough: it can have been reused.
    """
    found = _stat(pid)
    return found[1] if found else None


def ancestors(pid: int) -> set[tuple[int, int]]:
    """Return pid and start time of a process and of its ancestors."""
    found: set[tuple[int, int]] = set()
    while pid and (stat := _stat(pid)):
        found.add((pid, stat[1]))
        pid = stat[0]
    return found


def came_by(pid: int) -> str:
    """Return the sshd process of the connection that a process was started over; nothing if there is none."""
    while pid and (stat := _stat(pid)):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().startswith("sshd"):
                return f"{pid} {stat[1]}"
        pid = stat[0]
    return ""


def came_from(pid: int) -> str:
    """Return the address in SSH_CONNECTION of a process, which must be one that its owner cannot have changed."""
    with contextlib.suppress(OSError):
        for each in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if each.startswith(b"SSH_CONNECTION="):
                return each.removeprefix(b"SSH_CONNECTION=").partition(b" ")[0].decode("ascii", "replace")[:64]
    return ""


def _stat(pid: int) -> tuple[int, int] | None:
    """Return parent and start time of a process. Source: proc(5), fields 4 and 22 of stat."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[1]), int(fields[19])


def stop_group(pgid: int, *, grace: float = 5.0) -> bool:
    """Stop a process group: TERM, then KILL after `grace` seconds. Return whether all of it ended."""
    for sig, limit in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pgid, sig)
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if not group_alive(pgid):
                return True
            time.sleep(0.01)
    return not group_alive(pgid)


def group_alive(pgid: int) -> bool:
    """Return whether a process group has a member with a thread that is not a zombie."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                if int(fields[2]) == pgid and (fields[0] not in (b"Z", b"X") or int(fields[17]) > 1):
                    return True
    return False


def stop_carrying(variable: str, *, grace: float = 5.0) -> bool:
    """Stop every process that was started with `variable` (NAME=value) in its environment.

    TERM for each, KILL for what is left after `grace` seconds, whatever its parent, session or group. Return whether
    all of them ended.
    """
    start, told = time.monotonic(), set[int]()
    while pids := carrying(variable):
        late = time.monotonic() - start
        if late > grace + 5:
            return False
        for pid in pids if late > grace else pids - told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if late > grace else signal.SIGTERM)
        told |= pids
        time.sleep(0.02)
    return True


def carrying(variable: str) -> set[int]:
    """Return the pids of the processes that were started with `variable` (NAME=value) in their environment."""
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if os.fsencode(variable) in Path(f"/proc/{entry.name}/environ").read_bytes().split(b"\0"):
                    found.add(int(entry.name))
    return found


def reap(child: Child[bytes], seconds: float) -> None:
    """Wait for the end of a child, and kill it after `seconds`; one that the kernel cannot kill is left behind."""
    for limit in (seconds, 1.0):
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(limit)
            return
        child.kill()


def attend(child: Child[bytes], seconds: float, check: Check, *, grace: float = 5.0) -> None:
    """Wait for the end of a spawned program; stop its group if `check` raises or after `seconds`.

    Raise ProcessError on the timeout.
    """
    end = time.monotonic() + seconds
    try:
        while child.poll() is None:
            check()
            if time.monotonic() > end:
                raise ProcessError(f"timed out after {seconds:g} s")
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.1)
    finally:
        if child.poll() is None:
            stop_group(child.pid, grace=grace)
            reap(child, 1.0)
