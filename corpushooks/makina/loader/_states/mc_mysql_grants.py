# ruff: noqa: F821  (Salt fills in the names with underscores)
"""Privileges of MariaDB users: `mysql_grants.present`, which Salt no longer has."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills these in
__opts__: dict[str, Any]

__virtualname__ = "mysql_grants"


def __virtual__() -> str:
    return __virtualname__


def present(
    name: str, grant: str = "", database: str = "", user: str = "", host: str = "localhost",
    grant_option: bool = False, connection_host: str = "", **_given: Any,
) -> dict[str, Any]:  # fmt: skip
    """Grant a user `grant` (ALL, or SELECT, INSERT) on DATABASE.TABLE. Salt passes all other arguments."""
    ended = {"name": name, "result": True, "changes": {}, "comment": "in order"}
    try:
        account, query = __salt__["mc_mysql.account"](user, host), __salt__["mc_mysql.query"]
        option = " WITH GRANT OPTION" if grant_option else ""
        sql = f"GRANT {_privileges(grant)} ON {_place(database)} TO {account}{option};"
        if __opts__["test"]:
            return {**ended, "result": None, "comment": f"{user}@{host} would have {grant} on {database}"}
        before = query(f"SHOW GRANTS FOR {account};", connection_host)
        query(sql, connection_host)
        now = query(f"SHOW GRANTS FOR {account};", connection_host)
    except CommandExecutionError as exc:
        return {**ended, "result": None if __opts__["test"] else False, "comment": str(exc)}
    return ended if now == before else {**ended, "changes": {f"{user}@{host}": f"{grant} on {database}"}}


def _privileges(grant: str) -> str:
    if not re.fullmatch(r"[A-Za-z ,]+", str(grant)):
        raise CommandExecutionError(f"invalid privileges {grant!r}")
    return str(grant)


def _place(said: str) -> str:
    """Return DATABASE.TABLE in SQL; `_` and `%` in a database are literal, not a pattern."""
    base, _, table = str(said).replace("`", "").rpartition(".")
    base, table = (base, table) if base else (table, "*")
    if table != "*":
        return f"{__salt__['mc_mysql.name'](base)}.{__salt__['mc_mysql.name'](table)}"
    pattern = re.sub(r"([_%\\])", r"\\\1", base)
    return "*.*" if base == "*" else f"{__salt__['mc_mysql.name'](pattern)}.*"
