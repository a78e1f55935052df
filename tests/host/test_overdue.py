"""Backups and drills that are overdue: status says so, and the daemon tells people once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from corpushooks.backup.standing import standing
from corpushooks.core.backups import Backup
from corpushooks.core.settings import load
from corpushooks.daemon.overdue import Overdue
from corpushooks.host.site import Site
from corpushooks.store.kept import Backups, Kept
from tests.support.box import Box, until
from tests.support.command import corpus
from tests.support.engines import FakeEngine
from tests.support.receiver import Receiver

NOW, HOUR, DAY = 1e9, 3600.0, 86400.0
ONE = Kept("hello", 7, "hello.7", NOW - HOUR, None, None, 3, 300, 30, 0, 0)


@pytest.mark.parametrize(
    ("found", "since", "late"),
    [
        ([], NOW - HOUR, ()),
        ([], NOW - 2 * DAY, ("backup",)),
        ([], NOW - 50 * DAY, ("backup", "drill")),
        ([ONE], NOW - 50 * DAY, ()),
        ([replace(ONE, at=NOW + HOUR)], 0.0, ()),  # the clock was set back
        ([replace(ONE, at=NOW + 50 * DAY)], 0.0, ("backup", "drill")),  # it was far ahead
        ([replace(ONE, at=NOW - 2 * DAY)], 0.0, ("backup",)),
        ([ONE, replace(ONE, number=5, at=NOW - 50 * DAY)], 0.0, ("drill",)),
        ([ONE, replace(ONE, number=5, at=NOW - 50 * DAY, drilled=NOW - DAY)], 0.0, ()),
        ([replace(ONE, drilled=NOW - DAY, wrong="so"), replace(ONE, at=0.0, drilled=NOW - 41 * DAY)], 0.0, ("drill",)),
    ],
)
def test_what_is_overdue(found: list[Kept], since: float, late: tuple[str, ...]) -> None:
    assert standing(found, Backup("/r"), since, NOW).overdue == late


def aged(box: Box, seconds: float) -> None:
    """Let backups have been possible for so long."""
    with closing(box.history) as store, store.change() as db:
        db.execute("UPDATE project SET created = ?", (time.time() - seconds,))
    file = box.host.config_file.with_name("backup.passphrase")
    os.utime(file, (time.time() - seconds,) * 2)


@pytest.fixture
def told(new_box: Callable[..., Box], hook: Receiver) -> Box:
    """Return a host whose one project has never been backed up, though that was possible for long."""
    box = new_box()
    backup = {"repository": str(box.root / "repository")}
    box.settings(json.dumps({"notify": [hook.url()], "notify_on": ["overdue"], "backup": backup}))
    box.init()
    passphrase = box.host.config_file.with_name("backup.passphrase")
    passphrase.write_text("secret\n")
    passphrase.chmod(0o600)
    aged(box, 50 * DAY)
    return box


def looked(box: Box) -> list[tuple[str, str]]:
    """Look as the daemon does; return what it says of whom."""
    said: list[tuple[str, str]] = []
    settings = load(box.host.config_file)
    assert settings.backup
    with closing(box.history) as history:
        site = Site(box.host, settings, history, FakeEngine())
        site.event = lambda name, about: said.append((str(about["project"]), str(about["what"])))
        Overdue(site).look(settings.backup)
    return said


def test_people_are_told_once_until_it_is_overdue_again(told: Box, hook: Receiver) -> None:
    assert looked(told) == [("hello", what) for what in ("backup", "drill", "check-backups")]
    until(lambda: len(hook.titles) == 3)
    assert set(hook.titles) == {f"overdue: {what} of hello (prod)" for what in ("backup", "drill", "check-backups")}
    (message,) = [one["message"] for one in hook.got if "overdue: backup" in one["title"]]
    assert "What: no backup succeeded" in message and "backup hello" in message
    assert looked(told) == []
    with closing(told.history) as store:
        Backups(store).add(replace(ONE, at=time.time() - HOUR))
    assert looked(told) == []
    with closing(told.history) as store, store.change() as db:
        db.execute("UPDATE backup SET at = ?", (time.time() - 2 * DAY,))
    assert looked(told) == [("hello", "backup")]


def test_status_says_it(told: Box) -> None:
    assert "    backup OVERDUE: the newest: none; " in corpus(told, "status", "hello").text
    found = json.loads(corpus(told, "status", "hello", "--json").text)["backup"]
    assert found == {"at": None, "proved": None, "wrong": "", "overdue": ["backup", "drill"]}
    aged(told, HOUR)
    assert "    backup: none, drill: never" in corpus(told, "status", "hello").text


def test_the_daemon_looks_by_itself(new_box: Callable[..., Box], hook: Receiver, tmp_path: Path) -> None:
    box = new_box()
    settings = {"repository": str(tmp_path / "repository"), "overdue": 0.0001}
    box.settings(json.dumps({"notify": [hook.url()], "backup": settings}))
    box.init()
    passphrase = box.host.config_file.with_name("backup.passphrase")
    passphrase.write_text("secret\n")
    aged(box, HOUR)
    box.start()
    until(lambda: "overdue: backup of hello (prod)" in hook.titles)
    assert "drill" not in "".join(hook.titles)
