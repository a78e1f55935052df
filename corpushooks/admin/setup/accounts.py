"""The actions of setup on accounts: groups, users and memberships."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from corpushooks.admin.setup.actions import RIGHT, TODO, Look, Marks
from corpushooks.system.machine import Machine


@dataclass(frozen=True)
class Group:
    """A system group."""

    kind: ClassVar[str] = "group"
    name: str
    machine: Machine

    def look(self, noted: Marks) -> Look:
        return RIGHT if self.machine.group(self.name) else TODO

    def mark(self) -> str:
        return ""

    def do(self) -> None:
        self.machine.add_group(self.name)

    @classmethod
    def undo(cls, name: str, marks: Marks, machine: Machine | None) -> str:
        found = machine.group(name) if machine else None
        if machine is None or found is None:
            return ""
        if found.gr_mem:
            return f"has members: {', '.join(found.gr_mem)}"
        machine.drop_group(name)
        return ""


@dataclass(frozen=True)
class User:
    """A system user, with a group of the same name."""

    kind: ClassVar[str] = "user"
    name: str
    machine: Machine

    def look(self, noted: Marks) -> Look:
        return RIGHT if self.machine.user(self.name) else TODO

    def mark(self) -> str:
        return ""

    def do(self) -> None:
        self.machine.add_user(self.name)

    @classmethod
    def undo(cls, name: str, marks: Marks, machine: Machine | None) -> str:
        if machine and machine.user(name):
            machine.drop_user(name)
        return ""


@dataclass(frozen=True)
class Member:
    """Membership of the account in the group of a project, so that existing projects can be pushed to."""

    kind: ClassVar[str] = "member"
    account: str
    group: str
    machine: Machine

    @property
    def name(self) -> str:
        return f"{self.account} in {self.group}"

    def look(self, noted: Marks) -> Look:
        found = self.machine.group(self.group)
        return RIGHT if found is None or self.account in found.gr_mem else TODO  # init creates the group

    def mark(self) -> str:
        return ""

    def do(self) -> None:
        self.machine.add_member(self.account, self.group)

    @classmethod
    def undo(cls, name: str, marks: Marks, machine: Machine | None) -> str:
        account, _, group = name.partition(" in ")
        found = machine.group(group) if machine else None
        if machine and found and account in found.gr_mem:
            machine.drop_member(account, group)
        return ""
