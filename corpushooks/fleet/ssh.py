"""The transport over ssh: kept sessions that share one connection to each node, and git's own transport.

Nothing is read from anybody's configuration of ssh. All names of files are relative to the folder of the controller,
in which ssh runs: the path of a socket is limited to about a hundred bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import threading
import time
import zlib
from collections.abc import Mapping
from typing import Any

from corpushooks import git
from corpushooks.core.errors import EndedError, ProcessError, UnreachableError
from corpushooks.core.project import Host, Project
from corpushooks.core.rollouts import CONTROLLER_KEY as KEY
from corpushooks.core.rollouts import PINNED, Node
from corpushooks.fleet.address import parse
from corpushooks.fleet.identity import SOCKETS, Identity
from corpushooks.fleet.session import Session, result
from corpushooks.protocol.answers import request
from corpushooks.system.patience import Check, beside, endless
from corpushooks.system.process import run, start_time

SERVE = "node serve"  # what the node runs for the key of a controller
RECEIVE = "git-node-receive-pack"  # what it runs for git
KEPT = 2  # sessions with a node that are kept for the next question
CONNECT = 10  # seconds
ALIVE = 5, 2  # seconds between signs of life, and how many can be missing
PERSIST = 30  # seconds that a connection outlives its last session
LOCALLY = 2.0  # seconds for a word with our own ssh


class Ssh:
    """Reaches nodes over ssh. Each has connections of its own, which end with it."""

    def __init__(self, host: Host) -> None:
        self._identity = Identity(host)
        self._identity.public_key()
        self.folder = self._identity.folder
        self._idle: dict[str, list[Session]] = {}  # by socket
        self._used: set[str] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._mark = f"{os.getpid()}.{secrets.token_hex(2)}"  # another transport has connections of its own
        self._sweep()

    def _sweep(self) -> None:
        """Remove the sockets of processes that were killed."""
        for path in (self.folder / SOCKETS).iterdir():
            pid = path.name.partition(".")[0]
            if pid.isdigit() and start_time(int(pid)) is None:
                path.unlink(missing_ok=True)

    # questions

    def ask(
        self, node: Node, name: str, fields: Mapping[str, Any], limit: float, check: Check = endless
    ) -> dict[str, Any]:
        """Ask a node for an operation of the table, and return its result; raise its error, or UnreachableError."""
        line = json.dumps(request(name, dict(fields))).encode() + b"\n"
        began = time.monotonic()
        while True:
            session, kept = self._session(node)
            end = began + limit + (0 if kept else CONNECT)  # a slow node needs seconds to let us in
            try:
                said = session.ask(line, end, check)
            except EndedError:
                session.close()
                if not kept:  # else it had ended while nobody used it; each operation can be asked twice
                    raise
            except TimeoutError:
                session.close()
                self._renew(node)
                raise UnreachableError(f"no answer within {end - began:g} s") from None
            except BaseException:
                session.close()
                raise
            else:
                self._keep(node, session)
                return result(said)

    def _session(self, node: Node) -> tuple[Session, bool]:
        """Return a session, and whether it was kept from an earlier question."""
        with self._lock:
            while idle := self._idle.get(self._socket(node)):
                session = idle.pop()
                if session.alive():
                    return session, True
                session.close()
        words = ["ssh", *self._options(node), *parse(node.address).words, SERVE]
        return Session(words, self.folder), False

    def _keep(self, node: Node, session: Session) -> None:
        with self._lock:
            idle = self._idle.setdefault(self._socket(node), [])
            if len(idle) < KEPT and not self._closed:
                idle.append(session)
                return
        session.close()

    # connections

    def _options(self, node: Node) -> list[str]:
        """Return the options of ssh for a node; names of files are relative to the folder."""
        name, socket = node.name, self._socket(node)
        with self._lock:
            self._used.add(socket)
        given = {
            "BatchMode": "yes", "IdentityFile": KEY, "IdentitiesOnly": "yes", "IdentityAgent": "none",
            "PreferredAuthentications": "publickey", "StrictHostKeyChecking": "yes", "HostKeyAlias": name,
            "UserKnownHostsFile": f"{PINNED}/{name}", "GlobalKnownHostsFile": os.devnull, "UpdateHostKeys": "no",
            "ConnectTimeout": CONNECT, "ServerAliveInterval": ALIVE[0], "ServerAliveCountMax": ALIVE[1],
            "ControlMaster": "auto", "ControlPath": socket, "ControlPersist": PERSIST,
            "ForwardAgent": "no", "ClearAllForwardings": "yes", "PermitLocalCommand": "no", "LogLevel": "ERROR",
        }  # fmt: skip
        return ["-F", "none", "-T", *(f"-o{key}={value}" for key, value in given.items())]

    def _socket(self, node: Node) -> str:
        """Return the name of the socket for a node at its address: short, whatever these are."""
        return f"{SOCKETS}/{self._mark}.{zlib.crc32(f'{node.name} {node.address}'.encode()):08x}"

    def _renew(self, node: Node) -> None:
        """Let the next session with a node have a new connection: this one perhaps leads nowhere."""
        with self._lock:
            idle = self._idle.pop(self._socket(node), [])
        for each in idle:
            each.close()
        self._tell(self._socket(node), "stop")

    def _tell(self, socket: str, what: str) -> None:
        """Make the connection of a socket accept no new sessions (`stop`), or end it (`exit`)."""
        path = self.folder / socket
        if path.exists():
            words = ["ssh", "-F", "none", "-S", socket, "-O", what, "--", "node"]
            with contextlib.suppress(ProcessError):
                run(words, cwd=self.folder, timeout=LOCALLY, check=False)
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """End all sessions and connections."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, {}
            used = set(self._used)
        for session in [one for each in idle.values() for one in each]:
            session.close()
        for socket in used:
            self._tell(socket, "exit")

    # commits

    def send(
        self, node: Node, project: Project, number: int, code: str, pillar: str, limit: float, check: Check = endless
    ) -> None:
        """Bring the commits of a rollout to a node; raise UnreachableError, or GitError if they are not taken."""
        base, ssh = parse(node.address), shlex.join(["ssh", *self._options(node)])
        to = git.Destination(f"{base.url}/{project.name}", RECEIVE, ssh, self.folder)
        second = git.Destination(f"{base.url}/{project.name}.pillar", RECEIVE, ssh, self.folder)
        ref = f"{git.ROLLOUTS}/{number}"
        aside = beside(lambda: git.send(project.pillar_git, second, pillar, ref, limit, check)) if pillar else None
        if code:
            git.send(project.code_git, to, code, ref, limit, check)
        if aside:
            aside.result()
