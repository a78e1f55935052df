"""Where a node fetches the commits of rollouts: at its controller, outwards, with a key of its own.

What the controller said of itself, over a channel on which both have proved who they are, is in a folder for each
controller. The key opens nothing there but the commits of rollouts of projects on this node.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from corpushooks import git
from corpushooks.access.keys import NAME, is_key, parse
from corpushooks.core.errors import RefusedError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Host, Project
from corpushooks.fleet import address
from corpushooks.fleet.identity import made
from corpushooks.system import disk
from corpushooks.system.patience import Check, endless

SERVE = "git-node-upload-pack"  # what the controller runs for the key of a node
CONNECT = 10  # seconds
ALIVE = 5, 2  # seconds between signs of life, and how many can be missing
KEY, PINNED, ADDRESS = "key", "host", "address"  # in the folder


@dataclass(frozen=True)
class Origin:
    """One controller, as the name of its key on this node."""

    host: Host
    controller: str

    @property
    def folder(self) -> Path:
        if not NAME.fullmatch(self.controller):
            raise UsageError(f"invalid name of a controller: {self.controller[:64]!r}")
        return self.host.fleet_dir / "origins" / self.controller

    def meet(self, place: str, host_key: str) -> str:
        """Record where the controller is, and its host key; return our public key for it, as one line."""
        found = address.parse(place)
        kind, _, blob = host_key.partition(" ")
        if not is_key(kind, blob):
            raise UsageError("invalid host key of the controller")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        disk.write_file(self.folder / PINNED, f"controller {kind} {blob}\n".encode(), 0o600)
        disk.write_file(self.folder / ADDRESS, f"{found}\n".encode(), 0o600)
        return made(self.folder / KEY, "node")

    def fetch(
        self, project: Project, number: int, code: str, pillar: str, limit: float, check: Check = endless
    ) -> None:
        """Fetch the commits of a rollout; raise GitError, or UnreachableError."""
        try:
            base = address.parse((self.folder / ADDRESS).read_text().strip())
        except OSError:
            again = Hint("on the controller: ", command("node", "accept", "NODE", "--fingerprint", "…"))
            raise RefusedError("this node does not know where its controller is", hint=again) from None
        ref, ssh = f"{git.ROLLOUTS}/{number}", shlex.join(["ssh", *self._options()])
        for path, name, commit in ((project.code_git, "", code), (project.pillar_git, ".pillar", pillar)):
            if commit:
                git.check_objects(path)
                there = git.Origin(f"{base.url}/{project.name}{name}", SERVE, ssh, self.folder)
                git.fetch(path, there, commit, ref, limit, check)
                git.flush_objects(path)

    def _options(self) -> list[str]:
        given = {
            "BatchMode": "yes", "IdentityFile": KEY, "IdentitiesOnly": "yes", "IdentityAgent": "none",
            "PreferredAuthentications": "publickey", "StrictHostKeyChecking": "yes", "HostKeyAlias": "controller",
            "UserKnownHostsFile": PINNED, "GlobalKnownHostsFile": os.devnull, "UpdateHostKeys": "no",
            "ConnectTimeout": CONNECT, "ServerAliveInterval": ALIVE[0], "ServerAliveCountMax": ALIVE[1],
            "ForwardAgent": "no", "ClearAllForwardings": "yes", "PermitLocalCommand": "no", "LogLevel": "ERROR",
        }  # fmt: skip
        return ["-F", "none", "-T", *(f"-o{key}={value}" for key, value in given.items())]


def public_key(line: str) -> tuple[str, str]:
    """Return kind and blob of a public key that a node said; raise UsageError."""
    kind, blob, _ = parse(line)
    return kind, blob
