"""Look up a key in the directory, and cache the answer for when the directory is down."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from corpushooks.access import keys
from corpushooks.access.keyring import Keyring
from corpushooks.access.keys import Key
from corpushooks.core.directory import Directory
from corpushooks.core.errors import CorpusError, RefusedError
from corpushooks.core.settings import Settings

FRESH = 60.0  # seconds for which a cached answer is used without asking

Warn = Callable[[CorpusError], None]


def look_up(ring: Keyring, settings: Settings, kind: str, blob: str, warn: Warn) -> Key | None:
    """Return a key as the directory has it, or the cached one while the directory is down; None: unknown."""
    before = ring.holding(blob)
    if settings.auth != "ldap" or settings.ldap is None or not keys.is_key(kind, blob):
        return None
    try:
        found = _look_up(settings.ldap, kind, blob)
    except RefusedError as exc:  # it has answered
        warn(exc)
        found = None
    except CorpusError as exc:
        warn(exc)
        return before if before and 0 <= time.time() - (before.seen or 0) < settings.ldap.cache else None
    if found:
        return ring.remember(found)
    if before:
        ring.forget(blob)
    return None


def still(ring: Keyring, settings: Settings, key: Key, warn: Warn) -> Key | None:
    """Return the current key, looked up again if it is a directory's and the cache is old; None: it is gone."""
    if not key.source or 0 <= time.time() - (key.seen or 0) < FRESH:
        return key
    return look_up(ring, settings, key.kind, key.blob, warn)


def _look_up(where: Directory, kind: str, blob: str) -> Key | None:
    """Ask the directory for the owner of a key and their rights; None if there are none."""
    from corpushooks.access import ldap  # here: hosts without a directory do not need the library

    person = ldap.find(where, kind, blob)
    grants = where.grants(person.groups) if person else ()
    if not person or not grants:
        return None
    name = f"{person.uid}+{hashlib.sha256(blob.encode()).hexdigest()[:8]}"  # a person can have several keys
    if not keys.NAME.fullmatch(name):
        raise RefusedError(
            f"invalid name {person.uid[:40]!r} in {where.uri}: use letters, digits and . _ @ + -, at most 55"
        )
    first, *more = grants
    return Key(
        name, kind, blob, first.right, first.projects, source="ldap", seen=time.time(), person=person.uid,
        more=tuple(more),
    )  # fmt: skip
