"""Rights: root, the daemon's user and the host's group have all; the group NAME-deploy has its project's. Values only.

Only people have rights. An application has none, whatever groups NAME-user and NAME-grp are put into. The account of
ssh has none either: its callers are identified by their keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from corpushooks.core.errors import UsageError
from corpushooks.core.project import NAME, NAME_LIMIT, check_name
from corpushooks.core.text import shown

READ, PUSH, ADMIN, HOST = RIGHTS = ("read", "push", "admin", "host")  # each includes those before it
NODE = "node"  # of the key of a controller: its orders, and nothing else; no other right includes it
OBJECTS = "objects"  # of the key of a node: to fetch the commits of its rollouts; nobody can grant it
GRANTED = (*RIGHTS, NODE, OBJECTS)
ALONE = (NODE, OBJECTS)  # each goes with no other right
USER, GROUP, DEPLOY = "-user", "-grp", "-deploy"


@dataclass(frozen=True)
class Caller:
    """The caller as reported by the kernel: the groups are those of the process, including the primary one."""

    uid: int
    name: str
    groups: frozenset[int]


@dataclass(frozen=True)
class Accounts:
    """The accounts of this machine, looked up each time: they can be created while we run."""

    user: Callable[[str], int | None]  # the uid of a name
    group: Callable[[str], int | None]  # the gid of a name
    group_name: Callable[[int], str | None]  # the name of a gid


@dataclass(frozen=True)
class Rights:
    """The rights on a host whose daemon runs as `owner`; the group `group` has all of them.

    `account` is the one that ssh keys log in as, `web` the one of the pages and the API: neither has rights of its own.
    """

    owner: int
    group: str
    accounts: Accounts
    account: str = ""
    web: str = ""

    def everything(self, caller: Caller) -> bool:
        """Return whether a caller has every right."""
        return self.is_own(caller.uid) or (self._person(caller) and self._in(caller, self.group))

    def may(self, caller: Caller, project: str) -> bool:
        """Return whether a caller has every right on a project, which need not exist."""
        if self.everything(caller):
            return True
        if not NAME.fullmatch(project) or len(project) > NAME_LIMIT or caller.name == project + USER:
            return False
        return self._person(caller) and self._in(caller, project + DEPLOY)

    def anything(self, caller: Caller) -> bool:
        """Return whether a caller has any right at all, if only on a project that does not exist."""
        if self.everything(caller):
            return True
        names = (self.accounts.group_name(gid) or "" for gid in sorted(caller.groups))
        return any(self.may(caller, name.removesuffix(DEPLOY)) for name in names if name.endswith(DEPLOY))

    def is_own(self, uid: int) -> bool:
        """Return whether a uid is root's or the daemon's own."""
        return uid in (0, self.owner)

    def is_account(self, caller: Caller) -> bool:
        """Return whether a caller is the account that ssh keys log in as."""
        return bool(self.account) and not self.is_own(caller.uid) and self.accounts.user(self.account) == caller.uid

    def relays(self, caller: Caller) -> bool:
        """Return whether a caller is an account without rights of its own that relays others."""
        return self._is_web(caller) or self.is_account(caller)

    def signs_in(self, caller: Caller) -> bool:
        """Return whether a caller can ask for sessions of people who sign in."""
        return self.is_own(caller.uid) or self._is_web(caller)

    def _is_web(self, caller: Caller) -> bool:
        return bool(self.web) and not self.is_own(caller.uid) and self.accounts.user(self.web) == caller.uid

    def _person(self, caller: Caller) -> bool:
        """Return whether a caller is neither an application (NAME-user with NAME-grp) nor an account that relays."""
        if self.relays(caller):
            return False
        name = caller.name.removesuffix(USER)
        return name == caller.name or self.accounts.group(name + GROUP) is None

    def _in(self, caller: Caller, group: str) -> bool:
        """Return whether a caller is in a group, unless it is an application's."""
        name = group.removesuffix(GROUP)
        if name != group and self.accounts.user(name + USER) is not None:
            return False
        return self.accounts.group(group) in caller.groups


@dataclass(frozen=True)
class Grant:
    """A right, on some projects or on all."""

    right: str
    projects: tuple[str, ...] = ()  # empty: all

    def covers(self, project: str) -> bool:
        """Return whether this applies to a project; "" is any."""
        return not project or not self.projects or project in self.projects

    def __str__(self) -> str:
        return f"{self.right} {' '.join(self.projects) or 'every project'}"


def includes(given: str, right: str) -> bool:
    """Return whether a right includes another, or is the same."""
    if given in ALONE or right in ALONE:
        return given == right
    return RIGHTS.index(given) >= RIGHTS.index(right)


def check_right(right: str) -> str:
    """Return `right` if it is valid; raise UsageError."""
    if right not in (*RIGHTS, NODE):
        raise UsageError(f"invalid right {shown(right, 40)!r}", hint=f"use one of: {' '.join((*RIGHTS, NODE))}")
    return right


def check_projects(names: Sequence[str]) -> tuple[str, ...]:
    """Return project names without duplicates; raise UsageError. A project need not exist yet."""
    return tuple(dict.fromkeys(map(check_name, names)))
