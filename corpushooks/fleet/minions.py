"""The transport over a Salt master: each order is a call of our module on the minion of a node.

Salt carries, and decides nothing: an answer is what the daemon of the node said, signed. The commits of a rollout
are fetched by the node, from the endpoint for ssh of this controller.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corpushooks import git
from corpushooks.core.errors import CorpusError, GitError, UnreachableError
from corpushooks.core.hints import command
from corpushooks.core.project import Host, Project
from corpushooks.core.rollouts import Node
from corpushooks.fleet.master import Master
from corpushooks.fleet.session import result, valid
from corpushooks.salt import Bus
from corpushooks.system.patience import Check, endless

ADDRESS = "salt"  # of a node that comes by the master, in the place of where its sshd is
HELD = 3.0  # seconds that a node holds its answer while nothing changes: each question costs more than over ssh
GRACE = 2.0  # seconds of the limit for a fetch that are left for the answer


def by_salt(node: Node) -> bool:
    """Return whether a node is reached by the Salt master."""
    return node.address == ADDRESS


class Minions:
    """Reaches nodes by the Salt master of this controller."""

    def __init__(self, host: Host, python: Path) -> None:
        master = Master.of(host)
        if master is None:
            hint = command("setup", "--controller", "salt")
            raise UnreachableError("this controller has no Salt master", hint=hint)
        host.fleet_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._bus = Bus(master.configuration, python, host.fleet_dir / "bus.log")
        self._refs = threading.Lock()

    def ask(
        self, node: Node, name: str, fields: Mapping[str, Any], limit: float, check: Check = endless
    ) -> dict[str, Any]:
        """Ask a node for an operation of the table, and return its result; raise its error, or UnreachableError."""
        given = {**fields, "wait": min(HELD, limit / 2)} if fields.get("wait") else fields
        held = float(given.get("wait", 0.0))
        return result(valid(self._bus.ask(node.name, name, given, limit, held, check)))

    def send(
        self, node: Node, project: Project, number: int, code: str, pillar: str, limit: float, check: Check = endless
    ) -> None:
        """Let a node fetch the commits of a rollout; raise UnreachableError, or GitError if it does not."""
        for path, commit in ((project.code_git, code), (project.pillar_git, pillar)):
            if commit:
                self._show(path, number, git.commit(path, commit))
        fields = {"project": project.name, "number": number, "code": code, "pillar": pillar}
        try:
            result(valid(self._bus.ask(node.name, "node fetch", fields, limit, limit, check)))
        except (UnreachableError, GitError):
            raise
        except CorpusError as exc:
            raise GitError(f"not taken: {exc.message}", hint=exc.hint) from None

    def _show(self, path: Path, number: int, commit: str) -> None:
        """Give the nodes a ref to fetch; those of other rollouts are removed."""
        name = f"{git.ROLLOUTS}/{number}"
        with self._refs:
            old = git.ref(path, name)
            if old != commit:
                git.forget_rollouts(path, number)
                zero = "0" * len(commit)
                wrong = git.update_refs(path, [(name, old or zero, commit)])
                if wrong.get(name):
                    raise GitError(wrong[name])

    def close(self) -> None:
        """End the process at the bus."""
        self._bus.close()
