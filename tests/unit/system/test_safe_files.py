"""Paths that others have a hand in: no link that they could have made is followed, whenever they make it."""

from __future__ import annotations

import ast
import contextlib
import errno
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from corpushooks import tree
from corpushooks.core.errors import CorpusError
from corpushooks.makina import resetperms
from corpushooks.system import safe_files
from tests.support.box import tree_of
from tests.support.secret import SECRET

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="another user is needed")
APP = 12345  # the user of the application
AT: list[Callable[[], None]] = []  # what is done at each moment; audit hooks stay for ever
MOMENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.chmod", "os.chown", "os.symlink", "os.listdir"}


def _at_each_moment(event: str, _values: tuple[object, ...]) -> None:
    if AT and event in MOMENTS and threading.current_thread() is threading.main_thread():
        act = AT.pop()
        try:
            act()
        finally:
            AT.append(act)


sys.addaudithook(_at_each_moment)


@contextlib.contextmanager
def at_each_moment(act: Callable[[], None]) -> Iterator[None]:
    AT.append(act)
    try:
        yield
    finally:
        AT.clear()


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """Return a folder of the application, with a way, in it, to a file and a tree."""
    folder = tmp_path / "app"
    (folder / "way/tree/in").mkdir(parents=True)
    (folder / "way/file").write_text("own")
    (folder / "way/tree/in/file").write_text("own")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, APP, APP)
    return folder


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Return a folder that nobody may touch or read, with names that the application's has too."""
    folder = tmp_path / "victim"
    (folder / "tree/in").mkdir(parents=True)
    for name in ("file", "tree/in/file"):
        (folder / name).write_text(SECRET)
        (folder / name).chmod(0o600)
    (folder / "file.manifest").write_text(SECRET)
    folder.chmod(0o700)
    return folder


def wanted(**given: Any) -> resetperms.Wanted:
    return resetperms.Wanted(**{
        "uid": APP, "gid": APP, "dirs": 0o777, "files": 0o666, "access": None, "recursive": True, **given,
    })  # fmt: skip


def saved(path: Path) -> Path:
    """Return an archive of another tree."""
    source = path.parents[2] / "source"
    source.mkdir(exist_ok=True)
    (source / "new").write_text("new")
    tree.snapshot(tree.scan(source), source.with_name("saved"), None)
    return source.with_name("saved")


def found(path: Path) -> Any:
    return tree.scan(saved(path))


OPERATIONS: dict[str, Callable[[Path], Any]] = {  # what is done to way/file or way/tree
    "read": lambda path: safe_files.read(path / "file"),
    "write": lambda path: safe_files.write(path / "file", b"new", 0o666, (APP, APP)),
    "write and follow": lambda path: safe_files.write(path / "file", b"new", 0o666, (APP, APP), follow=True),
    "write below": lambda path: safe_files.write(path / "more/file", b"new", 0o666, make=0o755),
    "link": lambda path: safe_files.link(path / "file", "elsewhere"),
    "remove": lambda path: safe_files.remove(path / "file"),
    "folder": lambda path: safe_files.folder(path / "tree", 0o777, (APP, APP)),
    "open_folder": lambda path: os.close(safe_files.open_folder(path / "tree")),
    "owner_of": lambda path: safe_files.owner_of(path / "tree"),
    "is_firm": lambda path: safe_files.is_firm(path / "file"),
    "resetperms of a file": lambda path: resetperms.reset(path / "file", wanted()),
    "resetperms of a tree": lambda path: resetperms.reset(path / "tree", wanted()),
    "fix": lambda path: tree.fix(path / "tree", uid=APP, gid=APP, dirs=0o777, files=0o666),
    "scan": lambda path: tree.scan(path / "tree"),
    "sync": lambda path: tree.sync(saved(path), path / "tree", ["in/file"], path.parents[1] / "cache"),
    "restore": lambda path: tree.restore(saved(path), path / "tree"),
    "weigh": lambda path: tree.weigh(path / "tree"),
    "drift": lambda path: tree.drift(saved(path), path / "tree", path.parents[1] / "cache"),
    "differences": lambda path: tree.differences(saved(path), path / "tree"),
    "kind_at": lambda path: tree.kind_at(path / "tree", "in/file"),
    "content_at": lambda path: tree.content_at(path / "tree", "in/file", 1000),
    "snapshot": lambda path: tree.snapshot(found(path), path / "tree", None),
    "snapshot of": lambda path: tree.snapshot(tree.scan(path / "tree"), path.parents[1] / "kept", None),
    "loosen": lambda path: tree.loosen(path / "tree"),
    "check_place": lambda path: tree.check_place(None, path / "tree"),
    "take": lambda path: tree.take(path / "tree"),
    "settle": lambda path: tree.settle(tree.take(saved(path)), path / "tree"),
    "compare": lambda path: tree.compare(tree.take(saved(path)), path / "tree"),
    "tree.remove": lambda path: tree.remove(path / "tree"),
}
INNER = {"spot", "look", "open_file", "check_file", "change", "at", "error"}  # what these are made of
TREE = {  # of archives, stages and folders that only root reaches, of what is open already, and of the list of mounts
    "refuse_mounts", "cost", "is_whole", "rename", "grant", "place_in", "loosen_all", "set_aside",
    "exchange", "put", "is_below",
}  # fmt: skip


def test_each_function_that_takes_a_path_has_a_row() -> None:
    source = ast.parse(Path(safe_files.__file__).read_text())
    functions = {node.name for node in source.body if isinstance(node, ast.FunctionDef) if node.name[0] != "_"}
    doors = {name for name in tree.__all__ if name[0].islower()}
    rows = {name.split(" ")[0] for name in OPERATIONS}
    assert functions - INNER - rows == set()
    assert doors - TREE - {name.removeprefix("tree.") for name in rows} == set()


def quietly(act: Callable[[Path], Any], way: Path) -> Any:
    with contextlib.suppress(OSError, CorpusError):
        return act(way)


def spilled(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and not p.is_symlink() and SECRET in p.read_text()]


@as_root
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_link_in_the_middle_leads_nowhere(name: str, app: Path, victim: Path, tmp_path: Path) -> None:
    saved(app / "way")
    before = tree_of(victim)
    (app / "way").rename(app / "aside")
    (app / "way").symlink_to(victim)
    told = quietly(OPERATIONS[name], app / "way")
    assert SECRET not in str(told)
    assert tree_of(victim) == before
    assert spilled(app) + spilled(tmp_path / "saved") == []


@as_root
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_link_at_the_end_leads_nowhere(name: str, app: Path, victim: Path) -> None:
    saved(app / "way")
    before = tree_of(victim)
    for inner in ("file", "tree"):
        (app / "way" / inner).rename(app / inner)
        (app / "way" / inner).symlink_to(victim / inner)
    told = quietly(OPERATIONS[name], app / "way")
    assert SECRET not in str(told)
    assert tree_of(victim) == before
    assert spilled(app) == []


@as_root
@pytest.mark.parametrize("period", [1, 2, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_component_that_is_swapped_at_any_moment_leads_nowhere(
    name: str, period: int, app: Path, victim: Path
) -> None:
    """Also between a look at it and the act."""
    saved(app / "way")
    before, count = tree_of(victim), 0
    way, aside = app / "way", app / "aside"

    def swap() -> None:
        nonlocal count
        count += 1
        if count % period:
            return
        with contextlib.suppress(OSError):
            if way.is_symlink():
                way.unlink()
                aside.rename(way)
            else:
                way.rename(aside)
                way.symlink_to(victim)

    for _ in range(3):
        with at_each_moment(swap):
            told = quietly(OPERATIONS[name], way)
        assert SECRET not in str(told)
    assert count > 3
    assert tree_of(victim) == before
    assert spilled(app) == []


# which links are followed


def leads(path: Path) -> bytes | int | None:
    try:
        return safe_files.read(path)[0]
    except OSError as exc:
        return exc.errno


def test_a_link_of_ours_is_followed_where_nobody_else_can_write(tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/file").write_text("there")
    for name, target in (("one", "deep"), ("two", f"{tmp_path}/one/er/."), ("three", "two/../er/file")):
        (tmp_path / name).symlink_to(target)
    assert leads(tmp_path / "two/file") == leads(tmp_path / "three") == leads(tmp_path / "one/../two/file") == b"there"
    (tmp_path / "round").symlink_to("round")
    assert leads(tmp_path / "round/file") == errno.ELOOP
    assert leads(tmp_path / "deep/er/file/more") == errno.ENOTDIR
    assert leads(tmp_path / "none/file") == errno.ENOENT


@as_root
def test_which_links_could_be_somebody_elses(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").write_text("there")
    for folder, owner, mode in (
        ("apps", APP, 0o755), ("all", 0, 0o777), ("group", 0, 0o775), ("sticky", 0, 0o1777), ("root", 0, 0o755),
    ):  # fmt: skip
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "link").symlink_to(target)
        (tmp_path / folder / "real").mkdir()
        (tmp_path / folder / "real/link").symlink_to(target)
        os.chown(tmp_path / folder, owner, owner)
        (tmp_path / folder).chmod(mode)
        there = b"there" if folder == "root" else errno.ELOOP
        assert leads(tmp_path / folder / "link/file") == there
        # root's folder in somebody's can be moved, but not in a sticky one of root's
        assert leads(tmp_path / folder / "real/link/file") == (b"there" if folder == "sticky" else there)
    os.lchown(tmp_path / "root/link", APP, APP)
    assert leads(tmp_path / "root/link/file") == errno.ELOOP


@as_root
def test_a_hard_link_to_a_file_of_roots_is_not_read(app: Path, victim: Path) -> None:
    (app / "way/file").unlink()
    os.link(victim / "file", app / "way/file")
    with pytest.raises(OSError, match="hard link"):
        safe_files.read(app / "way/file")
    (app / "way/file").unlink()
    os.link(app / "way/tree/in/file", app / "way/file")  # one of its own
    assert safe_files.read(app / "way/file")[0] == b"own"
    os.mkfifo(app / "way/fifo")
    with pytest.raises(OSError, match="not a regular file"):
        safe_files.read(app / "way/fifo")


@as_root
def test_a_file_comes_with_owner_and_mode_and_leaves_nothing_aside(app: Path) -> None:
    safe_files.write(app / "way/file", b"new", 0o640, (APP, 0))
    st = (app / "way/file").stat()
    assert (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid) == (0o640, APP, 0)
    with pytest.raises(OSError, match="not a regular file"):
        safe_files.write(app / "way/tree", b"new")
    assert sorted(os.listdir(app / "way")) == ["file", "tree"]


@as_root
def test_what_a_killed_process_left_aside_is_removed_and_nothing_else(app: Path) -> None:
    theirs = [".conf.new", ".conf.123.new", f".other.{'a' * 16}.new", f".conf.{'g' * 16}.new"]
    for name in [*theirs, f".conf.{'a' * 16}.new"]:
        (app / name).write_text("x")
    (app / f".conf.{'b' * 16}.new").mkdir()
    safe_files.write(app / "conf", b"new")
    assert {path.name for path in app.iterdir()} >= {*theirs, f".conf.{'b' * 16}.new", "conf"}
    assert not (app / f".conf.{'a' * 16}.new").exists()


@as_root
def test_nobody_can_guess_the_name_aside(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, rename = [], os.rename

    def watched(name: Any, *more: Any, **given: Any) -> None:
        names.append(name)
        rename(name, *more, **given)

    monkeypatch.setattr(os, "rename", watched)
    for _ in "12":
        safe_files.write(app / "way/file", b"new")
    assert len(set(names)) == 2
    safe_files.write(app.parent / "ours", b"new")  # nobody else writes there, and a crash leaves what can be found
    assert names[-1] == ".ours.new"


@as_root
def test_folders_that_are_made_have_the_owner_of_what_is_in_them(app: Path) -> None:
    safe_files.write(app / "way/more/and/file", b"new", owner=(APP, 0), make=0o750)
    made = [(app / "way" / name).stat() for name in ("more", "more/and")]
    assert [(st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) for st in made] == [(APP, 0, 0o750)] * 2
    safe_files.folder(app / "way/other/one", 0o700, (APP, 0), make=0o755)
    assert (app / "way/other").stat().st_uid == APP
