"""A host that the tests of a module share, where each leaves it as it found it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.host import Box

GITCONFIG = "[user]\n name = Dev\n email = dev@example.org\n[gc]\n auto = 0\n"


@contextmanager
def world(home: Path) -> Iterator[None]:
    """Keep git and the command away from whoever runs the tests, beyond a single test."""
    home.mkdir()
    (home / ".gitconfig").write_text(GITCONFIG)
    with pytest.MonkeyPatch.context() as patch:
        for key in [key for key in os.environ if key.startswith(("GIT_", "CORPUS_", "SSH_"))]:
            patch.delenv(key)
        for key, value in (("HOME", home), ("XDG_CONFIG_HOME", home), ("GIT_CONFIG_NOSYSTEM", "1")):
            patch.setenv(key, str(value))
        yield


@contextmanager
def shared_box(folder: Path, *, page: str = "") -> Iterator[Box]:
    """Make a host with `hello` and a daemon; with `page` a commit of that page is deployed."""
    with world(folder / "home"):
        box = Box(folder / "box")
        box.root.mkdir()
        box.init()
        box.start()
        if page:
            assert box.app(page).push().code == 0
            box.ended(1)
    yield box
    box.stop()
