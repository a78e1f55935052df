"""Persons from elsewhere who signed in: their rights are those that the settings give their groups."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Sequence

from corpushooks.access import keys
from corpushooks.access.keys import ACCOUNT, Key
from corpushooks.access.sessions import OIDC, Session, Sessions
from corpushooks.core.errors import CorpusError, RefusedError
from corpushooks.core.provider import Provider
from corpushooks.core.rights import Grant
from corpushooks.core.settings import Settings

LDAP = "ldap"
SUB = re.compile(r"[A-Za-z0-9._@+|:-]{1,64}")
FRESH = 60.0  # seconds for which what the directory said is used without asking

Warn = Callable[[CorpusError], None]


def key_of(source: str, who: str, grants: Sequence[Grant]) -> Key | None:
    """Return the rights of a person, or None if their groups give none."""
    if not grants or not keys.NAME.fullmatch(who):
        return None
    first, *more = grants
    return Key(who, ACCOUNT, "", first.right, first.projects, source=source, person=who, more=tuple(more))


def identity(issuer: str, sub: str) -> str:
    """Return what identifies a person of a provider: nothing else of a token does."""
    return f"{issuer} {sub}"


def called(name: str, sub: str) -> str:
    """Return what deployments and others call a person of a provider: the name, which they may change, and `sub`."""
    plain = re.sub(r"[^A-Za-z0-9._@+-]", "_", name)[:64]
    own = sub if SUB.fullmatch(sub) else hashlib.sha256(sub.encode()).hexdigest()[:16]
    return f"oidc {plain}/{own}" if plain else f"oidc {own}"


def _of_provider(session: Session, where: Provider | None) -> Key | None:
    """Return the rights of a person of a provider, if that is still the one of the settings."""
    if where is None or not session.name.startswith(identity(where.issuer, "")):
        return None
    return key_of(OIDC, hashlib.sha256(session.name.encode()).hexdigest()[:32], where.grants(session.groups))


def rights_now(sessions: Sessions, settings: Settings, session: Session, warn: Warn) -> Key | None:
    """Return the rights that a session has now: the directory is asked again where it was some time ago."""
    if session.source == OIDC:
        return _of_provider(session, settings.oidc)
    if session.source != LDAP:
        return sessions.key(session)
    where = settings.ldap if settings.auth == LDAP else None
    if where is None or not where.sign_in:
        return None
    groups, age = session.groups, time.time() - session.checked
    if not 0 <= age < FRESH:
        from corpushooks.access import ldap  # here: hosts without a directory do not need the library

        try:
            found = ldap.by_name(where, session.name)
        except RefusedError:  # it has answered
            found = None
        except CorpusError as exc:
            warn(exc)
            return key_of(LDAP, session.who, where.grants(groups)) if 0 <= age < where.cache else None
        if found is None:
            return None
        groups = found.groups
        sessions.note_groups(session, groups)
    return key_of(LDAP, session.who, where.grants(groups))
