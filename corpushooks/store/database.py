"""The file of the store: versions, transactions, and the rescue of a damaged one.

The only user of sqlite3. Commits are flushed to the disk. A missing or damaged store is never silently recreated:
that needs a person.
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
PATIENCE = 30.0  # seconds to wait for another process to release the store

HINT = command("rebuild")
UNREADABLE = "this account cannot access the store of this host"
PROBES = 1_000_000  # rows of a damaged table that are tried one by one


def files(path: Path) -> list[Path]:
    """Return the files of a store: the database, and two of sqlite's beside it."""
    return [path, *(path.with_name(f"{path.name}-{end}") for end in ("wal", "shm"))]


def is_ours(folder: Path) -> bool:
    """Return whether we can use the store in a folder: the folder is ours, or we are root."""
    try:
        return os.geteuid() in (0, folder.stat().st_uid)
    except OSError:
        return False


def _begin(path: Path) -> None:
    """Create an empty store aside and rename it, so that a file of its name is always a complete store."""
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
        pass  # another process was faster
    finally:
        aside.unlink(missing_ok=True)
    disk.flush_folder(path.parent)


@dataclass
class Store:
    """An open store, with one connection and one lock, for any thread. `patience` is in seconds."""

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
            if not os.access(self.path, os.R_OK | os.W_OK, effective_ids=True):  # sqlite would not say why
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
            if self._version() == 0:  # not a store of ours; do not write to it
                raise LostStoreError(f"the store {self.path} is damaged: it is empty", HINT)
            self._refuse_newer()
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            if self._version() < VERSION:
                self._migrate()
        except (sqlite3.Error, OSError) as exc:
            raise self._error(exc, "cannot be opened") from exc

    def _error(self, exc: Exception, what: str = "") -> StoreError:
        """Return the error for one of sqlite, which has no class of its own for a damaged file."""
        if type(exc) is sqlite3.DatabaseError:
            return LostStoreError(f"the store {self.path} is damaged: {exc}", HINT)
        if found := obstacle(files(self.path), self.path.parent):
            return StoreError(f"the store {self.path} cannot be used: {found.what}", found.repair)
        look = f"ls -la {shlex.quote(str(self.path.parent))}"
        return StoreError(f"the store {self.path}{what and ' '}{what}: {exc}", look)

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _migrate(self) -> None:
        """Migrate a store of an older version, and keep a copy of the old one beside it."""
        with self._transaction() as db:
            older = self._version()  # possibly another process was faster
            if older < VERSION:
                self._keep_copy(older)
            for version in range(older + 1, VERSION + 1):
                for statement in MIGRATIONS[version]:
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")

    def _refuse_newer(self) -> None:
        if self._version() > VERSION:
            raise StoreError(
                f"the store {self.path} was written by a newer corpushooks (store version {self._version()})",
                hint="install that version again, or restart processes that still run the older one",
            )

    def _keep_copy(self, version: int) -> None:
        """Copy the store, outside our transaction, to NAME.vVERSION."""
        kept = self.path.with_name(f"{self.path.name}.v{version}")
        aside = kept.with_name(f"{kept.name}.new")
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(aside)) as copy:
            source.backup(copy)
        aside.chmod(0o600)
        aside.rename(kept)
        disk.flush_folder(kept.parent)

    def copy(self, to: Path) -> None:
        """Write a consistent copy of the store to a new file. Raise StoreError."""
        try:
            with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(to)) as copy:
                to.chmod(0o600)
                source.backup(copy)
        except (sqlite3.Error, OSError) as exc:
            raise StoreError(f"cannot copy the store {self.path}: {exc}") from exc

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
        """One transaction, if the store was neither replaced nor migrated to a newer version meanwhile."""
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
            raise LostStoreError(f"the store {self.path} was removed or replaced while it was in use", HINT)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction, flushed to the disk at its end; rolled back on an error."""
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
        """Insert rows, except invalid and existing ones; return how many were inserted."""
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
    """The readable part of a damaged store: table -> rows, and the tables with losses."""

    rows: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    damaged: frozenset[str] = frozenset(TABLES)


def salvage(path: Path) -> Salvage:
    """Read a damaged store; `path` is a copy, which can be changed."""
    rows, damaged = {}, set()
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        for table in TABLES:
            rows[table], whole = _readable(db, table)
            if not whole:
                damaged.add(table)
    return Salvage(rows, frozenset(damaged))


def _readable(db: sqlite3.Connection, table: str) -> tuple[list[dict[str, Any]], bool]:
    """Return the readable rows of a table, and whether these are all; after damage rows are read one by one."""
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
    """Rename the files of a store to NAME.MARK…; the store itself first, so that no process opens a part of it."""
    kept = []
    for file in files(path):
        if file.exists():
            end = file.name.removeprefix(path.name)
            kept.append(file.rename(path.with_name(f"{path.name}.{mark}{end}")))
            disk.flush_folder(path.parent)
    return kept


def put(new: Path, path: Path) -> None:
    """Rename a closed store to its final name."""
    new.rename(path)
    disk.flush_folder(path.parent)
