# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Users of a web server in a password file: a state that Salt no longer has."""

from __future__ import annotations

import grp
from collections.abc import Callable
from typing import Any

import salt.utils.pycrypto
from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills these in
__opts__: dict[str, Any]


def user_exists(
    name: str, password: str = "", htpasswd_file: str = "", options: str = "", force: bool = False, **_given: Any
) -> dict[str, Any]:
    """Ensure that a user with a password is in a file; hashes are those of crypt(3).

    `options` and `force` are no longer needed. Salt passes all other arguments of the SLS.
    """
    wrong = _wrong(name, password, htpasswd_file)
    if wrong:
        return {"name": name, "result": False, "changes": {}, "comment": wrong}
    try:
        return _have(name, password, htpasswd_file)
    except CommandExecutionError as exc:
        return {"name": name, "result": False, "changes": {}, "comment": str(exc)}


def _have(name: str, password: str, path: str) -> dict[str, Any]:
    was = __salt__["mc_files.look"](path, follow=True)
    if was and len(was) != 4:
        raise CommandExecutionError(f"{path}: not a regular file")
    lines = was[0].decode("utf-8", "surrogateescape").splitlines() if was else []
    old = next((line.partition(":")[2] for line in lines if line.startswith(f"{name}:")), "")
    if old and _is(password, old):
        return {"name": name, "result": True, "changes": {}, "comment": f"{name} is in {path}"}
    changes = {name: "changed" if old else "added"}
    if __opts__["test"]:
        return {"name": name, "result": None, "changes": changes, "comment": f"{name} would be in {path}"}
    hashed = salt.utils.pycrypto.gen_hash(password=password, algorithm="sha512")
    _write(path, [*(line for line in lines if not line.startswith(f"{name}:")), f"{name}:{hashed}"], was)
    return {"name": name, "result": True, "changes": changes, "comment": f"{name} is in {path}"}


def _wrong(name: str, password: str, file: str) -> str:
    if not name or ":" in name or "\n" in name:
        return f"webutil.user_exists: invalid user name {name!r}"
    missing = [key for key, value in (("password", password), ("htpasswd_file", file)) if not value]
    return f"webutil.user_exists: {missing[0]} is missing" if missing else ""


def _is(password: str, hashed: str) -> bool:
    """Return whether a hash of our kind matches a password."""
    if not hashed.startswith("$6$"):
        return False
    salted = hashed.split("$")[2]
    return bool(salt.utils.pycrypto.gen_hash(crypt_salt=salted, password=password, algorithm="sha512") == hashed)


def _write(path: str, lines: list[str], was: tuple[Any, ...]) -> None:
    """Write the file, with its owner and mode; make a new one readable for the web server."""
    _data, mode, uid, gid = was or (b"", 0o640, 0, _readers())
    text = "".join(f"{line}\n" for line in lines)
    data = text.encode("utf-8", "surrogateescape")
    __salt__["mc_files.write"](path, data, mode & 0o777, uid, gid, follow=True)


def _readers() -> int:
    """Return the group of the web server, or root's if it does not exist."""
    try:
        return grp.getgrnam(__salt__["mc_nginx.settings"]()["group"]).gr_gid
    except KeyError:
        return 0
