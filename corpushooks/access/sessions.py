"""Sessions of people who signed in to the pages. The store keeps the hash of what their browser presents.

A session has no rights of its own: each time it is presented, they are those that its account, its token, or the
groups of its person have now.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from corpushooks.access.accounts import Accounts
from corpushooks.access.keys import ACCOUNT, TOKEN, Key
from corpushooks.access.tokens import Tokens, digest
from corpushooks.store.database import Row, Store

PREFIX = "corpus_session_"
BYTES = 32
IDLE, LONGEST = 12 * 3600.0, 7 * 86400.0  # seconds without a request, and in all
ONCE = 12 * 3600.0  # of a person of a provider: only a new sign-in tells which groups they are in by then
OIDC = "oidc"
NOTED = 60.0  # seconds between notes of when a session was seen
MOST = 20  # sessions of one person: the oldest ends


@dataclass(frozen=True)
class Session:
    """Somebody who signed in."""

    hash: str
    source: str
    name: str
    mark: str
    who: str
    groups: tuple[str, ...]
    address: str
    began: float
    seen: float
    checked: float

    def is_over(self, now: float) -> bool:
        """Say whether its time is over; a clock that was put back ends it, too."""
        longest = ONCE if self.source == OIDC else LONGEST
        return not (0 <= now - self.began < longest and -NOTED <= now - self.seen < IDLE)


@dataclass(frozen=True)
class Sessions:
    """The sessions of a host."""

    store: Store

    def begin(
        self, source: str, name: str, who: str, *, mark: str = "", address: str = "", groups: Sequence[str] = ()
    ) -> str:
        """Begin a session; return what the browser presents, always a new secret. Sessions that are over go."""
        text, now = f"{PREFIX}{secrets.token_urlsafe(BYTES)}", time.time()
        with self.store.change() as db:
            db.execute("DELETE FROM session WHERE began <= ? OR seen <= ?", (now - LONGEST, now - IDLE))
            db.execute(
                "INSERT INTO session (hash, source, name, mark, who, groups, address, began, seen, checked)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?8)",
                (digest(text), source, name, mark, who, json.dumps(list(groups)), address, now),
            )
            db.execute(
                "DELETE FROM session WHERE hash IN (SELECT hash FROM session WHERE source = ? AND name = ?"
                f" ORDER BY began DESC, rowid DESC LIMIT -1 OFFSET {MOST})",
                (source, name),
            )
        return text

    def presented(self, text: str) -> Session | None:
        """Return the session that somebody presents, unless it is over."""
        if not text.startswith(PREFIX):
            return None
        rows = self.store.rows("SELECT * FROM session WHERE hash = ?", digest(text))
        found, now = (_session(rows[0]) if rows else None), time.time()
        if found is None:
            return None
        if found.is_over(now):
            self.end(text)
            return None
        if now - found.seen >= NOTED:
            with self.store.change() as db:
                db.execute("UPDATE session SET seen = ? WHERE hash = ?", (now, found.hash))
        return found

    def all(self, who: str = "") -> list[Session]:
        """Return the sessions that are not over, of somebody or of all, the newest first."""
        found = self.store.rows("SELECT * FROM session WHERE ?1 = '' OR who = ?1 ORDER BY began DESC, rowid DESC", who)
        now = time.time()
        return [each for each in map(_session, found) if not each.is_over(now)]

    def end_of(self, who: str) -> list[Session]:
        """End the sessions of somebody; return them."""
        found = self.all(who)
        with self.store.change() as db:
            db.execute("DELETE FROM session WHERE who = ?", (who,))
        return found

    def note_groups(self, session: Session, groups: Sequence[str]) -> None:
        """Note in which groups a person is now."""
        with self.store.change() as db:
            db.execute(
                "UPDATE session SET groups = ?, checked = ? WHERE hash = ?",
                (json.dumps(list(groups)), time.time(), session.hash),
            )

    def end(self, text: str) -> None:
        """End a session."""
        self._drop(digest(text))

    def _drop(self, hashed: str) -> None:
        with self.store.change() as db:
            db.execute("DELETE FROM session WHERE hash = ?", (hashed,))

    def key(self, session: Session) -> Key | None:
        """Return the rights that a session of an account or a token has now; None: that is gone."""
        if session.source == TOKEN:
            found = next((each for each in Tokens(self.store).all() if each.name == session.name), None)
        else:
            account = Accounts(self.store).named(session.name) if session.source == ACCOUNT else None
            found = account.key if account else None
        return found if found and found.blob == session.mark else None


def _session(row: Row) -> Session:
    return Session(**{**dict(row), "groups": tuple(json.loads(row["groups"]))})
