# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Users of MariaDB: `mysql_user.present` and `absent`, which Salt no longer has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills these in
__opts__: dict[str, Any]

__virtualname__ = "mysql_user"


def __virtual__() -> str:
    return __virtualname__


def present(
    name: str, host: str = "localhost", password: str | None = None, password_hash: str | None = None,
    allow_passwordless: bool = False, connection_host: str = "", **_given: Any,
) -> dict[str, Any]:  # fmt: skip
    """Ensure that a user with a password exists. Salt passes all other arguments of the SLS."""
    if not (password or password_hash or allow_passwordless):
        comment = f"{name}: the password is missing: set password, or allow_passwordless"
        return {"name": name, "result": False, "changes": {}, "comment": comment}
    try:
        hashed = __salt__["mc_mysql.text"](password_hash or "")
        if not password_hash:
            hashed = f"PASSWORD({__salt__['mc_mysql.text'](password or '')})"
        return _made(name, host, hashed, connection_host)
    except CommandExecutionError as exc:
        result = None if __opts__["test"] else False
        return {"name": name, "result": result, "changes": {}, "comment": str(exc)}


def _made(name: str, host: str, hashed: str, server: str) -> dict[str, Any]:
    ended = {"name": name, "result": True, "changes": {}, "comment": "in order"}
    who, query = f"{name}@{host}", __salt__["mc_mysql.query"]
    where = f"User = {__salt__['mc_mysql.text'](name)} AND Host = {__salt__['mc_mysql.text'](host)}"
    found = query(f"SELECT authentication_string = {hashed} FROM mysql.user WHERE {where};", server)
    if found and found[0] == ["1"]:
        return ended
    done = "new password" if found else "created"
    if __opts__["test"]:
        return {**ended, "result": None, "changes": {who: done}, "comment": f"would be: {done}"}
    account = __salt__["mc_mysql.account"](name, host)
    verb = "ALTER" if found else "CREATE"
    (secret,) = query(f"SELECT {hashed};", server) or [[""]]
    by = f"IDENTIFIED BY PASSWORD {__salt__['mc_mysql.text'](secret[0])}" if secret[0] else "IDENTIFIED BY ''"
    query(f"{verb} USER {account} {by};", server)
    return {**ended, "changes": {who: done}, "comment": done}


def absent(name: str, host: str = "localhost", connection_host: str = "", **_given: Any) -> dict[str, Any]:
    """Ensure that a user does not exist. Salt passes all other arguments of the SLS."""
    ended = {"name": name, "result": True, "changes": {}, "comment": "in order"}
    try:
        where = f"User = {__salt__['mc_mysql.text'](name)} AND Host = {__salt__['mc_mysql.text'](host)}"
        if not __salt__["mc_mysql.query"](f"SELECT 1 FROM mysql.user WHERE {where};", connection_host):
            return ended
        if not __opts__["test"]:
            __salt__["mc_mysql.query"](f"DROP USER {__salt__['mc_mysql.account'](name, host)};", connection_host)
    except CommandExecutionError as exc:
        return {**ended, "result": None if __opts__["test"] else False, "comment": str(exc)}
    changes = {f"{name}@{host}": "removed"}
    return {**ended, "result": None if __opts__["test"] else True, "changes": changes, "comment": "removed"}
