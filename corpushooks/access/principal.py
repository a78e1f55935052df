"""Who asks: an account of this machine, or a key, and what that may. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from corpushooks.access.keys import ANY, Key, levels
from corpushooks.core.rights import ADMIN, HOST, RIGHTS, Caller, Rights


@dataclass(frozen=True)
class Principal:
    """Who asks: an account of this machine, or whoever came with a key or a token (which is a `key`, too)."""

    who: str
    rights: Rights
    caller: Caller
    key: Key | None = None
    project: str = ""  # a key's session is for one, or asks of all

    @property
    def ssh_key(self) -> str:
        """The name of the ssh key that somebody came with, or nothing."""
        return self.key.name if self.key and not self.key.is_token else ""

    def may(self, project: str, right: str) -> bool:
        """Return whether a principal has a right on a project, which need not exist."""
        if self.key:
            return self.project in ("", project) and not self.key.refusal(right, project)
        if right in (ADMIN, HOST):
            return self.rights.everything(self.caller)
        return self.rights.may(self.caller, project)

    def admin(self, project: str) -> bool:
        """Return whether a principal may insist where a project is frozen, and see its secrets."""
        return self.may(project, ADMIN)

    def may_all(self, right: str) -> bool:
        """Return whether a principal has a right on every project, also on those that are yet to be made."""
        if self.key:
            general = levels(self.key).get(ANY, -1)
            return self.project == "" and not self.key.refusal(right) and general >= RIGHTS.index(right)
        return self.rights.everything(self.caller)
