"""Principals: an account of this machine or a key, with its rights. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from corpushooks.access.keys import ANY, Key, levels
from corpushooks.core.rights import ADMIN, GRANTED, HOST, NODE, Caller, Rights


@dataclass(frozen=True)
class Principal:
    """The caller: an account of this machine, or the owner of an ssh key, a token or a session (which are a `key`)."""

    who: str
    rights: Rights
    caller: Caller
    key: Key | None = None
    project: str = ""  # of the session of a key; empty: all
    via: str = "command"  # command, ssh, token or page
    origin: str = ""  # the address that they come from; empty: this machine

    @property
    def ssh_key(self) -> str:
        """The name of the ssh key that somebody came with, or nothing."""
        return self.key.name if self.key and not (self.key.is_token or self.key.is_account) else ""

    def may(self, project: str, right: str) -> bool:
        """Return whether a principal has a right on a project, which need not exist."""
        if self.key:
            return self.project in ("", project) and not self.key.refusal(right, project)
        if right in (ADMIN, HOST, NODE):
            return self.rights.everything(self.caller)
        return self.rights.may(self.caller, project)

    def admin(self, project: str) -> bool:
        """Return whether a principal can override a freeze of a project, and see its secrets."""
        return self.may(project, ADMIN)

    def may_all(self, right: str) -> bool:
        """Return whether a principal has a right on every project, including future ones."""
        if self.key:
            general = levels(self.key).get(ANY, -1)
            return self.project == "" and not self.key.refusal(right) and general >= GRANTED.index(right)
        return self.rights.everything(self.caller)
