"""Accounts: people who sign in to the pages with a password. Values, and their rows in the store.

What an account may is a `Key` without a public key, so that all are judged alike. The store keeps passwords as argon2
has them, and of a one-time link its hash.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from typing import Any

from corpushooks.access.keys import ACCOUNT, Key
from corpushooks.access.tokens import digest
from corpushooks.core.errors import CredentialError, UsageError
from corpushooks.core.hints import Hint, command
from corpushooks.store.database import Row, Store

PASSWORD, SIGN_IN = "password", "sign-in"  # what a link is for: to set a password, or to sign in once
SHORTEST, LONGEST = 12, 1024  # characters of a password
DAY = 86400.0
LASTS = {PASSWORD: DAY, SIGN_IN: 3600.0}  # seconds
BYTES = 32
SPENT = CredentialError("this link was used, replaced or has expired", hint="ask for a new one")


@dataclass(frozen=True)
class Account:
    """An account, and what the store knows of its password and link."""

    key: Key  # its rights; the `blob` is its mark
    password: str = ""
    link: str | None = None
    link_does: str = ""
    link_ends: float | None = None

    @property
    def name(self) -> str:
        return self.key.name

    def opens(self, does: str) -> bool:
        """Say whether its link is for this, and not over."""
        return self.link_does == does and (self.link_ends or 0) > time.time()


@dataclass(frozen=True)
class Link:
    """A one-time link: its secret, and until when it can be used."""

    secret: str
    ends: float


def called(account: Key) -> str:
    """Return what deployments and others call an account."""
    return f"account {account.name}"


def check_password(password: str, name: str) -> str:
    """Return a new password; raise UsageError for one that is too easy to guess, or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise UsageError(f"a password has {SHORTEST} to {LONGEST} characters")
    if len(set(password)) < 5 or (name.casefold() in password.casefold() and len(password) < len(name) + SHORTEST):
        raise UsageError("the password is too easy to guess", hint="use several words, or a password manager")
    return password


@dataclass(frozen=True)
class Accounts:
    """The accounts of a host."""

    store: Store

    def all(self) -> list[Account]:
        """Return all accounts, by name."""
        return [_account(row) for row in self.store.rows("SELECT * FROM account ORDER BY name")]

    def named(self, name: str) -> Account | None:
        """Return the account with a name, or None."""
        rows = self.store.rows("SELECT * FROM account WHERE name = ?", name)
        return _account(rows[0]) if rows else None

    def known(self, name: str) -> Account:
        """Return the account with a name; raise UsageError."""
        found = self.named(name)
        if found is None:
            raise UsageError(f"unknown account {name!r}", hint=command("account", "list"))
        return found

    def add(self, wanted: Key) -> Key:
        """Record an account, which nobody can use yet; raise UsageError for a used name."""
        if self.named(wanted.name):
            hint = Hint(command("account", "revoke", wanted.name), ", or choose another name")
            raise UsageError(f"there is already an account {wanted.name!r}", hint)
        made = replace(wanted, kind=ACCOUNT, blob=secrets.token_hex(16), added=time.time())
        with self.store.change() as db:
            db.execute(
                "INSERT INTO account (name, mark, right, projects, expires, added, by) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (made.name, made.blob, made.right, " ".join(made.projects), made.expires, made.added, made.by),
            )
        return made

    def link(self, name: str, does: str = PASSWORD) -> Link:
        """Make a one-time link, in place of one that there was."""
        made = Link(secrets.token_urlsafe(BYTES), time.time() + LASTS[does])
        with self.store.change() as db:
            db.execute(
                "UPDATE account SET link = ?, link_does = ?, link_ends = ? WHERE name = ?",
                (digest(made.secret), does, made.ends, name),
            )
        return made

    def opened(self, secret: str, does: str) -> Account | None:
        """Return whose link this is, if it is for this and not over; it stays."""
        rows = self.store.rows("SELECT * FROM account WHERE link = ?", digest(secret))
        found = _account(rows[0]) if rows else None
        return found if found and found.opens(does) else None

    def of_link(self, secret: str, does: str) -> Account:
        """Return whose link this is, which stays; raise CredentialError."""
        found = self.opened(secret, does)
        if found is None:
            raise SPENT
        return found

    def use_link(self, secret: str, does: str) -> Account:
        """Use up a link, and return whose it was; raise CredentialError. Of two who use one at once, one does."""
        found = self.of_link(secret, does)
        with self.store.change() as db:
            used = db.execute(
                "UPDATE account SET link = NULL, link_does = '', link_ends = NULL WHERE link = ? AND name = ?",
                (digest(secret), found.name),
            )
            if used.rowcount != 1:
                raise SPENT
        return found

    def set_password(self, secret: str, hashed: str) -> Account:
        """Use up a link, record the new password, and end the sessions that began with another: all or nothing.

        Return whose it was; raise CredentialError.
        """
        account = self.of_link(secret, PASSWORD)
        with self.store.change() as db:
            used = db.execute(
                "UPDATE account SET password = ?, link = NULL, link_does = '', link_ends = NULL"
                " WHERE link = ? AND name = ? AND mark = ?",
                (hashed, digest(secret), account.name, account.key.blob),
            )
            if used.rowcount != 1:
                raise SPENT
            db.execute("DELETE FROM session WHERE source = ? AND name = ?", (ACCOUNT, account.name))
        return account

    def revoke(self, name: str) -> Key:
        """Take an account out, with its sessions; raise UsageError where there is none."""
        found = self.known(name)
        with self.store.change() as db:
            db.execute("DELETE FROM account WHERE name = ?", (name,))
            db.execute("DELETE FROM session WHERE source = ? AND name = ?", (ACCOUNT, name))
        return found.key


def _account(row: Row) -> Account:
    values: dict[str, Any] = dict(row)
    own = {name: values.pop(name) for name in ("password", "link", "link_does", "link_ends")}
    mark, projects = values.pop("mark"), tuple(values["projects"].split())
    return Account(Key(**{**values, "kind": ACCOUNT, "blob": mark, "projects": projects}), **own)
