"""The settings of a directory (LDAP): its address, its queries, and the rights of its groups. Values only."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpushooks.core.errors import ConfigError
from corpushooks.core.rights import HOST, RIGHTS, Grant, check_projects
from corpushooks.core.schema import (
    BOOLEAN,
    PROGRAM,
    SECONDS,
    Kind,
    is_positive,
    is_whole,
    keys_of,
    one_of,
    setting,
    shown,
    taken,
)

ADDRESS = re.compile(r"ldaps?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?|ldapi://[A-Za-z0-9%._-]+")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(\.[0-9]+)+")


def _is_filter(value: Any) -> bool:
    """Return whether this looks like an LDAP filter; the directory checks its content."""
    if not isinstance(value, str) or not re.fullmatch(r"\(.+\)", value):
        return False
    depths = list(itertools.accumulate({"(": 1, ")": -1}.get(sign, 0) for sign in value))
    return depths[-1] == 0 and all(depth > 0 for depth in depths[:-1])


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


TEXT = Kind("a text", lambda value: isinstance(value, str) and bool(value.strip()))
TEXT_OR_NONE = Kind("a text, or null", lambda value: value is None or TEXT.accepts(value))
URI = Kind(
    "ldaps://HOST, ldap://HOST or ldapi://SOCKET (its slashes as %2F)",
    lambda value: isinstance(value, str) and bool(ADDRESS.fullmatch(value)),
    lambda value: value.rstrip("/"),
)
ATTRIBUTE = Kind("the name of an attribute", lambda value: isinstance(value, str) and bool(NAME.fullmatch(value)))
FILTER = Kind("a filter in parentheses", _is_filter)
SPAN = Kind("a number of seconds", lambda value: is_positive(value) or (is_whole(value) and value == 0))
NAMES = Kind("a non-empty list of names", _is_names, check_projects)
GROUPS = Kind("a mapping of groups", lambda value: isinstance(value, dict) and bool(value), lambda value: groups(value))


@dataclass(frozen=True)
class Granted:
    """The settings of one group."""

    right: str = setting("", one_of(*RIGHTS), "The right of its members.")
    projects: tuple[str, ...] = setting((), NAMES, "The projects for which; missing: all.")


@dataclass(frozen=True)
class Directory:
    """The `ldap` settings of a host."""

    uri: str = setting("", URI, "The address of the directory.")
    base: str = setting("", TEXT, "The entry below which people are searched.")
    bind_dn: str | None = setting(None, TEXT_OR_NONE, "The entry to bind as; null: anonymous.")
    bind_password_file: Path | None = setting(  # noqa: RUF009
        None, PROGRAM, "The file with the password of bind_dn, readable by root only."
    )
    filter: str = setting("(objectClass=posixAccount)", FILTER, "The filter for people who can log in.")
    key: str = setting("sshPublicKey", ATTRIBUTE, "The attribute with the ssh keys of a person.")
    uid: str = setting("uid", ATTRIBUTE, "The attribute with the name of a person, as shown with deployments.")
    group_base: str | None = setting(None, TEXT_OR_NONE, "The entry below which groups are searched; null: the same.")
    group_filter: str = setting(
        "(|(memberUid={uid})(member={dn})(uniqueMember={dn}))",
        FILTER,
        "The filter for the groups of a person, by name, {uid}, or by entry, {dn}.",
    )
    groups: Mapping[str, Grant] = setting({}, GROUPS, "The rights of the members of groups, by cn.")
    starttls: bool = setting(True, BOOLEAN, "Whether an ldap:// connection is encrypted with StartTLS.")
    ca_file: Path | None = setting(  # noqa: RUF009
        None, PROGRAM, "The certificates of trusted authorities; null: the system's."
    )
    timeout: float = setting(3, SECONDS, "The time after which a directory that does not answer counts as down.")
    sign_in: bool = setting(True, BOOLEAN, "Whether people can sign in to the pages with their password there.")
    cache: float = setting(86400, SPAN, "How long a cached key is accepted while the directory is down.")

    def grants(self, found: Sequence[str]) -> tuple[Grant, ...]:
        """Return the grants of somebody who is in these groups, the highest right first."""
        names = {name.casefold() for name in found}
        given = dict.fromkeys(grant for group, grant in self.groups.items() if group.casefold() in names)
        return tuple(sorted(given, key=lambda grant: -RIGHTS.index(grant.right)))


def directory(body: Mapping[Any, Any] | None) -> Directory | None:
    """Check the settings; an empty mapping is none. Raise ConfigError."""
    if not body:
        return None
    found = Directory(**taken(keys_of(Directory), body, "ldap."))
    for name in ("uri", "base", "groups"):
        if name not in body:
            raise ConfigError(f"{name} is missing", where=("ldap",))
    if (found.bind_dn is None) != (found.bind_password_file is None):
        raise ConfigError("bind_dn and bind_password_file must be set together", where=("ldap",))
    return found


def groups(body: Mapping[Any, Any], of: str = "ldap") -> dict[str, Grant]:
    """Check the settings of groups; raise ConfigError."""
    result = {}
    for name, said in body.items():
        above = f"{of}.groups.{name}"
        if not isinstance(name, str):
            raise ConfigError(f"expected a quoted name, got {shown(name)}", where=(f"{of}.groups",))
        if not isinstance(said, dict):
            raise ConfigError(f"expected a mapping, got {shown(said)}", where=(above,))
        given = Granted(**taken(keys_of(Granted), said, f"{above}."))
        if "right" not in said:
            raise ConfigError("right is missing", where=(above,))
        if given.right == HOST and given.projects:
            raise ConfigError("the right host applies to the whole host, not to projects", where=(f"{above}.projects",))
        result[name] = Grant(given.right, given.projects)
    return result
