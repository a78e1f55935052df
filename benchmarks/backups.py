"""Backups of a project with many files, and a deployment that begins with one."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from unittest.mock import patch

from benchmarks.hosts import committed, deployed, host, last, push
from benchmarks.measure import Row, in_turn, none, timed, within
from corpushooks import tree
from corpushooks.system.process import run
from tests.support.backups import differing, eight_kinds, failing_dumps, rows
from tests.support.box import Box
from tests.support.command import corpus

FILES, FOLDERS = 50_000, 500
SIZES = (2 << 10, 16 << 10)  # bytes of a file: uploads, which nothing compresses
EMPTY = {".salt/00_state.sls": "{}\n"}
SETTINGS = "backup: {{repository: {}, prune: false}}\n"
DATABASE = {".salt/PILLAR.sample": "makina-projects.hello:\n  backup: {databases: [{kind: mysql, name: hello}]}\n"}
DUMPS = 50
BEFORE = {".salt/PILLAR.sample": "makina-projects.hello:\n  backup: {before: deploy}\n"}


def backups(folder: Path, rounds: int) -> list[Row]:
    """A backup of many files of which none changed, against the first one."""
    repository = folder / "repository"
    with host(folder / "host", settings=SETTINGS.format(repository)) as box:
        anew(box, repository)
        deployed(box, EMPTY)
        grow(box.project().data)

        def first() -> float:
            anew(box, repository)
            return backup(box)

        again, whole = in_turn(min(3, rounds), lambda: backup(box), first, sync=True)
    return [within(f"backup of {FILES} files, none changed", again, "the first", whole, 0.4)]


def before(folder: Path, rounds: int) -> list[Row]:
    """A deployment with a backup first, against both."""
    repository = folder / "repository"
    with host(folder / "host", settings=SETTINGS.format(repository)) as box:
        anew(box, repository)
        box.init("plain")
        deployed(box, {**EMPTY, **BEFORE})
        deployed(box, EMPTY, "plain")
        both, together = in_turn(
            rounds,
            lambda: committed(box.work("plain"), lambda: push(box, "plain")) + backup(box, "plain"),
            lambda: committed(box.work(), lambda: push(box)),
        )
    return [within("push with before: deploy", together, "backup, then push", both, 1.1)]


def proofs(folder: Path, rounds: int) -> list[Row]:
    """What must not happen: a restore that differs from what was there, a dump that failed in a backup."""
    repository, was = folder / "repository", folder / "was"
    with host(folder / "host", settings=SETTINGS.format(repository)) as box:
        anew(box, repository)
        deployed(box, {**EMPTY, **DATABASE})
        box.stop()
        calls = failing_dumps(folder / "bin")
        with patch.dict(os.environ, PATH=f"{calls.parent}:{os.environ['PATH']}"):
            box.start()
            for _ in range(DUMPS):
                box.ask("backup", project="hello")
            box.stop()
        assert calls.read_text().strip() == str(DUMPS)
        accepted = len(rows(box))
        box.start()
        deployed(box, EMPTY | {".salt/PILLAR.sample": "makina-projects.hello: {}\n"})
        data = box.project().data / "kinds"
        eight_kinds(data)
        run(["cp", "-a", data, was])
        backup(box)
        tree.remove(data)
        restored = corpus(box, "restore", "hello", "--data", "--force")
        differ = [*differing(was, data), *([restored.text] if restored.code else [])]
    return [
        none("dumps that fail, in backups", accepted, "asked for", DUMPS),
        none("paths that differ after a restore", len(differ), "rsync -aHAXn -c, eight kinds of file", 8),
    ]


def backup(box: Box, name: str = "hello") -> float:
    """Back up a project; return how long that took."""
    number = last(box, name) + 1
    took = timed(lambda: box.ask("backup", project=name))
    assert box.ended(number, name).state == "done"
    return took


def anew(box: Box, repository: Path) -> None:
    """Begin with an empty repository, as if nothing had ever been kept."""
    for path in (repository, box.host.backups_dir):
        shutil.rmtree(path, ignore_errors=True)
    assert corpus(box, "setup", "--backup").code in (0, 1)
    assert corpus(box, "setup", "--backup", "--exported").code == 0


def grow(folder: Path) -> None:
    """Make many files that nothing compresses."""
    dice = random.Random(1)
    for number in range(FILES):
        place = folder / f"d{number % FOLDERS}"
        if number < FOLDERS:
            place.mkdir()
        (place / f"f{number}").write_bytes(dice.randbytes(dice.randint(*SIZES)))
