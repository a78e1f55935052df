"""Servers of databases of our own, for one dump each: on a Unix socket, without network and rights."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpushooks.backup import dumps
from corpushooks.backup.dumps import COUNT, PSQL, Starter, counted
from corpushooks.core.backups import MYSQL, POSTGRESQL, SQLITE
from corpushooks.core.errors import DoorError, ProcessError
from corpushooks.system.patience import Check
from corpushooks.system.process import DEVNULL, Account, Child, attend, reap, stop_group

LIMIT = 3600.0  # seconds that one program may take
START = 60.0  # seconds until a server answers
TICK = 0.05
PLACES = Path("/usr/lib/postgresql")  # where Debian has its servers
NAME = "drill"
PACKAGES = {POSTGRESQL: "postgresql", MYSQL: "mariadb-server", SQLITE: "sqlite3"}
ALONE = ("unshare", "--net", "--")  # a network of its own, which has nothing
TABLES = (
    "select count(*) from information_schema.tables where table_type = 'BASE TABLE'"
    " and table_schema not in ('pg_catalog', 'information_schema')"
)


def programs(kind: str) -> list[str]:
    """Return the programs that load a dump; raise DoorError where there are none."""
    if kind == POSTGRESQL:
        found = sorted(PLACES.glob("*/bin"), key=_version)
        if not found:
            raise DoorError("PostgreSQL server is not installed", hint="apt-get install postgresql")
        return [str(found[-1] / name) for name in ("initdb", "postgres", "psql", "pg_restore")]
    wanted = ("mariadb-install-db", "mariadbd", "mariadb") if kind == MYSQL else ("sqlite3",)
    for name in wanted:
        if shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") is None:
            raise DoorError(f"{name} is not installed", hint=f"apt-get install {PACKAGES[kind]}")
    return [str(shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")) for name in wanted]


def _version(path: Path) -> float:
    found = re.fullmatch(r"[0-9]+(\.[0-9]+)?", path.parent.name)
    return float(found[0]) if found else 0.0


@dataclass(frozen=True)
class Loaded:
    """A dump that was loaded: how many tables there are, and where its server answers (SQLite: its file)."""

    tables: int
    place: Path

    def said(self, kind: str) -> dict[str, str]:
        """Return how a program reaches it."""
        if kind == SQLITE:
            return {"kind": kind, "file": str(self.place)}
        user = "postgres" if kind == POSTGRESQL else "root"
        return {"kind": kind, "host": str(self.place), "user": user, "name": NAME}


@contextlib.contextmanager
def loaded(job: Job, kind: str, dump: Path, rows: Mapping[str, int]) -> Iterator[Loaded]:
    """Load a dump in an empty folder; its server runs until the end. Raise DoorError.

    `rows` says how many each table had, where that is known.
    """
    with contextlib.ExitStack() as stack:
        try:
            words = programs(kind)
            if kind == POSTGRESQL:
                found = stack.enter_context(_postgresql(job, words, dump, rows))
            else:
                found = stack.enter_context(_mysql(job, words, dump)) if kind == MYSQL else _sqlite(job, words[0], dump)
        except ProcessError as exc:
            raise DoorError(f"cannot load a {kind} dump: {exc.message}") from exc
        yield found


class Job:
    """What loads one dump."""

    def __init__(self, run: Starter, place: Path, account: Account | None, check: Check) -> None:
        self.run, self.place, self.account, self.check = run, place, account, check

    def words(self, words: Sequence[str]) -> list[str]:
        """Return how a program is started: as an account that has no other rights, and gets none."""
        if self.account is None:
            return list(words)
        ids = [f"--reuid={self.account.uid}", f"--regid={self.account.gid}", "--clear-groups"]
        less = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--reset-env"]
        return [*ALONE, "setpriv", *ids, *less, "--", *words]

    def start(self, words: Sequence[str], stdin: int, stdout: int, stderr: int) -> Child[bytes]:
        env = {"HOME": str(self.place), "TMPDIR": str(self.place)}
        return self.run.start(
            self.words(words), cwd=self.place, env=env, stdin=stdin, stdout=stdout, stderr=stderr
        )  # fmt: skip

    def do(self, *words: str, stdin: int = DEVNULL) -> str:
        """Run a program to its end; return what it wrote. Raise ProcessError with what it complains of."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = self.start(words, stdin, out.fileno(), err.fileno())
            attend(child, LIMIT, self.check)
            out.seek(0)
            err.seek(0)
            told, said = (file.read(1 << 20).decode("utf-8", "replace").strip() for file in (out, err))
        if child.returncode:
            lines = (said or told).splitlines()
            raise ProcessError(f"{Path(words[0]).name}: {lines[-1] if lines else f'exit code {child.returncode}'}")
        return told

    @contextlib.contextmanager
    def server(self, words: Sequence[str], *asks: str) -> Iterator[None]:
        """Run a server that answers what it is asked; stop it at the end."""
        with tempfile.TemporaryFile() as out:
            child = self.start(words, DEVNULL, out.fileno(), out.fileno())
            try:
                self._await(child, asks, out.fileno())
                yield
            finally:
                stop_group(child.pid, grace=20.0)
                reap(child, 5.0)

    def _await(self, child: Child[bytes], asks: Sequence[str], out: int) -> None:
        end = time.monotonic() + START
        while True:
            self.check()
            with contextlib.suppress(ProcessError):
                self.do(*asks)
                return
            if child.poll() is not None or time.monotonic() > end:
                lines = os.pread(out, 1 << 16, 0).decode("utf-8", "replace").strip().splitlines()
                raise ProcessError(f"the server does not answer: {lines[-1] if lines else 'it says nothing'}")
            time.sleep(TICK)


@contextlib.contextmanager
def _postgresql(job: Job, words: Sequence[str], dump: Path, rows: Mapping[str, int]) -> Iterator[Loaded]:
    initdb, postgres, psql, pg_restore = words
    data, place = str(job.place / "data"), str(job.place)
    job.do(initdb, "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "-D", data)
    ask = [psql, "-X", "-h", place, "-U", "postgres", "-qAtc"]
    options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={place}", "-c", "fsync=off"]
    with job.server([postgres, "-D", data, *options], *ask, "select 1"):
        job.do(*ask, f"create database {NAME}")
        loading = ["--exit-on-error", "--no-owner", "--no-privileges", "-h", place, "-U", "postgres", "-d", NAME]
        with dump.open("rb") as file:
            job.do(pg_restore, *loading, stdin=file.fileno())
        with dump.open("rb") as file:
            listed = job.do(pg_restore, "--list", stdin=file.fileno())
        there = int(job.do(psql, "-X", "-h", place, "-U", "postgres", "-d", NAME, "-qAtc", TABLES))
        _compare(rows, _rows(job, psql))
        yield Loaded(
            _all(there, len(re.findall(r"^\d+; \d+ \d+ TABLE (?!DATA)(?!ATTACH)", listed, re.MULTILINE))), job.place
        )


def _rows(job: Job, psql: str) -> dict[str, int]:
    with tempfile.TemporaryFile() as script:
        script.write(COUNT)
        script.seek(0)
        ask = [psql, *PSQL[1:], "-h", str(job.place), "-U", "postgres", "-d", NAME]
        return counted(job.do(*ask, stdin=script.fileno()))


def _compare(before: Mapping[str, int], now: Mapping[str, int]) -> None:
    """Raise ProcessError where a table has not the rows that it had."""
    for table, number in before.items():
        if now.get(table) != number:
            raise ProcessError(f"{table} has {now.get(table, 'no')} rows, expected {number}")


@contextlib.contextmanager
def _mysql(job: Job, words: Sequence[str], dump: Path) -> Iterator[Loaded]:
    install, server, client = words
    data, socket = str(job.place / "data"), str(job.place / "socket")
    job.do(install, "--no-defaults", f"--datadir={data}", "--skip-test-db", "--auth-root-authentication-method=normal")
    ask = [client, "--no-defaults", "--default-character-set=utf8mb4", f"--socket={socket}", "--user=root", "-N", "-B"]
    options = [f"--datadir={data}", f"--socket={socket}", f"--pid-file={job.place}/pid", "--skip-networking"]
    with job.server([server, "--no-defaults", *options, "--innodb-flush-log-at-trx-commit=0"], *ask, "-e", "select 1"):
        job.do(*ask, "-e", f"create database {NAME}")
        with dump.open("rb") as file:
            job.do(*ask, NAME, stdin=file.fileno())
        counted = f"select count(*) from information_schema.tables where table_schema = '{NAME}'"
        there = int(job.do(*ask, "-e", f"{counted} and table_type = 'BASE TABLE'"))
        with dump.open("rb") as file:
            wanted = sum(line.startswith(b"CREATE TABLE `") for line in file)
        yield Loaded(_all(there, wanted), Path(socket))


def _give(source: Path, to: Path, account: Account | None, check: Check) -> None:
    """Copy a file into a folder of an account, which could have made a link of it by now."""
    with dumps.copied(source, to, check) as fd:
        if account:
            os.fchown(fd, account.uid, account.gid)


def _all(there: int, wanted: int) -> int:
    """Return how many tables there are; raise ProcessError where the dump has more of them."""
    if there < wanted:
        raise ProcessError(f"found {there} of {wanted} tables")
    return there


def _sqlite(job: Job, sqlite: str, dump: Path) -> Loaded:
    copy = job.place / "database"
    _give(dump, copy, job.account, job.check)
    said = job.do(sqlite, "-batch", "-bail", str(copy), "pragma integrity_check")
    if said != "ok":
        raise ProcessError(f"sqlite3: {said.splitlines()[0] if said else 'it says nothing'}")
    tables = job.do(sqlite, "-batch", "-bail", str(copy), "select count(*) from sqlite_master where type = 'table'")
    return Loaded(int(tables), copy)
