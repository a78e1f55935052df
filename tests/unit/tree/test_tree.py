"""Trees: snapshot, restore, sync, fix and remove, on a real filesystem, with somebody changing things meanwhile."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import shutil
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpushooks import tree
from corpushooks.core import text as texts
from corpushooks.core.errors import TreeError
from corpushooks.system import safe_files
from corpushooks.tree import descriptors, entries, manifest
from tests.support.folders import age, interrupted, picture, snap, write

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="owners and devices need root")
as_user = pytest.mark.skipif(ROOT, reason="root may read and write everything")
BYTES_NAME = os.fsdecode(b"caf\xe9 \n'x")


def can_xattr(path: Path) -> bool:
    try:
        os.setxattr(path, "user.probe", b"1")
    except OSError:
        return False
    os.removexattr(path, "user.probe")
    return True


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A tree with one of everything that an ordinary user can make."""
    root = tmp_path / "project"
    write(root / "manage.py", "#!/usr/bin/python\n", 0o755)
    write(root / "app/settings.py", "DEBUG = False\n", 0o640)
    write(root / "app/media/photo", "p" * 200_000, 0o600)
    write(root / BYTES_NAME, "bytes")
    write(root / "secret", "s", 0o4750)
    (root / "empty").mkdir(mode=0o711)
    (root / "app/loop").symlink_to("..")
    (root / "dangling").symlink_to("/nowhere/at/all")
    os.mkfifo(root / "pipe", 0o620)
    os.link(root / "app/settings.py", root / "same.py")
    os.link(root / "app/settings.py", root / "app/again.py")
    if can_xattr(root / "manage.py"):
        os.setxattr(root / "manage.py", "user.origin", b"\x00\xff")
        os.setxattr(root / "app", "user.folder", b"1")
    os.utime(root / "manage.py", ns=(1, 1_234_567_890_123_456_789))
    os.utime(root / "dangling", ns=(1, 987_654_321), follow_symlinks=False)
    os.utime(root / "empty", ns=(1, 5))
    os.utime(root / "app", ns=(1, 77_000_000_001))
    return root


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What nobody may touch: it lies outside of the trees."""
    root = tmp_path / "outside"
    write(root / "settings.py", "outside", 0o604)
    write(root / "media/photo", "outside", 0o604)
    return root


class Once:
    """Stand in for a function of os: call `act` before the first call that `when` says yes to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, when: Callable[..., bool], act: Callable[[], Any]):
        self.real, self.when, self.act, self.done = getattr(os, name), when, act, False
        monkeypatch.setattr(os, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.done and self.when(*args, **kwargs):
            self.done = True
            self.act()
        return self.real(*args, **kwargs)


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that names what is opened from now on, but folders, the way to them, and what is open already."""
    names: list[str] = []
    real = os.open

    def watched(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        on_the_way = flags & os.O_DIRECTORY or flags == safe_files.LOOK
        if not on_the_way and not os.fspath(path).startswith("/proc/self/fd/"):
            names.append(os.fspath(path))
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", watched)
    return names


# -- snapshot -------------------------------------------------------------------------------------------------


def test_a_snapshot_has_everything_as_it_was(project: Path, tmp_path: Path) -> None:
    before = picture(project)
    report = snap(project, tmp_path / "a/project")
    assert picture(tmp_path / "a/project") == before == picture(project)
    assert report.warnings == ()
    assert report.files == 10
    assert tree.is_whole(tmp_path / "a/project")


def test_a_snapshot_shares_nothing_with_the_live_tree(project: Path, tmp_path: Path) -> None:
    snap(project, tmp_path / "a")
    live = {os.lstat(p).st_ino for p in project.rglob("*")}
    assert not live & {os.lstat(p).st_ino for p in (tmp_path / "a").rglob("*")}


def test_an_unchanged_tree_is_neither_opened_nor_copied_again(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "same.py").unlink()
    (project / "app/again.py").unlink()
    snap(project, tmp_path / "a")
    found = tree.scan(project)
    names = opened(monkeypatch)
    report = tree.snapshot(found, tmp_path / "b", tmp_path / "a")
    assert (report.changed, report.copied) == (0, 0)
    assert [name for name in names if "manifest" not in name and name != str(tmp_path)] == []
    for path in project.rglob("*"):
        if not path.is_dir() or path.is_symlink():
            name = path.relative_to(project)
            assert os.lstat(tmp_path / "a" / name).st_ino == os.lstat(tmp_path / "b" / name).st_ino
    assert picture(tmp_path / "b") == picture(project)


def test_hard_links_are_shared_too_and_counted_once(project: Path, tmp_path: Path) -> None:
    snap(project, tmp_path / "a")
    assert tree.cost(tree.scan(project), None) == sum(
        (project / name).stat().st_size for name in ["manage.py", "same.py", "app/media/photo", BYTES_NAME, "secret"]
    )
    assert snap(project, tmp_path / "b", tmp_path / "a").copied == 0
    assert (tmp_path / "a/same.py").stat().st_ino == (tmp_path / "b/app/again.py").stat().st_ino


def test_names_that_part_are_not_tied_by_sharing(project: Path, tmp_path: Path) -> None:
    snap(project, tmp_path / "a")
    kept = picture(tmp_path / "a")
    text, st = (project / "same.py").read_bytes(), (project / "same.py").stat()
    (project / "same.py").unlink()
    (project / "same.py").write_bytes(text)
    (project / "same.py").chmod(stat.S_IMODE(st.st_mode))
    os.utime(project / "same.py", ns=(1, st.st_mtime_ns))
    snap(project, tmp_path / "b", tmp_path / "a")
    assert picture(tmp_path / "b") == picture(project)
    assert picture(tmp_path / "a") == kept


def test_only_what_changed_is_copied(project: Path, tmp_path: Path) -> None:
    snap(project, tmp_path / "a")
    write(project / "manage.py", "new", 0o755)
    found = tree.scan(project)
    assert tree.cost(found, tmp_path / "a") == 3
    report = tree.snapshot(found, tmp_path / "b", tmp_path / "a")
    assert (report.changed, report.copied) == (1, 3)
    assert (tmp_path / "a/manage.py").read_text() == "#!/usr/bin/python\n"


def test_an_equal_file_with_a_new_inode_is_shared(project: Path, tmp_path: Path) -> None:
    snap(project, tmp_path / "a")
    shutil.copy2(project / "app/media/photo", project / "new")
    (project / "new").rename(project / "app/media/photo")
    report = snap(project, tmp_path / "b", tmp_path / "a")
    assert report.copied == 0
    assert (tmp_path / "a/app/media/photo").stat().st_ino == (tmp_path / "b/app/media/photo").stat().st_ino


def test_a_change_in_place_with_size_and_mtime_put_back_is_seen(project: Path, tmp_path: Path) -> None:
    snap(project, tmp_path / "a")
    path = project / "app/media/photo"
    st = path.stat()
    with open(path, "r+") as file:
        file.write("X")
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
    report = snap(project, tmp_path / "b", tmp_path / "a")
    assert report.changed == 1
    assert (tmp_path / "b/app/media/photo").read_text()[0] == "X"
    assert (tmp_path / "a/app/media/photo").read_text()[0] == "p"


def test_a_stamp_of_this_very_moment_proves_nothing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    st = write(project / "now").stat()
    assert manifest.entry_of(st, st.st_ctime_ns).settled is False
    assert manifest.entry_of(st, st.st_ctime_ns + manifest.TICK_NS).settled is False
    assert manifest.entry_of(st, st.st_ctime_ns + manifest.TICK_NS + 1).settled is True
    fields = {name: getattr(st, name) for name in dir(st) if name.startswith("st_")}
    second = os.stat_result(st[:10], {**fields, "st_ctime_ns": 7_000_000_000})
    assert manifest.entry_of(second, 7_900_000_000).settled is False
    assert manifest.entry_of(second, 8_000_000_001).settled is True
    (project / "now").write_text("one")
    moment = (project / "now").stat().st_ctime_ns
    monkeypatch.setattr(time, "time_ns", lambda: moment)  # however long the test takes
    tree.snapshot(tree.scan(project), tmp_path / "a", None)
    saved = manifest.read_manifest((tmp_path / "a.manifest").read_bytes())
    assert saved.folders[""]["now"].settled is False


@pytest.mark.parametrize("what", ["mode", "mtime", "xattr"])
def test_a_change_of_metadata_never_alters_the_earlier_snapshot(project: Path, tmp_path: Path, what: str) -> None:
    path = project / "manage.py"
    if what == "xattr" and not can_xattr(path):
        pytest.skip("this filesystem has no user xattrs")
    snap(project, tmp_path / "a")
    kept = picture(tmp_path / "a")
    if what == "mode":
        path.chmod(0o711)
    elif what == "mtime":
        os.utime(path, ns=(3, 3))
    else:
        os.setxattr(path, "user.origin", b"other")
    report = snap(project, tmp_path / "b", tmp_path / "a")
    assert report.changed == 1
    assert picture(tmp_path / "b") == picture(project)
    assert picture(tmp_path / "a") == kept


@as_root
def test_a_change_of_owner_never_alters_the_earlier_snapshot(project: Path, tmp_path: Path) -> None:
    os.chown(project / "manage.py", 12, 13)
    os.lchown(project / "dangling", 12, 13)
    os.chown(project / "empty", 12, 13)
    snap(project, tmp_path / "a")
    kept = picture(tmp_path / "a")
    assert kept == picture(project)
    os.chown(project / "manage.py", 14, 15)
    os.lchown(project / "dangling", 14, 15)
    snap(project, tmp_path / "b", tmp_path / "a")
    assert picture(tmp_path / "a") == kept
    assert picture(tmp_path / "b") == picture(project)


@pytest.mark.parametrize("code", [errno.EMLINK, errno.EXDEV, errno.EPERM])
def test_what_cannot_be_linked_is_copied(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (project / "same.py").unlink()
    (project / "app/again.py").unlink()
    snap(project, tmp_path / "a")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    report = snap(project, tmp_path / "b", tmp_path / "a")
    assert report.copied > 200_000
    assert picture(tmp_path / "b") == picture(project)


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "other", "tree"])
def test_a_useless_earlier_snapshot_costs_only_time(project: Path, tmp_path: Path, damage: str) -> None:
    snap(project, tmp_path / "a")
    kept = tmp_path / "a.manifest"
    data = kept.read_bytes()
    if damage == "missing":
        kept.unlink()
    elif damage == "cut":
        kept.write_bytes(data[:-20])
    elif damage == "flipped":
        kept.write_bytes(data.replace(b"manage", b"menage"))
    elif damage == "other":
        kept.write_bytes(manifest.pack([1]))
    else:
        shutil.rmtree(tmp_path / "a")
    assert tree.is_whole(tmp_path / "a") is (damage == "other")
    assert snap(project, tmp_path / "b", tmp_path / "a").copied > 200_000
    assert picture(tmp_path / "b") == picture(project)


def test_the_dumps_of_a_hook_stay_and_are_not_restored(project: Path, tmp_path: Path) -> None:
    before = picture(project)
    target = tmp_path / "a"
    write(target / "dump.sql", "dump")
    write(target / "app/dump.sql", "dump")
    write(target / "manage.py/in the way", "x")
    write(target / "empty", "in the way")
    write(target / "secret", "in the way")
    snap(project, target)
    assert (target / "dump.sql").read_text() == (target / "app/dump.sql").read_text() == "dump"
    (target / "dump.sql").unlink()
    (target / "app/dump.sql").unlink()
    assert picture(target, dir_mtimes=False) == picture(project, dir_mtimes=False)
    tree.restore(target, project)
    assert picture(project) == before


def test_a_file_in_the_way_that_another_snapshot_shares_is_not_written_into(project: Path, tmp_path: Path) -> None:
    snap(project, tmp_path / "a")
    (tmp_path / "b").mkdir()
    os.link(tmp_path / "a/manage.py", tmp_path / "b/manage.py")
    write(project / "manage.py", "new", 0o700)
    kept = picture(tmp_path / "a")
    snap(project, tmp_path / "b")
    assert picture(tmp_path / "a") == kept


def test_a_file_that_changes_while_it_is_read_is_read_again(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = project / "app/media/photo", entries._copy_bytes
    rounds = iter([True, False, False, False, False, False, False, False])

    def change(*args: int) -> int:
        done = real(*args)
        if args[-1] == 200_000 and next(rounds):
            path.write_text("q" * 200_000)
        return done

    monkeypatch.setattr(entries, "_copy_bytes", change)
    report = snap(project, tmp_path / "a")
    assert report.warnings == ()
    assert (tmp_path / "a/app/media/photo").read_text() == "q" * 200_000


def test_a_file_that_never_rests_is_kept_with_a_warning(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = project / "app/media/photo", entries._copy_bytes

    def change(*args: int) -> int:
        done = real(*args)
        with open(path, "a") as file:
            file.write("more")
        return done

    monkeypatch.setattr(entries, "_copy_bytes", change)
    report = snap(project, tmp_path / "a")
    assert report.warnings == ("app/media/photo: changed while it was read",)
    saved = manifest.read_manifest((tmp_path / "a.manifest").read_bytes()).folders["app/media"]["photo"]
    assert saved.size == (tmp_path / "a/app/media/photo").stat().st_size
    assert not saved.settled


def test_what_vanishes_is_left_out(project: Path, tmp_path: Path) -> None:
    age(project)
    found = tree.scan(project)
    (project / "manage.py").unlink()
    (project / "app/media/photo").unlink()
    (project / "app/media").rmdir()
    tree.snapshot(found, tmp_path / "a", None)
    os.utime(project / "app", ns=(1, 77_000_000_001))
    assert picture(tmp_path / "a", dir_mtimes=False) == picture(project, dir_mtimes=False)
    saved = dict(manifest.read_manifest((tmp_path / "a.manifest").read_bytes()).entries)
    assert not {"manage.py", "app/media", "app/media/photo"} & saved.keys()


def test_a_file_that_becomes_a_link_is_kept_as_a_link(project: Path, outside: Path, tmp_path: Path) -> None:
    found = tree.scan(project)
    (project / "manage.py").unlink()
    (project / "manage.py").symlink_to(outside / "settings.py")
    tree.snapshot(found, tmp_path / "a", None)
    assert os.readlink(tmp_path / "a/manage.py") == str(outside / "settings.py")


def test_a_file_that_becomes_a_fifo_does_not_hang_us(project: Path, tmp_path: Path) -> None:
    found = tree.scan(project)
    (project / "manage.py").unlink()
    os.mkfifo(project / "manage.py")
    tree.snapshot(found, tmp_path / "a", None)
    assert stat.S_ISFIFO(os.lstat(tmp_path / "a/manage.py").st_mode)


def test_a_file_that_becomes_a_folder_is_left_out_with_a_warning(project: Path, tmp_path: Path) -> None:
    found = tree.scan(project)
    (project / "manage.py").unlink()
    (project / "manage.py").mkdir()
    report = tree.snapshot(found, tmp_path / "a", None)
    assert "manage.py: skipped, it changed while it was archived" in report.warnings
    assert not (tmp_path / "a/manage.py").exists()


def test_a_folder_that_becomes_a_link_is_not_followed(project: Path, outside: Path, tmp_path: Path) -> None:
    found = tree.scan(project)
    (project / "app").rename(tmp_path / "moved")
    (project / "app").symlink_to(outside)
    report = tree.snapshot(found, tmp_path / "a", None)
    assert "app: skipped, it changed while it was archived" in report.warnings
    assert not os.path.lexists(tmp_path / "a/app")
    tree.restore(tmp_path / "a", tmp_path / "back")
    assert not os.path.lexists(tmp_path / "back/app")


@pytest.mark.parametrize("depth", ["app", "app/media"])
def test_a_folder_swapped_for_a_link_while_it_is_walked_is_not_followed(
    project: Path, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: str
) -> None:
    folder = project / depth

    def swap() -> None:
        folder.rename(tmp_path / "moved")
        folder.symlink_to(outside)

    def opens_it(path: Any, flags: int, *_: Any, **__: Any) -> bool:
        return path == folder.name and bool(flags & os.O_DIRECTORY)

    Once(monkeypatch, "open", opens_it, swap)
    found = tree.scan(project)
    assert not any(path.startswith(depth + "/") for path, _ in found.entries)
    assert found.warnings


def test_a_lease_on_a_file_does_not_keep_us_out(project: Path, tmp_path: Path) -> None:
    held = os.open(project / "manage.py", os.O_RDONLY)
    before = signal.signal(signal.SIGIO, lambda *_: fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK))
    try:
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError:
        pytest.skip("this filesystem has no leases")
    else:
        snap(project, tmp_path / "a")
        assert picture(tmp_path / "a") == picture(project)
    finally:
        os.close(held)
        signal.signal(signal.SIGIO, before)


def test_many_warnings_are_cut(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for number in range(60):
        with socket.socket(socket.AF_UNIX) as server:
            folder = os.open(tmp_path / "many", os.O_RDONLY)
            server.bind(f"/proc/self/fd/{folder}/s{number}")
            os.close(folder)
    report = tree.snapshot(tree.scan(tmp_path / "many"), tmp_path / "a", None)
    assert len(report.warnings) == 51
    assert report.warnings[-1] == "… and 10 more warnings like these"


def test_sockets_are_named_and_survive_a_restore(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("run.sock")
        report = snap(project, tmp_path / "a")
        assert report.warnings == ("run.sock: a socket cannot be archived",)
        inode = os.lstat("run.sock").st_ino
        assert tree.restore(tmp_path / "a", project).warnings == ()
        assert os.lstat("run.sock").st_ino == inode
    os.unlink("run.sock")
    assert tree.restore(tmp_path / "a", project).warnings == ("run.sock: a socket cannot be restored",)


@as_root
def test_devices_are_kept(project: Path, tmp_path: Path) -> None:
    os.mknod(project / "null", stat.S_IFCHR | 0o620, os.makedev(1, 3))
    os.chown(project / "null", 12, 13)
    os.chmod(project / "null", 0o620)
    snap(project, tmp_path / "a")
    tree.restore(tmp_path / "a", tmp_path / "back")
    for st in (os.lstat(tmp_path / "a/null"), os.lstat(tmp_path / "back/null")):
        assert (st.st_mode, st.st_rdev, st.st_uid) == (stat.S_IFCHR | 0o620, os.makedev(1, 3), 12)
    assert tree.restore(tmp_path / "a", tmp_path / "back").changed == 0
    (tmp_path / "back/null").unlink()
    os.mknod(tmp_path / "back/null", stat.S_IFCHR | 0o620, os.makedev(1, 5))
    os.chmod(tmp_path / "back/null", 0o620)
    tree.restore(tmp_path / "a", tmp_path / "back")
    assert os.lstat(tmp_path / "back/null").st_rdev == os.makedev(1, 3)


def test_holes_stay_holes(tmp_path: Path) -> None:
    big = write(tmp_path / "project/big", "head")
    with open(big, "r+b") as file:
        file.seek(1 << 30)
        file.write(b"tail")
        file.truncate(1 << 31)
    found = tree.scan(tmp_path / "project")
    assert tree.cost(found, None) < 1 << 20
    report = tree.snapshot(found, tmp_path / "a", None)
    assert report.copied < 1 << 20
    copy = tmp_path / "a/big"
    assert copy.stat().st_size == 1 << 31
    assert copy.stat().st_blocks * 512 < 1 << 20
    with open(copy, "rb") as file:
        assert file.read(4) == b"head"
        file.seek(1 << 30)
        assert file.read(4) == b"tail"


def test_content_is_copied_where_the_kernel_does_not_help(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(errno.EXDEV, "no")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    write(project / "odd", "x" * (3 * entries.CHUNK + 1))
    snap(project, tmp_path / "a")
    assert picture(tmp_path / "a") == picture(project)


def test_a_full_disk_is_told_and_stays_recognisable(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(TreeError) as caught:
        snap(project, tmp_path / "a")
    assert caught.value.message == f"archive of {project}/app/media/photo: No space left on device"
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert not tree.is_whole(tmp_path / "a")


@as_user
def test_a_file_that_cannot_be_read_refuses_the_snapshot(project: Path, tmp_path: Path) -> None:
    (project / "secret").chmod(0)
    with pytest.raises(TreeError, match=r"secret: Permission denied"):
        snap(project, tmp_path / "a")


def test_names_are_harmless_in_messages(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert texts.shown(os.fsdecode(b"caf\xe9 \n\x1b[31m\xe2\x80\xae \xc3\xa9")) == "caf\\xe9 \\n\\x1b[31m\\u202e é"


def test_a_missing_tree_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TreeError, match=r"reading of .*: No such file or directory"):
        tree.scan(tmp_path / "none")


def test_a_tree_that_is_itself_a_link_is_not_followed(project: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(project)
    with pytest.raises(TreeError):
        tree.scan(tmp_path / "link")


def deepen(root: Path, levels: int) -> None:
    """Make more levels of folders than there are descriptors, or bytes in a path."""
    root.mkdir()
    fd = os.open(root, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("deep-deep-deep", dir_fd=fd)
        inner = os.open("deep-deep-deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("file", os.O_CREAT, dir_fd=fd))
    os.close(fd)


def test_no_depth_of_folders_stops_us(project: Path, tmp_path: Path) -> None:
    before = picture(project)
    snap(project, tmp_path / "a")
    deepen(project / "pit", 1500)
    found = tree.scan(project)
    assert len(found.warnings) == 1
    assert found.warnings[0].endswith("skipped, more than 100 folders deep")
    tree.snapshot(found, tmp_path / "b", tmp_path / "a")
    tree.restore(tmp_path / "a", project)
    assert picture(project) == before


def test_a_snapshot_interrupted_anywhere_is_not_whole_and_can_be_made_again(project: Path, tmp_path: Path) -> None:
    snap(project, tmp_path / "a")
    write(project / "manage.py", "changed")
    age(project)
    target, kept = tmp_path / "b", picture(tmp_path / "a")
    found = tree.scan(project)
    tree.snapshot(found, target, tmp_path / "a")
    for number in interrupted(lambda: tree.snapshot(found, target, tmp_path / "a")):
        assert not tree.is_whole(target) or number == 1  # 1: nothing done yet
    assert number > 20
    assert picture(target) == picture(project)
    assert picture(tmp_path / "a") == kept
    assert tree.is_whole(target)


def test_a_snapshot_is_moved_with_its_manifest(project: Path, tmp_path: Path) -> None:
    snap(project, tmp_path / "a")
    tree.rename(tmp_path / "a", tmp_path / "b")
    assert (tree.is_whole(tmp_path / "a"), tree.is_whole(tmp_path / "b")) == (False, True)
    assert picture(tmp_path / "b") == picture(project)
    assert not (tmp_path / "a.manifest").exists()


# -- restore --------------------------------------------------------------------------------------------------


def ruin(project: Path) -> None:
    """Change one of everything."""
    write(project / "manage.py", "broken", 0o600)
    (project / "app/media/photo").unlink()
    (project / "app/media").rmdir()
    write(project / "app/media", "a file now")
    (project / "empty").rmdir()
    (project / "empty").symlink_to("app")
    (project / "dangling").unlink()
    write(project / "dangling/new/file", "a folder now")
    (project / "pipe").unlink()
    write(project / "pipe", "no pipe")
    (project / "app/again.py").unlink()
    write(project / "app/again.py", "DEBUG = True\n")
    os.link(project / "manage.py", project / "extra link")
    (project / "secret").chmod(0o777)
    write(project / ".git/hooks/x", "y")


def test_a_restore_brings_everything_back(project: Path, tmp_path: Path) -> None:
    before = picture(project)
    snap(project, tmp_path / "a")
    kept = picture(tmp_path / "a")
    ruin(project)
    report = tree.restore(tmp_path / "a", project)
    assert picture(project) == before
    assert picture(tmp_path / "a") == kept
    assert report.files == 10
    again = tree.restore(tmp_path / "a", project)
    assert (again.changed, again.copied) == (0, 0)


def test_a_restore_makes_what_is_not_there(project: Path, tmp_path: Path) -> None:
    snap(project, tmp_path / "a")
    tree.restore(tmp_path / "a", tmp_path / "new")
    assert picture(tmp_path / "new") == picture(project)
    (tmp_path / "link").symlink_to(project)
    tree.restore(tmp_path / "a", tmp_path / "link")
    assert not (tmp_path / "link").is_symlink()
    assert picture(tmp_path / "link") == picture(project)


def test_a_restore_shares_nothing_with_the_snapshot(project: Path, tmp_path: Path) -> None:
    snap(project, tmp_path / "a")
    ruin(project)
    tree.restore(tmp_path / "a", project)
    kept = {os.lstat(p).st_ino for p in (tmp_path / "a").rglob("*")}
    assert not kept & {os.lstat(p).st_ino for p in project.rglob("*")}


def test_a_restore_opens_only_what_moved(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snap(project, tmp_path / "a")
    write(project / "manage.py", "changed")
    names = opened(monkeypatch)
    tree.restore(tmp_path / "a", project)
    assert set(names) == {str(tmp_path / "a.manifest"), "manage.py", descriptors.TEMP} - {str(tmp_path / "a.manifest")}


def test_a_restore_sees_a_change_with_size_and_mtime_put_back(project: Path, tmp_path: Path) -> None:
    before = picture(project)
    snap(project, tmp_path / "a")
    path = project / "app/media/photo"
    st = path.stat()
    with open(path, "r+") as file:
        file.write("X")
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
    assert tree.restore(tmp_path / "a", project).copied == 200_000
    assert picture(project) == before


def test_a_tree_restored_is_shared_by_the_next_snapshot(project: Path, tmp_path: Path) -> None:
    snap(project, tmp_path / "a")
    ruin(project)
    tree.restore(tmp_path / "a", project)
    assert snap(project, tmp_path / "b", tmp_path / "a").copied == 0


@pytest.mark.parametrize("damage", ["missing", "cut", "other", "file", "short"])
def test_what_is_not_whole_is_not_restored(project: Path, tmp_path: Path, damage: str) -> None:
    snap(project, tmp_path / "a")
    kept = tmp_path / "a.manifest"
    write(project / "manage.py", "changed")
    if damage == "missing":
        kept.unlink()
    elif damage == "cut":
        kept.write_bytes(kept.read_bytes()[:-1])
    elif damage == "other":
        kept.write_bytes(manifest.pack({"root": [], "folders": {"": {"x": [1]}}}))
    elif damage == "file":
        (tmp_path / "a/manage.py").unlink()
    else:
        os.truncate(tmp_path / "a/manage.py", 3)
    with pytest.raises(TreeError, match=r"is incomplete|damaged"):
        tree.restore(tmp_path / "a", project)
    assert (project / "manage.py").read_text() == "changed"
    assert not (project / descriptors.TEMP).exists()


def test_a_restore_interrupted_anywhere_can_be_run_again(project: Path, tmp_path: Path) -> None:
    before = picture(project)
    snap(project, tmp_path / "a")
    ruin(project)
    shutil.copytree(project, tmp_path / "ruins", symlinks=True)

    def ruined_restore() -> None:
        tree.remove(project)
        shutil.copytree(tmp_path / "ruins", project, symlinks=True)
        tree.restore(tmp_path / "a", project)

    number = 0
    for number in interrupted(ruined_restore):  # noqa: B007
        tree.restore(tmp_path / "a", project)
        assert picture(project) == before
    assert number > 60


def test_what_a_killed_restore_left_goes(project: Path, tmp_path: Path) -> None:
    before = picture(project)
    snap(project, tmp_path / "a")
    write(project / "app" / descriptors.TEMP, "half")
    write(project / descriptors.TEMP / "planted", "x")
    assert not any(descriptors.TEMP in path for path, _ in tree.scan(project).entries)
    tree.restore(tmp_path / "a", project)
    assert picture(project) == before


def swap_for_link(folder: Path, to: Path, aside: Path) -> Callable[[], None]:
    def swap() -> None:
        folder.rename(aside)
        folder.symlink_to(to)

    return swap


@pytest.mark.parametrize("call", ["open", "rename", "unlink", "utime", "scandir"])
def test_a_folder_swapped_for_a_link_leads_a_restore_nowhere(
    project: Path, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    before = picture(project)
    snap(project, tmp_path / "a")
    ruin(project)
    kept = picture(outside)
    seen = itertools.count()
    Once(
        monkeypatch, call, lambda *_, **__: next(seen) == 3, swap_for_link(project / "app", outside, tmp_path / "aside")
    )
    tree.restore(tmp_path / "a", project)
    assert picture(outside) == kept
    if not (project / "app").is_symlink():  # else it was swapped after all of it was done
        assert picture(project) == before


def test_every_moment_of_a_restore_is_safe_from_a_swap(
    project: Path, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snap(project, tmp_path / "a")
    ruin(project)
    shutil.copytree(project, tmp_path / "ruins", symlinks=True)
    kept = picture(outside)
    for call in ("open", "rename", "unlink", "mkdir", "stat"):
        for moment in itertools.count():
            tree.remove(project)
            tree.remove(tmp_path / "aside")
            shutil.copytree(tmp_path / "ruins", project, symlinks=True)
            seen = itertools.count()
            with pytest.MonkeyPatch.context() as patch:
                hook = Once(
                    patch,
                    call,
                    lambda *_, seen=seen, moment=moment, **__: next(seen) == moment,
                    swap_for_link(project / "app", outside, tmp_path / "aside"),
                )
                tree.restore(tmp_path / "a", project)
            assert picture(outside) == kept
            if not hook.done:
                break
        assert moment > 3


@pytest.mark.parametrize("text", ["outside", "#!/usr/bin/python\n"])
def test_a_planted_hard_link_is_not_written_through(project: Path, outside: Path, tmp_path: Path, text: str) -> None:
    before = picture(project)
    snap(project, tmp_path / "a")
    victim = write(outside / "victim", text, 0o600)
    (project / "manage.py").unlink()
    os.link(victim, project / "manage.py")
    kept = picture(outside)
    tree.restore(tmp_path / "a", project)
    assert picture(outside) == kept
    assert picture(project) == before


def test_files_that_were_tied_meanwhile_part_again(project: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(project / name, "equal")
        os.utime(project / name, ns=(1, 1))
    os.utime(project, ns=(1, 1))
    before = picture(project)
    snap(project, tmp_path / "a")
    (project / "two").unlink()
    os.link(project / "one", project / "two")
    tree.restore(tmp_path / "a", project)
    assert picture(project) == before


def test_hard_links_to_the_outside_that_were_there_stay(project: Path, tmp_path: Path) -> None:
    os.link(project / "manage.py", tmp_path / "store")
    snap(project, tmp_path / "a")
    os.link(project / "manage.py", tmp_path / "store2")  # moves its ctime
    assert tree.restore(tmp_path / "a", project).changed == 0
    assert (project / "manage.py").stat().st_nlink == 3


def test_a_link_is_made_to_what_we_wrote_or_not_at_all(
    project: Path, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = picture(project)
    snap(project, tmp_path / "a")
    for name in ("same.py", "app/again.py", "app/settings.py"):
        (project / name).unlink()

    def swap() -> None:
        (project / "same.py").unlink()
        os.link(outside / "settings.py", project / "same.py")

    hook = Once(monkeypatch, "open", lambda path, flags, *_, **__: path == "same.py" and bool(flags & os.O_PATH), swap)
    tree.restore(tmp_path / "a", project)
    assert hook.done
    assert picture(project) == before


@as_root
def test_a_node_swapped_before_it_has_its_owner_leads_nowhere(
    project: Path, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.lchown(project / "dangling", 12, 13)
    before, kept = picture(project), picture(outside)
    snap(project, tmp_path / "a")
    (project / "dangling").unlink()

    def swap() -> None:
        (project / descriptors.TEMP).unlink()
        os.link(outside / "settings.py", project / descriptors.TEMP)

    Once(monkeypatch, "open", lambda path, flags, *_, **__: path == descriptors.TEMP and bool(flags & os.O_PATH), swap)
    tree.restore(tmp_path / "a", project)
    assert picture(outside) == kept
    assert picture(project) == before


@as_root
def test_a_file_that_changes_hands_is_a_new_one(project: Path, tmp_path: Path) -> None:
    before = picture(project)
    snap(project, tmp_path / "a")
    for name in ("manage.py", "secret"):
        os.chown(project / name, 12, 13)
    with open(project / "secret", "r+") as held:
        tree.restore(tmp_path / "a", project)
        held.write("payload")
    assert picture(project) == before


def test_a_setuid_file_is_a_new_one(project: Path, tmp_path: Path) -> None:
    before = picture(project)
    snap(project, tmp_path / "a")
    (project / "secret").chmod(0o755)
    inode = (project / "secret").stat().st_ino
    with open(project / "secret") as held:  # so that the number is not given again
        tree.restore(tmp_path / "a", project)
        assert (project / "secret").stat().st_ino != inode
        assert held.read() == "s"
    assert picture(project) == before


@as_root
def test_a_setuid_file_of_others_is_not_setuid_where_its_owner_cannot_be_kept(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pipe", "dangling", "app/loop"):  # whoever makes these must be who he says
        (project / name).unlink()
    write(project / "tool", "x")
    os.chown(project / "tool", 12, 13)
    (project / "tool").chmod(0o6755)
    snap(project, tmp_path / "a")
    assert stat.S_IMODE((tmp_path / "a/tool").stat().st_mode) == 0o6755
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    tree.restore(tmp_path / "a", tmp_path / "new")
    snap(project, tmp_path / "b")
    for place in ("new", "b"):
        assert stat.S_IMODE((tmp_path / place / "tool").stat().st_mode) == 0o755, place
        assert stat.S_IMODE((tmp_path / place / "secret").stat().st_mode) == 0o4750, place


def test_a_mode_is_corrected_in_place(project: Path, tmp_path: Path) -> None:
    before = picture(project)
    snap(project, tmp_path / "a")
    (project / "manage.py").chmod(0o600)
    report = tree.restore(tmp_path / "a", project)
    assert (report.changed, report.copied) == (1, 0)
    assert picture(project) == before


def test_what_could_not_be_kept_stays(project: Path, tmp_path: Path) -> None:
    deepen(project / "app/pit", 150)
    report = snap(project, tmp_path / "a")
    assert any("folders deep" in warning for warning in report.warnings)
    ruin(project)
    (project / "new").mkdir()
    tree.restore(tmp_path / "a", project)
    assert not (project / "new").exists()
    assert len(tree.scan(project).left) == 1, "all the levels are there"
    tree.remove(project)


@as_user
def test_an_ordinary_user_restores_folders_that_are_read_only(project: Path, tmp_path: Path) -> None:
    (project / "app/media").chmod(0o555)
    (project / "app").chmod(0o555)
    before = picture(project)
    snap(project, tmp_path / "a")
    snap(project, tmp_path / "a")
    (project / "app").chmod(0o755)
    write(project / "app/new", "x")
    (project / "app").chmod(0o111)
    tree.restore(tmp_path / "a", project)
    assert picture(project) == before
    tree.remove(tmp_path / "a")
    tree.remove(project)
    assert not project.exists()


def test_an_access_list_that_a_folder_would_pass_on_is_not_kept(project: Path, tmp_path: Path) -> None:
    """A default ACL on a folder gives new files xattrs that the manifest does not have."""
    entry = bytes.fromhex(
        "02000000 01000700ffffffff 02000600 01000000 04000500ffffffff 10000700ffffffff 20000500ffffffff"
    )
    before = picture(project)
    snap(project, tmp_path / "a")
    try:
        os.setxattr(project, "system.posix_acl_default", entry)
    except OSError:
        pytest.skip("this filesystem has no access lists")
    write(project / "manage.py", "changed")
    tree.restore(tmp_path / "a", project)
    assert picture(project) == before
    assert os.listxattr(project) == []
    assert "system.posix_acl_access" not in os.listxattr(project / "manage.py")


# -- sync -----------------------------------------------------------------------------------------------------


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    root = tmp_path / "stage"
    write(root / "run.sh", "#!/bin/sh\n", 0o755)
    write(root / "pkg/a.py", "a = 1\n")
    write(root / "pkg/deep/b.py", "b = 1\n")
    (root / "current").symlink_to("pkg/deep")
    (root / "sub").mkdir()
    return root


def tracked(stage: Path, target: Path) -> bool:
    """Say whether `target` has what the stage has: content, link target, executable or not."""
    for path in stage.rglob("*"):
        there = target / path.relative_to(stage)
        if path.is_symlink():
            if os.readlink(path) != os.readlink(there):
                return False
        elif path.is_dir():
            if there.is_symlink() or not there.is_dir():
                return False
        else:
            executable = [bool(p.stat().st_mode & 0o100) for p in (path, there)]
            if there.is_symlink() or path.read_bytes() != there.read_bytes() or executable[0] != executable[1]:
                return False
    return True


def test_a_sync_brings_the_stage_and_leaves_the_rest(stage: Path, tmp_path: Path) -> None:
    target = tmp_path / "project"
    write(target / "upload", "u", 0o600)
    write(target / "pkg/cache", "c", 0o600)
    write(target / "pkg/a.py", "old", 0o660)
    report = tree.sync(stage, target, [], tmp_path / "cache")
    assert tracked(stage, target)
    assert (target / "upload").read_text() + (target / "pkg/cache").read_text() == "uc"
    assert stat.S_IMODE((target / "pkg/a.py").stat().st_mode) == 0o660
    assert stat.S_IMODE((target / "run.sh").stat().st_mode) == 0o755
    assert (report.files, report.changed) == (4, 4)
    assert tree.sync(stage, target, [], tmp_path / "cache").changed == 0


def test_a_sync_makes_the_tree(stage: Path, tmp_path: Path) -> None:
    tree.sync(stage, tmp_path / "project", [], tmp_path / "cache")
    assert tracked(stage, tmp_path / "project")


def test_the_executable_bit_follows_and_the_other_bits_stay(stage: Path, tmp_path: Path) -> None:
    target = tmp_path / "project"
    write(target / "run.sh", "#!/bin/sh\n", 0o640)
    write(target / "pkg/a.py", "a = 1\n", 0o2770)
    write(target / "pkg/deep/b.py", "old", 0o4775)
    inodes = [(target / name).stat().st_ino for name in ("run.sh", "pkg/a.py")]
    tree.sync(stage, target, [], tmp_path / "cache")
    modes = [stat.S_IMODE((target / n).stat().st_mode) for n in ("run.sh", "pkg/a.py", "pkg/deep/b.py")]
    assert [oct(mode) for mode in modes] == ["0o750", "0o2660", "0o664"]
    assert [(target / name).stat().st_ino for name in ("run.sh", "pkg/a.py")] == inodes


def test_a_mode_is_not_set_through_a_planted_hard_link(stage: Path, outside: Path, tmp_path: Path) -> None:
    victim = write(outside / "victim", "a = 1\n", 0o755)
    (tmp_path / "project/pkg").mkdir(parents=True)
    os.link(victim, tmp_path / "project/pkg/a.py")
    kept = picture(outside)
    tree.sync(stage, tmp_path / "project", [], tmp_path / "cache")
    assert picture(outside) == kept
    assert tracked(stage, tmp_path / "project")


@as_root
def test_the_owner_of_a_changed_file_stays(stage: Path, tmp_path: Path) -> None:
    target = tmp_path / "project"
    write(target / "pkg/a.py", "old")
    os.chown(target / "pkg/a.py", 12, 13)
    tree.sync(stage, target, [], tmp_path / "cache")
    assert ((target / "pkg/a.py").stat().st_uid, (target / "pkg/a.py").stat().st_gid) == (12, 13)


def test_the_access_list_of_a_changed_file_stays(stage: Path, tmp_path: Path) -> None:
    entry = bytes.fromhex(
        "02000000 01000600ffffffff 02000600 01000000 04000000ffffffff 10000600ffffffff 20000000ffffffff"
    )
    path = write(tmp_path / "project/pkg/a.py", "old", 0o600)
    try:
        os.setxattr(path, "system.posix_acl_access", entry)
    except OSError:
        pytest.skip("this filesystem has no access lists")
    mode = path.stat().st_mode
    tree.sync(stage, tmp_path / "project", [], tmp_path / "cache")
    assert path.read_text() == "a = 1\n"
    assert path.stat().st_mode == mode
    assert os.getxattr(path, "system.posix_acl_access") == entry


def test_other_kinds_in_the_way_are_replaced(stage: Path, outside: Path, tmp_path: Path) -> None:
    target = tmp_path / "project"
    write(target / "run.sh/x/y", "a folder")
    write(target / "current/x", "a folder")
    write(target / "sub", "a file")
    (target / "pkg").symlink_to(outside)
    kept = picture(outside)
    tree.sync(stage, target, [], tmp_path / "cache")
    assert tracked(stage, target)
    assert picture(outside) == kept


def test_a_link_where_a_file_is_wanted_is_replaced_not_followed(stage: Path, outside: Path, tmp_path: Path) -> None:
    target = tmp_path / "project"
    (target / "pkg").mkdir(parents=True)
    (target / "pkg/a.py").symlink_to(outside / "settings.py")
    (outside / "settings.py").write_text("a = 1\n")
    kept = picture(outside)
    tree.sync(stage, target, [], tmp_path / "cache")
    assert tracked(stage, target)
    assert picture(outside) == kept


def test_what_the_new_commit_lacks_goes(stage: Path, outside: Path, tmp_path: Path) -> None:
    target = tmp_path / "project"
    for name in ("old.py", "gone/deep/x", "half/x", "half/upload", "folder/x"):
        write(target / name, "x")
    write(target / "run.sh", "#!/bin/sh\n", 0o750)
    (target / "gone/link").symlink_to(outside)
    (target / "swapped").symlink_to(outside)
    kept = picture(outside)
    removed = ["old.py", "gone/deep/x", "gone/link", "half/x", "folder", "swapped/settings.py", "never/was"]
    removed += ["run.sh", "pkg/a.py/x"]
    report = tree.sync(stage, target, removed, tmp_path / "cache")
    assert tracked(stage, target)
    assert stat.S_IMODE((target / "run.sh").stat().st_mode) == 0o750  # the stage has it, so it was not removed
    assert sorted(p.name for p in target.iterdir()) == [
        "current", "folder", "half", "pkg", "run.sh", "sub", "swapped",
    ]  # fmt: skip
    assert (target / "half/upload").exists() and not (target / "half/x").exists()
    assert picture(outside) == kept
    assert report.warnings == ()


def test_folders_of_the_stage_stay_when_they_become_empty(stage: Path, tmp_path: Path) -> None:
    write(tmp_path / "project/sub/x", "x")
    tree.sync(stage, tmp_path / "project", ["sub/x"], tmp_path / "cache")
    assert list((tmp_path / "project/sub").iterdir()) == []


@pytest.mark.parametrize("path", ["../outside/settings.py", "/no/such/file", "a//b", "", "pkg/./a.py"])
def test_a_removed_path_must_be_one(stage: Path, outside: Path, tmp_path: Path, path: str) -> None:
    with pytest.raises(TreeError, match="invalid path"):
        tree.sync(stage, tmp_path / "project", [path], tmp_path / "cache")


def settle_sync(stage: Path, target: Path, cache: Path) -> None:
    tree.sync(stage, target, [], cache)
    age(stage)
    age(target)
    tree.sync(stage, target, [], cache)


def test_a_second_sync_opens_nothing(stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "project"
    settle_sync(stage, target, tmp_path / "cache")
    names = opened(monkeypatch)
    tree.sync(stage, target, [], tmp_path / "cache")
    assert names == []
    write(stage / "run.sh", "#!/bin/bash\n", 0o755)
    tree.sync(stage, target, [], tmp_path / "cache")
    assert {"run.sh", descriptors.TEMP} == set(names) - {str(tmp_path), ".cache.new"}
    assert tracked(stage, target)


def test_a_sync_sees_a_change_with_size_and_mtime_put_back(stage: Path, tmp_path: Path) -> None:
    target = tmp_path / "project"
    settle_sync(stage, target, tmp_path / "cache")
    path = target / "pkg/a.py"
    st = path.stat()
    path.write_text("a = 2\n")
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
    assert tree.sync(stage, target, [], tmp_path / "cache").changed == 1
    assert tracked(stage, target)


def test_a_stamp_of_the_moment_of_writing_is_not_recorded(stage: Path, tmp_path: Path) -> None:
    tree.sync(stage, tmp_path / "project", [], tmp_path / "cache")
    assert manifest.unpack((tmp_path / "cache").read_bytes()) == {} if (tmp_path / "cache").exists() else True


@pytest.mark.parametrize("damage", ["cut", "other", "list", "folder"])
def test_a_wrong_cache_costs_only_time(stage: Path, tmp_path: Path, damage: str) -> None:
    target, cache = tmp_path / "project", tmp_path / "cache"
    settle_sync(stage, target, cache)
    data = cache.read_bytes()
    cache.write_bytes({"cut": data[:-9], "other": b"\xff", "list": manifest.pack([1, 2]), "folder": b""}[damage])
    (target / "pkg/a.py").write_text("a = 9\n")
    tree.sync(stage, target, [], cache)
    assert tracked(stage, target)


def test_a_sync_interrupted_anywhere_can_be_run_again(stage: Path, tmp_path: Path) -> None:
    target, cache = tmp_path / "project", tmp_path / "cache"

    def fresh_sync() -> None:
        tree.remove(target)
        write(target / "upload", "u")
        write(target / "run.sh/x", "in the way")
        write(target / "old/x", "old")
        tree.sync(stage, target, ["old/x"], cache)

    number = 0
    for number in interrupted(fresh_sync):  # noqa: B007
        if not target.exists():
            continue  # it was our own cleaning
        tree.sync(stage, target, ["old/x"], cache)
        assert tracked(stage, target)
        assert not list(target.rglob(descriptors.TEMP))
        assert not (target / "old").exists()
    assert number > 15


def test_what_a_killed_sync_left_goes(stage: Path, tmp_path: Path) -> None:
    for folder in ("", "pkg", "sub"):
        write(tmp_path / "project" / folder / descriptors.TEMP, "half")
    tree.sync(stage, tmp_path / "project", [], tmp_path / "cache")
    assert not list((tmp_path / "project").rglob(descriptors.TEMP))


def test_every_moment_of_a_sync_is_safe_from_a_swap(stage: Path, outside: Path, tmp_path: Path) -> None:
    target = tmp_path / "project"
    write(outside / "a.py", "outside")
    write(outside / "deep/b.py", "outside")
    kept = picture(outside)
    for call in ("open", "rename", "mkdir", "stat"):
        for moment in itertools.count():
            tree.remove(target)
            tree.remove(tmp_path / "aside")
            write(target / "pkg/a.py", "old")
            seen = itertools.count()
            with pytest.MonkeyPatch.context() as patch:
                hook = Once(
                    patch,
                    call,
                    lambda *_, seen=seen, moment=moment, **__: next(seen) == moment,
                    swap_for_link(target / "pkg", outside, tmp_path / "aside"),
                )
                tree.sync(stage, target, [], tmp_path / "cache")
            assert picture(outside) == kept
            if not hook.done:
                break
        assert moment > 2


# -- fix ------------------------------------------------------------------------------------------------------


def test_permissions_are_set(project: Path) -> None:
    (project / "app/media").chmod(0o700)
    tree.fix(project, uid=None, gid=None)
    modes = {
        n: stat.S_IMODE(os.lstat(project / n).st_mode) for n in (".", "app/media", "manage.py", "same.py", "secret")
    }
    assert modes == {".": 0o770, "app/media": 0o770, "manage.py": 0o770, "same.py": 0o660, "secret": 0o770}
    assert stat.S_IMODE(os.lstat(project / "pipe").st_mode) == 0o600 | (os.lstat(project / "pipe").st_mode & 0o77)
    tree.fix(project, uid=None, gid=None, dirs=0o2750, files=0o640, recursive=False)
    assert stat.S_IMODE(project.stat().st_mode) == 0o2750
    assert stat.S_IMODE((project / "app").stat().st_mode) == 0o770


def test_what_is_right_already_is_not_touched(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.fix(project, uid=None, gid=None)
    ctimes = {p: os.lstat(p).st_ctime_ns for p in project.rglob("*")}
    names = opened(monkeypatch)
    report = tree.fix(project, uid=None, gid=None)
    assert (report.changed, names) == (0, [])
    assert {p: os.lstat(p).st_ctime_ns for p in project.rglob("*")} == ctimes


@as_user
def test_an_ordinary_user_sets_modes_only_and_opens_what_was_shut(project: Path) -> None:
    (project / "app/media").chmod(0)
    (project / "secret").chmod(0)
    report = tree.fix(project, uid=0, gid=0)
    assert report.warnings == ("owners are left alone: not root",)
    assert stat.S_IMODE((project / "app/media").stat().st_mode) == 0o770
    assert (project / "app/media/photo").stat().st_uid == os.geteuid()


@as_root
def test_owners_are_set_without_following_links(project: Path, outside: Path) -> None:
    (project / "out").symlink_to(outside / "settings.py")
    (project / "outdir").symlink_to(outside)
    kept = picture(outside)
    tree.fix(project, uid=12, gid=13)
    assert picture(outside) == kept
    for path in [project, *project.rglob("*")]:
        if path.name != "pipe":
            assert (os.lstat(path).st_uid, os.lstat(path).st_gid) == (12, 13), path
    assert tree.fix(project, uid=12, gid=13).changed == 0


@as_root
@pytest.mark.parametrize("uid", [12, None])
def test_a_planted_hard_link_keeps_its_owner_and_mode(project: Path, outside: Path, uid: int | None) -> None:
    os.link(outside / "settings.py", project / "app/planted")
    kept = picture(outside)
    report = tree.fix(project, uid=uid, gid=13)
    assert picture(outside) == kept
    assert report.warnings == ("1 files of other owners with names outside the tree were left alone (app/planted…)",)
    assert (project / "same.py").stat().st_gid == 13  # its other names are all in the tree


@as_root
@pytest.mark.parametrize("by", ["link", "hard link", "folder"])
def test_a_file_swapped_before_its_mode_is_set_leads_nowhere(
    project: Path, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    kept = picture(outside)

    def swap() -> None:
        if by == "folder":
            (project / "app").rename(tmp_path / "aside")
            (project / "app").symlink_to(outside)
            return
        (project / "app/settings.py").unlink()
        if by == "link":
            (project / "app/settings.py").symlink_to(outside / "settings.py")
        else:
            os.link(outside / "settings.py", project / "app/settings.py")

    Once(monkeypatch, "open", lambda path, flags, *_, **__: bool(flags & os.O_PATH), swap)
    tree.fix(project, uid=12, gid=13)
    monkeypatch.undo()
    if by == "hard link":
        (project / "app/settings.py").unlink()
    assert picture(outside) == kept


@as_root
def test_a_planted_hard_link_that_moves_while_it_is_counted_keeps_its_owner(
    project: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("d1", "d2"):
        (project / name).mkdir()
    first, second = (name for name in tree.scan(project).folders if name in ("d1", "d2"))
    os.link(outside / "settings.py", project / first / "x")
    age(project)
    kept = picture(outside)
    real = os.open

    def moving(path: Any, *args: Any, **kwargs: Any) -> int:
        if path == second and (project / first / "x").exists():  # it was counted in the first already
            (project / first / "x").rename(project / second / "y")
        elif path == first and (project / second / "y").exists():
            (project / second / "y").rename(project / first / "x")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", moving)
    report = tree.fix(project, uid=12, gid=13)
    monkeypatch.undo()
    assert picture(outside) == kept
    assert report.warnings != ()


# -- remove ---------------------------------------------------------------------------------------------------


def test_remove_takes_trees_files_links_and_nothing(project: Path, outside: Path, tmp_path: Path) -> None:
    kept = picture(outside)
    (project / "out").symlink_to(outside)
    (tmp_path / "link").symlink_to(outside)
    write(tmp_path / "file")
    for name in ("project", "link", "file", "nothing", "no/such/folder"):
        tree.remove(tmp_path / name)
    assert {p.name for p in tmp_path.iterdir()} - {"home"} == {"outside"}
    assert picture(outside) == kept


def test_remove_has_no_limit_of_depth(tmp_path: Path) -> None:
    deepen(tmp_path / "pit", 2500)
    tree.remove(tmp_path / "pit")
    assert not (tmp_path / "pit").exists()


def test_a_snapshot_stops_being_whole_before_it_loses_anything(project: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archives/1"
    for folder in (archive, archive / "project"):
        snap(project, archive / "project")
        saved = picture(archive / "project")
        for _ in interrupted(lambda folder=folder: tree.remove(folder)):
            if tree.is_whole(archive / "project"):
                assert picture(archive / "project") == saved
        assert not folder.exists()


def test_files_that_appear_while_a_folder_is_removed_go_too(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Once(monkeypatch, "rmdir", lambda name, **_: name == "media", lambda: write(project / "app/media/late", "x"))
    tree.remove(project)
    assert not project.exists()


def test_a_folder_swapped_while_it_is_removed_leads_nowhere(
    project: Path, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = picture(outside)
    Once(
        monkeypatch,
        "open",
        lambda path, *_, **__: path == "app",
        swap_for_link(project / "app", outside, tmp_path / "aside"),
    )
    tree.remove(project)
    assert not project.exists()
    assert picture(outside) == kept


# drift


def test_drift_is_what_is_no_longer_as_it_was_synced(tmp_path: Path) -> None:
    stage, live, cache = tmp_path / "stage", tmp_path / "live", tmp_path / "cache"
    for name in ("same", "edited", "gone", "swapped", "a/b", "c/d"):
        write(stage / name, name)
    (stage / "link").symlink_to("same")
    age(stage)
    tree.sync(stage, live, [], cache)
    age(live)
    tree.sync(stage, live, [], cache)
    assert tree.drift(stage, live, cache) == tree.drift(stage, live, tmp_path / "none") == {}
    before = picture(live)
    write(live / "edited", "EDITED")
    (live / "gone").unlink()
    (live / "swapped").unlink()
    (live / "swapped").symlink_to("/etc/passwd")
    (live / "link").unlink()
    (live / "link").symlink_to("edited")
    shutil.rmtree(live / "a")
    shutil.rmtree(live / "c")
    (live / "c").symlink_to("/etc")
    write(live / "more", "of the application")
    now = picture(live)
    assert list(tree.drift(stage, live, cache)) == ["a/b", "c/d", "edited", "gone", "link", "swapped"]
    assert picture(live) == now != before
