"""A host whose projects are backed up, and what is in its repository."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpushooks.store.kept import Backups, Kept
from corpushooks.system.process import run
from tests.support.box import Box, Work
from tests.support.command import corpus
from tests.support.places import TOP
from tests.support.templates import Templates

SETTINGS = "backup: {{repository: {repository}, lock_wait: 5, prune: {prune}}}\n"
NEWEST = "keep_daily: 0, keep_weekly: 0, keep_monthly: 0"  # else two stay that are made around midnight

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="servers of databases have accounts of their own")


ENTRY = "import sys; sys.executable = {python!r}; from corpushooks.__main__ import main; main()"


def starting(box: Box) -> list[str]:
    """Return the words of a command whose daemon, if it starts one, is as those of the host are."""
    with box.interpreter():
        code = ENTRY.format(python=sys.executable)
    return [sys.executable, "-c", code, "--root", str(box.host.root)]


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


def page_blocks() -> list[tuple[str, str]]:
    """Return the blocks of the page on backups, each with its language."""
    page = (TOP / "docs/backups.md").read_text()
    return re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


ENDS = ("exit 1", "kill -9 $$", "kill -15 $$", "exit 0", "echo halfway >&2; exit 3")


def failing_dumps(folder: Path) -> Path:
    """Make a mariadb-dump that fails after the beginning of a dump, or only says that all is well: each time in another
    way. Return the file that counts its calls.
    """
    folder.mkdir()
    calls, program = folder / "calls", folder / "mariadb-dump"
    ends = "".join(f"{index}) {end} ;;\n" for index, end in enumerate(ENDS))
    count = f"n=$(cat {calls})\necho $((n + 1)) >{calls}"
    program.write_text(f"#!/bin/sh\n{count}\necho '-- MariaDB dump'\ncase $((n % {len(ENDS)})) in\n{ends}esac\n")
    program.chmod(0o755)
    calls.write_text("0")
    return calls


def eight_kinds(folder: Path) -> None:
    """Make a folder with eight kinds of entries: files, hard and other links, a fifo, holes, modes, owners, names."""
    (folder / "folder").mkdir(parents=True)
    (folder / "file").write_bytes(os.urandom(300_000))
    (folder / "folder/small").write_text("one")
    os.link(folder / "file", folder / "folder/hard")
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "fifo")
    with (folder / "sparse").open("wb") as file:
        file.truncate(8 << 20)
    (folder / "setuid").write_text("x")
    (folder / "setuid").chmod(0o4755)
    (folder / os.fsdecode(b"\xff\xfe")).write_text("no text")
    if os.geteuid() == 0:
        os.chown(folder / "folder", 12345, 23456)
    os.setxattr(folder / "file", "user.kind", b"\x00\xff")


def differing(one: Path, other: Path) -> list[str]:
    """Return in what two folders differ, as rsync finds it: contents, links, lists of access, attributes."""
    return run(["rsync", "-aHAXnci", "--delete", f"{one}/", f"{other}/"]).text.splitlines()


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
