"""Folders outside data/ and what dump.sls wrote, put in place: exactly, never over what is there, old or new."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.backups import needs_root
from tests.support.box import Box, tree_of, until
from tests.support.command import corpus

SAMPLE = ".salt/PILLAR.sample"
DUMP = "ldif:\n  cmd.run:\n    - name: cp {0} {{{{ cfg.dump_root }}}}/base\n"
LOAD = "ldif:\n  cmd.run:\n    - name: cp {{{{ cfg.dump_root }}}}/base {0}{1}\n"


def brings(box: Box, files: dict[str, str | None]) -> None:
    work = box.work()
    work.commit(files)
    pushed = work.push()
    assert pushed.code == 0, pushed.text


@pytest.fixture
def two(kept: Box) -> tuple[Box, Path, Path]:
    """Return a host with a backup, the third deployment, of two folders that are spoilt since."""
    one, other = kept.root / "var/one", kept.root / "var/other"
    for folder in (one, other):
        (folder / "in").mkdir(parents=True)
        (folder / "in/page").write_text("precious")
        os.link(folder / "in/page", folder / "hard")
        (folder / "planted").symlink_to("/etc/shadow")
    if os.geteuid() == 0:
        os.chown(one / "in", 4711, 4712)
        (one / "in/page").chmod(0o4755)
    (one / "cache").mkdir()
    brings(kept, {SAMPLE: f"makina-projects.hello:\n  backup: {{folders: [{one}, {other}], exclude: [{one}/cache]}}\n"})
    (one / "cache").rmdir()
    assert corpus(kept, "backup", "hello").code == 0
    return kept, one, other


def spoil(folder: Path) -> dict[str, tuple[object, ...]]:
    """Spoil a folder; return what it was."""
    was = tree_of(folder)
    shutil.rmtree(folder / "in")
    (folder / "later").write_text("made since")
    return was


def aside(folder: Path, number: int) -> Path:
    return folder.with_name(f"{folder.name}.replaced-hello-{number}")


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir() if "replaced" in path.name)


def test_folders_come_back_exactly_and_what_was_there_is_kept(two: tuple[Box, Path, Path]) -> None:
    box, one, other = two
    was, others = spoil(one), tree_of(other)
    spoilt = tree_of(one)
    done = corpus(box, "restore", "hello", "--folder", str(one), "--force")
    assert done.code == 0, done.text
    assert (tree_of(one), tree_of(other)) == (was, others)
    assert (one / "hard").stat().st_ino == (one / "in/page").stat().st_ino
    place = aside(one, 4)
    assert tree_of(place / "one") == spoilt and place.stat().st_mode & 0o777 == 0o700
    assert f"what was in {one}: {place}/one" in done.text
    assert sorted(path.name for path in place.iterdir()) == ["one"]
    assert not (box.project().dir / "replaced").exists()


def test_no_folder_is_replaced_without_force(two: tuple[Box, Path, Path]) -> None:
    box, one, _ = two
    spoil(one)
    spoilt = tree_of(one)
    done = corpus(box, "restore", "hello", "--folder", str(one))
    assert done.code == 3 and f"{one} is not empty" in box.deployment(4).reason
    planned = corpus(box, "restore", "hello", "--folder", str(one), "--dry-run")
    assert planned.code == 0 and f"{one}: 3 files" in planned.text and f"is kept in {aside(one, 5)}" in planned.text
    assert tree_of(one) == spoilt and left(one) == []


def test_a_folder_that_is_gone_comes_back_without_force(two: tuple[Box, Path, Path]) -> None:
    box, one, _ = two
    was = tree_of(one)
    shutil.rmtree(one)
    done = corpus(box, "restore", "hello", "--folder", str(one))
    assert done.code == 0, done.text
    assert tree_of(one) == was and left(one) == []


def test_what_cannot_be_put_in_place_is_refused(two: tuple[Box, Path, Path]) -> None:
    box, one, other = two
    assert "has no folder /etc" in corpus(box, "restore", "hello", "--folder", "/etc", "--force").text
    assert corpus(box, "restore", "hello", "--folder", str(one), "--to", str(box.root / "to")).code == 3
    shutil.rmtree(one)
    one.symlink_to(other)
    done = corpus(box, "restore", "hello", "--folder", str(one), "--force")
    assert (done.code, "is not a folder" in done.text) == (3, True)
    brings(box, {SAMPLE: "makina-projects.hello: {}\n"})
    done = corpus(box, "restore", "hello", "--folder", str(other), "--force")
    assert done.code == 3 and f"cfg names no folder {other}" in box.deployment(8).reason
    assert left(one) == []


def test_what_an_older_restore_of_this_number_kept_is_not_touched(two: tuple[Box, Path, Path]) -> None:
    """A store that was rebuilt can give a number again."""
    box, one, _ = two
    for number, place in ((4, aside(one, 4) / "one"), (5, box.project().dir / "replaced/5/data")):
        place.mkdir(parents=True)
        (place / "kept").write_text("long ago")
        words = ["--folder", str(one)] if number == 4 else ["--data"]
        done = corpus(box, "restore", "hello", *words, "--force")
        assert done.code == 3 and "already exists" in box.deployment(number).reason
        assert [path.name for path in place.iterdir()] == ["kept"]


@needs_root
def test_a_folder_that_others_could_exchange_is_refused(two: tuple[Box, Path, Path]) -> None:
    box, one, _ = two
    was = tree_of(one)
    os.chown(one.parent, 4711, 4711)
    done = corpus(box, "restore", "hello", "--folder", str(one), "--force")
    assert (done.code, "others can write in" in done.text) == (3, True)
    assert tree_of(one) == was and left(one) == []


@pytest.mark.parametrize("path", ["later", "in/page"])
def test_a_folder_that_is_not_as_it_was_kept_is_not_used(
    two: tuple[Box, Path, Path], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A borg that says that all is well, and writes something else."""
    box, one, _ = two
    spoil(one)
    spoilt = tree_of(one)
    programs = box.root / "bin"
    programs.mkdir()
    inside = one.relative_to("/")
    spoils = f"[ ! -e {inside}/in/page ] || echo other >{inside}/{path}"
    (programs / "borg").write_text(f'#!/bin/sh\n{shutil.which("borg")} "$@"; code=$?\n{spoils}\nexit $code\n')
    (programs / "borg").chmod(0o755)
    box.stop()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    box.start()
    done = corpus(box, "restore", "hello", "--folder", str(one), "--force")
    assert done.code == 1 and f"different from the backup: {one}/{path}" in done.text
    assert tree_of(one) == spoilt and left(one) == []


@pytest.mark.parametrize("label", ["restore fetch", "restore verify", "restore put"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_daemon_that_is_killed_leaves_all_old_or_all_new(
    two: tuple[Box, Path, Path], label: str, when: str
) -> None:  # fmt: skip
    box, one, other = two
    asked = _spoiled(box, one, other)
    before = {folder: tree_of(folder) for folder in asked}
    box.stop()
    box.start(label, when, "kill")
    _restore(box, one, other)
    until(lambda: box.happened() == [f"{label} {when}"])
    box.revive()
    new = (label, when) == ("restore put", "after")
    assert box.ended(4).state == ("done" if new else "failed")
    assert {folder: tree_of(folder) for folder in asked} == (asked if new else before)
    assert len(left(one)) == (2 if new else 0)
    assert (box.project().dir / "replaced/4/data").exists() == new


@pytest.mark.parametrize("done", [0, 1, 2])
def test_a_daemon_that_is_killed_between_folders_is_completed_by_the_next(
    two: tuple[Box, Path, Path], done: int
) -> None:  # fmt: skip
    """After none of three changed places nothing is restored, after one all are."""
    box, one, other = two
    asked = _spoiled(box, one, other)
    before = {folder: tree_of(folder) for folder in asked}
    box.stop()
    (box.host.root / "gate").touch()  # nothing waits there
    box.faults(*[("restore swap", "before", "wait")] * done, ("restore swap", "before", "kill"))
    box.start()
    _restore(box, one, other)
    until(lambda: len(box.happened()) == done + 1)
    box.revive()
    assert box.ended(4).state == ("done" if done else "failed")
    assert {folder: tree_of(folder) for folder in asked} == (asked if done else before)
    kept = {one: aside(one, 4) / "one", other: aside(other, 4) / "other"}
    assert all(tree_of(kept[folder]) == before[folder] for folder in kept) if done else left(one) == []


def _spoiled(box: Box, *folders: Path) -> dict[Path, dict[str, tuple[object, ...]]]:
    data = box.project().data
    was = tree_of(data)
    (data / "uploads/photo").write_text("spoilt")
    return {**{folder: spoil(folder) for folder in folders}, data: was}


def _restore(box: Box, *folders: Path) -> None:
    words = [word for folder in folders for word in ("--folder", str(folder))]
    corpus(box, "restore", "hello", "--data", *words, "--force")


# dump.sls


@pytest.fixture
def loads(kept: Box) -> tuple[Box, Path]:
    """Return a host with a backup, the third deployment, of a database that is a file."""
    base = kept.root / "base"
    base.write_text("then")
    brings(kept, {".salt/dump.sls": DUMP.format(base), ".salt/task_load.sls": LOAD.format(base, "")})
    assert corpus(kept, "backup", "hello").code == 0
    base.write_text("now")
    return kept, base


def test_what_dump_sls_wrote_is_loaded_and_what_was_there_is_kept(loads: tuple[Box, Path]) -> None:
    box, base = loads
    done = corpus(box, "restore", "hello", "--dumps")
    assert (done.code, "would be replaced" in done.text, base.read_text()) == (3, True, "now")
    planned = corpus(box, "restore", "hello", "--dumps", "--dry-run")
    assert planned.code == 0 and "loaded by task_load.sls" in planned.text and base.read_text() == "now"
    done = corpus(box, "restore", "hello", "--dumps", "--force")
    assert done.code == 0, done.text
    assert base.read_text() == "then"
    assert (box.project().dir / "replaced/6/made/base").read_text() == "now"


def test_a_load_that_fails_leaves_what_was_there(loads: tuple[Box, Path]) -> None:
    box, base = loads
    half = f"; grep -q now {base} || {{{{ echo half >{base}; exit 1; }}}}"
    brings(box, {".salt/task_load.sls": LOAD.format(base, half.format())})
    done = corpus(box, "restore", "hello", "--dumps", "--force")
    assert (done.code, "what was there was loaded again" in done.text) == (1, True), done.text
    assert base.read_text() == "now"


def test_what_cannot_be_loaded_is_refused(loads: tuple[Box, Path]) -> None:
    box, base = loads
    brings(box, {".salt/task_load.sls": None})
    done = corpus(box, "restore", "hello", "--dumps", "--force")
    assert (done.code, "has no task_load.sls" in done.text, base.read_text()) == (3, True, "now")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_load_that_is_interrupted_is_taken_back_by_the_next_daemon(loads: tuple[Box, Path], when: str) -> None:
    box, base = loads
    box.stop()
    box.start("restore load", when, "kill")
    corpus(box, "restore", "hello", "--dumps", "--force")
    until(lambda: box.happened() == [f"restore load {when}"])
    box.revive()
    done = box.ended(4)
    assert done.state == "failed" and "was loaded as it was before" in done.reason
    assert base.read_text() == "now"
