"""Drills: a backup that comes back is said to, one that does not is not, and nothing of it is left."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from corpushooks.backup import servers
from corpushooks.core.errors import TreeError
from corpushooks.deploy import drilling
from corpushooks.deploy.run import Run
from corpushooks.system.process import carrying, run
from tests.support.backups import deployed, needs_root, rows
from tests.support.box import Box, tree_of, until
from tests.support.command import corpus
from tests.support.databases import mariadb, mysql, postgresql, psql

FUNCTION = "create {} function f(x int) returns bool language sql immutable as 'select {}'"


def left(box: Box) -> list[str]:
    """Return what a drill left."""
    return [
        *(path.name for path in drilling.PLACES.glob(f"{drilling.prefix(box.project())}*")),
        *(path.name for path in box.project().backups.glob("work")),
        *map(str, carrying(f"CORPUS_DEPLOYMENT={box.project().dir}#3")),
    ]


def test_a_backup_comes_back_and_that_is_recorded(kept: Box) -> None:
    assert "has no backups" in corpus(kept, "drill", "hello").text
    assert corpus(kept, "backup", "hello").code == 0
    was = tree_of(kept.project().data)
    done = corpus(kept, "drill", "hello")
    assert done.code == 0, done.text
    assert "can be restored: 3 files" in done.text
    assert tree_of(kept.project().data) == was
    assert left(kept) == []
    (row,) = rows(kept)
    assert row.drilled and row.wrong == ""
    assert re.search(r"; drill \d{4}-\d\d-\d\d: ok$", corpus(kept, "backups", "hello").text.rstrip())
    assert json.loads(corpus(kept, "backups", "hello", "--json").text)[0]["drilled"] == row.drilled
    assert corpus(kept, "drill", "--all").code == 0
    assert "hello has no backup 9" in corpus(kept, "drill", "hello", "9").text


def test_one_that_is_damaged_does_not_come_back(kept: Box) -> None:
    corpus(kept, "backup", "hello")
    for segment in (kept.root / "repository/data/0").iterdir():
        damaged = bytearray(segment.read_bytes())
        if len(damaged) > 2000:
            damaged[len(damaged) // 2] ^= 1
            segment.write_bytes(damaged)
    done = corpus(kept, "drill", "hello")
    assert done.code == 1
    assert left(kept) == []
    (row,) = rows(kept)
    assert row.drilled and row.wrong
    assert row.wrong in corpus(kept, "backups", "hello").text


def spoilt(box: Box, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a borg that does something to what it brings back, and says that all is well."""
    programs = box.root / "bin"
    programs.mkdir()
    (programs / "borg").write_text(f'#!/bin/sh\n{shutil.which("borg")} "$@"; code=$?\n{script}\nexit $code\n')
    (programs / "borg").chmod(0o755)
    box.stop()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    box.start()


def test_a_file_that_is_not_as_it_was_is_noticed(kept: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus(kept, "backup", "hello")
    spoilt(kept, "[ ! -e data/uploads/photo ] || echo PRECIOUS >data/uploads/photo", monkeypatch)
    done = corpus(kept, "drill", "hello")
    assert done.code == 1
    assert "different from the backup: data/uploads/photo: it has a different size" in done.text
    assert rows(kept)[0].wrong


@needs_root
def test_a_dump_of_postgresql_is_loaded_without_rights(kept: Box) -> None:
    with postgresql() as base:
        psql(base, "postgres", "", "create database hello")
        sql = """
            create role somebody; create table t as select generate_series(1, 1000) x; alter table t owner to somebody;
            create table parts (x int) partition by range (x);
            create table part partition of parts for values from (0) to (9);
            create table empty (x int); create view v as select * from t
        """
        for each in sql.split(";"):
            assert psql(base, "postgres", "", each, "hello")[0] == 0, each
        deployed(kept, f"  backup: {{databases: [{{kind: postgresql, name: hello, host: {base}, user: postgres}}]}}\n")
        assert corpus(kept, "backup", "hello").code == 0
    done = corpus(kept, "drill", "hello")
    assert done.code == 0, done.text
    assert "1 database with 4 tables" in done.text
    assert left(kept) == []


@needs_root
def test_rows_are_compared_with_those_of_the_dump(kept: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgresql() as base:
        psql(base, "postgres", "", "create database hello")
        for each in (
            'create table "odd "" name" as select generate_series(1, 7) x',
            "create table t as select generate_series(1, 1000) x",
        ):
            assert psql(base, "postgres", "", each, "hello")[0] == 0, each
        deployed(kept, f"  backup: {{databases: [{{kind: postgresql, name: hello, host: {base}, user: postgres}}]}}\n")
        assert corpus(kept, "backup", "hello").code == 0
    assert corpus(kept, "drill", "hello").code == 0
    change = 'sed -i \'s/"public.t": 1000/"public.t": 1001/\' backup.json'
    spoilt(kept, f"[ ! -e backup.json ] || {change}", monkeypatch)
    assert corpus(kept, "drill", "hello").code == 1
    assert "public.t has 1000 rows, expected 1001" in rows(kept)[0].wrong


@needs_root
def test_a_dump_of_postgresql_that_does_not_load_is_noticed(kept: Box) -> None:
    """A function that fails where it is restored."""
    with postgresql() as base:
        psql(base, "postgres", "", "create database hello")
        psql(
            base,
            "postgres",
            "",
            FUNCTION.format("", "true"),
            "hello",
        )
        psql(base, "postgres", "", "create table t (x int check (f(x)))", "hello")
        psql(base, "postgres", "", "insert into t values (1)", "hello")
        psql(base, "postgres", "", FUNCTION.format("or replace", "false"), "hello")
        deployed(kept, f"  backup: {{databases: [{{kind: postgresql, name: hello, host: {base}, user: postgres}}]}}\n")
        assert corpus(kept, "backup", "hello").code == 0
    done = corpus(kept, "drill", "hello")
    assert done.code == 1
    assert "cannot load a postgresql dump: pg_restore: " in done.text
    assert left(kept) == []
    assert "cannot load" in rows(kept)[0].wrong


@needs_root
def test_a_dump_of_mariadb_is_loaded_without_rights(kept: Box) -> None:
    with mariadb() as socket:
        mysql(socket, "root", "", "create database hello; create table hello.t (x int); insert into hello.t values (7);"
              "create table hello.u (x int); create view hello.v as select * from hello.t")  # fmt: skip
        deployed(kept, f"  backup: {{databases: [{{kind: mysql, name: hello, host: {socket}}}]}}\n")
        assert corpus(kept, "backup", "hello").code == 0
    done = corpus(kept, "drill", "hello")
    assert done.code == 0, done.text
    assert "1 database with 2 tables" in done.text
    assert left(kept) == []


@pytest.mark.parametrize("damaged", [False, True])
def test_a_database_of_sqlite_is_checked(kept: Box, damaged: bool) -> None:
    path = kept.project().data / "app.sqlite3"
    numbers = "with recursive n(i) as (values(1) union all select i+1 from n where i<5000)"
    run(["sqlite3", path, f"create table t (x unique); {numbers} insert into t select i from n"])
    if damaged:  # in an index, which no dump reads
        data = bytearray(path.read_bytes())
        end = len(data) - 4096 + 200
        data[end : end + 100] = bytes(100)
        path.write_bytes(data)
    deployed(kept, "  backup: {databases: [{kind: sqlite, file: '{data_root}/app.sqlite3'}]}\n")
    assert corpus(kept, "backup", "hello").code == 0
    done = corpus(kept, "drill", "hello")
    assert done.code == int(damaged), done.text
    assert left(kept) == []


@pytest.mark.parametrize("label", ["drill bring", "drill compare", "drill load", "drill recorded"])
def test_a_daemon_that_is_killed_leaves_no_verdict_and_nothing_else(kept: Box, label: str) -> None:
    corpus(kept, "backup", "hello")
    kept.stop()
    kept.start(label, "before", "kill")
    corpus(kept, "drill", "hello")
    until(lambda: kept.happened() == [f"{label} before"])
    kept.revive()
    assert kept.ended(3).state == "failed"
    assert left(kept) == []
    assert rows(kept)[0].drilled is None
    assert corpus(kept, "drill", "hello").code == 0
    assert left(kept) == []


@needs_root
def test_the_work_folder_goes_though_a_place_of_servers_cannot(kept: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    project, done = kept.project(), list[object]()

    def refused(path: Path) -> None:
        raise TreeError(f"removal of {path}")

    monkeypatch.setattr(drilling, "PLACES", kept.root)
    monkeypatch.setattr(drilling.tree, "remove", refused)
    monkeypatch.setattr(drilling.saving, "clear", done.append)
    (kept.root / f"{drilling.prefix(project)}x").mkdir()
    run_of = cast(Run, SimpleNamespace(project=project))
    with pytest.raises(TreeError):
        drilling.clear(run_of)
    assert done == [run_of]


def test_servers_have_no_rights_and_no_network() -> None:
    words = servers.Job(None, Path("/"), servers.Account(65534, 65534), lambda: None).words(  # type: ignore[arg-type]
        ["sh", "-c", "id -u; cat /proc/self/status; cat /proc/net/dev; env"]
    )
    told = run(words, env={"SECRET": "hunter2"}).text
    assert told.startswith("65534\n")
    assert "CapBnd:\t0000000000000000" in told and "NoNewPrivs:\t1" in told
    assert [line.split(":")[0].strip() for line in told.splitlines() if ": " in line and "lo:" in line] == ["lo"]
    assert "eth" not in told and "hunter2" not in told
