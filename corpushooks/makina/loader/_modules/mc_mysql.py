# ruff: noqa: F821  (Salt fills in the names with underscores)
"""MySQL for SLS files written for makina-states: on Debian it is MariaDB, used by its own client."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., Any]]  # Salt's loader fills it in

DEFAULTS: dict[str, Any] = {
    "service": "mariadb",
    "root_passwd": "",
    "host": "localhost",
    "port": "3306",
    "socket": "",
    "conn_user": "root",
    "conn_pass": "{root_passwd}",
    "conn_host": "{host}",
    "character_set": "utf8mb4",
    "collate": "",
    "packages": ["default-mysql-server"],
}


def settings() -> dict[str, Any]:
    """Return the settings of MySQL; the host's configuration, pillar and grains can override them."""
    found: dict[str, Any] = __salt__["mc_utils.defaults"]("makina-states.services.db.mysql", DEFAULTS)
    return found


def query(sql: str, host: str = "") -> list[list[str]]:
    """Run statements as an administrator and return the rows; raise the error of the server."""
    own = settings()
    client = shutil.which("mariadb") or shutil.which("mysql")
    if not client:
        raise CommandExecutionError("mariadb is not installed: include makina-states.services.db.mysql")
    host = host or str(own["conn_host"])
    argv = [client, "--batch", "--skip-column-names", "--default-character-set=utf8mb4", f"--user={own['conn_user']}",
            f"--host={host}", *([f"--socket={own['socket']}"] if own["socket"] else [])]  # fmt: skip
    argv += [] if host == "localhost" else [f"--port={own['port']}"]
    told = __salt__["cmd.run_all"](
        argv, stdin=f"SET SESSION sql_mode = '';\n{sql}\n", python_shell=False, ignore_retcode=True,
        output_loglevel="quiet", env={"MYSQL_PWD": str(own["conn_pass"])} if own["conn_pass"] else {},
    )  # fmt: skip
    if told["retcode"]:
        raise CommandExecutionError(f"mariadb: {(told['stderr'] or told['stdout']).strip()}")
    return [line.split("\t") for line in told["stdout"].splitlines()]


def text(value: Any) -> str:
    r"""Return a value as an SQL string; \ is special in the sessions of `query`."""
    said = str(value)
    if "\0" in said:
        raise CommandExecutionError("invalid text for MariaDB: it contains a NUL")
    return "'" + said.replace("\\", "\\\\").replace("'", "''") + "'"


def name(value: Any) -> str:
    """Return a quoted SQL name."""
    if not str(value) or "\0" in str(value):
        raise CommandExecutionError(f"invalid name for MariaDB: {value!r}")
    return "`" + str(value).replace("`", "``") + "`"


def account(user: Any, host: Any) -> str:
    """Return an SQL account: user and host."""
    return f"{text(user)}@{text(host)}"
