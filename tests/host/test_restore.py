"""Restores: what comes back is what was kept, and what fails or is interrupted has changed nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from corpushooks.backup import Copy
from corpushooks.core import backups
from corpushooks.core.errors import UsageError
from corpushooks.deploy import returned
from corpushooks.system.process import run
from corpushooks.tree import exchange
from tests.support.backups import deployed, needs_root, rows
from tests.support.box import Box, tree_of, until
from tests.support.command import corpus
from tests.support.databases import mariadb, mysql, postgresql, psql


@pytest.fixture
def lost(kept: Box) -> tuple[Box, dict[str, tuple[object, ...]]]:
    """Return a host with a backup of data/ with eight kinds of entries, what that was, and data/ as it is spoilt."""
    data = kept.project().data
    shell = """
    ln uploads/photo uploads/hard; mkfifo fifo; truncate -s 4M sparse; echo x >setuid; chmod 4755 setuid
    mkdir -m 2770 shared; chown 4711:4712 shared; ln -s /etc/shadow planted; printf x >"$(printf 'n\\377me')"
    """ if os.geteuid() == 0 else "ln uploads/photo uploads/hard"  # fmt: skip
    subprocess.run(["sh", "-ec", shell], cwd=data, check=True)
    os.setxattr(data / "uploads/photo", "user.kind", b"\x00\xff")
    was = tree_of(data)
    assert corpus(kept, "backup", "hello").code == 0
    shutil.rmtree(data / "uploads")
    (data / "fifo").unlink(missing_ok=True)
    (data / "later").write_text("made since")
    return kept, was


def test_data_comes_back_exactly_and_what_was_there_is_kept(lost: tuple[Box, dict[str, tuple[object, ...]]]) -> None:
    box, was = lost
    data = box.project().data
    spoilt = tree_of(data)
    done = corpus(box, "restore", "hello", "--data", "--force")
    assert done.code == 0, done.stdout
    assert tree_of(data) == was
    assert (data / "uploads/photo").stat().st_ino == (data / "uploads/hard").stat().st_ino
    assert os.getxattr(data / "uploads/photo", "user.kind") == b"\x00\xff"
    aside = box.project().dir / "replaced/3/data"
    assert f"what was in data/: {aside}" in done.text
    assert tree_of(aside) == spoilt
    assert not (box.project().backups / "work").exists()
    assert (aside.parent.stat().st_mode & 0o777, aside.parent.parent.stat().st_mode & 0o777) == (0o700, 0o700)


def test_nothing_is_replaced_without_force(lost: tuple[Box, dict[str, tuple[object, ...]]]) -> None:
    box, _ = lost
    spoilt = tree_of(box.project().data)
    done = corpus(box, "restore", "hello", "--data")
    assert (done.code, "data/ is not empty" in done.text) == (3, True)
    planned = corpus(box, "restore", "hello", "--data", "--dry-run")
    assert planned.code == 0
    assert "      data/: " in planned.text and "nothing was changed" in planned.text
    assert tree_of(box.project().data) == spoilt
    assert not (box.project().dir / "replaced").exists()


def test_an_empty_folder_needs_no_force_and_is_not_kept(lost: tuple[Box, dict[str, tuple[object, ...]]]) -> None:
    box, was = lost
    for path in box.project().data.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert corpus(box, "restore", "hello", "--data").code == 0
    assert tree_of(box.project().data) == was
    assert not (box.project().dir / "replaced").exists()


def test_all_of_it_is_written_to_a_folder(lost: tuple[Box, dict[str, tuple[object, ...]]], tmp_path: Path) -> None:
    box, was = lost
    spoilt = tree_of(box.project().data)
    to = box.root / "here"
    done = corpus(box, "restore", "hello", "2", "--to", str(to))
    assert done.code == 0, done.stdout
    assert tree_of(to / "data") == was
    assert tree_of(box.project().data) == spoilt
    assert json.loads((to / "backup.json").read_text())["project"]["name"] == "hello"
    assert to.stat().st_mode & 0o777 == 0o700
    again = corpus(box, "restore", "hello", "--to", str(to))
    assert (again.code, "already exists" in again.text) == (3, True)


def test_what_is_damaged_or_interrupted_is_written_to_no_folder(
    lost: tuple[Box, dict[str, tuple[object, ...]]],
) -> None:  # fmt: skip
    box, _ = lost
    to = box.root / "here"
    box.faults(("restore verify", "after", "EIO"))
    assert corpus(box, "restore", "hello", "--to", str(to)).code == 1
    box.stop()
    box.start("restore verify", "before", "kill")
    corpus(box, "restore", "hello", "--to", str(to))
    until(lambda: box.happened() == ["restore verify before"])
    box.revive()
    assert box.ended(4).state == "failed"
    assert not list(box.root.glob("here*"))
    assert corpus(box, "restore", "hello", "--to", str(to)).code == 0 and to.is_dir()
    assert [path.name for path in box.root.glob("here*")] == ["here"]


@needs_root
def test_a_folder_that_others_could_lead_elsewhere_is_refused(
    lost: tuple[Box, dict[str, tuple[object, ...]]], tmp_path: Path
) -> None:
    box, _ = lost
    theirs = box.root / "theirs"
    theirs.mkdir()
    os.chown(theirs, 4711, 4711)
    done = corpus(box, "restore", "hello", "--to", str(theirs / "x"))
    assert (done.code, "others can write in" in done.text) == (3, True)
    (box.root / "link").symlink_to(theirs)
    assert corpus(box, "restore", "hello", "--to", str(box.root / "link/x")).code == 3
    assert not list(theirs.iterdir())


def test_what_it_has_not_is_refused(lost: tuple[Box, dict[str, tuple[object, ...]]]) -> None:
    box, _ = lost
    assert "has no backup 7" in corpus(box, "restore", "hello", "7", "--data").text
    assert "this backup has no database shop" in corpus(box, "restore", "hello", "--database", "shop", "--force").text
    assert corpus(box, "restore", "hello").code == 2
    assert corpus(box, "freeze", "hello", "release day").code == 0
    assert corpus(box, "restore", "hello", "--data").code == 3


# what is damaged


def test_a_backup_that_is_damaged_changes_nothing(lost: tuple[Box, dict[str, tuple[object, ...]]]) -> None:
    box, _ = lost
    spoilt = tree_of(box.project().data)
    for segment in (box.root / "repository/data/0").iterdir():
        damaged = bytearray(segment.read_bytes())
        if len(damaged) > 2000:
            damaged[len(damaged) // 2] ^= 1
            segment.write_bytes(damaged)
    done = corpus(box, "restore", "hello", "--data", "--force")
    assert done.code == 1, done.text
    assert tree_of(box.project().data) == spoilt
    assert not (box.project().dir / "replaced").exists()


def test_what_is_not_as_it_was_kept_is_not_used(
    lost: tuple[Box, dict[str, tuple[object, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A borg that says that all is well, and writes something else."""
    box, _ = lost
    spoilt = tree_of(box.project().data)
    programs = box.root / "bin"
    programs.mkdir()
    real = shutil.which("borg")
    spoil = "[ ! -e data/uploads/photo ] || echo PRECIOUS >data/uploads/photo"
    (programs / "borg").write_text(f'#!/bin/sh\n{real} "$@"; code=$?\n{spoil}\nexit $code\n')
    (programs / "borg").chmod(0o755)
    box.stop()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    box.start()
    done = corpus(box, "restore", "hello", "--data", "--force")
    assert done.code == 1
    assert "different from the backup: data/uploads/photo" in done.text
    assert tree_of(box.project().data) == spoilt
    assert not (box.project().dir / "replaced").exists()


EFFECTS = ["restore look", "restore fetch", "restore verify", "restore put", "restore swap"]


@pytest.mark.parametrize("label", EFFECTS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_daemon_that_is_killed_leaves_the_old_or_the_new(
    lost: tuple[Box, dict[str, tuple[object, ...]]], label: str, when: str
) -> None:
    box, was = lost
    data = box.project().data
    spoilt = tree_of(data)
    box.stop()
    box.start(label, when, "kill")
    corpus(box, "restore", "hello", "--data", "--force")
    until(lambda: box.happened() == [f"{label} {when}"])
    box.revive()
    done = box.ended(3)
    swapped = (label, when) in (("restore swap", "after"), ("restore put", "after"))
    assert done.state == ("done" if swapped else "failed")
    assert tree_of(data) == (was if swapped else spoilt)
    aside = box.project().dir / "replaced/3/data"
    assert aside.exists() == swapped
    assert not swapped or tree_of(aside) == spoilt
    assert not (box.project().backups / "work").exists()
    assert corpus(box, "restore", "hello", "--data", "--force").code == 0
    assert tree_of(data) == was


@pytest.mark.parametrize("label", EFFECTS)
def test_an_error_at_any_effect_leaves_the_old_or_the_new(
    lost: tuple[Box, dict[str, tuple[object, ...]]], label: str
) -> None:
    box, was = lost
    data = box.project().data
    spoilt, number = tree_of(data), 2
    for when, way in (("before", "ENOSPC"), ("after", "EIO"), ("before", "bug"), ("after", "bug")):
        number += 1
        box.faults((label, when, way))
        assert corpus(box, "restore", "hello", "--data", "--force").code == 1
        swapped = when == "after" and label in ("restore swap", "restore put")
        assert tree_of(data) == (was if swapped else spoilt), (when, way)
        if swapped:
            exchange(box.project().dir / f"replaced/{number}/data", data)
            shutil.rmtree(box.project().dir / f"replaced/{number}")
    assert not list(box.project().dir.glob("replaced/*"))


def test_one_that_is_cancelled_changes_nothing(lost: tuple[Box, dict[str, tuple[object, ...]]]) -> None:
    box, _ = lost
    spoilt = tree_of(box.project().data)
    box.faults(("restore verify", "before", "wait"))
    box.ask("restore", project="hello", data=True, force=True, nowait=True, token="t")
    until(lambda: box.happened())
    assert corpus(box, "cancel", "hello").code in (0, 1)
    (box.host.root / "gate").touch()
    assert box.ended(3).state == "failed"
    assert tree_of(box.project().data) == spoilt
    assert not (box.project().dir / "replaced").exists()


# databases and the pillar


def test_a_database_of_sqlite_comes_back_with_data(kept: Box) -> None:
    path = kept.project().data / "app.sqlite3"
    run(["sqlite3", path, "pragma journal_mode=wal; create table t (x); insert into t values (1), (2)"])
    path.chmod(0o640)
    deployed(kept, "  backup: {databases: [{kind: sqlite, file: '{data_root}/app.sqlite3'}]}\n")
    assert corpus(kept, "backup", "hello").code == 0
    run(["sqlite3", path, "delete from t"])
    done = corpus(kept, "restore", "hello", "--data", "--force")
    assert done.code == 0, done.text
    assert run(["sqlite3", path, "select count(*) from t"]).text == "2"
    assert path.stat().st_mode & 0o777 == 0o640
    assert "restore it with --data" in corpus(kept, "restore", "hello", "--database", "app.sqlite3", "--force").text


@needs_root
def test_a_database_of_postgresql_comes_back_or_stays(kept: Box) -> None:
    with postgresql() as base:
        psql(base, "postgres", "", "create database hello")
        psql(base, "postgres", "", "create table t as select generate_series(1, 1000) x", "hello")
        deployed(kept, f"  backup: {{databases: [{{kind: postgresql, name: hello, host: {base}, user: postgres}}]}}\n")
        assert corpus(kept, "backup", "hello").code == 0
        psql(base, "postgres", "", "delete from t where x > 10", "hello")
        assert corpus(kept, "restore", "hello", "--database", "hello").code == 3
        psql(base, "postgres", "", "create view v as select * from t", "hello")
        failed = corpus(kept, "restore", "hello", "--database", "hello", "--force")
        assert (failed.code, "hello is as it was" in failed.text) == (1, True)
        assert psql(base, "postgres", "", "select count(*) from v", "hello") == (0, "10")
        psql(base, "postgres", "", "drop view v", "hello")
        done = corpus(kept, "restore", "hello", "--database", "hello", "--force")
        assert done.code == 0, done.text
        assert psql(base, "postgres", "", "select count(*) from t", "hello") == (0, "1000")
        dump = next(kept.project().dir.glob("replaced/*/hello.dump"))
        assert "TABLE DATA public t" in run(["pg_restore", "--list", dump]).text


@needs_root
def test_a_database_of_mariadb_comes_back_or_stays(kept: Box) -> None:
    with mariadb() as socket:
        mysql(socket, "root", "", "create database hello; create table hello.t (x int); insert into hello.t values (7)")
        deployed(kept, f"  backup: {{databases: [{{kind: mysql, name: hello, host: {socket}}}]}}\n")
        assert corpus(kept, "backup", "hello").code == 0
        mysql(socket, "root", "", "update hello.t set x = 8")
        done = corpus(kept, "restore", "hello", "--database", "hello", "--force")
        assert done.code == 0, done.text
        assert mysql(socket, "root", "", "select x from hello.t") == (0, "7")
        assert "(8)" in next(kept.project().dir.glob("replaced/*/hello.dump")).read_text()


def test_the_pillar_comes_back(kept: Box) -> None:
    pillar = kept.work(repo="pillar")
    first = pillar.commit({"init.sls": "makina-projects.hello: {data: {a: 1}}\n"})
    assert pillar.push().code == 0
    assert corpus(kept, "backup", "hello").code == 0
    second = pillar.commit({"init.sls": "makina-projects.hello: {data: {a: 2}}\n"})
    assert pillar.push().code == 0
    assert corpus(kept, "restore", "hello", "--pillar").code == 3
    done = corpus(kept, "restore", "hello", "--pillar", "--force")
    assert done.code == 0, done.text
    assert kept.ref(repo="pillar") == first
    number = rows(kept)[0].number
    assert kept.ref(repo="pillar", ref=f"refs/restored/{number + 2}/before") == second


# which one


def test_the_newest_whole_backup_is_chosen_and_one_of_this_host_first() -> None:
    def copies(*found: backups.Name) -> list[Copy]:
        return [Copy(name, 0) for one in found for name in (str(one), one.files)]

    old, new = backups.Name.new("hello", 2, 1e9, "a"), backups.Name.new("hello", 4, 1.1e9, "a")
    other, longer = backups.Name.new("hello", 4, 1.2e9, "b"), backups.Name.new("hello-2", 9, 1.3e9, "a")
    half = Copy(backups.Name.new("hello", 8, 1.4e9, "a").files, 0)
    found = [*copies(old, new, other, longer), half, Copy("somebody's own", 0)]
    assert returned.chosen(found, "hello", 0, "a") == new
    assert returned.chosen(found, "hello", 4, "a") == new
    assert returned.chosen(found, "hello", 4, "b") == other
    assert returned.chosen(found, "hello", 0, "c") == other
    with pytest.raises(UsageError, match="has no backup 8"):
        returned.chosen(found, "hello", 8, "a")
