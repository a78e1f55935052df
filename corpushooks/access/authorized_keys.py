"""The door to an authorized_keys file, for hosts whose sshd cannot ask us: a block of it is ours, marked as such."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from corpushooks.access.keys import KINDS, fingerprint
from corpushooks.core.errors import DoorError, RefusedError
from corpushooks.system import disk

BEGIN = "# corpushooks: keys below are written by `corpus key`; changes here are lost"
END = "# corpushooks: end of keys"


def write(path: Path, lines: Sequence[str]) -> bool:
    """Make our block of a file these lines, and leave the others as they are; return whether it changed.

    Raise RefusedError if a key stands outside the block too (it would open a shell), or somebody else wrote
    meanwhile.
    """
    before = _read(path)
    foreign = _foreign(path, before)
    ours = {fingerprint(line.split()[-2]) for line in lines}
    for number, line in foreign:
        if _fingerprint(line) in ours:
            raise RefusedError(f"{path}, line {number}: a key of the store stands here too", "take that line out")
    block = [BEGIN, *lines, END] if lines else []
    text = "".join(f"{line}\n" for line in (*(line for _, line in foreign), *block))
    if text == before:
        return False
    found = path.stat() if path.exists() else None
    if _read(path) != before:
        raise RefusedError(f"{path} was changed meanwhile", "do it again")
    disk.write_file(path, text.encode("utf-8", "surrogateescape"), 0o600)
    if found:
        os.chown(path, found.st_uid, found.st_gid)
    return True


def _read(path: Path) -> str:
    try:
        with contextlib.suppress(FileNotFoundError):
            return path.read_text("utf-8", "surrogateescape")
    except OSError as exc:
        raise DoorError(f"{path} cannot be read: {exc.strerror}") from exc
    return ""


def _foreign(path: Path, text: str) -> list[tuple[int, str]]:
    """Return the lines, with their numbers, that are not ours."""
    kept, inside = [], False
    for number, line in enumerate(text.splitlines(), 1):
        if line in (BEGIN, END):
            if inside == (line == BEGIN):
                raise RefusedError(f"{path}, line {number}: the marks of our block are not a pair", "mend the file")
            inside = line == BEGIN
        elif not inside:
            kept.append((number, line))
    if inside:
        raise RefusedError(f"{path}: the end of our block is missing", f"add the line: {END}")
    return kept


def _fingerprint(line: str) -> str:
    """Return the fingerprint of the key in a line, whatever options stand before it; nothing if there is none."""
    words = line.split()
    for kind, blob in itertools.pairwise(words):
        if kind in KINDS and not line.lstrip().startswith("#"):
            with contextlib.suppress(ValueError):
                return fingerprint(blob)
    return ""
