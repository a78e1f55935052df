"""Tokens: what a program presents to the API in place of an ssh key. The store keeps their hashes only.

What a token may is a `Key` without a public key, so that both are judged alike.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass, replace
from typing import Any

from corpushooks.access.keys import TOKEN, Key
from corpushooks.core.errors import UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.store.database import Row, Store

PREFIX = "corpus_"  # so that scanners for secrets find one that was published
BYTES = 32


@dataclass(frozen=True)
class Tokens:
    """The tokens of a host."""

    store: Store

    def all(self) -> list[Key]:
        """Return all tokens, by name."""
        return [_token(row) for row in self.store.rows("SELECT * FROM token ORDER BY name")]

    def presented(self, text: str) -> Key | None:
        """Return the token that somebody presents, or None; whether it is expired is for its `refusal` to say."""
        rows = self.store.rows("SELECT * FROM token WHERE hash = ?", digest(text))
        return _token(rows[0]) if rows else None

    def add(self, wanted: Key) -> tuple[Key, str]:
        """Record a token; return it with its text, which nobody can read again. Raise UsageError for a used name."""
        if any(each.name == wanted.name for each in self.all()):
            hint = Hint(command("token", "revoke", wanted.name), ", or choose another name")
            raise UsageError(f"there is already a token {wanted.name!r}", hint)
        text = f"{PREFIX}{secrets.token_urlsafe(BYTES)}"
        made = replace(wanted, kind=TOKEN, blob=digest(text), added=time.time())
        with self.store.change() as db:
            db.execute(
                "INSERT INTO token (name, hash, right, projects, expires, added, by) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (made.name, made.blob, made.right, " ".join(made.projects), made.expires, made.added, made.by),
            )
        return made, text

    def revoke(self, name: str) -> Key:
        """Take a token out; raise UsageError where there is none."""
        found = next((each for each in self.all() if each.name == name), None)
        if found is None:
            raise UsageError(f"unknown token {name!r}", hint=command("token", "list"))
        with self.store.change() as db:
            db.execute("DELETE FROM token WHERE name = ?", (name,))
        return found


def called(token: Key) -> str:
    """Return what deployments and others call a token."""
    return f"token {token.name}"


def digest(text: str) -> str:
    """Return what the store keeps of a token: it is random and long, so a plain hash cannot be reversed."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _token(row: Row) -> Key:
    values: dict[str, Any] = dict(row)
    blob, projects = values.pop("hash"), tuple(values["projects"].split())
    return Key(**{**values, "kind": TOKEN, "blob": blob, "projects": projects})
