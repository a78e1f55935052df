"""The lanes, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpushooks import git
from corpushooks.history import History
from corpushooks.lanes import Lanes
from corpushooks.settings import Settings
from corpushooks.site import Site
from tests.engines import FakeEngine
from tests.host import Box


def test_tidying_collects_once_in_what_has_worked(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(git, "maintain", asked.append)
    lanes = Lanes(Site(box.host, Settings(), History(box.host.store), FakeEngine()))
    lanes.wake("hello")
    lanes.stop()
    lanes.tidy()
    lanes.tidy()
    assert asked == [box.project().code_git, box.project().pillar_git]
    lanes.site.history.close()


def test_collecting_keeps_what_was_deployed(box: Box) -> None:
    work = box.app()
    work.push()
    lost = work.head
    work.git("commit", "--quiet", "--amend", "--message", "again")
    work.push(flags=("--force",))
    work.git("--git-dir", str(box.project().code_git), "gc", "--quiet", "--prune=now")
    assert git.commit(box.project().code_git, lost) == lost
