"""What is mounted in a tree stays as it is, whatever is done with the tree around it, and is named."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from corpushooks import tree
from corpushooks.core import records
from corpushooks.core.errors import TreeError
from corpushooks.tree import descriptors, manifest, mounts, removal
from corpushooks.tree.descriptors import TEMP
from tests.support.folders import age, picture, snap, write
from tests.support.mounts import Mount, mount_dead, mounting, unmount_below

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
LEFT = "left alone, a filesystem is mounted there"


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    with mounting() as found:
        yield found


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """What is mounted: of the same filesystem as the trees, so that no device tells it."""
    folder = tmp_path / "share"
    write(folder / "precious", "p", 0o640)
    write(folder / "deep/er", "d", 0o600)
    write(folder / ".gitkeep", "of the share")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    write(root / "app/a.py", "a")
    write(root / "media/.gitkeep", "")
    write(root / "conf.ini", "old")
    write(root / "z", "z")
    return root


def test_the_number_of_a_mount_is_told_by_both_ways(tmp_path: Path, share: Path, mount: Mount) -> None:
    (tmp_path / "at").mkdir()
    mount(tmp_path / "at", share)
    seen = []
    for path in (tmp_path, tmp_path / "at", share):
        with descriptors.closing(os.open(path, os.O_RDONLY)) as fd:
            assert mounts.mount_of(fd) == mounts.mount_by_proc(fd)
            seen.append(mounts.mount_of(fd))
    assert seen[0] == seen[2] != seen[1]


def test_an_old_kernel_is_asked_by_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with descriptors.closing(os.open(tmp_path, os.O_RDONLY)) as fd:
        wanted = mounts.mount_of(fd)
        monkeypatch.setattr(mounts, "_STATX", lambda *_: -1)
        assert mounts.mount_of(fd) == wanted
        monkeypatch.setattr(mounts, "_STATX", lambda *_: 0)  # it says nothing of mounts
        assert mounts.mount_of(fd) == wanted


# a share on a folder that the archive has


@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_a_restore_leaves_a_share(project: Path, share: Path, tmp_path: Path, mount: Mount, kind: str) -> None:
    snap(project, tmp_path / "a")
    mount(project / "media", share if kind == "bind" else None)
    if kind == "tmpfs":
        write(project / "media/precious", "p")
    kept = picture(project / "media")
    write(project / "conf.ini", "new")
    report = tree.restore(tmp_path / "a", project)
    assert report.warnings == (f"media: {LEFT}; not written: media/.gitkeep",)
    assert picture(project / "media") == kept
    assert (project / "conf.ini").read_text() == "old"


def test_a_restore_names_a_few_of_many(project: Path, tmp_path: Path, mount: Mount) -> None:
    for number in range(9):
        write(project / f"media/{number}", "x")
    snap(project, tmp_path / "a")
    mount(project / "media")
    (warning,) = tree.restore(tmp_path / "a", project).warnings
    assert warning.endswith("not written: media/.gitkeep, media/0, media/1, media/2, media/3, … (10 files)")


def test_a_share_deeper_and_one_on_a_file(project: Path, share: Path, tmp_path: Path, mount: Mount) -> None:
    write(project / "app/data/x/y", "y")
    snap(project, tmp_path / "a")
    mount(project / "app/data", share)
    mount(project / "conf.ini", share / "precious")
    kept = picture(share)
    shutil.rmtree(project / "media")
    report = tree.restore(tmp_path / "a", project)
    assert set(report.warnings) == {
        f"app/data: {LEFT}; not written: app/data/x/y", f"conf.ini: {LEFT}; not written: conf.ini",
    }  # fmt: skip
    assert picture(share) == kept
    assert (project / "media/.gitkeep").exists()


def test_what_is_around_a_mount_goes(project: Path, share: Path, tmp_path: Path, mount: Mount) -> None:
    snap(project, tmp_path / "a")
    write(project / "new/gone", "x")
    write(project / "new/gone too/x", "x")
    write(project / "new/file", "x")
    (project / "new/sub/at").mkdir(parents=True)
    mount(project / "new/sub/at", share)
    mount(project / "new/file", share / "precious")
    kept = picture(share)
    report = tree.restore(tmp_path / "a", project)
    assert report.warnings == (f"new/file: {LEFT}", f"new/sub/at: {LEFT}")
    assert sorted(os.listdir(project / "new")) == ["file", "sub"]
    assert picture(share) == kept


def test_a_mount_where_all_is_written_aside_is_an_error(project: Path, tmp_path: Path, mount: Mount) -> None:
    """Else nothing would be written, and only that mount be named."""
    snap(project, tmp_path / "a")
    write(project / "conf.ini", "new")
    write(tmp_path / "stage/conf.ini", "of the commit")
    (project / TEMP).mkdir()
    mount(project / TEMP)
    for act in (
        lambda: tree.restore(tmp_path / "a", project),
        lambda: tree.sync(tmp_path / "stage", project, [], tmp_path / "cache"),
    ):
        with pytest.raises(TreeError, match=f"a filesystem is mounted on {project / TEMP}") as found:
            act()
        assert str(found.value.hint) == f"umount {project / TEMP}"
    unmount_below(project)
    tree.restore(tmp_path / "a", project)
    assert (project / "conf.ini").read_text() == "old"


def test_what_leads_to_a_mount_is_no_difference(project: Path, share: Path, tmp_path: Path, mount: Mount) -> None:
    snap(project, tmp_path / "a")
    (project / "new/sub/at").mkdir(parents=True)
    mount(project / "new/sub/at", share)
    tree.restore(tmp_path / "a", project)
    assert tree.differences(tmp_path / "a", project) == []
    write(project / "new/file", "x")
    assert tree.differences(tmp_path / "a", project) == ["new/file"]


@pytest.mark.parametrize("kind", ["file", "link", "fifo"])
def test_a_folder_that_holds_a_mount_is_not_replaced(
    project: Path, share: Path, tmp_path: Path, mount: Mount, kind: str
) -> None:
    path = project / "x"
    {"file": path.touch, "link": lambda: path.symlink_to("z"), "fifo": lambda: os.mkfifo(path)}[kind]()
    snap(project, tmp_path / "a")
    path.unlink()
    (path / "at").mkdir(parents=True)
    mount(path / "at", share)
    kept = picture(share)
    report = tree.restore(tmp_path / "a", project)
    assert report.warnings == (f"x/at: {LEFT}; not written: x",)
    assert picture(share) == kept
    assert not (project / descriptors.TEMP).exists()
    assert tree.restore(tmp_path / "a", project).warnings == report.warnings


def test_a_folder_does_not_take_the_place_of_a_mounted_file(
    project: Path, share: Path, tmp_path: Path, mount: Mount
) -> None:
    snap(project, tmp_path / "a")
    shutil.rmtree(project / "app")
    (project / "app").touch()
    mount(project / "app", share / "precious")
    report = tree.restore(tmp_path / "a", project)
    assert report.warnings == (f"app: {LEFT}; not written: app/a.py",)
    assert (share / "precious").read_text() == "p"


@pytest.mark.parametrize("mounted", [0, 1])
def test_hard_links_around_a_mount(project: Path, share: Path, tmp_path: Path, mount: Mount, mounted: int) -> None:
    names = [project / "l1", project / "l2"]
    write(names[0], "linked")
    os.link(*names)
    snap(project, tmp_path / "a")
    mount(names[mounted], share / "precious")
    names[1 - mounted].unlink()
    kept = picture(share)
    report = tree.restore(tmp_path / "a", project)
    assert report.warnings == (f"{names[mounted].name}: {LEFT}; not written: {names[mounted].name}",)
    assert names[1 - mounted].read_text() == "linked"
    assert picture(share) == kept


def test_a_mount_that_comes_while_a_tree_is_restored(
    project: Path, share: Path, tmp_path: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    snap(project, tmp_path / "a")
    write(project / "media/new", "goes")
    room = sys.modules["corpushooks.tree.restore"]
    real = room._restore_folder

    def late(job: object, folder: str, entries: object) -> None:
        if folder == "media":
            mount(project / "media", share)
        real(job, folder, entries)

    monkeypatch.setattr(room, "_restore_folder", late)
    kept = picture(share)
    assert tree.restore(tmp_path / "a", project).warnings == (f"media: {LEFT}; not written: media/.gitkeep",)
    assert picture(share) == kept


# a mount that was there before


def test_an_archive_leaves_out_a_mount_and_a_restore_leaves_it(
    project: Path, share: Path, tmp_path: Path, mount: Mount
) -> None:
    mount(project / "media", share)
    mount(project / "conf.ini", share / "precious")
    age(project)
    report = tree.snapshot(tree.scan(project), tmp_path / "a", None)
    assert set(report.warnings) == {f"media: {LEFT}", f"conf.ini: {LEFT}"}
    assert sorted(os.listdir(tmp_path / "a")) == ["app", "media", "z"]
    assert not os.listdir(tmp_path / "a/media")
    kept = picture(share)
    write(project / "z", "new")
    assert tree.restore(tmp_path / "a", project).warnings == ()
    assert (picture(share), (project / "z").read_text()) == (kept, "z")


def test_a_mount_that_went_since_leaves_its_place_alone(
    project: Path, share: Path, tmp_path: Path, mount: Mount
) -> None:
    (project / "gone").mkdir()
    with mounting() as shortly:
        shortly(project / "media", share)
        shortly(project / "gone", share)
        shortly(project / "conf.ini", share / "precious")
        (project / "gone").chmod(0o2751)
        age(project)
        tree.snapshot(tree.scan(project), tmp_path / "a", None)
    (project / "gone").rmdir()
    assert tree.restore(tmp_path / "a", project).warnings == ()
    assert (project / "media/.gitkeep").read_text() == ""
    assert (project / "conf.ini").read_text() == "old"
    assert (project / "gone").stat().st_mode & 0o7777 == 0o2751  # so that it can be mounted again


def test_a_mount_that_comes_while_a_tree_is_archived(
    project: Path, share: Path, tmp_path: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tree.scan(project)
    mount(project / "media", share)
    mount(project / "conf.ini", share / "precious")
    report = tree.snapshot(found, tmp_path / "a", None)
    assert set(report.warnings) == {f"media: {LEFT}", f"conf.ini: {LEFT}"}
    assert not [path for path in (tmp_path / "a").rglob("*") if path.name in ("precious", "conf.ini", ".gitkeep")]
    saved = manifest.read_manifest(manifest.manifest_path(tmp_path / "a").read_bytes())
    assert saved.left == {"media", "conf.ini"}
    kept = picture(share)
    tree.restore(tmp_path / "a", project)
    assert picture(share) == kept


# the other doors


def test_a_sync_writes_nothing_into_mounts(project: Path, share: Path, tmp_path: Path, mount: Mount) -> None:
    stage, cache = tmp_path / "stage", tmp_path / "cache"
    for name in ("media/.gitkeep", "media/sub/x", "conf.ini", "z", "app/new.py", "was/one"):
        write(stage / name, "new")
    (stage / "linked").symlink_to("z")
    write(stage / "whole", "a file")
    (project / "was").touch()
    (project / "linked").touch()
    (project / "whole/at").mkdir(parents=True)
    write(project / "media/old", "not seen")
    (project / "old").touch()
    for at in ("media", "whole/at"):
        mount(project / at, share)
    for at in ("conf.ini", "was", "linked", "old"):
        mount(project / at, share / "precious")
    kept = picture(share)
    report = tree.sync(stage, project, ["media/old", "old", "whole/at/precious"], cache)
    assert set(report.warnings) == {
        f"media: {LEFT}; not written: media/.gitkeep, media/sub/x", f"conf.ini: {LEFT}; not written: conf.ini",
        f"was: {LEFT}; not written: was/one", f"linked: {LEFT}; not written: linked",
        f"whole/at: {LEFT}; not written: whole",
        f"old: {LEFT}",
    }  # fmt: skip
    assert picture(share) == kept
    assert (project / "z").read_text() == (project / "app/new.py").read_text() == "new"
    assert not list(project.rglob(descriptors.TEMP))
    assert "media/.gitkeep" not in tree.drift(stage, project, cache)
    assert "conf.ini" not in tree.drift(stage, project, cache)


def test_permissions_stop_at_mounts(project: Path, share: Path, mount: Mount) -> None:
    mount(project / "media", share)
    mount(project / "conf.ini", share / "deep/er")
    kept = picture(share)
    report = tree.fix(project, uid=1000, gid=1000)
    assert set(report.warnings) == {f"media: {LEFT}", f"conf.ini: {LEFT}"}
    assert picture(share) == kept
    assert (project / "z").stat().st_uid == 1000


def test_permissions_stop_at_a_mount_that_came_meanwhile(
    project: Path, share: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    from corpushooks.tree import permissions

    found = permissions.walk(project)
    mount(project / "media", share)
    mount(project / "conf.ini", share / "precious")
    monkeypatch.setattr(permissions, "walk", lambda *_, **__: found)
    kept = picture(share)
    assert set(tree.fix(project, uid=1000, gid=1000).warnings) == {f"media: {LEFT}", f"conf.ini: {LEFT}"}
    assert picture(share) == kept


@pytest.mark.parametrize("deep", [False, True])
def test_a_removal_leaves_mounts_and_names_them(
    project: Path, share: Path, mount: Mount, deep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if deep:
        monkeypatch.setattr(removal, "DEPTH", 2)
        write(project / "a/b/c/d/e", "e")
    mount(project / "media", share)
    mount(project / "z", share / "precious")
    kept = picture(share)
    with pytest.raises(TreeError, match=r"a filesystem is mounted on \S+") as caught:
        tree.remove(project)
    assert set(str(caught.value.hint).split()) == {"umount", str(project / "media"), str(project / "z")}
    assert sorted(os.listdir(project)) == ["media", "z"]
    assert picture(share) == kept


def test_a_mounted_file_with_the_same_content_is_not_corrected(
    project: Path, tmp_path: Path, mount: Mount
) -> None:  # fmt: skip
    same = write(tmp_path / "same", "old", 0o600)
    snap(project, tmp_path / "a")
    mount(project / "conf.ini", same)
    assert tree.restore(tmp_path / "a", project).warnings == (f"conf.ini: {LEFT}; not written: conf.ini",)
    write(tmp_path / "stage/conf.ini", "old", 0o755)
    report = tree.sync(tmp_path / "stage", project, [], tmp_path / "cache")
    assert report.warnings == (f"conf.ini: {LEFT}; not written: conf.ini",)
    assert same.stat().st_mode & 0o777 == 0o600


# a mount for which nobody answers


@pytest.fixture
def dead(project: Path) -> Iterator[Callable[[str], Path]]:
    def mount(at: str) -> Path:
        (project / at).mkdir(parents=True, exist_ok=True)
        mount_dead(project / at)
        with pytest.raises(OSError, match="Transport endpoint is not connected"):
            os.listdir(project / at)
        return project / at

    try:
        yield mount
    finally:
        unmount_below(project)


def test_a_dead_mount_is_left_by_a_restore(project: Path, tmp_path: Path, dead: Callable[[str], Path]) -> None:
    snap(project, tmp_path / "a")
    dead("media")
    dead("new/dead")
    write(project / "z", "new")
    report = tree.restore(tmp_path / "a", project)
    assert report.warnings == (f"media: {LEFT}; not written: media/.gitkeep", f"new/dead: {LEFT}")
    assert (project / "z").read_text() == "z"


def test_a_dead_mount_is_left_by_an_archive(project: Path, tmp_path: Path, dead: Callable[[str], Path]) -> None:
    dead("media")
    report = tree.snapshot(tree.scan(project), tmp_path / "a", None)
    assert report.warnings == (f"media: {LEFT}",)
    assert tree.restore(tmp_path / "a", project).warnings == ()


def test_a_dead_mount_is_left_by_all_others(project: Path, tmp_path: Path, dead: Callable[[str], Path]) -> None:
    stage, cache = tmp_path / "stage", tmp_path / "cache"
    write(stage / "media/.gitkeep", "new")
    write(stage / "z", "new")
    dead("media")
    assert tree.sync(stage, project, ["media/old"], cache).warnings == (
        f"media: {LEFT}; not written: media/.gitkeep",
    )  # fmt: skip
    assert (project / "z").read_text() == "new"
    assert list(tree.drift(stage, project, cache)) == []
    assert tree.fix(project, uid=1000, gid=1000).warnings == (f"media: {LEFT}",)
    with pytest.raises(TreeError, match="a filesystem is mounted on"):
        tree.remove(project)
    assert os.listdir(project) == ["media"]


def test_a_dead_mount_on_the_root_is_told(project: Path, tmp_path: Path, dead: Callable[[str], Path]) -> None:
    snap(project, tmp_path / "a")
    dead(".")
    with pytest.raises(TreeError, match=r"Transport endpoint is not connected|a filesystem was mounted") as caught:
        tree.restore(tmp_path / "a", project)
    assert str(caught.value.hint) == f"umount {project}"


# the root of a tree


def on_root(project: Path, share: Path, mount: Mount) -> dict[str, Callable[[], None]]:
    return {
        "tmpfs": lambda: mount(project),
        "bind": lambda: mount(project, share),
        "itself": lambda: mount(project, project),
    }


@pytest.mark.parametrize("kind", ["tmpfs", "bind", "itself"])
def test_a_root_that_became_a_mount_is_not_touched(
    project: Path, share: Path, tmp_path: Path, mount: Mount, kind: str
) -> None:
    snap(project, tmp_path / "a")
    on_root(project, share, mount)[kind]()
    kept = picture(share)
    with pytest.raises(TreeError, match=r"a filesystem was mounted on .* since it was archived") as caught:
        tree.restore(tmp_path / "a", project)
    assert str(caught.value.hint) == f"umount {project}"
    assert picture(share) == kept


def test_a_root_that_is_the_mount_that_it_was_is_restored(
    project: Path, share: Path, tmp_path: Path, mount: Mount
) -> None:
    mount(project, share)
    snap(project, tmp_path / "a")
    kept = picture(project)
    write(project / "deep/new", "x")
    (project / "precious").unlink()
    assert tree.restore(tmp_path / "a", project).warnings == ()
    assert picture(project) == kept


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_another_mount_over_the_one_that_it_was(
    project: Path, share: Path, tmp_path: Path, mount: Mount, kind: str
) -> None:
    mount(project)
    write(project / "x", "x")
    snap(project, tmp_path / "a")
    on_root(project, share, mount)[kind]()
    kept = picture(share)
    with pytest.raises(TreeError, match="another filesystem is mounted on"):
        tree.restore(tmp_path / "a", project)
    assert picture(share) == kept


def test_a_root_whose_mount_went_is_not_filled(project: Path, share: Path, tmp_path: Path, mount: Mount) -> None:
    with mounting() as shortly:
        shortly(project, share)
        snap(project, tmp_path / "a")
    kept = picture(project)
    with pytest.raises(TreeError, match="was a mount when it was archived") as caught:
        tree.restore(tmp_path / "a", project)
    assert str(caught.value.hint) == f"mount {project}"
    assert picture(project) == kept


def test_devices_have_other_numbers_after_a_boot() -> None:
    was = mounts.Place(True, 5, 2, "boot 1")
    assert was.is_same(was._replace(device=6, boot="boot 2"))
    assert not was.is_same(was._replace(device=6))
    assert not was.is_same(was._replace(ino=3, boot="boot 2"))


def test_an_archive_of_an_earlier_version_says_nothing_of_its_place(project: Path, tmp_path: Path) -> None:
    snap(project, tmp_path / "a")
    assert tree.place_in(tmp_path / "a") == mounts.place_of(project)
    path = manifest.manifest_path(tmp_path / "a")
    value = manifest.read_manifest(path.read_bytes())
    rows = {folder: {name: records.plain(one)[:13] for name, one in e.items()} for folder, e in value.folders.items()}
    path.write_bytes(manifest.pack({"root": records.plain(value.root)[:13], "folders": rows}))
    assert tree.place_in(tmp_path / "a") is None
    write(project / "z", "new")
    tree.restore(tmp_path / "a", project)
    assert (project / "z").read_text() == "z"
