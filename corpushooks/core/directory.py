"""What the settings say of a directory: where it is, how it is asked, and what its groups may. Values only."""

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
    """Say whether this looks like a filter of LDAP: what stands in it is for the directory to judge."""
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
FILTER = Kind("a filter in brackets", _is_filter)
SPAN = Kind("a number of seconds", lambda value: is_positive(value) or (is_whole(value) and value == 0))
NAMES = Kind("a list of names that is not empty", _is_names, check_projects)
GROUPS = Kind("a mapping of groups", lambda value: isinstance(value, dict) and bool(value), lambda value: groups(value))


@dataclass(frozen=True)
class Granted:
    """What the settings say of one group."""

    right: str = setting("", one_of(*RIGHTS), "What its members may.")
    projects: tuple[str, ...] = setting((), NAMES, "With which projects; not said: with every one.")


@dataclass(frozen=True)
class Directory:
    """What the settings say of a directory."""

    uri: str = setting("", URI, "Where it is.")
    base: str = setting("", TEXT, "Below which entry people are looked for.")
    bind_dn: str | None = setting(None, TEXT_OR_NONE, "As whom it is asked; null: as nobody.")
    bind_password_file: Path | None = setting(  # noqa: RUF009
        None, PROGRAM, "The file with the password for that, which only root may read."
    )
    filter: str = setting("(objectClass=posixAccount)", FILTER, "Which entries are people that may come.")
    key: str = setting("sshPublicKey", ATTRIBUTE, "The attribute with the keys of a person.")
    uid: str = setting("uid", ATTRIBUTE, "The attribute with the name of a person: deployments are by it.")
    group_base: str | None = setting(None, TEXT_OR_NONE, "Below which entry groups are looked for; null: the same.")
    group_filter: str = setting(
        "(|(memberUid={uid})(member={dn})(uniqueMember={dn}))",
        FILTER,
        "Which groups a person is in, by name, {uid}, or by that of the entry, {dn}.",
    )
    groups: Mapping[str, Grant] = setting({}, GROUPS, "What the members of a group may, by its cn.")
    starttls: bool = setting(True, BOOLEAN, "Whether an ldap:// connection is encrypted before anything is said.")
    ca_file: Path | None = setting(  # noqa: RUF009
        None, PROGRAM, "The certificates of authorities that are trusted; null: those that the system trusts."
    )
    timeout: float = setting(3, SECONDS, "After how long a directory that has not answered is down.")
    cache: float = setting(86400, SPAN, "For how long a key that was seen opens while the directory is down.")

    def grants(self, found: Sequence[str]) -> tuple[Grant, ...]:
        """Return what somebody who is in some groups may, the highest right first."""
        names = {name.casefold() for name in found}
        given = dict.fromkeys(grant for group, grant in self.groups.items() if group.casefold() in names)
        return tuple(sorted(given, key=lambda grant: -RIGHTS.index(grant.right)))


def directory(body: Mapping[Any, Any] | None) -> Directory | None:
    """Check what the settings say; an empty mapping says nothing. Raise ConfigError."""
    if not body:
        return None
    found = Directory(**taken(keys_of(Directory), body, "ldap."))
    for name in ("uri", "base", "groups"):
        if name not in body:
            raise ConfigError(f"{name} is missing", where=("ldap",))
    if (found.bind_dn is None) != (found.bind_password_file is None):
        raise ConfigError("bind_dn and bind_password_file need each other", where=("ldap",))
    return found


def groups(body: Mapping[Any, Any]) -> dict[str, Grant]:
    """Check what the settings say of groups; raise ConfigError."""
    result = {}
    for name, said in body.items():
        above = f"ldap.groups.{name}"
        if not isinstance(name, str):
            raise ConfigError(f"expected a name, in quotes, got {shown(name)}", where=("ldap.groups",))
        if not isinstance(said, dict):
            raise ConfigError(f"expected a mapping, got {shown(said)}", where=(above,))
        given = Granted(**taken(keys_of(Granted), said, f"{above}."))
        if "right" not in said:
            raise ConfigError("right is missing", where=(above,))
        if given.right == HOST and given.projects:
            raise ConfigError(
                "the right host is about the whole host, not about projects", where=(f"{above}.projects",)
            )
        result[name] = Grant(given.right, given.projects)
    return result
