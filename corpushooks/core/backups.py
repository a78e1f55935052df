"""What the settings and a cfg say of backups: where and how they are kept, and what of a project. Values only."""

from __future__ import annotations

import posixpath
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from corpushooks.core.errors import ConfigError
from corpushooks.core.hints import command
from corpushooks.core.schema import (
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

PLACE = re.compile(r"/[^:\s]*[^:\s/]|ssh://[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+(:[0-9]{1,5})?/[^:\s]+")
COMPRESSION = re.compile(r"none|lz4|(zstd|zlib|lzma)(,[0-9]{1,2})?|auto,(lz4|(zstd|zlib|lzma)(,[0-9]{1,2})?)")
REPOSITORY = Kind(
    "the path of a folder, or ssh://USER@HOST/PATH",
    lambda value: isinstance(value, str) and bool(PLACE.fullmatch(value)),
)
HOURS = Kind("a positive number of hours", is_positive)
DAYS = Kind("a positive number of days", is_positive)
NUMBER = Kind("a whole number", lambda value: is_whole(value) and value >= 0)
YES_NO = Kind("true, false or null", lambda value: value is None or isinstance(value, bool))
RATE = Kind("a whole number of KiB per second, or 0", lambda value: is_whole(value) and value >= 0)
CODEC = Kind(
    "none, lz4, or zstd, zlib or lzma with a level (zstd,3)",
    lambda value: isinstance(value, str) and bool(COMPRESSION.fullmatch(value)),
)


@dataclass(frozen=True)
class Backup:
    """Where the backups of this host are kept, and how."""

    repository: str = setting("", REPOSITORY, "Where they are kept: a folder, or another host over ssh.")
    passphrase_file: Path | None = setting(  # noqa: RUF009
        None,
        PROGRAM,
        "The file with the passphrase, which only root can read; null: backup.passphrase beside this one.",
    )
    ssh_key: Path | None = setting(None, PROGRAM, "The key for ssh; null: those of root.")  # noqa: RUF009
    compression: str = setting("zstd,3", CODEC, "How they are compressed.")
    rate: int = setting(0, RATE, "How fast they are sent to another host at most; 0: any.")
    timeout: float = setting(21600, SECONDS, "How long one run of the program may take.")
    hold: float = setting(600, SECONDS, "How long deployments of a project wait for a backup of it at most.")
    dump_timeout: float = setting(3600, SECONDS, "How long the dump of one database may take.")
    keep_daily: int = setting(7, NUMBER, "Of how many days the last backup of each is kept.")
    keep_weekly: int = setting(4, NUMBER, "Of how many weeks.")
    keep_monthly: int = setting(6, NUMBER, "Of how many months.")
    prune: bool | None = setting(
        None, YES_NO, "Whether this host removes what is older; null: where the repository is a folder."
    )
    overdue: float = setting(36, HOURS, "After how many hours without a backup of a project it is overdue.")
    drill_overdue: float = setting(40, DAYS, "After how many days without a drill that succeeded it is overdue.")
    check_overdue: float = setting(15, DAYS, "After how many days without a check of the repository doctor says so.")
    lock_wait: float = setting(600, SECONDS, "How long it waits for another that uses the repository.")

    @property
    def prunes(self) -> bool:
        """Whether this host removes what is old: elsewhere its key should not be able to."""
        return self.repository.startswith("/") if self.prune is None else self.prune


def backup(body: Mapping[Any, Any] | None) -> Backup | None:
    """Check what the settings say; an empty mapping says nothing. Raise ConfigError."""
    if not body:
        return None
    found = Backup(**taken(keys_of(Backup), body, "backup."))
    if not found.repository:
        raise ConfigError("repository is missing", where=("backup",))
    return found


# what a cfg names

POSTGRESQL, MYSQL, SQLITE = "postgresql", "mysql", "sqlite"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.$-]{0,62}")  # neither an option nor a connection string
LOGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@$-]{0,62}")
HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]*|/[^\0\n=]*")
HINT = command("help", "backups")
SUFFIXES = ("", "-wal", "-shm", "-journal")  # of the files of a database of SQLite


def _matches(pattern: re.Pattern[str], words: str) -> Kind:
    return Kind(words, lambda value: value == "" or (isinstance(value, str) and bool(pattern.fullmatch(value))))


def _is_below(value: Any) -> bool:
    """Say whether a value is the path of something below a folder, as it is written there."""
    return isinstance(value, str) and value != "" and posixpath.normpath(value) == value and not (
        value.startswith(("/", "../")) or value in (".", "..") or "\0" in value
    )  # fmt: skip


BELOW = Kind(
    "a list of paths below data/",
    lambda value: isinstance(value, list) and all(map(_is_below, value)),
    tuple,
)
DATABASES = Kind(
    "a list of mappings",
    lambda value: isinstance(value, list) and all(isinstance(each, Mapping) for each in value),
    lambda value: tuple(_database(f"databases.{index}", each) for index, each in enumerate(value)),
)


@dataclass(frozen=True)
class Database:
    """A database whose dump is kept."""

    kind: str = setting("", one_of(POSTGRESQL, MYSQL, SQLITE), "What it is a database of.")
    name: str = setting("", _matches(NAME, "the name of a database"), "Its name.")
    file: str = setting("", Kind("a path", lambda value: isinstance(value, str)), "Of SQLite: its file, below data/.")
    host: str = setting("", _matches(HOST, "a host, or the folder of a socket"), "Where its server is.")
    port: int = setting(0, Kind("a port", lambda value: is_whole(value) and 0 < value < 65536), "The port there.")
    user: str = setting("", _matches(LOGIN, "the name of a user"), "As whom it is dumped.")
    password: str = setting("", Kind("a text", lambda value: isinstance(value, str), secret=True), "The password.")

    @property
    def label(self) -> str:
        """What people call it."""
        return self.file if self.kind == SQLITE else self.name


@dataclass(frozen=True)
class Wanted:
    """What a cfg says of backups: what of data/ is not kept, and which databases are."""

    exclude: tuple[str, ...] = setting((), BELOW, "What of data/ is not kept.")
    databases: tuple[Database, ...] = setting((), DATABASES, "The databases that are dumped.")

    @property
    def without(self) -> tuple[str, ...]:
        """The paths below data/ that are not kept as they are: of a database of SQLite the dump is."""
        files = (f"{one.file}{end}" for one in self.databases if one.kind == SQLITE for end in SUFFIXES)
        return tuple(dict.fromkeys([*self.exclude, *files]))


def of(cfg: Mapping[str, Any]) -> Wanted:
    """Return what a cfg says by its `backup`; raise ConfigError."""
    try:
        body = cfg.get("backup") or {}
        if not isinstance(body, Mapping):
            raise ConfigError(f"expected a mapping, got {shown(body)}")
        found = Wanted(**taken(keys_of(Wanted), body))
        databases = tuple(_placed(one, str(cfg["data_root"])) for one in found.databases)
        labels = [one.label for one in databases]
        if twice := next((label for label in labels if labels.count(label) > 1), ""):
            raise ConfigError(f"{twice} is named twice", where=("databases",))
        return Wanted(found.exclude, databases)
    except ConfigError as exc:
        raise ConfigError.of(exc, "cfg", "backup", hint=HINT) from exc


def _database(above: str, body: Mapping[Any, Any]) -> Database:
    found = Database(**taken(keys_of(Database), body, f"{above}."))
    needed = "file" if found.kind == SQLITE else "name"
    for key in ("kind", needed):
        if not getattr(found, key):
            raise ConfigError(f"{key} is missing", where=(above,))
    return found


def _placed(one: Database, data: str) -> Database:
    """Return a database of SQLite with the path of its file below data/."""
    if one.kind != SQLITE:
        return one
    path = one.file.removeprefix(f"{data}/")
    if not _is_below(path):
        raise ConfigError(f"expected the path of a file below {data}, got {shown(one.file)}", where=("databases",))
    return replace(one, file=path)


# what a backup is called

FILES = "+files"
CALLED = re.compile(r"([a-z0-9][a-z0-9_-]*)\.([1-9][0-9]{0,17})\.([0-9]{8}T[0-9]{6}Z)(\+files)?@([A-Za-z0-9.-]+)")


def host_name(host: str) -> str:
    """Return the name of a host as that of a backup has it."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", host) or "localhost"


class Name(NamedTuple):
    """What a backup is called in the repository. It is whole where there is a copy of that name.

    Beside that there is one of its files, made before.
    """

    project: str
    number: int  # of the request that made it
    at: str  # in UTC
    host: str

    @classmethod
    def new(cls, project: str, number: int, at: float, host: str) -> Name:
        """Return the name of a backup that begins `at` a time, in seconds since the epoch."""
        return cls(project, number, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at)), host_name(host))

    @classmethod
    def read(cls, text: str) -> tuple[Name, bool] | None:
        """Return the backup that a copy belongs to, and whether it is that of its files; None for any other copy."""
        found = CALLED.fullmatch(text)
        return (cls(found[1], int(found[2]), found[3], found[5]), bool(found[4])) if found else None

    @property
    def files(self) -> str:
        """What the copy of its files is called."""
        return f"{self.project}.{self.number}.{self.at}{FILES}@{self.host}"

    def __str__(self) -> str:
        return f"{self.project}.{self.number}.{self.at}@{self.host}"


def retained(names: Collection[Name], settings: Backup) -> set[Name]:
    """Return which backups of one project and host are kept: the newest, and the last of days, weeks and months."""
    newest = sorted(names, key=lambda name: (name.at, name.number), reverse=True)
    rules: tuple[tuple[int, Callable[[time.struct_time], str]], ...] = (
        (settings.keep_daily, lambda at: time.strftime("%Y-%j", at)),
        (settings.keep_weekly, lambda at: time.strftime("%G-%V", at)),
        (settings.keep_monthly, lambda at: time.strftime("%Y-%m", at)),
    )
    kept = set(newest[:1])
    for number, period in rules:
        last: dict[str, Name] = {}
        for name in newest:
            last.setdefault(period(time.strptime(name.at, "%Y%m%dT%H%M%SZ")), name)
        kept |= set(list(last.values())[:number])
    return kept
