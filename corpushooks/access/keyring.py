"""The keyring: ssh keys in the store, and their sessions."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from typing import Any

from corpushooks.access.keys import Key
from corpushooks.core.errors import UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.core.rights import Grant
from corpushooks.store.database import Connection, Row, Store


@dataclass(frozen=True)
class Admission:
    """An admitted session of a key. It ends with its process."""

    token: str
    key: str
    who: str
    right: str
    project: str
    pid: int
    start: int


@dataclass(frozen=True)
class Keyring:
    """The keys of a host."""

    store: Store

    def all(self) -> list[Key]:
        """Return all keys, by name."""
        return [_key(row) for row in self.store.rows("SELECT * FROM key ORDER BY name")]

    def key(self, name: str) -> Key | None:
        """Return the key with a name, or None."""
        rows = self.store.rows("SELECT * FROM key WHERE name = ?", name)
        return _key(rows[0]) if rows else None

    def holding(self, blob: str) -> Key | None:
        """Return the key with a public key, or None."""
        rows = self.store.rows("SELECT * FROM key WHERE blob = ?", blob)
        return _key(rows[0]) if rows else None

    def check(self, key: Key) -> None:
        """Raise UsageError if the name or the public key belongs to another key."""
        same, named = self.holding(key.blob), self.key(key.name)
        if same and same.name != key.name and not same.source:
            raise UsageError(
                f"this key is already registered as {same.name!r}", hint=command("key", "remove", same.name)
            )
        if named and named.blob != key.blob:
            raise UsageError(
                f"the name {key.name!r} is taken by another key",
                hint=Hint(command("key", "remove", key.name), ", or use another name"),
            )

    def add(self, key: Key) -> Key:
        """Add a key, or update the rights of the same key; raise UsageError as `check` does.

        A key of a directory then no longer belongs to the directory.
        """
        self.check(key)
        key = replace(key, added=time.time())
        with self.store.change() as db:
            _save(db, "REPLACE", key)
        return key

    def remember(self, key: Key) -> Key | None:
        """Cache a key of a directory; return the current key: one that was added by hand stays unchanged."""
        known = self.holding(key.blob)
        with self.store.change() as db:
            db.execute("DELETE FROM key WHERE blob = ? AND source != ''", (key.blob,))
            _save(db, "IGNORE", replace(key, added=known.added if known else time.time()))
        return self.holding(key.blob)

    def forget(self, blob: str) -> None:
        """Remove a cached key of a directory, unless it was added by hand meanwhile."""
        with self.store.change() as db:
            db.execute("DELETE FROM key WHERE blob = ? AND source != ''", (blob,))

    def remove(self, name: str) -> Key:
        """Remove a key, which then gives no access; raise UsageError if it does not exist.

        Its sessions are removed too: a later key with its name must not get them.
        """
        found = self.key(name)
        if found is None:
            raise UsageError(f"unknown key {name!r}", hint=command("key", "list"))
        with self.store.change() as db:
            db.execute("DELETE FROM key WHERE name = ?", (name,))
            db.execute("DELETE FROM admission WHERE key = ?", (name,))
        return found

    # sessions

    def admit(self, key: Key, who: str, right: str, project: str, process: tuple[int, int]) -> Admission:
        """Record an admitted process."""
        found = Admission(secrets.token_hex(16), key.name, who, right, project, *process)
        with self.store.change() as db:
            db.execute(
                "INSERT INTO admission (token, key, who, right, project, pid, start) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (found.token, found.key, found.who, found.right, found.project, found.pid, found.start),
            )
        return found

    def admission(self, token: str) -> Admission | None:
        """Return the admission of a token, or None."""
        rows = self.store.rows("SELECT * FROM admission WHERE token = ?", token)
        return Admission(**rows[0]) if rows else None

    def admissions(self) -> list[Admission]:
        """Return all admissions."""
        return [Admission(**row) for row in self.store.rows("SELECT * FROM admission")]

    def dismiss(self, admission: Admission) -> None:
        """Remove an admission whose process has ended."""
        with self.store.change() as db:
            db.execute("DELETE FROM admission WHERE token = ?", (admission.token,))


def _save(db: Connection, otherwise: str, key: Key) -> None:
    """Write a key; `otherwise`: the action for an existing one with its name or public key."""
    more = " ".join(f"{grant.right}:{','.join(grant.projects)}" for grant in key.more)
    db.execute(
        f"INSERT OR {otherwise} INTO key (name, kind, blob, right, projects, expires, authority, principals, added, by,"
        " source, seen, person, more) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (key.name, key.kind, key.blob, key.right, " ".join(key.projects), key.expires, int(key.authority),
         " ".join(key.principals), key.added, key.by, key.source, key.seen, key.person, more),
    )  # fmt: skip


def _key(row: Row) -> Key:
    values: dict[str, Any] = dict(row)
    lists = {name: tuple(values[name].split()) for name in ("projects", "principals")}
    more = tuple(map(_grant, values["more"].split()))
    return Key(**{**values, **lists, "authority": bool(values["authority"]), "more": more})


def _grant(text: str) -> Grant:
    right, _, projects = text.partition(":")
    return Grant(right, tuple(projects.split(",")) if projects else ())
