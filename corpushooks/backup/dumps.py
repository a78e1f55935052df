"""Dumps of databases, each by the program of its own server. One that fails, or ends before it is whole, is none."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import quote

from corpushooks import tree
from corpushooks.core.backups import MYSQL, POSTGRESQL, SQLITE, Database
from corpushooks.core.errors import DoorError, ProcessError, RefusedError
from corpushooks.core.project import Project
from corpushooks.host import accounts
from corpushooks.system import safe_files
from corpushooks.system.patience import Check, endless
from corpushooks.system.process import DEVNULL, Account, Child, attend, reap, stop_group

SERVER = "postgres"  # the account that PostgreSQL knows without a password
HEADS = {POSTGRESQL: b"PGDMP", SQLITE: b"SQLite format 3\0"}
ENDS = {MYSQL: b"-- Dump completed"}  # the last line, or the dump was cut off
TAIL = 4096
TICK, GRACE = 0.02, 5.0  # seconds
BUSY = 60_000  # milliseconds that SQLite waits for who writes


class Starter(Protocol):
    """A deployment that starts programs, which are found and stopped where it is killed."""

    @property
    def project(self) -> Project: ...

    def start(
        self, words: Sequence[str | Path], *, cwd: Path = ..., env: Mapping[str, str] | None = None,
        stdin: int = DEVNULL, stdout: int = DEVNULL, stderr: int = DEVNULL, account: Account | None = None,
    ) -> Child[bytes]: ...  # fmt: skip


@dataclass(frozen=True)
class Program:
    """What dumps a database to its standard output, or to a file called `dump` where it is started."""

    words: Sequence[str]
    env: Mapping[str, str]
    account: Account | None = None
    writes: bool = False


def dump(run: Starter, one: Database, to: Path, limit: float, check: Check) -> dict[str, int]:
    """Write the dump of a database to a new file; return how many rows each table has in it, where that is known.

    Raise DoorError, or what `check` raises, and leave no file.
    """
    rows: dict[str, int] = {}
    try:
        with _program(run.project, one, to.parent) as program:
            if one.kind == POSTGRESQL:
                rows = _with_rows(run, program, one.name, to, limit, check)
            elif program.writes:
                _in_folder(run, program, to, limit, check)
            else:
                _to_file(run, program, to, limit, check)
        check_whole(one.kind, to)
    except ProcessError as exc:
        to.unlink(missing_ok=True)
        raise DoorError(f"no dump of {one.label}: {exc.message}", exc.hint) from exc
    except BaseException:
        to.unlink(missing_ok=True)
        raise
    return rows


def check_whole(kind: str, path: Path) -> None:
    """Raise ProcessError if a dump does not begin and end like a complete one."""
    with path.open("rb") as file:
        head = file.read(16)
        file.seek(max(0, path.stat().st_size - TAIL))
        tail = file.read()
    if not head.startswith(HEADS.get(kind, b"")) or ENDS.get(kind, b"") not in tail:
        raise ProcessError("the dump is incomplete")


@contextlib.contextmanager
def _program(project: Project, one: Database, scratch: Path) -> Iterator[Program]:
    """Return the program that dumps a database; raise RefusedError if there is none."""
    if one.kind == POSTGRESQL:
        yield _postgresql(project, one)
    elif one.kind == SQLITE:
        yield _sqlite(project, one)
    else:
        with _options(one, scratch) as file:
            yield Program([_mysqldump(), f"--defaults-file={file}", *MYSQLDUMP, "--", one.name], {})


def _postgresql(project: Project, one: Database) -> Program:
    said = {"PGHOST": one.host, "PGPORT": str(one.port or ""), "PGUSER": one.user, "PGPASSWORD": one.password}
    words = ["pg_dump", "--format=custom", "--compress=0", "--no-password", f"--dbname={one.name}"]
    local = not (one.user or one.password or project.host.embedded or os.geteuid())
    return Program(words, {key: text for key, text in said.items() if text}, _account(SERVER) if local else None)


SNAPSHOT = b"begin isolation level repeatable read read only;\nset row_security = off;\nselect pg_export_snapshot();\n"
# One line of JSON for each table. Tables of extensions are made by these, and not dumped.
COUNT = b"""\
select format('select json_build_array(%L, count(*)) from only %I.%I', n.nspname || '.' || c.relname, n.nspname,
    c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and c.relpersistence <> 't' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
        and d.deptype = 'e') \\gexec
"""
PSQL = ("psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1")


def counted(text: str) -> dict[str, int]:
    """Read what COUNT gives: table -> rows."""
    return dict(json.loads(line) for line in text.splitlines() if line)


def _with_rows(run: Starter, program: Program, name: str, to: Path, limit: float, check: Check) -> dict[str, int]:
    """Dump a database of PostgreSQL, and count the rows that this snapshot of it has."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        read, write = os.pipe()
        with open(write, "wb", buffering=0) as session:
            try:
                child = run.start(
                    [*PSQL, "--no-password", f"--dbname={name}"], cwd=Path("/"), env=program.env, stdin=read,
                    stdout=out.fileno(), stderr=errors.fileno(), account=program.account,
                )  # fmt: skip
            finally:
                os.close(read)
            try:
                _say(session, SNAPSHOT)
                snapshot = _first_line(child, out, errors, limit, check)
                words = [*program.words, f"--snapshot={snapshot}"]
                _to_file(run, replace(program, words=words), to, limit, check)
                _say(session, COUNT)
                session.close()  # it ends once it has counted
                attend(child, limit, check)
            except BaseException:
                stop_group(child.pid, grace=GRACE)
                reap(child, GRACE)
                raise
        if child.returncode:
            raise ProcessError(f"psql: {_last_line(errors) or f'exit code {child.returncode}'}")
        out.seek(0)
        return counted(out.read().decode().partition("\n")[2])


def _say(session: IO[bytes], sql: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):  # it has ended: that is told by its exit code
        session.write(sql)


def _first_line(child: Child[bytes], out: IO[bytes], errors: IO[bytes], limit: float, check: Check) -> str:
    """Await the first line that a program writes; raise ProcessError where it ends without one."""
    end = time.monotonic() + limit
    while True:
        line, newline, _ = os.pread(out.fileno(), 4096, 0).partition(b"\n")
        if newline:
            return line.decode()
        check()
        if child.poll() is not None or time.monotonic() > end:
            raise ProcessError(f"psql: {_last_line(errors) or 'it does not answer'}")
        time.sleep(TICK)


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    said = errors.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
    return said[-1] if said else ""


def _account(name: str) -> Account:
    """Return an account of the system; raise RefusedError where there is none."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise RefusedError(f"no account {name} here: is the database server on another host?") from None
    return Account(found.pw_uid, found.pw_gid, tuple(os.getgrouplist(name, found.pw_gid)))


MYSQLDUMP = (
    "--single-transaction", "--quick", "--routines", "--triggers", "--events", "--hex-blob",
    "--default-character-set=utf8mb4", "--skip-lock-tables",
)  # fmt: skip


def _mysqldump() -> str:
    """Return what the program is called here: newer MariaDBs have but the first name."""
    return next((name for name in ("mariadb-dump", "mysqldump") if shutil.which(name)), "mysqldump")


@contextlib.contextmanager
def _options(one: Database, scratch: Path) -> Iterator[Path]:
    """Give a file of options, which no other account can read: a password is no argument."""
    server = {"socket": one.host} if one.host.startswith("/") else {"host": one.host}
    said = {**server, "port": str(one.port or ""), "user": one.user, "password": one.password}
    path = scratch / "options.cnf"
    lines = [f'{key}="{_escaped(text)}"\n' for key, text in said.items() if text]
    safe_files.write(path, "".join(["[client]\n", *lines]).encode(), flush=False)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _sqlite(project: Project, one: Database) -> Program:
    """Return what copies a database of SQLite, as its application: whatever it made of the file."""
    found = accounts.of_application(project)
    account = Account(found.uid, found.gid or found.uid, found.groups) if found.uid else None
    where = f"file:{quote(str(project.data / one.file))}?mode=rw"  # else a new one would be made where there is none
    return Program(["sqlite3", "-batch", "-bail", where, f".timeout {BUSY}", ".backup dump"], {}, account, writes=True)


def _to_file(run: Starter, program: Program, to: Path, limit: float, check: Check) -> None:
    with open(to, "xb", opener=_private) as file:
        _run(run, program, Path("/"), file.fileno(), limit, check)
        os.fsync(file.fileno())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _in_folder(run: Starter, program: Program, to: Path, limit: float, check: Check) -> None:
    """Run what writes a file itself, as another account, in a folder that only that and we can enter."""
    place = folder_of(run.project)
    tree.remove(place, check)
    place.mkdir(mode=0o700)
    try:
        if program.account:
            os.chown(place, program.account.uid, program.account.gid)
        _run(run, program, place, DEVNULL, limit, check)
        _take(place / "dump", to, check)
    finally:
        tree.remove(place)


def folder_of(project: Project) -> Path:
    """Return the folder in which an application writes a dump: it cannot enter ours."""
    return project.dir / "dump"


def _take(path: Path, to: Path, check: Check) -> None:
    """Copy what another account wrote: a file, no link."""
    with (
        safe_files.spot(path) as at,
        open(safe_files.open_file(at), "rb") as source,
        open(to, "xb", opener=_private) as file,
    ):
        while data := source.read(1 << 20):
            check()
            file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _run(
    run: Starter, program: Program, cwd: Path, stdout: int, limit: float, check: Check, stdin: int = DEVNULL
) -> None:  # fmt: skip
    """Run a program to its end; raise ProcessError with what it complains of."""
    with tempfile.TemporaryFile() as errors:
        child = run.start(
            program.words,
            cwd=cwd,
            env=program.env,
            stdout=stdout,
            stderr=errors.fileno(),
            account=program.account,
            stdin=stdin,
        )
        attend(child, limit, check)
        said = _last_line(errors)
    if child.returncode:
        raise ProcessError(f"{program.words[0]}: {said or f'exit code {child.returncode}'}")


@contextlib.contextmanager
def copied(source: Path, to: Path, check: Check) -> Iterator[int]:
    """Copy a file of ours to a new one in a folder that others can write; yield it, to set owner and mode."""
    with safe_files.spot(to) as at, source.open("rb") as file:
        fd = os.open(at.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=at.fd)
        with open(fd, "wb") as copy:
            while data := file.read(1 << 20):
                check()
                copy.write(data)
            yield fd


def digest(path: Path, check: Check) -> str:
    """Return the SHA-256 of a dump of ours."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            check()
            found.update(data)
    return found.hexdigest()


# back


def load(run: Starter, one: Database, path: Path, before: Path, limit: float) -> None:
    """Load a dump into its database; where that fails it is as it was, of which `before` is the dump.

    PostgreSQL does that in one transaction. MariaDB has none for tables: there `before` is loaded again. Nobody cancels
    it. Raise DoorError.
    """
    try:
        _load(run, one, path, limit)
    except ProcessError as exc:
        failed = DoorError(f"{one.label} is as it was: {exc.message}")
        if one.kind == MYSQL:
            try:
                _load(run, one, before, limit)
            except ProcessError as again:
                raise DoorError(
                    f"{one.label} is half restored: {again.message}; what was in it is in {before}"
                ) from exc
        raise failed from exc


def load_again(run: Starter, one: Database, path: Path, limit: float) -> None:
    """Load the dump of what a database had before; raise ProcessError."""
    _load(run, one, path, limit)


RESTORING = ("--clean", "--if-exists", "--single-transaction", "--exit-on-error", "--no-password")


def _load(run: Starter, one: Database, path: Path, limit: float) -> None:
    with path.open("rb") as file:
        if one.kind == POSTGRESQL:
            program = _postgresql(run.project, one)
            words = ["pg_restore", *RESTORING, f"--dbname={one.name}"]
            _run(run, replace(program, words=words), Path("/"), DEVNULL, limit, endless, file.fileno())
            return
        with _options(one, path.parent) as options:
            words = [_client(), f"--defaults-file={options}", "--default-character-set=utf8mb4", "--", one.name]
            _run(run, Program(words, {}), Path("/"), DEVNULL, limit, endless, file.fileno())


def _client() -> str:
    return next((name for name in ("mariadb", "mysql") if shutil.which(name)), "mysql")
