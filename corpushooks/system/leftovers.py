"""Processes that a deployment left running: find them in /proc, and stop or report them.

They have the mark of the deployment in their environment, or a parent with it. Services are left alone: processes in
a systemd unit of their own or in a pid file below a `run` folder, and their descendants.

A process is identified by pid and start time; signals go through a pidfd.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from corpushooks.system import proc
from corpushooks.system.proc import Named, Process

LOGIN = re.compile(r"session-[^/]*\.scope")  # a login session, not a service
GRACE, KILLING = 3.0, 5.0  # seconds between TERM and KILL, and after that
WATCH = 0.5  # seconds to catch a process that opens files only now and then
TICK = 0.02
HALTED = "TtD"  # states in which a process does not run: stopped, traced, uninterruptible


@dataclass(frozen=True)
class Work:
    """The work to stop: writing in a folder, as an account."""

    mark: str  # NAME=value in the environment
    since: float  # seconds since the epoch: when the deployment began
    folder: Path  # without a link in it
    uid: int | None
    runs: frozenset[Path]  # folders with pid files


@dataclass(frozen=True)
class Outcome:
    """The result."""

    stopped: tuple[Named, ...]
    left: tuple[Named, ...]  # services, and processes that do not use the folder
    deaf: tuple[Named, ...]  # processes that could not be stopped
    others: tuple[Named, ...]  # processes that write in the folder, but are not known to be the deployment's


def stop(work: Work, *, grace: float = GRACE) -> Outcome:
    """Stop the processes of a deployment that work in a folder, until none is left or time runs out."""
    told: dict[tuple[int, int], Named] = {}
    begun = time.monotonic()
    while True:
        seen = _Snapshot(work)
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
    """Terminate processes, each once; or stop them all, so that none can fork, and then kill them."""
    fresh = [each for each in found if each.key not in told]
    told.update({each.key: each.named for each in fresh})
    moving = [each for each in found if each.state not in HALTED]
    if not kill:
        for each in fresh:
            _send(each, signal.SIGTERM)
            _send(each, signal.SIGCONT)  # a stopped process handles no signal
    elif moving:
        for each in moving:
            _send(each, signal.SIGSTOP)
    else:
        for each in found:
            _send(each, signal.SIGKILL)


def _send(process: Process, number: signal.Signals) -> None:
    """Send a signal to a process, but not to another one that reuses its pid."""
    with contextlib.suppress(OSError):  # it is gone, or not ours
        handle = os.pidfd_open(process.pid)
        try:
            found = proc.process(process.pid)
            if found and found.key == process.key:
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


class _Snapshot:
    """One snapshot of all processes."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._table = proc.processes()
        mine = proc.ancestors(self._table, os.getpid())
        self._own_unit = proc.unit(os.getpid())
        mark = os.fsencode(work.mark)
        self._foreign = {pid: p for pid, p in self._table.items() if pid not in mine and p.state not in "ZX"}
        self._marked = self._with_descendants(
            {pid for pid, p in self._foreign.items() if mark in proc.environment(p.place)}
        )
        self._since = self._begun_since()
        self._services = self._protected()

    def _with_descendants(self, pids: set[int]) -> dict[int, Process]:
        return {pid: p for pid, p in self._foreign.items() if pids & proc.ancestors(self._foreign, pid)}

    def _begun_since(self) -> dict[int, Process]:
        """Return the processes that started since the deployment began."""
        first = (self._work.since - proc.boot_time() - 1) * os.sysconf("SC_CLK_TCK")
        return {pid: p for pid, p in self._foreign.items() if p.start >= first}

    def _protected(self) -> set[int]:
        """Return the pids of services among the new and the marked processes."""
        named = set().union(*map(proc.pids_of_files, self._work.runs))
        among = {**self._since, **self._marked}
        services = {pid for pid in among if pid in named or self._has_unit(among[pid].place)}
        return {pid for pid in among if services & proc.ancestors(among, pid)}

    def _has_unit(self, pid: int) -> bool:
        """Return whether a process is in a unit of its own: neither ours nor a login session."""
        unit = proc.unit(pid)
        return unit not in ("", self._own_unit) and not LOGIN.fullmatch(unit)

    def at_work(self) -> list[Process]:
        """Return the processes to stop: those that work in the folder, their descendants and their sessions."""
        ours = self._deployment_processes()
        first = {pid for pid, p in ours.items() if self._is_at_work(p.place)}
        sessions = {ours[pid].session for pid in first} & ours.keys()
        first |= {pid for pid, p in ours.items() if p.session in sessions}
        return [p for pid, p in sorted(self._with_descendants(first).items()) if pid not in self._services]

    def _deployment_processes(self) -> dict[int, Process]:
        """Return the deployment's processes: marked ones, their descendants, and new ones in our own unit."""
        service = self._own_unit.endswith(".service")
        besides = {pid: p for pid, p in self._since.items() if service and proc.unit(p.place) == self._own_unit}
        found = {**self._marked, **besides}
        return {pid: p for pid, p in found.items() if pid not in self._services}

    def doubtful(self) -> bool:
        """Return whether a marked process is not a service: it can still be caught working."""
        return bool(self._marked.keys() - self._services)

    def left(self, known: set[tuple[int, int]]) -> Iterator[Process]:
        """Yield the marked processes that were left alone."""
        return (p for _, p in sorted(self._marked.items()) if p.key not in known)

    def others(self) -> Iterator[Process]:
        """Yield new unmarked processes that write in the folder and are not services: an editor, perhaps."""
        for pid, p in sorted(self._since.items()):
            if pid not in self._marked and pid not in self._services and proc.writes(p.place, str(self._work.folder)):
                yield p

    def _is_at_work(self, pid: int) -> bool:
        folder = str(self._work.folder)
        if self._work.uid is not None and self._work.uid in proc.uids(pid):
            return True
        if any(proc.inside(proc.link(pid, name), folder) for name in ("cwd", "root")):
            return True
        return proc.writes(pid, folder) or proc.holds_folder(pid, folder) or proc.names_path(pid, folder)
