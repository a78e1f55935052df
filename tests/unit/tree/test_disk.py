"""What a snapshot, a restore and a sync bring to the disk, and when: few things one by one, many by one syncfs."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpushooks import tree
from corpushooks.system import disk
from corpushooks.system.disk import FEW, Writes
from tests.support.box import Box
from tests.support.counted_disk import Disk
from tests.support.folders import age, interrupted, picture, snap, write


@pytest.fixture
def small(tmp_path: Path) -> Path:
    for name in ("a", "in/b", "in/deep/c"):
        write(tmp_path / "live" / name, name)
    (tmp_path / "live/in/link").symlink_to("b")
    return tmp_path / "live"


def below(root: Path, kind: Callable[[int], bool]) -> list[Path]:
    return [path for path in [root, *root.rglob("*")] if kind(path.lstat().st_mode)]


def fill(root: Path, files: int) -> None:
    for number in range(files):
        write(root / f"many/{number}", str(number))


def test_a_small_snapshot_is_on_the_disk_before_its_manifest(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Disk(monkeypatch)
    target = tmp_path / "archives/1/project"
    snap(small, target)
    before = seen.renamed["project.manifest"]
    wanted = [*below(target, stat.S_ISREG), *below(target, stat.S_ISDIR), target.parent, target.parent.parent]
    assert {path.stat().st_ino for path in wanted} <= before
    assert seen.whole == 0


def test_a_snapshot_of_links_brings_its_folders_only(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snap(small, tmp_path / "1/project")
    write(small / "in/b", "changed")
    seen = Disk(monkeypatch)
    snap(small, tmp_path / "2/project", tmp_path / "1/project")
    target = tmp_path / "2/project"
    assert seen.has(target / "in/b", *below(target, stat.S_ISDIR))
    assert not seen.has(target / "a") and not seen.has(target / "in/deep/c")
    assert seen.whole == 0


@pytest.mark.parametrize("many", ["files", "folders"])
def test_a_large_snapshot_is_on_the_disk_before_its_manifest(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: str
) -> None:
    for number in range(FEW + 1):
        write(small / (f"f{number}" if many == "files" else f"d{number}/f"), "x")
    seen = Disk(monkeypatch)
    fds = len(os.listdir("/proc/self/fd"))
    snap(small, tmp_path / "1/project")
    assert -1 in seen.renamed["project.manifest"]
    assert seen.whole == 1
    assert len(seen.flushed) == 2  # the manifest, and the folder in which it is
    assert len(os.listdir("/proc/self/fd")) == fds


def test_a_restore_brings_what_it_wrote_and_where(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snap(small, tmp_path / "1")
    write(small / "in/b", "changed")
    (small / "in/deep/c").chmod(0o600)
    write(small / "extra")
    seen = Disk(monkeypatch)
    fds = len(os.listdir("/proc/self/fd"))
    tree.restore(tmp_path / "1", small)
    assert seen.has(small, small / "in", small / "in/b", small / "in/deep/c")
    assert not seen.has(small / "a")
    assert seen.whole == 0
    assert len(os.listdir("/proc/self/fd")) == fds


def test_a_restore_of_nothing_waits_for_nothing(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snap(small, tmp_path / "1")
    seen = Disk(monkeypatch)
    assert tree.restore(tmp_path / "1", small).changed == 0
    assert (seen.flushed, seen.whole) == (set(), 0)


def test_a_large_restore_is_brought_at_once(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(small, FEW)
    snap(small, tmp_path / "1")
    seen = Disk(monkeypatch)
    tree.restore(tmp_path / "1", tmp_path / "back")
    assert picture(tmp_path / "back") == picture(small)
    assert (seen.flushed, seen.whole) == (set(), 1)


def test_a_restore_brings_what_an_interrupted_one_wrote(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snap(small, tmp_path / "1")
    before, old = picture(small), {path.stat().st_ino for path in below(small, stat.S_ISREG)}
    seen, rewritten = Disk(monkeypatch), 0

    def again() -> None:
        tree.remove(small / "in")
        tree.restore(tmp_path / "1", small)

    with contextlib.ExitStack() as held:  # so that no number is given to a new file
        for path in below(small, stat.S_ISREG):
            held.enter_context(path.open("rb"))
        for _ in interrupted(again):
            seen.flushed.clear()
            tree.restore(tmp_path / "1", small)
            assert picture(small) == before
            new = [path for path in below(small, stat.S_ISREG) if path.stat().st_ino not in old]
            assert seen.has(*new, *(path.parent for path in new))
            rewritten += len(new)
    assert rewritten > 10


def test_a_sync_brings_what_it_wrote_and_where(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, cache = tmp_path / "project", tmp_path / "cache"
    write(target / "gone/x")
    tree.sync(small, target, [], cache)
    for root in (small, target):
        age(root)
    tree.sync(small, target, [], cache)
    seen = Disk(monkeypatch)
    tree.sync(small, target, [], cache)
    assert (seen.flushed, seen.whole) == (set(), 0)
    write(small / "in/b", "changed")
    write(small / "new/d", "d")
    tree.sync(small, target, ["gone/x"], cache)
    wanted = [target, target / "in", target / "in/b", target / "new", target / "new/d"]
    assert {path.stat().st_ino for path in wanted} <= seen.renamed["cache"]
    assert not seen.has(target / "a") and not seen.has(target / "in/deep")
    assert seen.whole == 0


def test_a_large_sync_is_brought_at_once_before_its_stamps(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(small, FEW)
    tree.sync(small, tmp_path / "project", [], tmp_path / "cache")
    for root in (small, tmp_path / "project"):
        age(root)
    seen = Disk(monkeypatch)
    tree.sync(small, tmp_path / "project", [], tmp_path / "cache")  # an interrupted one may have written them
    assert -1 in seen.renamed["cache"]


def test_what_was_written_can_be_run_at_once(tmp_path: Path) -> None:
    """The kernel refuses to run what is open for writing."""
    program = tmp_path / "program"
    with Writes() as writes:
        fd = os.open(program, os.O_WRONLY | os.O_CREAT, 0o700)
        writes.note(fd)
        os.write(fd, b"#!/bin/sh\nexit 7\n")
        os.close(fd)
        assert subprocess.run([program], check=False).returncode == 7
        writes.flush(-1)


def test_a_small_file_is_written_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a/file"
    path.parent.mkdir()
    disk.write_file(path, b"one")
    before, seen = path.open(), Disk(monkeypatch)
    disk.write_file(path, b"two", 0o644)
    assert (before.read(), path.read_text()) == ("one", "two")
    before.close()
    assert path.stat().st_mode & 0o777 == 0o644
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    assert path.stat().st_ino in seen.renamed["file"]
    assert seen.has(path.parent)


def test_all_is_brought_once_for_each_filesystem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    seen = Disk(monkeypatch)
    disk.flush_all(tmp_path, tmp_path / "a")
    assert seen.whole == 1
    disk.flush_all(tmp_path, Path("/proc"))
    assert seen.whole == 3


def test_a_snapshot_is_no_longer_whole_before_it_loses_anything(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snap(small, tmp_path / "1/project")
    seen, unlink, before = Disk(monkeypatch), os.unlink, list[bool]()

    def watched(name: Any, **where: int) -> None:
        if Path(name).name in ("a", "b", "c"):
            before.append(seen.has(tmp_path / "1"))
        unlink(name, **where)

    monkeypatch.setattr(os, "unlink", watched)
    tree.remove(tmp_path / "1/project")
    assert before == [True] * 3


def test_what_init_made_is_on_the_disk_when_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Disk(monkeypatch)
    Box(tmp_path).init()
    assert seen.whole == 1
