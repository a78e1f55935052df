"""The door to the daemon for the command: connect, send requests, and relay the answers."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from corpushooks.core.errors import (
    BrokenError,
    BusyError,
    CorpusError,
    CredentialError,
    NoDaemonError,
    NotAllowedError,
    RefusedError,
    UnknownError,
    UsageError,
)
from corpushooks.core.hints import Advice, command
from corpushooks.core.project import Host
from corpushooks.protocol.answers import VERSION, request, understood
from corpushooks.system.patience import Check, endless
from corpushooks.system.process import PIPE, spawn

START_DEADLINE = 30.0  # seconds
SILENCE = 600.0  # seconds without an answer; the daemon normally sends something every few seconds
LINE_LIMIT = 4 << 20  # bytes of a line of the daemon
ADMISSION = "CORPUS_ADMISSION"  # the token of a session of ssh, in its environment; useless elsewhere
UNITS = (  # under a host's root: by `corpus setup`, or by the Debian package
    "etc/systemd/system/corpushooks.socket",
    "usr/lib/systemd/system/corpushooks.socket",
)
RESTART = "on the host, restart the daemon: systemctl restart corpushooks"
PATIENCE = 20  # connections that can end without an answer
KINDS: dict[str, type[CorpusError]] = {each.kind: each for each in (CredentialError, UnknownError, BusyError)}
ERRORS = {2: UsageError, 3: RefusedError, 4: BrokenError}

Say = Callable[[str], None]
Hear = Callable[[dict[str, Any]], None]


def connect(host: Host) -> socket.socket:
    """Return a connection to the daemon; raise NoDaemonError."""
    path = host.socket
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _join(link, f"/proc/self/fd/{folder}/{path.name}")  # a path can be too long for a socket address
        finally:
            os.close(folder)
    except OSError as exc:
        link.close()
        raise NoDaemonError(f"cannot connect to the daemon: {exc.strerror}", hint=starting(host)) from exc
    return link


def _join(link: socket.socket, address: str) -> None:
    """Connect, and wait if the daemon's backlog is full."""
    link.settimeout(SILENCE)
    end = time.monotonic() + START_DEADLINE
    while True:
        try:
            return link.connect(address)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def is_supervised(host: Host) -> bool:
    """Return whether systemd starts the daemon on this host, so that we must not."""
    return (host.root / "run/systemd/system").is_dir() and any((host.root / unit).exists() for unit in UNITS)


def starting(host: Host) -> Advice:
    """Return the command that starts the daemon."""
    return f"systemctl start {Path(UNITS[0]).name}" if is_supervised(host) else command("daemon")


def _may_start(host: Host) -> bool:
    """Return whether we can start a daemon: the store belongs to us, and systemd does not start it."""
    try:
        return not is_supervised(host) and host.state_dir.stat().st_uid == os.geteuid()
    except OSError:
        return False


def reach(host: Host) -> socket.socket:
    """Return a connection to the daemon, starting it first if necessary and possible."""
    try:
        return connect(host)
    except NoDaemonError:
        if not _may_start(host):
            raise
    words: list[str | Path] = [sys.executable, "-I", "-m", "corpushooks", "--root", host.root, "daemon", "--embedded"]
    daemon = spawn(words, cwd=Path("/"), stderr=PIPE)
    end = time.monotonic() + START_DEADLINE
    while True:
        try:
            return connect(host)
        except NoDaemonError:
            if daemon.poll() in (0, NoDaemonError.exit_code):  # another one was running, and is perhaps exiting
                daemon = spawn(words, cwd=Path("/"), stderr=PIPE)
            elif daemon.poll() is not None:
                raise _unstarted(daemon.communicate()[1], host) from None
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def _unstarted(said: bytes, host: Host) -> CorpusError:
    """Return the error of a daemon that failed to start, from the last line of its output."""
    last = said.decode(errors="replace").strip().rpartition("\n")[2]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        told = json.loads(last)
        return NoDaemonError(f"cannot start the daemon: {told['error']}", told["hint"])
    return NoDaemonError(f"cannot start the daemon: {last or 'it was killed'}", starting(host))


def ping(host: Host, patience: float = SILENCE) -> int:
    """Return the pid of the daemon; raise NoDaemonError if none answers within `patience` seconds."""
    with connect(host) as link:
        link.settimeout(patience)
        for said in _answers(link, request("ping", {})):
            if "error" in said:
                raise complaint(said)
            return int(said["result"]["pid"])
    raise NoDaemonError("the daemon closed the connection", hint="try again")


def ask(
    host: Host, name: str, asked: Any, say: Say, rewrite: Say | None = None, hear: Hear | None = None, *,
    note: Say | None = None, check: Check = endless,
) -> dict[str, Any]:  # fmt: skip
    """Request an operation, relay the output, return the result; raise the error that the daemon returns.

    `rewrite` gets lines that the next one replaces, `hear` the events if requested, `note` remarks beside the result.
    `check` is called for each answer, and can raise.

    If the daemon exits after it returned a number, the deployment is followed on the next daemon from that point.
    """
    failures, numbered, wanted = 0, False, request(name, asked)
    while failures < PATIENCE:
        with reach(host) as link:
            for said in _answers(link, wanted):
                check()
                _relay(said, say, rewrite, hear, note)
                failures = failures if "error" in said else 0
                numbered = numbered or "number" in said
                wanted = _going_on(wanted, said, progress=rewrite is not None)
                if "result" in said:
                    return dict(said["result"])
                if "error" in said and not numbered:
                    raise complaint(said)
        failures += 1
        time.sleep(0.1)
    raise NoDaemonError("the daemon repeatedly closed the connection", hint="see its log")


def _going_on(wanted: dict[str, Any], said: dict[str, Any], *, progress: bool) -> dict[str, Any]:
    """Return the request for the case that the daemon exits now: follow a numbered deployment from where we are."""
    if "number" in said:
        wanted = request("log", {"project": wanted["project"], "number": said["number"], "progress": progress})
    return {**wanted, "offset": said["offset"]} if "offset" in said else wanted


def _relay(said: dict[str, Any], say: Say, rewrite: Say | None, hear: Hear | None, note: Say | None) -> None:
    """Pass an answer of the daemon to the right function."""
    if note and "note" in said:
        note(said["note"])
    if "say" in said:
        (rewrite if rewrite and said.get("end") == "\r" else say)(said["say"])
    if "event" in said and hear:
        hear(said["event"])


@contextlib.contextmanager
def conversation(host: Host, name: str, asked: Any) -> Iterator[tuple[socket.socket, Iterator[dict[str, Any]]]]:
    """Request an operation; yield the connection, which has no timeout, and the answers.

    An error that the daemon returns is raised.
    """

    def answers(link: socket.socket) -> Iterator[dict[str, Any]]:
        for said in _answers(link, request(name, asked)):
            if "error" in said:
                raise complaint(said)
            yield said

    with reach(host) as link:
        link.settimeout(None)
        yield link, answers(link)


def complaint(said: dict[str, Any]) -> CorpusError:
    """Return the error in an answer."""
    kind = NotAllowedError if said.get("denied") else ERRORS.get(said.get("code", 0), CorpusError)
    kind = KINDS.get(said.get("kind", ""), kind)
    return kind(said["error"], said.get("hint", ""))


def _admitted() -> dict[str, str]:
    """Return the admission token of our session of ssh, if there is one."""
    return {"admission": os.environ[ADMISSION]} if os.environ.get(ADMISSION) else {}


def _answers(link: socket.socket, wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Send a request and yield the answers until the connection ends."""
    with contextlib.suppress(OSError):  # a refusal can come before the end of the request; read it
        link.sendall(json.dumps({**wanted, **_admitted()}).encode() + b"\n")
    try:
        with link.makefile("rb") as file:
            version = None
            while (line := file.readline(LINE_LIMIT)).endswith(b"\n"):
                said = json.loads(line)
                if not understood(said):
                    return
                version = said.get("v", 0) if version is None else version
                yield said if version == VERSION or "error" not in said else _of_another_version(said, version)
    except (OSError, ValueError, RecursionError):
        return


def _of_another_version(said: dict[str, Any], version: int) -> dict[str, Any]:
    """Return an error of a daemon of another version, which is mentioned as a possible cause."""
    what = f"the daemon is {'older' if version < VERSION else 'newer'} than this command"
    return {**said, "error": f"{what}, which reports: {said['error']}", "hint": said.get("hint") or RESTART}
