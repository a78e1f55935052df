"""The settings of backups, of a host (where and how) and of a project (what). Values only."""

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
    """The `backup` settings of a host."""

    repository: str = setting("", REPOSITORY, "The repository of backups: a folder, or another host over ssh.")
    passphrase_file: Path | None = setting(  # noqa: RUF009
        None,
        PROGRAM,
        "The file with the passphrase, readable by root only; null: backup.passphrase beside this file.",
    )
    ssh_key: Path | None = setting(None, PROGRAM, "The ssh key; null: root's own.")  # noqa: RUF009
    ssh_known_hosts: Path | None = setting(  # noqa: RUF009
        None, PROGRAM, "The file with the host key of that host, as in known_hosts; null: that of root."
    )
    compression: str = setting("zstd,3", CODEC, "The compression.")
    rate: int = setting(0, RATE, "The highest transfer rate to another host; 0: unlimited.")
    timeout: float = setting(21600, SECONDS, "The timeout of one run of the program.")
    hold: float = setting(600, SECONDS, "How long deployments of a project wait for its backup at most.")
    dump_timeout: float = setting(3600, SECONDS, "The timeout of the dump of one database.")
    keep_daily: int = setting(7, NUMBER, "How many daily backups are kept.")
    keep_weekly: int = setting(4, NUMBER, "How many weekly backups are kept.")
    keep_monthly: int = setting(6, NUMBER, "How many monthly backups are kept.")
    prune: bool | None = setting(
        None, YES_NO, "Whether this host removes older backups; null: only if the repository is a folder."
    )
    overdue: float = setting(36, HOURS, "The hours without a backup of a project after which it is overdue.")
    drill_overdue: float = setting(40, DAYS, "The days without a successful drill after which it is overdue.")
    check_overdue: float = setting(
        15, DAYS, "The days without a check of the repository after which doctor reports it."
    )
    lock_wait: float = setting(600, SECONDS, "How long to wait for the lock of the repository.")

    @property
    def prunes(self) -> bool:
        """Whether this host removes old backups: its key should not be able to on another host."""
        return self.repository.startswith("/") if self.prune is None else self.prune


def backup(body: Mapping[Any, Any] | None) -> Backup | None:
    """Check the settings; an empty mapping is none. Raise ConfigError."""
    if not body:
        return None
    found = Backup(**taken(keys_of(Backup), body, "backup."))
    if not found.repository:
        raise ConfigError("repository is missing", where=("backup",))
    return found


# the settings of a project

POSTGRESQL, MYSQL, SQLITE = "postgresql", "mysql", "sqlite"
DEPLOY = "deploy"  # before what a backup is made
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.$-]{0,62}")  # neither an option nor a connection string
LOGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@$-]{0,62}")
HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]*|/[^\0\n=]*")
HINT = command("help", "backups")
SUFFIXES = ("", "-wal", "-shm", "-journal")  # of the files of a database of SQLite


def _matches(pattern: re.Pattern[str], words: str) -> Kind:
    return Kind(words, lambda value: value == "" or (isinstance(value, str) and bool(pattern.fullmatch(value))))


def _is_below(value: Any) -> bool:
    """Return whether a value is a normalized relative path that stays below its folder."""
    return isinstance(value, str) and value != "" and posixpath.normpath(value) == value and not (
        value.startswith(("/", "../")) or value in (".", "..") or "\0" in value
    )  # fmt: skip


def _is_folder(value: Any) -> bool:
    """Return whether a value is a normalized absolute path, but not the root."""
    return isinstance(value, str) and value.startswith("/") and _is_below(value[1:])


BELOW = Kind(
    "a list of paths below data/ or below one of the folders",
    lambda value: isinstance(value, list) and all(_is_below(each) or _is_folder(each) for each in value),
    tuple,
)
FOLDERS = Kind(
    "a list of absolute paths",
    lambda value: isinstance(value, list) and all(map(_is_folder, value)),
    tuple,
)
DATABASES = Kind(
    "a list of mappings",
    lambda value: isinstance(value, list) and all(isinstance(each, Mapping) for each in value),
    lambda value: tuple(_database(f"databases.{index}", each) for index, each in enumerate(value)),
)


@dataclass(frozen=True)
class Database:
    """A database to dump."""

    kind: str = setting("", one_of(POSTGRESQL, MYSQL, SQLITE), "The kind of database.")
    name: str = setting("", _matches(NAME, "the name of a database"), "Its name.")
    file: str = setting("", Kind("a path", lambda value: isinstance(value, str)), "SQLite: its file, below data/.")
    host: str = setting("", _matches(HOST, "a host, or the folder of a socket"), "The server's host.")
    port: int = setting(
        0, Kind("a port", lambda value: is_whole(value) and 0 < value < 65536), "The port of its server."
    )
    user: str = setting("", _matches(LOGIN, "the name of a user"), "The user that dumps it.")
    password: str = setting("", Kind("a text", lambda value: isinstance(value, str), secret=True), "The password.")

    @property
    def label(self) -> str:
        """Its name for people."""
        return self.file if self.kind == SQLITE else self.name


@dataclass(frozen=True)
class Wanted:
    """The `backup` of a cfg: which paths of data/ are excluded, and which databases are dumped."""

    folders: tuple[str, ...] = setting((), FOLDERS, "Folders outside data/ that are included.")
    exclude: tuple[str, ...] = setting((), BELOW, "The paths of data/ and of the folders that are excluded.")
    databases: tuple[Database, ...] = setting((), DATABASES, "The databases that are dumped.")
    before: str = setting(
        "", Kind(DEPLOY, lambda value: value in ("", DEPLOY)), "`deploy`: a deployment makes a backup first."
    )

    @property
    def without(self) -> tuple[str, ...]:
        """The excluded paths below data/, with the files of SQLite databases, which are dumped instead."""
        files = (f"{one.file}{end}" for one in self.databases if one.kind == SQLITE for end in SUFFIXES)
        return tuple(dict.fromkeys([*(path for path in self.exclude if not path.startswith("/")), *files]))

    def without_in(self, folder: str) -> tuple[str, ...]:
        """Return the excluded paths below one of the folders."""
        return tuple(path.removeprefix(f"{folder}/") for path in self.exclude if path.startswith(f"{folder}/"))


def of(cfg: Mapping[str, Any]) -> Wanted:
    """Return the `backup` of a cfg; raise ConfigError."""
    try:
        body = cfg.get("backup") or {}
        if not isinstance(body, Mapping):
            raise ConfigError(f"expected a mapping, got {shown(body)}")
        found = Wanted(**taken(keys_of(Wanted), body))
        databases = tuple(_placed(one, str(cfg["data_root"])) for one in found.databases)
        labels = [one.label for one in databases]
        if twice := next((label for label in labels if labels.count(label) > 1), ""):
            raise ConfigError(f"duplicate database {shown(twice)}", where=("databases",))
        _check_folders(found, str(cfg["data_root"]))
        return replace(found, databases=databases)
    except ConfigError as exc:
        raise ConfigError.of(exc, "cfg", "backup", hint=HINT) from exc


def may_come_first(cfg: Mapping[str, Any] | None) -> bool:
    """Say whether a cfg whose `backup` is wrong, or that is unknown, could want a backup before each deployment."""
    if cfg is None:
        return True
    body = cfg.get("backup")
    return isinstance(body, Mapping) and bool(body.get("before"))


def _check_folders(found: Wanted, data: str) -> None:
    """Raise ConfigError for a folder that is in another one or in data/, and for an exclusion that is in none."""
    folders = [*found.folders, data]
    for index, folder in enumerate(folders):
        for other in folders[index + 1 :]:
            if folder == other or folder.startswith(f"{other}/") or other.startswith(f"{folder}/"):
                raise ConfigError(f"{shown(folder)} and {shown(other)} overlap", where=("folders",))
    for path in found.exclude:
        if path.startswith("/") and not any(path.startswith(f"{folder}/") for folder in found.folders):
            raise ConfigError(f"{shown(path)} is in none of the folders", where=("exclude",))


def _database(above: str, body: Mapping[Any, Any]) -> Database:
    found = Database(**taken(keys_of(Database), body, f"{above}."))
    needed = "file" if found.kind == SQLITE else "name"
    for key in ("kind", needed):
        if not getattr(found, key):
            raise ConfigError(f"{key} is missing", where=(above,))
    return found


def _placed(one: Database, data: str) -> Database:
    """Return an SQLite database with its path relative to data/."""
    if one.kind != SQLITE:
        return one
    path = one.file.removeprefix(f"{data}/")
    if not _is_below(path):
        raise ConfigError(f"expected the path of a file below {data}, got {shown(one.file)}", where=("databases",))
    return replace(one, file=path)


# the names of backups

FILES, FOLDERS_OF = "+files", "+folders"
ITSELF = "_host"  # in the place of a project: the host itself
CALLED = re.compile(
    r"(_host|[a-z0-9][a-z0-9_-]*)\.([1-9][0-9]{0,17})\.([0-9]{8}T[0-9]{6}Z)(\+files|\+folders)?@([A-Za-z0-9.-]+)"
)


def host_name(host: str) -> str:
    """Return the name of a host as used in the name of a backup."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", host) or "localhost"


class Name(NamedTuple):
    """The name of a backup in the repository. It is complete if an archive of that name exists.

    Other archives have its files, and the folders outside data/ if cfg names any; they are made first.
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
        """Parse the name of an archive: its backup, and whether it is only a part of it; None for any other."""
        found = CALLED.fullmatch(text)
        return (cls(found[1], int(found[2]), found[3], found[5]), bool(found[4])) if found else None

    @property
    def files(self) -> str:
        """The name of the archive of its files."""
        return f"{self.project}.{self.number}.{self.at}{FILES}@{self.host}"

    @property
    def folders(self) -> str:
        """The name of the archive of the folders outside data/."""
        return f"{self.project}.{self.number}.{self.at}{FOLDERS_OF}@{self.host}"

    def __str__(self) -> str:
        return f"{self.project}.{self.number}.{self.at}@{self.host}"


def retained(names: Collection[Name], settings: Backup) -> set[Name]:
    """Return the backups of one project and host to keep: the newest, and the last of days, weeks and months."""
    newest = sorted(names, key=lambda name: (name.at, name.number), reverse=True)
    rules: tuple[tuple[int, Callable[[time.struct_time], str]], ...] = (
        (settings.keep_daily, lambda at: time.strftime("%Y-%j", at)),
        (settings.keep_weekly, lambda at: time.strftime("%G-%V", at)),
        (settings.keep_monthly, lambda at: time.strftime("%Y-%m", at)),
    )
    last = max(names, key=lambda name: (name.number, name.at), default=None)  # the clock can have been wrong
    kept = {last} if last else set()
    for number, period in rules:
        of_each: dict[str, Name] = {}
        for name in newest:
            of_each.setdefault(period(time.strptime(name.at, "%Y%m%dT%H%M%SZ")), name)
        kept |= set(list(of_each.values())[:number])
    return kept
