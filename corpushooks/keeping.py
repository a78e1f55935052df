"""What the settings say of backups: where they are kept, and how. Values only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpushooks.errors import ConfigError
from corpushooks.schema import PROGRAM, SECONDS, Kind, is_whole, keys_of, setting, taken

PLACE = re.compile(r"/[^:\s]*[^:\s/]|ssh://[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+(:[0-9]{1,5})?/[^:\s]+")
COMPRESSION = re.compile(r"none|lz4|(zstd|zlib|lzma)(,[0-9]{1,2})?|auto,(lz4|(zstd|zlib|lzma)(,[0-9]{1,2})?)")
REPOSITORY = Kind(
    "the path of a folder, or ssh://USER@HOST/PATH",
    lambda value: isinstance(value, str) and bool(PLACE.fullmatch(value)),
)
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
    lock_wait: float = setting(600, SECONDS, "How long it waits for another that uses the repository.")


def backup(body: Mapping[Any, Any] | None) -> Backup | None:
    """Check what the settings say; an empty mapping says nothing. Raise ConfigError."""
    if not body:
        return None
    found = Backup(**taken(keys_of(Backup), body, "backup."))
    if not found.repository:
        raise ConfigError("repository is missing", where=("backup",))
    return found
