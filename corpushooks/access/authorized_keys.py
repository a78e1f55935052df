"""The door to an authorized_keys file, for hosts whose sshd cannot ask us: a marked block of it is ours."""

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
    """Write these lines to our block of a file, without changing others; return whether anything changed.

    Raise RefusedError if a key is also listed outside the block (it would open a shell), or the file was changed
    meanwhile.
    """
    before = _read(path)
    foreign = _foreign(path, before)
    ours = {fingerprint(line.split()[-2]) for line in lines}
    for number, line in foreign:
        if _fingerprint(line) in ours:
            raise RefusedError(
                f"{path}, line {number}: this key is also listed outside the managed block", "remove the line"
            )
    block = [BEGIN, *lines, END] if lines else []
    text = "".join(f"{line}\n" for line in (*(line for _, line in foreign), *block))
    if text == before:
        return False
    found = path.stat() if path.exists() else None
    if _read(path) != before:
        raise RefusedError(f"{path} was changed meanwhile", "try again")
    disk.write_file(path, text.encode("utf-8", "surrogateescape"), 0o600)
    if found:
        os.chown(path, found.st_uid, found.st_gid)
    return True


def _read(path: Path) -> str:
    try:
        with contextlib.suppress(FileNotFoundError):
            return path.read_text("utf-8", "surrogateescape")
    except OSError as exc:
        raise DoorError(f"cannot read {path}: {exc.strerror}") from exc
    return ""


def _foreign(path: Path, text: str) -> list[tuple[int, str]]:
    """Return the lines outside our block, with their numbers."""
    kept, inside = [], False
    for number, line in enumerate(text.splitlines(), 1):
        if line in (BEGIN, END):
            if inside == (line == BEGIN):
                raise RefusedError(f"{path}, line {number}: unmatched mark of the managed block", "repair the file")
            inside = line == BEGIN
        elif not inside:
            kept.append((number, line))
    if inside:
        raise RefusedError(f"{path}: the end of the managed block is missing", f"add the line: {END}")
    return kept


def _fingerprint(line: str) -> str:
    """Return the fingerprint of the key in a line, after any options; nothing if there is none."""
    words = line.split()
    for kind, blob in itertools.pairwise(words):
        if kind in KINDS and not line.lstrip().startswith("#"):
            with contextlib.suppress(ValueError):
                return fingerprint(blob)
    return ""
