"""Checks what people present to sign in, in a child: a program of its own, which takes JSON and gives JSON.

A password takes time and memory on purpose, and what comes from elsewhere is parsed by libraries: neither happens in
the daemon. As root the child gives up its rights before it looks at anything. Argon2 is imported here only.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from corpushooks.core.directory import Directory
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


def _argon2(asked: Said | None = None) -> Any:
    try:
        import argon2
    except ImportError as exc:
        raise ConfigError("accounts require the library argon2-cffi", distribution.completing()) from exc
    return argon2


def _ldap(asked: Said) -> None:
    """Load the library, and read what only root can read of the settings."""
    from corpushooks.access import ldap

    asked["door"] = ldap.prepared(directory(asked.pop("settings")))


def directory(settings: Said) -> Directory:
    """Return the settings of a directory, as they were sent."""
    paths = {name: settings[name] and Path(settings[name]) for name in ("bind_password_file", "ca_file")}
    return Directory(**{**settings, **paths})


def sent(where: Directory) -> Said:
    """Return the settings of a directory, to be sent; not what its groups may."""
    found = {each.name: getattr(where, each.name) for each in fields(where) if each.name != "groups"}
    return {name: str(value) if isinstance(value, Path) else value for name, value in found.items()}


def ldap_sign_in(asked: Said) -> Said:
    """Return whose name and password these are."""
    from corpushooks.access import ldap

    found = ldap.sign_in(asked["door"], asked["name"], asked["password"])
    return {"person": asdict(found) if found else None}


def _oidc(asked: Said) -> None:
    """Load the library, and read what only root can read of the settings."""
    from corpushooks.access import oidc

    asked["door"] = oidc.prepared(asked.pop("client_secret_file"))


def oidc_begin(asked: Said) -> Said:
    """Return where a provider wants the browser to go."""
    from corpushooks.access import oidc

    return oidc.begin(asked.pop("door"), asked)


def oidc_finish(asked: Said) -> Said:
    """Return whose identity a provider asserts."""
    from corpushooks.access import oidc

    return oidc.finish(asked.pop("door"), asked)


CHECKS: Mapping[
    str, tuple[Callable[[Said], object], Callable[[Said], Said]]
] = {  # what loads its library, and the check
    "hash": (_argon2, hash_),
    "verify": (_argon2, verify),
    "ldap": (_ldap, ldap_sign_in),
    "oidc begin": (_oidc, oidc_begin),
    "oidc finish": (_oidc, oidc_finish),
}


def give_up() -> None:
    """As root, become nobody."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def main() -> None:
    """Answer one question."""
    import encodings.idna  # noqa: F401 (Python loads it when a name is looked up, which may be too late to read it)

    asked = json.loads(sys.stdin.buffer.read(LIMIT))
    try:
        load, check = CHECKS[asked.pop("check")]
        load(asked)  # while what it is can be read
        give_up()
        said = check(asked)
    except CorpusError as exc:
        said = {"error": exc.message, "hint": str(exc.hint), "kind": exc.kind}
    os.write(1, json.dumps(said).encode())


if __name__ == "__main__":
    main()
