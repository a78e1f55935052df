"""Backups of projects, kept by real borg: what they have, when they are good, and what they leave behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corpushooks.backup import vault
from corpushooks.core import backups
from corpushooks.core.errors import ConfigError, RefusedError
from corpushooks.core.settings import load
from corpushooks.system.process import carrying, run, spawn
from tests.support.backups import NEWEST, SETTINGS, deployed, failing_dumps, needs_root, rows
from tests.support.box import Box, until
from tests.support.command import begin, corpus
from tests.support.databases import mariadb, mysql, postgresql, psql
from tests.support.json_page import agrees, sections


def names(box: Box) -> list[str]:
    return [copy.name for copy in vault.engine(box.host, load(box.host.config_file), vault.alone).copies()]


def brought(box: Box, name: str) -> Path:
    """Return a folder with what a copy has."""
    into = box.root / "brought" / name
    into.mkdir(parents=True)
    vault.engine(box.host, load(box.host.config_file), vault.alone).bring(name, into)
    return into


# what is kept


def test_a_backup_has_all_that_a_project_is(kept: Box) -> None:
    done = corpus(kept, "backup", "hello")
    assert done.code == 0, done.stderr
    (row,) = rows(kept)
    assert (row.number, row.code, row.files, row.changed, row.databases) == (2, kept.row().code, 3, 0, 0)
    assert f"{row.name}: 3 files" in done.text
    assert "1 repository of hello" in done.text and "repositoriess" not in kept.log(2)
    assert done.text.splitlines()[-1] == "success: backup is done"
    files = brought(kept, backups.Name.read(row.name)[0].files)  # type: ignore[index]
    assert (files / "data/uploads/photo").read_text() == "precious"
    assert os.readlink(files / "data/link") == "/etc/passwd"
    about = brought(kept, row.name)
    run(["git", "clone", "--quiet", about / "project.bundle", about / "clone"])
    assert run(["git", "rev-parse", "HEAD"], cwd=about / "clone").text == kept.row().code
    said = json.loads((about / "backup.json").read_text())
    assert said["project"]["code"] == kept.row().code
    assert "repository" in (about / "config.yaml").read_text()
    assert (about / "store.sqlite").stat().st_size > 10_000
    assert not (kept.project().backups / "work").exists()


def test_backups_are_listed(kept: Box) -> None:
    assert corpus(kept, "backups", "hello").text == "hello has no backups"
    corpus(kept, "backup", "hello")
    corpus(kept, "backup", "hello")
    lines = corpus(kept, "backups", "hello").text.splitlines()
    assert [line.split()[0] for line in lines] == ["3", "2"]
    assert "3 files" in lines[0]
    found = json.loads(corpus(kept, "backups", "hello", "--json").text)
    assert [(one["number"], one["whole"]) for one in found] == [(3, True), (2, True)]
    agrees(found[0], sections()["corpus backups"])
    assert found[0]["added"] < found[1]["added"]


def test_all_projects_are_kept_one_after_the_other(kept: Box) -> None:
    kept.init("other")
    done = corpus(kept, "backup", "--all", "--json")
    assert done.code == 0, done.stderr
    assert [(one["project"], one["state"]) for one in json.loads(done.text)] == [("hello", "done"), ("other", "done")]
    assert corpus(kept, "backup").code == corpus(kept, "backup", "hello", "--all").code == 2


def test_what_cfg_excludes_is_not_kept(kept: Box) -> None:
    deployed(kept, "  backup: {exclude: [uploads]}\n")
    assert corpus(kept, "backup", "hello").code == 0
    (row,) = rows(kept)
    assert row.files == 2
    files = brought(kept, backups.Name.read(row.name)[0].files)  # type: ignore[index]
    assert not (files / "data/uploads").exists()


def test_a_backup_is_made_while_the_project_is_frozen(kept: Box) -> None:
    assert corpus(kept, "freeze", "hello", "release day").code == 0
    assert corpus(kept, "backup", "hello").code == 0


# databases


@pytest.fixture
def sqlite(kept: Box) -> Path:
    """Return a database of SQLite of the project, which its cfg names."""
    path = kept.project().data / "app.sqlite3"
    run(["sqlite3", path, "pragma journal_mode=wal; create table t (x); insert into t values (1), (2)"])
    deployed(kept, "  backup: {databases: [{kind: sqlite, file: '{data_root}/app.sqlite3'}]}\n")
    return path


def test_a_database_of_sqlite_is_dumped_while_it_is_written(kept: Box, sqlite: Path) -> None:
    read, write = os.pipe()
    writer = spawn(["sqlite3", sqlite], stdin=read)
    os.close(read)
    try:
        os.write(write, b"insert into t values (3); begin immediate; insert into t values (4);\n")
        until(lambda: run(["sqlite3", sqlite, "select count(*) from t"]).text == "3")
        done = corpus(kept, "backup", "hello")
    finally:
        os.close(write)
        writer.wait(10)
    assert done.code == 0, done.stderr
    (row,) = rows(kept)
    assert row.databases == 1
    assert run(["sqlite3", brought(kept, row.name) / "dumps/0", "select count(*) from t"]).text == "3"
    files = brought(kept, backups.Name.read(row.name)[0].files)  # type: ignore[index]
    assert not list((files / "data").glob("app.sqlite3*"))


@pytest.mark.parametrize("wrong", ["damaged", "missing"])
def test_a_dump_that_fails_is_no_backup(kept: Box, sqlite: Path, wrong: str) -> None:
    sqlite.write_text("not a database, but long enough to be one\n") if wrong == "damaged" else sqlite.unlink()
    done = corpus(kept, "backup", "hello")
    assert done.code == 1
    assert "no dump of app.sqlite3: sqlite3: Error: " in done.stdout.decode() + done.stderr.decode()
    assert rows(kept) == [] and names(kept) == []
    assert not (kept.project().dir / "dump").exists()
    assert sqlite.exists() == (wrong == "damaged")
    assert "failed: no dump of app.sqlite3" in corpus(kept, "backups", "hello").text


@needs_root
def test_a_database_of_postgresql_is_dumped(kept: Box) -> None:
    with postgresql() as base:
        psql(base, "postgres", "", "create database hello")
        psql(base, "postgres", "", "create table t as select generate_series(1, 1000) x", "hello")
        said = f"{{kind: postgresql, name: hello, host: {base}, user: postgres, password: hunter2-secret}}"
        deployed(kept, f"  backup: {{databases: [{said}]}}\n")
        done = corpus(kept, "backup", "hello")
        assert done.code == 0, done.stderr
        (row,) = rows(kept)
        dump = brought(kept, row.name) / "dumps/0"
        assert "TABLE DATA public t" in run(["pg_restore", "--list", dump]).text
        psql(base, "postgres", "", "drop table t", "hello")
        psql(base, "postgres", "", "drop database hello")
        assert corpus(kept, "backup", "hello").code == 1
        assert len(rows(kept)) == 1


@needs_root
def test_a_dump_of_postgresql_that_dies_in_the_middle_is_none(kept: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    real, programs = shutil.which("pg_dump"), kept.root / "bin"
    programs.mkdir()
    (programs / "pg_dump").write_text(f'#!/bin/sh\n{real} "$@" | head -c 2000\nkill -9 $$\n')
    (programs / "pg_dump").chmod(0o755)
    with postgresql() as base:
        psql(base, "postgres", "", "create database hello")
        psql(base, "postgres", "", "create table t as select generate_series(1, 10000) x", "hello")
        deployed(kept, f"  backup: {{databases: [{{kind: postgresql, name: hello, host: {base}, user: postgres}}]}}\n")
        kept.stop()
        with monkeypatch.context() as changed:
            changed.setenv("PATH", f"{programs}:{os.environ['PATH']}")
            kept.start()
            done = corpus(kept, "backup", "hello")
            kept.stop()
        assert done.code == 1 and "no dump of hello: pg_dump: " in done.text
        assert rows(kept) == [] and names(kept) == []
        kept.start()
        assert corpus(kept, "backup", "hello").code == 0


@needs_root
def test_a_database_of_mariadb_is_dumped(kept: Box) -> None:
    with mariadb() as socket:
        mysql(socket, "root", "", "create database hello; create table hello.t (x int); insert into hello.t values (7)")
        deployed(kept, f"  backup: {{databases: [{{kind: mysql, name: hello, host: {socket}}}]}}\n")
        done = corpus(kept, "backup", "hello")
        assert done.code == 0, done.stderr
        (row,) = rows(kept)
        about = brought(kept, row.name)
        assert "INSERT INTO `t` VALUES\n(7)" in (about / "dumps/0").read_text()
        assert not (about / "options.cnf").exists()
        mysql(socket, "root", "", "drop database hello")
        assert corpus(kept, "backup", "hello").code == 1
        assert len(rows(kept)) == 1


@pytest.mark.slow
def test_fifty_dumps_that_fail_are_none(kept: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program that writes the beginning of a dump and then fails, is killed, or only says that all is well."""
    calls = failing_dumps(tmp_path / "bin")
    deployed(kept, "  backup: {databases: [{kind: mysql, name: hello}]}\n")
    kept.stop()
    monkeypatch.setenv("PATH", f"{calls.parent}:{os.environ['PATH']}")
    kept.start()
    for _ in range(50):
        kept.ask(op="backup", project="hello", token=os.urandom(8).hex())
    assert calls.read_text().strip() == "50"
    assert rows(kept) == [] and names(kept) == []
    store = kept.history
    assert {one.state for one in store.deployments("hello") if one.request.kind == "backup"} == {"failed"}
    store.close()


# what goes wrong


def test_a_file_that_changes_while_it_is_read_is_named(kept: Box) -> None:
    """A file that grows all the time."""
    path = kept.project().data / "growing.log"
    writer = spawn(["sh", "-c", f"while :; do echo line >>{path}; done"])
    try:
        until(path.exists)
        done = corpus(kept, "backup", "hello")
    finally:
        os.killpg(writer.pid, signal.SIGKILL)
        writer.wait()
    assert done.code == 0, done.stderr
    assert rows(kept)[0].changed == 1
    assert "changed while it was read: data/growing.log" in kept.log(2)
    assert "1 file changed meanwhile" in corpus(kept, "backups", "hello").text


def test_a_data_folder_that_is_a_link_is_told(kept: Box) -> None:
    data = kept.project().data
    data.rename(kept.root / "elsewhere")
    data.symlink_to(kept.root / "elsewhere")
    done = corpus(kept, "backup", "hello")
    assert done.code == 1 and "is a link: nothing that it leads to would be backed up" in done.text
    assert rows(kept) == []


def test_without_a_repository_it_is_refused(box: Box) -> None:
    done = corpus(box, "backup", "hello")
    assert done.code == 3
    assert "no backup repository in the settings of this host" in done.stdout.decode()


def test_a_repository_that_is_gone_is_a_failure(kept: Box) -> None:
    (kept.root / "repository").rename(kept.root / "away")
    done = corpus(kept, "backup", "hello")
    assert done.code == 1
    assert "error: no backup repository at" in done.stdout.decode()
    (kept.root / "away").rename(kept.root / "repository")
    assert corpus(kept, "backup", "hello").code == 0


def test_a_passphrase_that_others_can_read_is_not_used(kept: Box) -> None:
    file = kept.host.config_file.with_name("backup.passphrase")
    file.chmod(0o644)
    done = corpus(kept, "backup", "hello")
    assert done.code == 1
    assert f"chmod 600 {file}" in done.stdout.decode()


def test_a_backup_that_went_from_the_repository_is_listed_no_more(kept: Box) -> None:
    corpus(kept, "backup", "hello")
    (first,) = rows(kept)
    vault.engine(kept.host, load(kept.host.config_file), vault.alone).forget([first.name])
    corpus(kept, "backup", "hello")
    assert [row.number for row in rows(kept)] == [3]


def test_one_that_is_cancelled_is_none(kept: Box) -> None:
    lock = kept.root / "repository/lock.exclusive"
    lock.mkdir()
    (lock / "elsewhere@1.4711-1").touch()  # borg waits for it
    assert corpus(kept, "backup", "hello", "--nowait").code == 0
    until(lambda: "keep" in kept.steps(2))
    assert corpus(kept, "cancel", "hello").code == 0
    done = kept.ended(2)
    assert (done.state, done.reason.startswith("cancelled by")) == ("failed", True)
    assert not carrying(f"CORPUS_DEPLOYMENT={kept.project().dir}#2")
    (lock / "elsewhere@1.4711-1").unlink()
    lock.rmdir()
    assert names(kept) == [] == rows(kept)
    assert corpus(kept, "backup", "hello").code == 0


# beside deployments


@contextlib.contextmanager
def held_up(box: Box, hold: float) -> Iterator[None]:
    """Begin a backup, deployment 2, that waits for its repository until the end; then it goes on."""
    box.stop()
    repository = box.root / "repository"
    box.settings(f"backup: {{repository: {repository}, lock_wait: 60, prune: false, hold: {hold}}}\n")
    box.start()
    lock = repository / "lock.exclusive"
    lock.mkdir()
    (lock / "elsewhere@1.4711-1").touch()
    try:
        assert corpus(box, "backup", "hello", "--nowait").code == 0
        until(lambda: "keep" in box.steps(2))
        yield
    finally:
        (lock / "elsewhere@1.4711-1").unlink()
        lock.rmdir()


def test_a_deployment_waits_for_a_backup(kept: Box) -> None:
    with held_up(kept, 600):
        kept.app("two")
        pushed = kept.work().start_push()
        until(lambda: kept.exists(3))
        assert kept.steps(3) == []
    assert kept.ended(2).state == "done"
    assert kept.ended(3).state == "deployed"
    pushed.wait(10)
    assert rows(kept)[0].overtaken is None


def test_a_backup_that_takes_long_goes_on_beside_deployments(kept: Box) -> None:
    with held_up(kept, 0.2):
        for page in ("two", "three"):  # the second one wakes the lane anew
            assert kept.app(page).push().code == 0
        assert kept.deployment(2).state == "running"
    assert kept.ended(2).state == "done"
    (row,) = rows(kept)
    assert row.overtaken == 3 and row.code != kept.row().code
    assert "deployment 3 started meanwhile" in kept.log(2)
    assert "deployment 3 came between" in corpus(kept, "backups", "hello").text
    assert corpus(kept, "drill", "hello").code == 0


def test_a_daemon_that_dies_ends_a_backup_that_goes_on_beside(kept: Box) -> None:
    with held_up(kept, 0.2):
        assert kept.app("two").push().code == 0
        kept.kill()
        kept.start()
        assert kept.ended(2).reason.startswith("interrupted")
        assert not carrying(f"CORPUS_DEPLOYMENT={kept.project().dir}#2")
    assert rows(kept) == []
    assert corpus(kept, "backup", "hello").code == 0


def test_cancel_means_the_deployment_and_then_the_backup_beside_it(kept: Box) -> None:
    gate = "gate:\n  cmd.run:\n    - name: touch {0}/begun; while ! test -e {0}/gate; do sleep 0.05; done\n"
    with held_up(kept, 0.2):
        kept.work().commit({".salt/50_gate.sls": gate.format(kept.root)})
        pushed = kept.work().start_push()
        until((kept.root / "begun").exists)
        assert corpus(kept, "cancel", "hello").code == 0
        assert kept.ended(3).state == "rolled_back"
        pushed.wait(10)
        assert kept.deployment(2).state == "running"
        assert corpus(kept, "cancel", "hello").code == 0
        assert kept.ended(2).reason.startswith("cancelled by")


def test_one_that_is_cancelled_while_old_ones_are_removed_is_whole(kept: Box) -> None:
    kept.stop()
    kept.settings(SETTINGS.format(repository=kept.root / "repository", prune="true"))
    kept.start("backup rotate", "before", "wait")
    assert corpus(kept, "backup", "hello", "--nowait").code == 0
    until(lambda: kept.happened() == ["backup rotate before"])
    cancel = begin(kept, "cancel", "hello")
    until(lambda: kept.deployment(2).cancelled)
    (kept.host.root / "gate").touch()
    done = kept.ended(2)
    cancel.wait(20)
    assert (done.state, done.reason) == ("done", "")
    assert "the backup is complete, but old ones may not have been removed: cancelled by" in kept.log(2)
    assert [row.number for row in rows(kept)] == [2]


EFFECTS = [
    "backup collect", "backup dump", "backup keep", "backup record", "backup kept", "backup recorded", "backup rotate",
]  # fmt: skip


@pytest.mark.parametrize("label", EFFECTS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_daemon_that_is_killed_leaves_no_half_backup(kept: Box, label: str, when: str) -> None:
    """Only what was recorded is listed, and all that is listed is whole."""
    kept.stop()
    kept.start(label, when, "kill")
    corpus(kept, "backup", "hello")
    until(lambda: kept.happened() == [f"{label} {when}"])
    kept.revive()
    done = kept.ended(2)
    assert not (kept.project().backups / "work").exists()
    whole = label == "backup rotate" or (label, when) in (("backup recorded", "after"), ("backup record", "after"))
    assert done.state == ("done" if whole else "failed") and (whole or done.reason.startswith("interrupted"))
    assert [row.number for row in rows(kept)] == ([2] if whole else [])
    there = names(kept)
    assert all(row.name in there and backups.Name.read(row.name)[0].files in there for row in rows(kept))  # type: ignore[index]
    assert corpus(kept, "backup", "hello").code == 0
    assert not (kept.project().backups / "work").exists()
    assert rows(kept)[0].number == 3


@pytest.mark.slow
@pytest.mark.parametrize("label", EFFECTS)
def test_an_error_at_any_effect_is_a_failure(kept: Box, label: str) -> None:
    for number, (when, way) in enumerate(
        (when, way) for when in ("before", "after") for way in ("ENOSPC", "EIO", "bug")
    ):
        kept.faults((label, when, way))
        done = corpus(kept, "backup", "hello")
        recorded = [row.number for row in rows(kept)]
        failed = way == "bug" or 2 + number not in recorded
        assert done.code == failed, (when, way)
        assert kept.ended(2 + number).state == ("failed" if failed else "done")
        assert not (kept.project().backups / "work").exists()
    there = names(kept)
    assert all(row.name in there for row in rows(kept))
    assert corpus(kept, "backup", "hello").code == 0


# what a cfg says


def test_what_a_cfg_names() -> None:
    cfg = {"data_root": "/d", "backup": {"exclude": ["a/b"], "databases": [{"kind": "sqlite", "file": "/d/x/y.db"}]}}
    found = backups.of(cfg)
    assert found.databases[0].file == found.databases[0].label == "x/y.db"
    assert found.without == ("a/b", "x/y.db", "x/y.db-wal", "x/y.db-shm", "x/y.db-journal")
    assert backups.of({"data_root": "/d"}) == backups.Wanted()


@pytest.mark.parametrize(
    "body",
    [
        ["a"], {"other": 1}, {"exclude": ["/etc"]}, {"exclude": ["../x"]}, {"exclude": ["a/../../x"]},
        {"exclude": [""]},
        {"exclude": ["."]}, {"exclude": "a"}, {"databases": [{"kind": "oracle", "name": "a"}]},
        {"databases": [{"kind": "postgresql"}]}, {"databases": [{"kind": "postgresql", "name": "--file=/etc/x"}]},
        {"databases": [{"kind": "postgresql", "name": "host=elsewhere"}]}, {"databases": [{"name": "a"}]},
        {"databases": [{"kind": "sqlite", "file": "/etc/x.db"}]},
        {"databases": [{"kind": "sqlite", "file": "/d/../x"}]},
        {"databases": [{"kind": "mysql", "name": "a"}, {"kind": "postgresql", "name": "a"}]},
        {"databases": [{"kind": "mysql", "name": "a", "port": "3306"}]},
    ],
)  # fmt: skip
def test_what_no_cfg_can_say(body: Any) -> None:
    with pytest.raises(ConfigError, match="cfg: backup"):
        backups.of({"data_root": "/d", "backup": body})


def test_a_password_is_shown_by_no_error() -> None:
    with pytest.raises(ConfigError) as caught:
        backups.of({"data_root": "/d", "backup": {"databases": [{"kind": "mysql", "name": "a", "password": 12345}]}})
    assert "12345" not in caught.value.message


def test_names_are_read_as_they_were_made() -> None:
    name = backups.Name.new("hello-2", 17, 0.0, "web 1.example.org")
    assert str(name) == "hello-2.17.19700101T000000Z@web-1.example.org"
    assert backups.Name.read(str(name)) == (name, False)
    assert backups.Name.read(name.files) == (name, True)
    assert backups.Name.read("hello-2.17.19700101T000000Z") is None
    assert backups.Name.read("somebody's own") is None


def test_a_repository_of_somebody_else_is_left_alone(kept: Box) -> None:
    (kept.root / "repository/config").unlink()
    with pytest.raises(RefusedError):
        vault.wanted(load(kept.root / "nowhere"))
    done = corpus(kept, "setup", "--backup")
    assert done.code == 1 and "backup repository" in done.stderr.decode()


# how long they are kept


def test_the_last_of_days_weeks_and_months_are_kept() -> None:
    day = 86400.0
    names = [backups.Name.new("hello", number, 1.7e9 + number * day / 2, "a") for number in range(1, 800)]
    few = backups.Backup("/r", keep_daily=3, keep_weekly=2, keep_monthly=2)
    kept = sorted(backups.retained(names, few), key=lambda name: name.number)
    assert [name.at[:8] for name in kept] == ["20241130", "20241215", "20241216", "20241217", "20241218"]
    assert all(name == max(each for each in names if each.at[:8] == name.at[:8]) for name in kept)
    none = backups.Backup("/r", keep_daily=0, keep_weekly=0, keep_monthly=0)
    assert backups.retained(names, none) == {names[-1]}
    assert backups.retained([], none) == set()
    of_host = [backups.Name.new("_host", 1, 1.7e9 + second, "a") for second in range(9)]  # all have one number
    assert all(backups.retained(each, none) == {of_host[-1]} for each in (of_host, of_host[::-1]))
    assert backups.Backup("/r").prunes and not backups.Backup("ssh://a@b/c").prunes
    assert not backups.Backup("/r", prune=False).prunes and backups.Backup("ssh://a@b/c", prune=True).prunes


def test_what_is_old_goes_and_what_a_drill_proved_stays(kept: Box) -> None:
    """Those of others stay whatever they are."""
    kept.stop()
    kept.settings(SETTINGS.format(repository=kept.root / "repository", prune=f"null, {NEWEST}"))
    kept.start()
    engine = vault.engine(kept.host, load(kept.host.config_file), vault.alone)
    (kept.root / "other").mkdir()
    for name in ("somebody's own", "hello.1.20200101T000000Z@elsewhere", "other.1.20200101T000000Z+files@elsewhere"):
        engine.keep(name, kept.root, ["other"])
    corpus(kept, "backup", "hello")
    proved = rows(kept)[0]
    assert corpus(kept, "drill", "hello").code == 0
    half = backups.Name.read(proved.name)[0]._replace(number=1).files  # type: ignore[index]
    engine.keep(half, kept.root, ["other"])
    corpus(kept, "backup", "hello")
    second = rows(kept)[0]
    assert corpus(kept, "backup", "hello").code == 0
    third = rows(kept)[0]
    assert [row.name for row in rows(kept)] == [third.name, proved.name]
    left = set(names(kept))
    assert {third.name, proved.name, "somebody's own", "hello.1.20200101T000000Z@elsewhere"} < left
    assert second.name not in left and half not in left
    assert backups.Name.read(second.name)[0].files not in left  # type: ignore[index]
    assert len(left) == 7
    assert corpus(kept, "restore", "hello", str(proved.number), "--to", str(kept.root / "back")).code == 0
