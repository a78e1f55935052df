"""Runs a command as an application: `corpus run`.

Its input and output do not pass through the daemon. The caller makes pipes, or a terminal, and hands over their ends;
a small program of ours (`become`) takes them, drops its privileges and becomes the command. The daemon records who ran
what, and ends the command with the connection.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from corpushooks.core import command, hints
from corpushooks.core.command import Account, Ran, Wanted
from corpushooks.core.deployment import ProjectRow
from corpushooks.core.errors import CorpusError, ProcessError, RefusedError, StoreError, UsageError
from corpushooks.core.project import Host
from corpushooks.core.text import one_line
from corpushooks.host import accounts
from corpushooks.host.site import Site
from corpushooks.protocol.asks import Run
from corpushooks.protocol.connection import Connection, PeerGone
from corpushooks.release import release
from corpushooks.store.ran import Commands
from corpushooks.system import become, safe_files
from corpushooks.system.process import reap, spawn

STREAMS = 3
TIMEOUT = 30.0  # seconds for the program to take its plan
LINE = 1 << 16  # bytes of its result
TICK = 500  # milliseconds between checks whether the daemon stops
AGAIN = 5.0  # seconds between checks of the caller's right
ENDING = become.GRACE + become.KILLING + 4  # seconds that ending a command can take
PTS = range(136, 144)  # majors of pseudoterminals. Source: Documentation/admin-guide/devices.txt of Linux
INTERRUPTED = "the daemon ended"


@dataclass(frozen=True)
class Caller:
    """The caller of a command; `still` raises if they have lost the right."""

    who: str
    key: str
    still: Callable[[], object]


def wanted(asked: Run) -> Wanted:
    """Return the command to run; raise UsageError."""
    if not asked.words:
        raise UsageError("expected a command", hint=hints.command("help", "commands"))
    return Wanted(asked.words, asked.term, asked.lang)


def run(site: Site, connection: Connection, row: ProjectRow, asked: Wanted, caller: Caller) -> None:
    """Run a command and send its exit code; it is ended if the caller leaves or loses the right."""
    project = site.host.project(row.name)
    account = accounts.of_application(project)
    words = command.recorded(asked.words, release.known_secrets(project, site.settings.sound(row.name)))
    with contextlib.ExitStack() as held:
        folder = _opened(project.tree, row.name, held)
        if row.code is None and account.uid is not None and not os.listdir(folder):
            raise RefusedError("nothing is deployed yet", hint="git push first")  # nor can it enter project/
        programs = [name for name in command.PROGRAMS if os.path.isdir(f"/proc/self/fd/{folder}/{name}")]
        env = command.environment(asked, account, project.tree, programs)
        for note in _notes(site, row, account):
            connection.send(say=f"note: {note}")
        connection.send(ready=True)
        streams = _streams(connection, held)
        ran = Commands(site.history).begin(row.name, caller.who, caller.key, words)
        plan = _plan(asked, account, env, folder, streams, become.make_group(f"{_prefix(site.host)}{ran.number}.scope"))
        with _recorded(site, ran) as result, _started(plan) as link:
            held.close()
            result.update(_attend(site, connection, link, caller))
    connection.send(result=result)


def _notes(site: Site, row: ProjectRow, account: Account) -> Iterator[str]:
    """Yield notes for the caller before the command starts."""
    if account.uid is None:
        yield f"running as {account.name}: this host has no account {row.name}-user"
    for each in site.history.unfinished(row.name):
        yield f"deployment {each.number} of {row.name} is running: project/ can change meanwhile"


def _opened(path: Path, name: str, held: contextlib.ExitStack) -> int:
    """Open the project's folder to run in, following no link."""
    try:
        folder = safe_files.open_folder(path)
    except OSError as exc:
        raise RefusedError(f"{name}: cannot open {path}: {exc.strerror}", hint=hints.command("init", name)) from exc
    held.callback(os.close, folder)
    return folder


def _streams(connection: Connection, held: contextlib.ExitStack) -> list[int]:
    """Take the ends that the caller made for a command: pipes and terminals, nothing else."""
    found = connection.descriptors(STREAMS)
    for each in found:
        held.callback(os.close, each)
    for st in map(os.fstat, found):
        fits = stat.S_ISFIFO(st.st_mode) or (stat.S_ISCHR(st.st_mode) and os.major(st.st_rdev) in PTS)
        if not fits or st.st_uid != connection.uid:  # their owner becomes the application's user
            raise UsageError("expected pipes or a terminal made by the caller")
    return found


def _prefix(host: Host) -> str:
    """Return the prefix of a host's control groups: several hosts in folders can share a machine."""
    return f"corpus-run-{hashlib.sha256(os.fsencode(host.root)).hexdigest()[:8]}-"


def _plan(
    asked: Wanted, account: Account, env: dict[str, str], folder: int, streams: list[int], group: str | None
) -> become.Plan:
    ids = None if account.uid is None or account.gid is None else [account.uid, account.gid]
    return become.Plan(
        words=list(asked.words), env=env, folder=folder, streams=streams, account=ids, groups=list(account.groups),
        umask=command.UMASK, group=group,
    )  # fmt: skip


@contextlib.contextmanager
def _recorded(site: Site, ran: Ran) -> Iterator[dict[str, Any]]:
    """Record how a command ends; yield the dict for its result."""
    site.event("command", {**command.described(ran), "state": "running"})
    result: dict[str, Any] = {}
    reason = ""
    try:
        yield result
    except PeerGone:
        reason = "the connection ended"
        raise
    except CorpusError as exc:
        reason = one_line(exc.message)
        raise
    finally:
        done = _ended(site, ran, result.get("code"), reason or one_line(result.get("wrong", "")))
        site.event("command", {**command.described(done), **command.ending(done)})


def _ended(site: Site, ran: Ran, code: int | None, reason: str) -> Ran:
    """Record how a command ended; if the store fails, only our log has it, and the caller still gets the exit code."""
    try:
        return Commands(site.history).end(ran.number, code, reason)
    except StoreError as exc:
        return replace(ran, ended=time.time(), code=code, reason=reason or f"not recorded: {one_line(exc.message)}")


@contextlib.contextmanager
def _started(plan: become.Plan) -> Iterator[socket.socket]:
    """Start the program that runs a command; end all of it afterwards."""
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as after, ours:
        after.callback(become.end, plan.group)
        with theirs:
            words: list[str | Path] = [sys.executable, "-I", "-S", become.__file__, str(theirs.fileno())]
            child = spawn(words, cwd=Path("/"), pass_fds=(theirs.fileno(), plan.folder, *plan.streams))
        try:
            data = json.dumps(asdict(plan)).encode()
            ours.settimeout(TIMEOUT)
            ours.sendall(len(data).to_bytes(8, "big") + data)
            yield ours
        except OSError as exc:
            raise ProcessError(f"cannot run the command: {exc.strerror}") from exc
        finally:
            ours.close()
            reap(child, ENDING)


def _attend(site: Site, connection: Connection, link: socket.socket, caller: Caller) -> dict[str, Any]:
    """Await the end of a command; raise if the caller left or lost the right, or if the daemon stops."""
    poll, asked = select.poll(), time.monotonic()
    for each in (link, connection.link):
        poll.register(each, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll(TICK)}
        if link.fileno() in ready:
            return _result(link)
        if connection.link.fileno() in ready:
            _pass_on(connection, link)
        if site.stopping:
            raise RefusedError("the daemon is stopping and ended the command", hint="run it again")
        if time.monotonic() - asked > AGAIN:
            caller.still()
            asked = time.monotonic()


def _result(link: socket.socket) -> dict[str, Any]:
    with link.makefile("rb") as file:
        line = file.readline(LINE)
    if not line:
        raise ProcessError("the command ended: the program that ran it was killed")
    return dict(json.loads(line))


def _pass_on(connection: Connection, link: socket.socket) -> None:
    """Pass on signal numbers from the caller; raise PeerGone if it left."""
    try:
        data = connection.link.recv(64)
    except OSError as exc:
        raise PeerGone from exc
    if not data:
        raise PeerGone
    with contextlib.suppress(BlockingIOError):  # too many signals
        link.send(data, socket.MSG_DONTWAIT)


def settle(site: Site) -> None:
    """End commands that an earlier daemon left running, and record their end."""
    for group in become.groups_of(_prefix(site.host)):
        become.end(group)
    Commands(site.history).interrupted(INTERRUPTED)
