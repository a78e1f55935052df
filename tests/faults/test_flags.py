"""Immutable and append-only files and folders: taken off where a tree must be written, and put back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpushooks import tree
from corpushooks.core.errors import TreeError
from corpushooks.system.process import run
from corpushooks.tree import descriptors, flags
from tests.support.box import FAILING, Box, tree_of
from tests.support.folders import age, picture, snap, write
from tests.support.misbehaving import command

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make files immutable")
IMMUTABLE, APPEND = 0x10, 0x20


def chattr(how: str, *paths: Path) -> None:
    run(["chattr", how, *paths])


def flags_in(root: Path) -> dict[str, int]:
    """Return the flags of all files and folders of a tree that have any."""
    found = {}
    for path in [root, *root.rglob("*")]:
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            continue
        with descriptors.closing(os.open(path, os.O_RDONLY)) as fd:
            if now := flags.flags_of(fd):
                found[str(path.relative_to(root))] = now
    return found


@pytest.fixture(autouse=True)
def movable(tmp_path: Path) -> Iterator[None]:
    """See that the test's own folder can be removed."""
    yield
    run(["chattr", "-R", "-i", "-a", tmp_path], check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    write(root / "app/a.py", "a")
    write(root / "app/deep/b.py", "b")
    write(root / "log/access", "line\n")
    write(root / "conf.ini", "old")
    os.link(write(root / "l1", "linked"), root / "app/l2")
    (root / "link").symlink_to("conf.ini")
    os.mkfifo(root / "pipe")
    return root


def whole(root: Path) -> dict[str, object]:
    return {**picture(root), "flags": flags_in(root)}


# a restore


def test_flags_that_came_since_are_taken_off(project: Path, tmp_path: Path) -> None:
    before = whole(project)
    snap(project, tmp_path / "a")
    write(project / "conf.ini", "new")
    write(project / "new/deep/file", "x")
    os.link(project / "new/deep/file", project / "new/other")
    (project / "app/a.py").chmod(0o600)
    for at in ("conf.ini", "app/a.py", "app/deep/b.py", "new/deep/file", "new/deep", "l1", "app/deep", "log"):
        chattr("+i", project / at)
    for at in ("log/access", "new", "app", "."):
        chattr("+a", project / at)
    assert tree.restore(tmp_path / "a", project).warnings == ()
    assert whole(project) == before


def test_flags_that_were_there_are_put_back(project: Path, tmp_path: Path) -> None:
    for how, at in (
        ("+i", "conf.ini"),
        ("+a", "log/access"),
        ("+i", "app/deep"),
        ("+a", "log"),
        ("+i", "l1"),
        ("+i", "."),
    ):
        chattr(how, project / at)
    before = whole(project)
    snap(project, tmp_path / "a")
    assert flags_in(tmp_path / "a") == {}
    run(["chattr", "-R", "-i", "-a", project], check=False)
    write(project / "conf.ini", "new")
    write(project / "log/access", "torn")
    shutil.rmtree(project / "app")
    (project / "l1").unlink()
    write(project / "log/new", "x")
    tree.restore(tmp_path / "a", project)
    assert whole(project) == before
    assert tree.restore(tmp_path / "a", project).changed == 0


def test_only_the_flags_were_changed(project: Path, tmp_path: Path) -> None:
    chattr("+i", project / "conf.ini")
    before = whole(project)
    snap(project, tmp_path / "a")
    chattr("-i", project / "conf.ini")
    chattr("+a", project / "conf.ini", project / "app/a.py", project / "app")
    report = tree.restore(tmp_path / "a", project)
    assert whole(project) == before
    assert report.copied == 0


def test_archives_share_what_is_immutable(project: Path, tmp_path: Path) -> None:
    chattr("+i", project / "conf.ini")
    snap(project, tmp_path / "a")
    report = snap(project, tmp_path / "b", tmp_path / "a")
    assert report.changed == 0
    assert (tmp_path / "a/conf.ini").samefile(tmp_path / "b/conf.ini")
    chattr("-i", project / "conf.ini")
    tree.restore(tmp_path / "b", project)
    assert flags_in(project) == {"conf.ini": IMMUTABLE}


@pytest.mark.parametrize("kind", ["file", "folder", "link", "fifo"])
def test_what_is_of_another_kind_and_immutable_is_replaced(project: Path, tmp_path: Path, kind: str) -> None:
    path = {"file": "conf.ini", "folder": "app", "link": "link", "fifo": "pipe"}[kind]
    before = whole(project)
    snap(project, tmp_path / "a")
    run(["rm", "-r", project / path])
    if kind == "folder":
        write(project / path, "a file")
    else:
        write(project / path / "inner/file", "x")
        chattr("+i", project / path / "inner/file", project / path / "inner")
    chattr("+i", project / path, project)
    tree.restore(tmp_path / "a", project)
    assert whole(project) == before


def test_a_restore_that_is_interrupted_puts_the_flags_back_later(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chattr("+i", project / "conf.ini", project / "app", project / "app/deep")
    before = whole(project)
    snap(project, tmp_path / "a")
    run(["chattr", "-R", "-i", project], check=False)
    write(project / "conf.ini", "new")
    write(project / "app/deep/new", "x")
    chattr("+a", project / "app/deep", project / "app/deep/new")
    real = os.rename
    monkeypatch.setattr(os, "rename", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        tree.restore(tmp_path / "a", project)
    monkeypatch.setattr(os, "rename", real)
    tree.restore(tmp_path / "a", project)
    assert whole(project) == before


# the other doors


def test_a_sync_writes_and_puts_the_flags_back(project: Path, tmp_path: Path) -> None:
    stage, cache = tmp_path / "stage", tmp_path / "cache"
    for name in ("app/a.py", "app/new/c.py", "conf.ini", "run", "log/kept"):
        write(stage / name, "new")
    (stage / "link").symlink_to("run")
    write(stage / "run", "#!", 0o755)
    write(project / "run", "#!", 0o644)
    write(project / "log/old/gone", "x")
    for at in ("app/a.py", "app", "conf.ini", "run", "log/old/gone", "log/old", "."):
        chattr("+i", project / at)
    for at in ("log", "log/access"):
        chattr("+a", project / at)
    before = flags_in(project)
    tree.sync(stage, project, ["log/old/gone"], cache)
    assert (project / "conf.ini").read_text() == (project / "app/new/c.py").read_text() == "new"
    assert (os.readlink(project / "link"), (project / "run").stat().st_mode & 0o100) == ("run", 0o100)
    assert not (project / "log/old").exists()
    gone = {"log/old", "log/old/gone"}
    assert flags_in(project) == {name: flag for name, flag in before.items() if name not in gone}
    age(project)
    assert tree.sync(stage, project, [], cache).changed == 0


def test_a_removal_removes_what_is_immutable(project: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    os.link(project / "app/a.py", outside)
    chattr("+i", project / "app/a.py", project / "app/deep/b.py", project / "app/deep", project / "app", project)
    chattr("+a", project / "log/access", project / "log")
    chattr("+i", tmp_path)
    try:
        tree.remove(project)
        assert not project.exists()
        assert flags_in(tmp_path) == {".": IMMUTABLE, "outside": IMMUTABLE}, "what else has these is as it was"
    finally:
        chattr("-i", tmp_path)


def test_permissions_leave_alone_what_is_immutable(project: Path) -> None:
    chattr("+i", project / "conf.ini")
    chattr("+a", project / "log")
    report = tree.fix(project, uid=1000, gid=1000)
    assert sorted(report.warnings) == [
        "conf.ini: left alone, it is immutable or append-only", "log: left alone, it is immutable or append-only",
    ]  # fmt: skip
    assert (project / "conf.ini").stat().st_uid == 0
    assert (project / "log/access").stat().st_uid == 1000


def test_flags_of_links_lead_nowhere(project: Path, tmp_path: Path) -> None:
    outside = write(tmp_path / "outside/file", "x")
    chattr("+i", outside)
    snap(project, tmp_path / "a")
    (project / "new").mkdir()
    (project / "new/link").symlink_to(outside)
    (project / "conf.ini").unlink()
    (project / "conf.ini").symlink_to(outside)
    chattr("+i", project / "new", project)
    tree.restore(tmp_path / "a", project)
    assert flags_in(outside.parent) == {"file": IMMUTABLE}


# filesystems


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs"])
def test_filesystems_with_and_without_flags(project: Path, tmp_path: Path, kind: str) -> None:
    """A tmpfs has them since Linux 6.6, a ramfs never."""
    place = tmp_path / "disk"
    place.mkdir()
    run(["mount", "-t", kind, "none", place])
    try:
        snap(project, tmp_path / "a")
        tree.restore(tmp_path / "a", place / "project")
        assert whole(place / "project") == whole(project)
        (project / "conf.ini").write_text("new")
        chattr("+i", project / "conf.ini")
        snap(project, tmp_path / "b")
        report = tree.restore(tmp_path / "b", place / "project")
        assert (place / "project/conf.ini").read_text() == "new"
        kept = flags_in(place / "project") == {"conf.ini": IMMUTABLE}
        assert kept != any("immutable and append-only cannot be restored" in line for line in report.warnings)
        assert kept or kind == "ramfs" or tuple(map(int, os.uname().release.split(".")[:2])) < (6, 6)
    finally:
        run(["umount", place])


def test_a_root_without_the_right_to_take_flags_off_is_told(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snap(project, tmp_path / "a")
    write(project / "conf.ini", "new")
    chattr("+i", project / "conf.ini")

    def refused(*_: object) -> bool:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(flags, "set_flags", refused)
    with pytest.raises(TreeError, match=r"conf\.ini: Operation not permitted"):
        tree.restore(tmp_path / "a", project)


# deployments


def test_a_release_that_makes_all_immutable_and_fails_is_rolled_back(live: Box) -> None:
    root = live.project().tree
    chattr("+i", root / "uploads/photo", root / "lib/a.txt")
    chattr("+a", root / "uploads")
    before = {**tree_of(root), "flags": flags_in(root)}
    script = (
        "chattr -R -i -a .; echo x > lib/a.txt; rm uploads/photo; mkdir -p new/deep; touch new/deep/file\n"
        "chattr -R +i .; chattr +a uploads; exit 1"
    )
    work = live.work()
    work.commit({"index.html": "two", "lib/a.txt": "synced", ".salt/10_bad.sls": command(script)})
    pushed = work.push()
    assert pushed.rejected == "install 10_bad failed; rolled back", pushed.text
    assert {**tree_of(root), "flags": flags_in(root)} == before
    work.commit({".salt/10_bad.sls": None})
    assert work.push().code == 0
    assert (root / "lib/a.txt").read_text() == "synced"
    assert flags_in(root) == before["flags"]
    live.ended(3)


def test_checkouts_that_a_release_made_immutable_are_brought_back(live: Box) -> None:
    before = tree_of(live.project().tree)
    script = "rm ../git/stage/lib/a.txt; chattr -R +i ../git/stage ../pillar ../git/work.git; exit 1"
    live.work().commit({"index.html": "two", ".salt/10_bad.sls": command(script)})
    pushed = live.work().push()
    assert pushed.rejected.endswith("; rolled back"), pushed.text
    assert (tree_of(live.project().tree), (live.project().stage / "lib/a.txt").read_text()) == (before, "a")
    live.work().commit({".salt/10_bad.sls": None})
    assert live.work().push().code == 0


def test_archives_and_folders_that_a_release_made_immutable_do_not_hinder(live: Box) -> None:
    before = tree_of(live.project().tree)
    script = "chattr -R +i ../archives ../project; chattr +i .. ../git ../git/work.git; chattr +a ../data; exit 1"
    live.work().commit({"index.html": "two", ".salt/10_bad.sls": command(script)})
    pushed = live.work().push()
    assert pushed.rejected.endswith("; rolled back"), pushed.text
    assert tree_of(live.project().tree) == before
    (failed,) = live.project().archives.glob("*_2/project.failed/index.html")
    assert failed.read_text() == "two"
    live.work().commit({".salt/10_bad.sls": None})
    assert live.work().push().code == 0


def test_the_project_is_replaced_by_an_immutable_file(live: Box) -> None:
    before = tree_of(live.project().tree)
    script = "cd ../data; rm -rf ../project; echo precious > ../project; chattr +i ../project .. ../archives/*_2"
    live.work().commit({".salt/10_bad.sls": command(script), ".salt/20_broken.sls": FAILING})
    pushed = live.work().push()
    assert pushed.rejected.endswith("; rolled back"), pushed.text
    assert tree_of(live.project().tree) == before
    (kept,) = live.project().archives.glob("*_2/project.replaced1")
    assert kept.read_text() == "precious\n"
