# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Databases of MariaDB: `mysql_database.present` and `absent`, which Salt no longer has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills these in
__opts__: dict[str, Any]

__virtualname__ = "mysql_database"


def __virtual__() -> str:
    return __virtualname__


def present(
    name: str, character_set: str = "", collate: str = "", connection_host: str = "", **_given: Any
) -> dict[str, Any]:
    """Ensure that a database exists; an existing one keeps its character set. Salt passes all other arguments."""
    sql = f"CREATE DATABASE {__salt__['mc_mysql.name'](name)}"
    sql += f" CHARACTER SET {__salt__['mc_mysql.text'](character_set)}" if character_set else ""
    sql += f" COLLATE {__salt__['mc_mysql.text'](collate)}" if collate else ""
    return _ensure_database(name, sql, "created", connection_host, wanted=True)


def absent(name: str, connection_host: str = "", **_given: Any) -> dict[str, Any]:
    """Ensure that a database does not exist. Salt passes all other arguments of the SLS."""
    return _ensure_database(
        name, f"DROP DATABASE {__salt__['mc_mysql.name'](name)}", "removed", connection_host, wanted=False
    )


def _ensure_database(name: str, sql: str, done: str, host: str, *, wanted: bool) -> dict[str, Any]:
    ended = {"name": name, "result": True, "changes": {}, "comment": ""}
    known = f"SELECT 1 FROM information_schema.schemata WHERE schema_name = {__salt__['mc_mysql.text'](name)};"
    try:
        if bool(__salt__["mc_mysql.query"](known, host)) is wanted:
            return {**ended, "comment": "in order"}
        if not __opts__["test"]:
            __salt__["mc_mysql.query"](f"{sql};", host)
    except CommandExecutionError as exc:
        return {**ended, "result": None if __opts__["test"] else False, "comment": str(exc)}
    return {**ended, "result": None if __opts__["test"] else True, "changes": {name: done}, "comment": done}
