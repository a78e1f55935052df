"""Requests that tend the repository: expired backups are removed, and all of it is read."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from corpushooks.backup import vault
from corpushooks.core.settings import load
from corpushooks.daemon.overdue import Overdue
from corpushooks.host.site import Site
from tests.support.backups import NEWEST, SETTINGS, rows
from tests.support.box import Box, until
from tests.support.command import corpus
from tests.support.engines import FakeEngine
from tests.support.receiver import Receiver


def settle(box: Box, text: str) -> None:
    box.stop()
    box.settings(text)
    box.start()


def names(box: Box) -> list[str]:
    return [copy.name for copy in vault.engine(box.host, load(box.host.config_file), vault.alone).copies()]


def damage(box: Box) -> None:
    """Change one byte of the repository."""
    segment = max((box.root / "repository/data/0").iterdir(), key=lambda path: path.stat().st_size)
    damaged = bytearray(segment.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    segment.write_bytes(damaged)


def test_expired_backups_are_removed_when_asked(kept: Box) -> None:
    assert corpus(kept, "backup", "hello").code == corpus(kept, "backup", "hello").code == 0
    done = corpus(kept, "prune", "hello")
    assert done.code == 3 and "this host removes no backups" in done.text
    settle(kept, SETTINGS.format(repository=kept.root / "repository", prune=f"true, {NEWEST}"))
    assert corpus(kept, "prune", "hello").code == 0
    assert [row.number for row in rows(kept)] == [3] and len(names(kept)) == 2
    found = json.loads(corpus(kept, "history", "hello", "--json").text)[0]
    assert (found["kind"], found["state"]) == ("prune", "done")
    assert "1 old backup" in corpus(kept, "log", "hello").text


def test_nothing_is_removed_where_there_is_no_backup(kept: Box) -> None:
    settle(kept, SETTINGS.format(repository=kept.root / "repository", prune="true"))
    done = corpus(kept, "prune", "hello")
    assert done.code == 3 and "has no backups" in done.text


def test_a_check_that_fails_is_told_and_known(kept: Box, hook: Receiver) -> None:
    settle(kept, f"{kept.host.config_file.read_text()}notify: ['{hook.url()}']\nnotify_on: [failure]\n")
    assert corpus(kept, "backup", "hello").code == 0
    assert corpus(kept, "check-backups", "hello").code == 0
    found = vault.checked(kept.host)
    assert found and not found.wrong
    damage(kept)
    done = corpus(kept, "check-backups", "hello")
    assert done.code == 1 and kept.ended(4).state == "failed"
    found = vault.checked(kept.host)
    assert found and found.wrong
    until(lambda: hook.got)
    assert "hello" in hook.titles[-1]
    assert kept.app("two").push().code == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_check_that_is_interrupted_leaves_no_lock(kept: Box, when: str) -> None:
    kept.stop()
    kept.start("check check", when, "kill")
    corpus(kept, "check-backups", "hello")
    until(lambda: kept.happened() == [f"check check {when}"])
    kept.revive()
    assert kept.ended(2).state == "failed"
    assert corpus(kept, "backup", "hello").code == 0
    assert not Path(kept.project().backups / "work").exists()


def test_the_daemon_tells_once_of_a_check_that_failed(kept: Box) -> None:
    settings = load(kept.host.config_file)
    assert settings.backup
    damage_said: list[str] = []
    with closing(kept.history) as history:
        site = Site(kept.host, settings, history, FakeEngine())
        site.event = lambda name, about: damage_said.append(str(about["what"]))
        look = Overdue(site)
        look.look(settings.backup)
        assert damage_said == []
        vault._record(kept.host, vault.Checked(1e9, "damaged"))
        look.look(settings.backup)
        look.look(settings.backup)
        assert damage_said == ["check-backups"]
