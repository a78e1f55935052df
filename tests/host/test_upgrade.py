"""Time that runs backwards, and versions that meet: an older store, a newer one, a daemon replaced at work."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from corpushooks.core.deployment import Deployment, Request
from corpushooks.core.errors import StoreError
from corpushooks.screen import view
from corpushooks.store import database as store
from corpushooks.store.history import History
from corpushooks.store.migrations import MIGRATIONS, SCHEMA, VERSION
from corpushooks.system.process import spawn
from tests.support import command
from tests.support.box import Box, until
from tests.support.places import TOP

GATE = "gate:\n  cmd.run:\n    - name: touch {0}/begun; while ! test -e {0}/gate; do sleep 0.05; done\n"

# A daemon whose clock says what the file `clock` beside its root says.
CLOCK = """\
import sys, time
from pathlib import Path
gmtime, clock = time.gmtime, Path(sys.argv[1]).parent / "clock"
time.time = lambda: float(clock.read_text())
time.gmtime = lambda at=None: gmtime(time.time() if at is None else at)
from tests.support import fake_daemon
fake_daemon.main(Path(sys.argv[1]), embedded=False)
"""
NOON = 1_700_000_000.0


def start_with_clock(box: Box, zone: str = "UTC") -> None:
    out = os.open(box.root / "daemon.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    (box.root / "clock").write_text(str(NOON))
    words = [sys.executable, "-c", CLOCK, box.host.root]
    box.daemon = spawn(words, cwd=TOP, env={"TZ": zone}, stdout=out, stderr=out)
    os.close(out)
    until(box.reachable)


def corpus(box: Box, *words: str) -> str:
    done = command.corpus(box, *words)
    assert done.code == 0, done.stderr
    return done.text


# time


@pytest.fixture
def backwards(box: Box) -> Box:
    """Return a host on which the clock was set back an hour before each of four deployments."""
    box.stop()
    box.settings("keep_archives: 2\n")
    start_with_clock(box)
    for number in (1, 2, 3, 4):
        (box.root / "clock").write_text(str(NOON - 3600 * number))
        assert box.app(f"page {number}").push().code == 0
        box.ended(number)
    return box


def archives(box: Box) -> list[str]:
    return sorted(path.name for path in box.project().archives.iterdir())


def test_a_clock_that_goes_backwards_changes_no_order(backwards: Box) -> None:
    box = backwards
    with closing(box.history) as store:
        found = store.deployments("hello")
    assert [one.number for one in found] == [4, 3, 2, 1]
    assert sorted(one.queued for one in found) == [one.queued for one in found]  # the newest is the oldest
    assert [name.rpartition("_")[2] for name in archives(box)] == [
        "4",
        "3",
    ]  # the newest are kept, their names reversed
    newer, older = (box.project().archives / name / "project/index.html" for name in archives(box))
    assert (older.read_text(), newer.read_text()) == ("page 2", "page 3")
    assert "deployment 4" in corpus(box, "status", "hello")
    assert corpus(box, "history", "hello").splitlines()[0].startswith("*    4")
    corpus(box, "rollback", "hello")
    assert (box.project().tree / "index.html").read_text() == "page 3"


def test_an_archive_links_to_the_one_before_it_by_number(backwards: Box) -> None:
    box = backwards
    (box.project().tree / "upload").write_text("never changes")
    for number in (5, 6, 7):  # the first one sets its mode
        (box.root / "clock").write_text(str(NOON - 3600 * number))
        assert box.work().push("HEAD:refs/deploy/now").code == 0
        box.ended(number)
    kept = [box.project().archives / name / "project/upload" for name in archives(box)]
    assert len({path.stat().st_ino for path in kept}) == 1


def test_a_clock_that_is_set_back_while_something_runs_shows_no_negative_time(box: Box) -> None:
    box.stop()
    start_with_clock(box)
    box.app(files={".salt/10_gate.sls": GATE.format(box.root)})
    push = box.work().start_push()
    until((box.root / "begun").exists)
    (box.root / "clock").write_text(str(NOON - 86400))
    second = box.work().start_push("HEAD:refs/deploy/now")
    until(lambda: "waiting for deployment 1" in (box.work().path / ".git/push.log").read_text())
    (box.root / "gate").touch()
    assert (push.wait(30), second.wait(30)) == (0, 0)
    said = (box.work().path / ".git/push.log").read_text() + corpus(box, "history", "hello")
    assert not re.search(r"-\d[\d.]* (s|min|h|d)\b", said)


def test_a_duration_is_never_negative() -> None:
    assert view.ago(-5) == "0 s"
    one = Deployment("hello", 1, "t", "deployed", Request(), started=NOON, decided=NOON - 7)
    assert "0.0 s" in view.history_row(one, live=False)


def test_the_hour_that_comes_twice_has_two_names(box: Box) -> None:
    """On 27 October 2024 it was half past two twice in Berlin."""
    box.stop()
    start_with_clock(box, "Europe/Berlin")
    for number, at in ((1, 1729989000), (2, 1729992600)):
        (box.root / "clock").write_text(str(at))
        assert box.app(f"page {number}").push().code == 0
        box.ended(number)
    assert archives(box) == ["2024-10-27_00_30-00_1", "2024-10-27_01_30-00_2"]


# stores of other versions


NEWER = (
    "key", "admission", "freeze", "claim", "command", "vitals", "backup", "token", "overdue", "account",
    "session", "audit", "controller", "node", "placed", "rollout", "governed", "given_order",
)  # fmt: skip


def take_back(db: sqlite3.Connection, tables: tuple[str, ...] = NEWER) -> None:
    """Take out of a store what is newer than version 1."""
    db.execute("DROP INDEX deployment_live")
    for column in ("summary", "lease", "held", "boot", "until", "answered", "confirmed", "backup"):
        db.execute(f"ALTER TABLE deployment DROP COLUMN {column}")
    for table in tables:
        db.execute(f"DROP TABLE {table}")


def older(path: Path, version: int = 1) -> None:
    """Make the store of an older version, with a project that is live."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as db:
        for statement in SCHEMA.split(";\n"):
            db.execute(statement)
        for number in range(2, version + 1):
            for statement in MIGRATIONS[number]:
                db.execute(statement)
        db.execute("INSERT INTO project (name, environment, branch, created) VALUES ('hello', 'prod', 'master', 1)")
        db.execute(f"PRAGMA user_version = {version}")
        db.commit()


def schema(path: Path) -> tuple[int, set[str]]:
    with closing(sqlite3.connect(path)) as db:
        names = {row[0] for row in db.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL")}
        return int(db.execute("PRAGMA user_version").fetchone()[0]), names


def whole(path: Path) -> tuple[str, int]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("PRAGMA integrity_check").fetchone()[0], db.execute(
            "SELECT count(*) FROM project"
        ).fetchone()[0]


@pytest.mark.parametrize("version", range(1, VERSION))
def test_an_older_store_becomes_what_a_new_one_is_and_is_kept(tmp_path: Path, version: int) -> None:
    path, new = tmp_path / "store.sqlite", tmp_path / "new.sqlite"
    older(path, version)
    before = schema(path)
    with closing(History(path)) as store:
        assert [row.name for row in store.projects()] == ["hello"]
    History(new).close()
    assert schema(path) == schema(new) and schema(new)[0] == VERSION
    kept = tmp_path / f"store.sqlite.v{version}"
    assert (schema(kept), whole(kept)) == (before, ("ok", 1))
    assert kept.stat().st_mode & 0o777 == 0o600


def test_why_a_deployment_failed_is_shortened_once_when_a_store_is_made_newer(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    older(path, 6)
    reasons = {  # of a state: with what git shows of it
        "rolled_back": ("install 10_app failed: app: no", "install 10_app failed"),
        "broken": ("sync: no space left", "sync"), "failed": ("cancelled by ann", "cancelled by ann"),
        "refused": ("no: not now", ""), "deployed": ("", ""),
    }  # fmt: skip
    with closing(sqlite3.connect(path)) as db:
        for number, (state, (reason, _)) in enumerate(reasons.items(), 1):
            db.execute(
                "INSERT INTO deployment (project, number, token, state, request, queued, reason)"
                " VALUES ('hello', ?1, ?1, ?2, '{}', 1, ?3)",
                (number, state, reason),
            )
        db.commit()
    with closing(History(path)) as store:
        found = {one.state: (one.reason, one.summary) for one in store.deployments("hello")}
    assert found == reasons


def test_a_migration_that_fails_changes_nothing_and_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.sqlite"
    older(path)
    before = schema(path)
    with monkeypatch.context() as patch:
        patch.setattr(store, "MIGRATIONS", {2: (*MIGRATIONS[2], "CREATE TABLE wrong")})
        with pytest.raises(StoreError):
            History(path)
    assert (schema(path), whole(path)) == (before, ("ok", 1))
    History(path).close()
    assert schema(path)[0] == VERSION


def test_an_older_store_is_taken_over_with_what_waits_in_it(box: Box) -> None:
    work = box.app()
    work.push()
    box.ended(1)
    box.stop()
    with closing(History(box.host.store)) as store:
        store.enqueue("hello", Request(token="t", new=work.head))
    with closing(sqlite3.connect(box.host.store)) as db:
        take_back(db)
        db.execute("PRAGMA user_version = 1")
    box.start()
    assert box.ended(2).state == "deployed"
    assert box.host.store.with_name("store.sqlite.v1").exists()
    assert work.push("HEAD:refs/deploy/now").code == 0


def test_a_newer_store_is_refused_in_one_line(box: Box) -> None:
    box.stop()
    with closing(sqlite3.connect(box.host.store)) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = box.host.store.read_bytes()
    asked = command.corpus(box, "status")
    assert (asked.code, len(asked.stderr.decode().splitlines())) == (1, 2)
    assert f"was written by a newer corpushooks (store version {VERSION + 1})" in asked.stderr.decode()
    pushed = box.app().push()
    assert f"was written by a newer corpushooks (store version {VERSION + 1})" in pushed.rejected
    assert pushed.lines[0] == f"error: {pushed.rejected}" and "Traceback" not in pushed.text
    assert box.host.store.read_bytes() == before
    with closing(sqlite3.connect(box.host.store)) as db:
        db.execute(f"PRAGMA user_version = {VERSION}")
    assert box.work().push().code == 0


def test_a_daemon_whose_store_was_made_newer_writes_no_more(box: Box) -> None:
    work = box.app(files={".salt/10_gate.sls": GATE.format(box.root)})
    push = work.start_push()
    until((box.root / "begun").exists)
    with closing(sqlite3.connect(box.host.store, isolation_level=None)) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
        (box.root / "gate").touch()
        with pytest.raises(Exception, match="was written by a newer corpushooks"):
            box.ask(op="deploy", project="hello", token="t")
        box.kill()
        db.execute(f"PRAGMA user_version = {VERSION}")  # stands for the newer daemon, which knows this version
    box.revive()
    assert push.wait(60) == 1
    assert box.ended(1).state == "rolled_back"
    assert work.push().code == 0


def test_states_and_kinds_of_a_newer_version_are_shown_as_they_are(box: Box) -> None:
    box.app().push()
    box.ended(1)
    box.stop()
    newer = {"project": "hello", "state": "levitating", "queued": 1.0, "reason": "so it is"}
    request = '{"kind": "teleport", "who": "me", "speed": 9}'
    with closing(History(box.host.store)) as store:
        store.fill("deployment", [{**newer, "number": n, "token": str(n), "request": request} for n in (2, 3)])
    assert corpus(box, "history", "hello").count("levitating") == 2
    assert "live: " in corpus(box, "status", "hello")  # whether that is a failure nobody knows here
    box.start()
    assert box.work().push("HEAD:refs/deploy/now").code == 0
    assert [box.ended(number).state for number in (2, 3)] == ["levitating"] * 2


# a daemon that is replaced


@pytest.fixture
def replaced(box: Box) -> Iterator[Box]:
    """Return a host on which one deployment runs up to a gate and two wait, as pushes."""
    box.app().push()
    box.ended(1)
    box.work().commit({"index.html": "two", ".salt/10_gate.sls": GATE.format(box.root)})
    yield box


def test_a_daemon_is_upgraded_while_deployments_run_and_wait(replaced: Box) -> None:
    box = replaced
    pushes = [box.work().start_push()]
    until((box.root / "begun").exists)
    for number in (3, 4):
        pushes.append(box.work().start_push("HEAD:refs/deploy/now"))
        until(lambda number=number: box.exists(number))  # type: ignore[misc]
    assert box.daemon
    leaving, box.daemon = box.daemon, None
    leaving.terminate()
    until(lambda: not box.reachable())
    with closing(sqlite3.connect(box.host.store, isolation_level=None)) as db:
        take_back(
            db, tuple(name for name in NEWER if name not in ("claim", "vitals"))
        )  # what stops has these two to the end
    (box.root / "gate").touch()
    assert leaving.wait(30) == 0
    with closing(sqlite3.connect(box.host.store, isolation_level=None)) as db:
        db.execute("DROP TABLE claim")
        db.execute("DROP TABLE vitals")
        db.execute("PRAGMA user_version = 1")  # what stopped was the older version
    box.revive()
    assert [push.wait(60) for push in pushes] == [0, 0, 0]
    assert [box.ended(number).state for number in (2, 3, 4)] == ["deployed"] * 3
    assert box.host.store.with_name("store.sqlite.v1").exists()
