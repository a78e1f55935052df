"""The door to the daemon, for the command: reach it, ask, and relay what it says."""

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
SILENCE = 600.0  # seconds without a word of the daemon, which says something every few seconds
LINE_LIMIT = 4 << 20  # bytes of a line of the daemon
ADMISSION = "CORPUS_ADMISSION"  # in the environment of what sshd started for a key; it is worth nothing elsewhere
UNITS = (  # under a host's root: where `corpus setup` was, or the package of Debian
    "etc/systemd/system/corpushooks.socket",
    "usr/lib/systemd/system/corpushooks.socket",
)
RESTART = "on the host, restart the daemon: systemctl restart corpushooks"
PATIENCE = 20  # connections that may end without a word
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
            _join(link, f"/proc/self/fd/{folder}/{path.name}")  # a path may be too long for an address
        finally:
            os.close(folder)
    except OSError as exc:
        link.close()
        raise NoDaemonError(f"the daemon cannot be reached: {exc.strerror}", hint=starting(host)) from exc
    return link


def _join(link: socket.socket, address: str) -> None:
    """Connect, and wait where more ask at once than the daemon's queue can hold."""
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
    """Return whether systemd runs here and starts the daemon, so that nobody else shall."""
    return (host.root / "run/systemd/system").is_dir() and any((host.root / unit).exists() for unit in UNITS)


def starting(host: Host) -> Advice:
    """Return the command that starts the daemon."""
    return f"systemctl start {Path(UNITS[0]).name}" if is_supervised(host) else command("daemon")


def _may_start(host: Host) -> bool:
    """Return whether a daemon is ours to start: the store belongs to us, and systemd does not do that here."""
    try:
        return not is_supervised(host) and host.state_dir.stat().st_uid == os.geteuid()
    except OSError:
        return False


def reach(host: Host) -> socket.socket:
    """Return a connection to the daemon, started first where it is ours to start."""
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
            if daemon.poll() in (0, NoDaemonError.exit_code):  # another one was there, and may be leaving
                daemon = spawn(words, cwd=Path("/"), stderr=PIPE)
            elif daemon.poll() is not None:
                raise _unstarted(daemon.communicate()[1], host) from None
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def _unstarted(said: bytes, host: Host) -> CorpusError:
    """Return the error of a daemon that ended at once, from the last line that it wrote."""
    last = said.decode(errors="replace").strip().rpartition("\n")[2]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        told = json.loads(last)
        return NoDaemonError(f"the daemon cannot be started: {told['error']}", told["hint"])
    return NoDaemonError(f"the daemon cannot be started: {last or 'it was killed'}", starting(host))


def ping(host: Host, patience: float = SILENCE) -> int:
    """Return the pid of the daemon; raise NoDaemonError if none answers, which may take `patience` seconds."""
    with connect(host) as link:
        link.settimeout(patience)
        for said in _answers(link, request("ping", {})):
            if "error" in said:
                raise complaint(said)
            return int(said["result"]["pid"])
    raise NoDaemonError("the daemon ended the connection", hint="ask again")


def ask(
    host: Host, name: str, asked: Any, say: Say, rewrite: Say | None = None, hear: Hear | None = None, *,
    note: Say | None = None, check: Check = endless,
) -> dict[str, Any]:  # fmt: skip
    """Ask for an operation, relay what is said, return the result; raise the error that the daemon answers.

    `rewrite` is given lines that the next one replaces, `hear` the events of a request for them, `note` what is not
    part of what was asked for. `check` is asked with each word, and may raise.

    When the daemon goes away after it gave a number, the deployment is followed from there on the next one.
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
    raise NoDaemonError("the daemon ends the connection again and again", hint="see its log")


def _going_on(wanted: dict[str, Any], said: dict[str, Any], *, progress: bool) -> dict[str, Any]:
    """Return what to ask for where the daemon goes away now: what has a number is followed, from where we are."""
    if "number" in said:
        wanted = request("log", {"project": wanted["project"], "number": said["number"], "progress": progress})
    return {**wanted, "offset": said["offset"]} if "offset" in said else wanted


def _relay(said: dict[str, Any], say: Say, rewrite: Say | None, hear: Hear | None, note: Say | None) -> None:
    """Give on what the daemon says, to whom it is meant for."""
    if note and "note" in said:
        note(said["note"])
    if "say" in said:
        (rewrite if rewrite and said.get("end") == "\r" else say)(said["say"])
    if "event" in said and hear:
        hear(said["event"])


@contextlib.contextmanager
def conversation(host: Host, name: str, asked: Any) -> Iterator[tuple[socket.socket, Iterator[dict[str, Any]]]]:
    """Ask for an operation; give the connection, which goes on as long as it takes, and what is answered.

    An error that the daemon answers is raised.
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
    """Return the error that the daemon answered."""
    kind = NotAllowedError if said.get("denied") else ERRORS.get(said.get("code", 0), CorpusError)
    kind = KINDS.get(said.get("kind", ""), kind)
    return kind(said["error"], said.get("hint", ""))


def _admitted() -> dict[str, str]:
    """Return what shows that sshd let us in with a key."""
    return {"admission": os.environ[ADMISSION]} if os.environ.get(ADMISSION) else {}


def _answers(link: socket.socket, wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Send a request and yield what is answered, until the daemon ends the connection in whatever way."""
    with contextlib.suppress(OSError):  # whom it refuses it need not hear to the end: what it says is read
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
    """Return an error of a daemon that is of another version, which may be why."""
    what = f"the daemon is {'older' if version < VERSION else 'newer'} than this command"
    return {**said, "error": f"{what}, and says: {said['error']}", "hint": said.get("hint") or RESTART}
