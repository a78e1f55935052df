"""A host whose projects are backed up, and what is in its repository."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from corpushooks.store.kept import Backups, Kept
from tests.support.box import Box, Work
from tests.support.command import corpus
from tests.support.templates import Templates

SETTINGS = "backup: {{repository: {repository}, lock_wait: 5, prune: {prune}}}\n"
NEWEST = "keep_daily: 0, keep_weekly: 0, keep_monthly: 0"  # else two stay that are made around midnight

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="servers of databases have accounts of their own")


def keeping(box: Box) -> None:
    """Have a host keep backups, with a deployed project and data."""
    box.settings(SETTINGS.format(repository=box.root / "repository", prune="false"))
    box.init()
    assert corpus(box, "setup", "--backup").code == 1
    assert corpus(box, "setup", "--backup", "--exported").code == 0
    box.start()
    box.app().push()
    box.ended(1)
    data = box.project().data
    (data / "uploads").mkdir()
    (data / "uploads/photo").write_text("precious")
    (data / "link").symlink_to("/etc/passwd")


@pytest.fixture
def kept(templates: Templates) -> Iterator[Box]:
    """Return a host that keeps backups, with a deployed project and data."""
    with templates.host(keeping) as box:
        box.start()
        yield box


def rows(box: Box) -> list[Kept]:
    store = box.history
    try:
        return Backups(store).of("hello")
    finally:
        store.close()


def deployed(box: Box, sample: str) -> Work:
    """Deploy a sample of the configuration."""
    work = box.work()
    work.commit({".salt/PILLAR.sample": f"makina-projects.hello:\n{sample}"})
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    return work
