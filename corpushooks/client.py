"""The door to the daemon, for the command: reach it, ask, and relay what it says."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from corpushooks.errors import BrokenError, CorpusError, NoDaemonError, RefusedError, UsageError
from corpushooks.project import Host
from corpushooks.run import PIPE, spawn

START_DEADLINE = 30.0  # seconds
PATIENCE = 20  # connections that may end without a word
ERRORS = {2: UsageError, 3: RefusedError, 4: BrokenError}

Say = Callable[[str], None]


def connect(path: Path) -> socket.socket:
    """Return a connection to the daemon; raise NoDaemonError."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            link.connect(f"/proc/self/fd/{folder}/{path.name}")  # a path may be too long for an address
        finally:
            os.close(folder)
    except OSError as exc:
        link.close()
        raise NoDaemonError(f"the daemon cannot be reached: {exc.strerror}", hint="corpus daemon") from exc
    return link


def reach(host: Host) -> socket.socket:
    """Return a connection to the daemon, started first where it is ours to start."""
    try:
        return connect(host.socket)
    except NoDaemonError:
        if not host.store.exists() or host.store.stat().st_uid != os.geteuid():
            raise
    words: list[str | Path] = [sys.executable, "-I", "-m", "corpushooks", "--root", host.root, "daemon", "--embedded"]
    daemon = spawn(words, cwd=Path("/"), stderr=PIPE)
    end = time.monotonic() + START_DEADLINE
    while True:
        try:
            return connect(host.socket)
        except NoDaemonError:
            if daemon.poll() in (0, NoDaemonError.exit_code):  # another one was there, and may be leaving
                daemon = spawn(words, cwd=Path("/"), stderr=PIPE)
            elif daemon.poll() is not None:
                said = daemon.communicate()[1].decode(errors="replace").strip()
                raise NoDaemonError(f"the daemon cannot be started: {said}", hint="corpus daemon") from None
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def ping(host: Host) -> int:
    """Return the pid of the daemon; raise NoDaemonError where none listens."""
    with connect(host.socket) as link:
        for said in _answers(link, {"op": "ping"}):
            return int(said["result"]["pid"])
    raise NoDaemonError("the daemon ended the connection", hint="ask again")


def ask(host: Host, request: dict[str, Any], say: Say) -> dict[str, Any]:
    """Send a request, relay what is said, return the result; raise the error that the daemon answers.

    When the daemon goes away after it gave a number, the deployment is followed from there on the next one.
    """
    failures = numbered = 0
    while failures < PATIENCE:
        with reach(host) as link:
            for said in _answers(link, request):
                if "say" in said:
                    say(said["say"])
                failures = 0
                if "number" in said:
                    numbered = 1
                    request = {"op": "follow", "project": request["project"], "number": said["number"]}
                if "offset" in said:
                    request["offset"] = said["offset"]
                if "result" in said:
                    return dict(said["result"])
                if "error" in said and not numbered:
                    raise ERRORS.get(said["code"], CorpusError)(said["error"], said["hint"])
        failures += 1
        time.sleep(0.1)
    raise NoDaemonError("the daemon ends the connection again and again", hint="see its log")


def _answers(link: socket.socket, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Send a request and yield what is answered, until the daemon ends the connection in whatever way."""
    try:
        link.sendall(json.dumps(request).encode() + b"\n")
        for line in link.makefile("rb"):
            if not line.endswith(b"\n"):
                return
            yield json.loads(line)
    except (OSError, ValueError):
        return
