"""The settings of a provider of OpenID Connect: its address, and the rights of its groups. Values only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpushooks.core.directory import groups
from corpushooks.core.errors import ConfigError
from corpushooks.core.rights import RIGHTS, Grant
from corpushooks.core.schema import PROGRAM, SECONDS, Kind, keys_of, setting, taken

ADDRESS = re.compile(r"https://[^\s?#@]+|http://(localhost|127\.0\.0\.1)(:[0-9]{1,5})?(/[^\s?#@]*)?")
TEXT = Kind("a text", lambda value: isinstance(value, str) and bool(value.strip()))
ISSUER = Kind("https://HOST", lambda value: isinstance(value, str) and bool(ADDRESS.fullmatch(value)))


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and re.fullmatch(r"\S+", each) for each in value)


NAMES = Kind("a list of names", _is_names, tuple)
GROUPS = Kind(
    "a mapping of groups", lambda value: isinstance(value, dict) and bool(value), lambda value: groups(value, "oidc")
)


@dataclass(frozen=True)
class Provider:
    """The `oidc` settings of a host."""

    issuer: str = setting("", ISSUER, "The address of the provider, exactly as its tokens have it.")
    client_id: str = setting("", TEXT, "The name of this host at the provider.")
    client_secret_file: Path | None = setting(  # noqa: RUF009
        None, PROGRAM, "The file with the secret of this host there, readable by root only; null: none."
    )
    groups: Mapping[str, Grant] = setting({}, GROUPS, "The rights of the members of groups, by their name there.")
    groups_claim: str = setting("groups", TEXT, "The claim of the token with the groups of a person.")
    name_claim: str = setting("preferred_username", TEXT, "The claim with the name that is shown with deployments.")
    scopes: tuple[str, ...] = setting(("profile",), NAMES, "What is asked for besides openid.")
    timeout: float = setting(10, SECONDS, "The time after which a provider that does not answer counts as down.")

    def grants(self, found: Sequence[str]) -> tuple[Grant, ...]:
        """Return the grants of somebody who is in these groups, the highest right first."""
        given = dict.fromkeys(grant for group, grant in self.groups.items() if group in found)
        return tuple(sorted(given, key=lambda grant: -RIGHTS.index(grant.right)))


def provider(body: Mapping[Any, Any] | None) -> Provider | None:
    """Check the settings; an empty mapping is none. Raise ConfigError."""
    if not body:
        return None
    found = Provider(**taken(keys_of(Provider), body, "oidc."))
    for name in ("issuer", "client_id", "groups"):
        if name not in body:
            raise ConfigError(f"{name} is missing", where=("oidc",))
    return found
