"""The file of the store: its versions, transactions, and what is left of a damaged one.

The only user of sqlite3. What is committed is on the disk. A store that is gone or damaged is never begun anew in
silence: that needs a person.
"""

from __future__ import annotations

import os
import secrets
import shlex
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from corpushooks.core.errors import LostStoreError, NotAllowedError, StoreError
from corpushooks.core.hints import command
from corpushooks.store.migrations import MIGRATIONS, SCHEMA, TABLES, VERSION
from corpushooks.system import disk
from corpushooks.system.obstacles import obstacle, replaced

Connection = sqlite3.Connection
Row = sqlite3.Row
PATIENCE = 30.0  # seconds that another process may hold the store

HINT = command("rebuild")
UNREADABLE = "this account cannot use the store of this host"
PROBES = 1_000_000  # rows of a damaged table that are looked for one by one


def files(path: Path) -> list[Path]:
    """Return the files of a store: sqlite keeps two beside it."""
    return [path, *(path.with_name(f"{path.name}-{end}") for end in ("wal", "shm"))]


def is_ours(folder: Path) -> bool:
    """Return whether the store in a folder is for us to use: the folder is ours, or we are root."""
    try:
        return os.geteuid() in (0, folder.stat().st_uid)
    except OSError:
        return False


def _begin(path: Path) -> None:
    """Make an empty store: aside, then in place, so that a file of its name is always a whole store."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        with closing(sqlite3.connect(aside, isolation_level=None)) as db:
            db.execute("BEGIN")
            for statement in (*SCHEMA.split(";\n"), *(one for each in MIGRATIONS.values() for one in each)):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
            db.execute("COMMIT")
        aside.chmod(0o600)
        os.link(aside, path)
    except FileExistsError:
        pass  # somebody else was faster
    finally:
        aside.unlink(missing_ok=True)
    disk.flush_folder(path.parent)


@dataclass
class Store:
    """An open store. One connection, one lock: any thread may use it. `patience` is in seconds."""

    path: Path
    patience: float = PATIENCE
    _db: sqlite3.Connection = field(init=False, repr=False)
    _inode: int = field(init=False, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.path.exists():
                _begin(self.path)
            if other := replaced(files(self.path)):
                raise LostStoreError(f"the store {self.path} is damaged: {other}", HINT)
            if not os.access(self.path, os.R_OK | os.W_OK, effective_ids=True):  # sqlite says only that it cannot
                raise PermissionError("no access")
            self._db = sqlite3.connect(
                f"file:{quote(str(self.path))}?mode=rw", uri=True, isolation_level=None, check_same_thread=False,
                timeout=self.patience,
            )  # fmt: skip
        except (sqlite3.Error, OSError) as exc:
            if isinstance(exc, PermissionError) and not is_ours(self.path.parent):
                raise NotAllowedError(UNREADABLE) from None
            raise self._error(exc, "cannot be opened") from exc
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        try:
            found = self.path.stat()
            self._inode = found.st_ino
            if found.st_mode & 0o777 != 0o600:
                self.path.chmod(0o600)
            self._db.row_factory = sqlite3.Row
            if self._version() == 0:  # no version of ours; to go on would write on it
                raise LostStoreError(f"the store {self.path} is damaged: it holds nothing", HINT)
            self._refuse_newer()
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            if self._version() < VERSION:
                self._migrate()
        except (sqlite3.Error, OSError) as exc:
            raise self._error(exc, "cannot be opened") from exc

    def _error(self, exc: Exception, what: str = "") -> StoreError:
        """Return what to raise for an error of sqlite; it has no class of its own for a damaged file."""
        if type(exc) is sqlite3.DatabaseError:
            return LostStoreError(f"the store {self.path} is damaged: {exc}", HINT)
        if found := obstacle(files(self.path), self.path.parent):
            return StoreError(f"the store {self.path} cannot be used: {found.what}", found.repair)
        look = f"ls -la {shlex.quote(str(self.path.parent))}"
        return StoreError(f"the store {self.path}{what and ' '}{what}: {exc}", look)

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _migrate(self) -> None:
        """Bring a store of an older version to ours, a copy of it kept beside it."""
        with self._transaction() as db:
            older = self._version()  # another process may have been faster
            if older < VERSION:
                self._keep_copy(older)
            for version in range(older + 1, VERSION + 1):
                for statement in MIGRATIONS[version]:
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")

    def _refuse_newer(self) -> None:
        if self._version() > VERSION:
            raise StoreError(
                f"the store {self.path} is of a newer corpushooks (version {self._version()})",
                hint="install that one again, or restart what still runs as the older one",
            )

    def _keep_copy(self, version: int) -> None:
        """Copy the store as it is, from beside our transaction, to NAME.vVERSION."""
        kept = self.path.with_name(f"{self.path.name}.v{version}")
        aside = kept.with_name(f"{kept.name}.new")
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(aside)) as copy:
            source.backup(copy)
        aside.chmod(0o600)
        aside.rename(kept)
        disk.flush_folder(kept.parent)

    def copy(self, to: Path) -> None:
        """Write a copy of the store as it is at one moment, to a file that is not there yet. Raise StoreError."""
        try:
            with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(to)) as copy:
                to.chmod(0o600)
                source.backup(copy)
        except (sqlite3.Error, OSError) as exc:
            raise StoreError(f"the store {self.path} cannot be copied: {exc}") from exc

    def check(self) -> None:
        """Read the whole store; raise LostStoreError if it is damaged."""
        for row in self.rows("PRAGMA quick_check(1)"):
            if row[0] != "ok":
                raise LostStoreError(f"the store {self.path} is damaged: {' '.join(str(row[0]).split())}", HINT)

    def close(self) -> None:
        """Close the store."""
        with self._lock:
            self._db.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction on a store that is still ours: neither replaced nor made newer meanwhile."""
        with self._transaction() as db:
            self._refuse_newer()
            self._refuse_replaced()
            yield db

    def _refuse_replaced(self) -> None:
        try:
            replaced = self.path.stat().st_ino != self._inode
        except FileNotFoundError:
            replaced = True
        if replaced:
            raise LostStoreError(f"the store {self.path} was taken away while it was in use", HINT)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on the disk when it ends; nothing of it where an error ends it."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as exc:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(exc, sqlite3.Error):
                    raise self._error(exc) from exc
                raise

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            try:
                return self._db.execute(query, values).fetchall()
            except sqlite3.Error as exc:
                raise self._error(exc) from exc

    def fill(self, table: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add rows as they are, but those that no store could hold, or that are there; return how many were."""
        with self.change() as db:
            known = {row["name"] for row in db.execute(f"PRAGMA table_info({table})")}
            before = db.total_changes
            for row in rows:
                kept = {name: value for name, value in row.items() if name in known}
                marks = ", ".join("?" * len(kept))
                with suppress(sqlite3.IntegrityError):
                    db.execute(f"INSERT INTO {table} ({', '.join(kept)}) VALUES ({marks})", tuple(kept.values()))
            return db.total_changes - before


@dataclass(frozen=True)
class Salvage:
    """What can still be read of a damaged store: table -> rows, and the tables of which something is lost."""

    rows: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    damaged: frozenset[str] = frozenset(TABLES)


def salvage(path: Path) -> Salvage:
    """Read a damaged store; `path` is a copy, which may change."""
    rows, damaged = {}, set()
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        for table in TABLES:
            rows[table], whole = _readable(db, table)
            if not whole:
                damaged.add(table)
    return Salvage(rows, frozenset(damaged))


def _readable(db: sqlite3.Connection, table: str) -> tuple[list[dict[str, Any]], bool]:
    """Return the rows of a table that can be read, and whether these are all; past a damage each row by itself."""
    rows: list[dict[str, Any]] = []
    with suppress(sqlite3.Error):
        rows += map(dict, db.execute(f"SELECT rowid AS row_, * FROM {table} ORDER BY rowid"))
        return rows, True
    last = rows[-1]["row_"] if rows else 0
    try:
        top = db.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0] or 0
    except sqlite3.Error:
        return rows, False
    for rowid in range(last + 1, min(top, last + PROBES) + 1):
        with suppress(sqlite3.Error):
            rows += map(dict, db.execute(f"SELECT * FROM {table} WHERE rowid = ?", (rowid,)))
    return rows, False


def keep_aside(path: Path, mark: str) -> list[Path]:
    """Give what is left of a store other names, NAME.MARK…; the store itself first, so that nobody opens a half."""
    kept = []
    for file in files(path):
        if file.exists():
            end = file.name.removeprefix(path.name)
            kept.append(file.rename(path.with_name(f"{path.name}.{mark}{end}")))
            disk.flush_folder(path.parent)
    return kept


def put(new: Path, path: Path) -> None:
    """Give a store that is closed its name."""
    new.rename(path)
    disk.flush_folder(path.parent)
