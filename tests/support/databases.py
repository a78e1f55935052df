"""Servers of PostgreSQL and MariaDB of our own, in a folder, which answer on a Unix socket only."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from corpushooks.system.process import start_time
from tests.support.box import until

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
HBA = "local all postgres trust\nlocal all all scram-sha-256\n"


@contextlib.contextmanager
def folder_of(user: str) -> Iterator[Path]:
    """Make a folder that a user owns and everybody reaches."""
    with tempfile.TemporaryDirectory(prefix="db-") as name:
        os.chown(name, *pwd.getpwnam(user)[2:4])
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def running(argv: list[str | Path], user: str, log: Path) -> Iterator[None]:
    with log.open("wb") as file:
        child = subprocess.Popen(argv, user=user, group=user, extra_groups=[], stdout=file, stderr=file)
    try:
        yield
    finally:
        child.send_signal(signal.SIGQUIT if "postgres" in str(argv[0]) else signal.SIGTERM)
        child.wait(60)
        until(lambda: start_time(child.pid) is None)


@contextlib.contextmanager
def postgresql() -> Iterator[Path]:
    """Run a PostgreSQL as Debian's lets people in, by scram-sha-256; the folder of its socket is returned."""
    with folder_of("postgres") as base:
        made = [POSTGRES / "initdb", "--no-sync", "--username=postgres", "--auth=trust", "-D", base / "data"]
        subprocess.run(
            made, user="postgres", group="postgres", extra_groups=[], check=True, capture_output=True, cwd="/"
        )
        (base / "data/pg_hba.conf").write_text(HBA)
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={base}", "-c", "fsync=off"]
        with running([POSTGRES / "postgres", "-D", base / "data", *options], "postgres", base / "log"):
            until(lambda: psql(base, "postgres", "", "select 1")[0] == 0)
            yield base


def psql(base: Path, user: str, password: str, sql: str, db: str = "postgres") -> tuple[int, str]:
    argv = ["psql", "-h", base, "-U", user, "-d", db, "--no-password", "-qAtc", sql]
    done = subprocess.run(argv, env={**os.environ, "PGPASSWORD": password}, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


@contextlib.contextmanager
def mariadb() -> Iterator[Path]:
    """Run a MariaDB as Debian has it, where root logs in by being root; the socket is returned."""
    with folder_of("mysql") as base:
        made = ["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={base}/data", "--skip-test-db",
                "--auth-root-authentication-method=socket", "--auth-root-socket-user=root"]  # fmt: skip
        subprocess.run(made, check=True, capture_output=True)
        argv = ["mariadbd", "--no-defaults", f"--datadir={base}/data", "--skip-networking", f"--socket={base}/socket",
                f"--pid-file={base}/pid", "--innodb-flush-log-at-trx-commit=0"]  # fmt: skip
        with running(argv, "mysql", base / "log"):
            until(lambda: mysql(base / "socket", "root", "", "select 1")[0] == 0)
            yield base / "socket"


def mysql(socket: Path, user: str, password: str, sql: str, db: str = "") -> tuple[int, str]:
    argv = [
        "mariadb",
        "--no-defaults",
        "--default-character-set=utf8mb4",
        f"--socket={socket}",
        f"--user={user}",
        "-NBe",
        sql,
        *([db] if db else []),
    ]
    done = subprocess.run(argv, env={**os.environ, "MYSQL_PWD": password}, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()
