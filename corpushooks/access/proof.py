"""Checks what people present to sign in, in a child: a program of its own, which takes JSON and gives JSON.

A password takes time and memory on purpose, and what comes from elsewhere is parsed by libraries: neither happens in
the daemon. As root the child gives up its rights before it looks at anything. Argon2 is imported here only.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from corpushooks.core.errors import ConfigError, CorpusError
from corpushooks.system import distribution

NOBODY = 65534
LIMIT = 1 << 20  # bytes of what is asked
# Of a password that nobody has: checked where there is no account, so that it takes as long as where there is one.
NONE = "$argon2id$v=19$m=65536,t=3,p=4$XacB3M5SLxR56n4ZAs9nPg$BaZDreEWQIb6NS+WSLhq8GLkchJ4cBgnD9bzWixkDf8"

Said = dict[str, Any]


def hash_(asked: Said) -> Said:
    """Return the hash of a new password."""
    return {"hash": _argon2().PasswordHasher().hash(asked["password"])}


def verify(asked: Said) -> Said:
    """Say whether a password has a hash; none is never right."""
    argon2 = _argon2()
    try:
        right = argon2.PasswordHasher().verify(asked["hash"] or NONE, asked["password"])
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        right = False
    return {"right": bool(right and asked["hash"])}


def _argon2() -> Any:
    try:
        import argon2
    except ImportError as exc:
        raise ConfigError("accounts require the library argon2-cffi", distribution.completing()) from exc
    return argon2


CHECKS: Mapping[str, tuple[Callable[[], object], Callable[[Said], Said]]] = {  # what loads its library, and the check
    "hash": (_argon2, hash_),
    "verify": (_argon2, verify),
}


def give_up() -> None:
    """As root, become nobody."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def main() -> None:
    """Answer one question."""
    asked = json.loads(sys.stdin.buffer.read(LIMIT))
    try:
        load, check = CHECKS[asked.pop("check")]
        load()  # while what it is can be read
        give_up()
        said = check(asked)
    except CorpusError as exc:
        said = {"error": exc.message, "hint": str(exc.hint)}
    os.write(1, json.dumps(said).encode())


if __name__ == "__main__":
    main()
