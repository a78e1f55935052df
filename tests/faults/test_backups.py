"""Backups under faults: what is called good is whole, no lock is left, and the lane is free again."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from corpushooks.backup import vault
from corpushooks.core.backups import Name
from corpushooks.core.settings import load
from corpushooks.store.kept import Backups
from corpushooks.system.process import run
from tests.support.backups import NEWEST, SETTINGS, needs_root, rows
from tests.support.box import Box, tree_of
from tests.support.command import begin, corpus
from tests.support.mounts import mounting

REAL = shutil.which("borg") or "borg"
# Counts its calls; in the one that is asked for, borg is killed once it has the lock and has written so many lines.
KILLS = """\
#!/bin/sh
n=$(($(cat {0}/calls) + 1)); echo $n >{0}/calls
[ $n = "$(cat {0}/which)" ] || exec {1} "$@"
{1} "$@" & pid=$!
until [ -e {0}/repository/lock.exclusive ] || ! kill -0 $pid 2>/dev/null; do :; done
sleep "$(cat {0}/later)"
kill -9 $pid 2>/dev/null
wait $pid
"""


def names(box: Box) -> set[str]:
    return {copy.name for copy in vault.engine(box.host, load(box.host.config_file), vault.alone).copies()}


def check_whole(box: Box) -> None:
    """Check that what is listed is in the repository, and comes back."""
    there = names(box)
    for row in rows(box):
        found = Name.read(row.name)
        assert found and {row.name, found[0].files} <= there, row
    locks = (box.root / "repository").glob("lock.*")
    assert not [lock for lock in locks if lock.suffix != ".tmp"]  # what borg builds beside a lock until it has it
    assert not (box.project().backups / "work").exists()


@contextmanager
def program(box: Box, text: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put another borg in the place of the real one, for daemons that are started meanwhile."""
    programs = box.root / "bin"
    programs.mkdir()
    (programs / "borg").write_text(text)
    (programs / "borg").chmod(0o755)
    box.stop()
    with monkeypatch.context() as changed:
        changed.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        box.start()
        yield
        box.stop()
    box.start()


def test_an_engine_that_is_killed_makes_no_backup(kept: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in each of its calls, when it has the lock and a random moment later."""
    for index in range(40):
        (kept.project().data / f"uploads/{index}").write_bytes(os.urandom(200_000))
    for name in ("calls", "which"):
        (kept.root / name).write_text("0")
    (kept.root / "later").write_text("0")
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    with program(kept, KILLS.format(kept.root, REAL), monkeypatch):
        assert corpus(kept, "backup", "hello").code == 0
        calls = int((kept.root / "calls").read_text())
        assert calls > 2
        for number, (call, late) in enumerate(itertools.product(range(1, calls + 1), (False, True)), 3):
            (kept.root / "calls").write_text("0")
            (kept.root / "which").write_text(str(call))
            (kept.root / "later").write_text(f"{chance.random() if late else 0:.3f}")
            (kept.project().data / "uploads/0").write_bytes(os.urandom(200_000))
            done = corpus(kept, "backup", "hello")
            good = kept.ended(number).state == "done"
            assert (done.code == 0) == good == (number in {row.number for row in rows(kept)}), f"seed {seed}"
        (kept.root / "which").write_text("0")
        assert corpus(kept, "backup", "hello").code == 0
    check_whole(kept)
    assert corpus(kept, "drill", "hello").code == 0
    assert kept.app("after").push().code == 0


def test_the_lock_of_a_dead_host_ends_a_backup_and_frees_the_lane(kept: Box) -> None:
    kept.stop()
    repository = kept.root / "repository"
    kept.settings(f"backup: {{repository: {repository}, lock_wait: 1, prune: false}}\n")
    kept.start()
    lock = repository / "lock.exclusive"
    lock.mkdir()
    (lock / "dead.example.org@123456.4711-1").touch()
    done = corpus(kept, "backup", "hello")
    assert done.code == 1 and "is locked by another process" in done.text and "borg break-lock" in done.text
    assert rows(kept) == [] and corpus(kept, "drill", "hello").code == 1
    assert kept.app("after").push().code == 0
    shutil.rmtree(lock)
    assert corpus(kept, "backup", "hello").code == 0
    check_whole(kept)


@needs_root
def test_a_repository_that_is_full_makes_no_backup_and_frees_the_lane(kept: Box) -> None:
    place, photo = kept.root / "small", kept.project().data / "uploads/photo"
    place.mkdir()
    with mounting() as mount:
        mount(place)
        kept.stop()
        kept.settings(SETTINGS.format(repository=place / "repository", prune="false"))
        assert corpus(kept, "setup", "--backup", "--exported").code == 0
        kept.start()
        assert corpus(kept, "backup", "hello").code == 0
        photo.write_bytes(os.urandom(2 << 20))
        for _ in range(2):
            done = corpus(kept, "backup", "hello")
            assert done.code == 1, done.text
        assert [row.number for row in rows(kept)] == [2]
        assert kept.app("after").push().code == 0
        assert corpus(kept, "drill", "hello").code == 0
        assert not list(place.glob("repository/lock.*"))
        run(["mount", "-o", "remount,size=2g", place])
        assert corpus(kept, "backup", "hello").code == 0
        assert corpus(kept, "drill", "hello").code == 0


def test_two_hosts_back_up_to_one_repository_at_once(kept: Box, new_box: Callable[..., Box]) -> None:
    other = new_box()
    other.settings(f"backup: {{repository: {kept.root / 'repository'}, lock_wait: 100, prune: false}}\n")
    kept.stop()
    kept.settings(other.host.config_file.read_text())
    kept.start()
    passphrase = kept.host.config_file.with_name("backup.passphrase")
    shutil.copy(passphrase, other.host.config_file.with_name(passphrase.name))
    other.init("other")
    assert corpus(other, "setup", "--backup", "--exported").code == 0
    other.start()
    (other.project("other").data / "page").write_text("of the other")
    for _ in range(3):
        asked = [begin(kept, "backup", "hello"), begin(other, "backup", "other")]
        assert [child.wait(300) for child in asked] == [0, 0]
    assert len(rows(kept)) == 3 and len(names(kept)) == 12
    check_whole(kept)
    assert corpus(kept, "drill", "hello").code == corpus(other, "drill", "other").code == 0


def test_a_wrong_passphrase_makes_no_backup(kept: Box) -> None:
    assert corpus(kept, "backup", "hello").code == 0
    passphrase = kept.host.config_file.with_name("backup.passphrase")
    right = passphrase.read_text()
    passphrase.write_text("wrong\n")
    spoilt = tree_of(kept.project().data)
    for asked in (("backup", "hello"), ("drill", "hello"), ("restore", "hello", "--data", "--force")):
        done = corpus(kept, *asked)
        assert done.code == 1 and "wrong passphrase" in done.text
    assert [row.number for row in rows(kept)] == [2] and tree_of(kept.project().data) == spoilt
    assert kept.app("after").push().code == 0
    passphrase.write_text(right)
    check_whole(kept)


# the clock


def moved(box: Box, seconds: float) -> Name:
    """Have the newest backup be made at another time, as by a clock that was wrong; return its name."""
    row = rows(box)[0]
    was = Name.read(row.name)
    assert was
    name = Name.new("hello", row.number, row.at + seconds, was[0].host)
    env = {"BORG_PASSCOMMAND": f"cat {box.host.config_file.with_name('backup.passphrase')}"}
    for old, new in ((was[0].files, name.files), (str(was[0]), str(name))):
        run(["borg", "rename", f"{box.root}/repository::{old}", new], env=env)
    with closing(box.history) as store, store.change() as db:
        db.execute("UPDATE backup SET name = ?, at = ? WHERE number = ?", (str(name), row.at + seconds, row.number))
    return name


def test_after_a_clock_that_was_ahead_the_newest_is_still_the_last_that_was_made(kept: Box) -> None:
    kept.stop()
    kept.settings(SETTINGS.format(repository=kept.root / "repository", prune=f"true, {NEWEST}"))
    kept.start()
    photo = kept.project().data / "uploads/photo"
    assert corpus(kept, "backup", "hello").code == 0
    moved(kept, 10 * 365 * 86400)
    photo.write_text("newer")
    assert corpus(kept, "backup", "hello").code == 0
    assert 3 in {row.number for row in rows(kept)}
    assert corpus(kept, "drill", "hello").code == 0
    assert next(row for row in rows(kept) if row.number == 3).drilled
    photo.write_text("spoilt")
    assert corpus(kept, "restore", "hello", "--data", "--force").code == 0
    assert photo.read_text() == "newer"


def test_a_drill_that_fails_is_not_hidden_by_one_of_a_clock_that_was_ahead(kept: Box) -> None:
    assert corpus(kept, "backup", "hello").code == corpus(kept, "backup", "hello").code == 0
    newest, older = rows(kept)
    with closing(kept.history) as store:
        found = Backups(store)
        found.drilled(older.name, time.time() + 1e7, "")
        found.drilled(newest.name, time.time(), "data/page differs")
    assert "drill FAILED: data/page differs" in corpus(kept, "status", "hello").text
