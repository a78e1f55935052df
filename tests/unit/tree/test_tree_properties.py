"""Trees, whatever they are: what was saved comes back, and earlier snapshots stay as they were."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpushooks import tree
from tests.support.folders import age, picture

NAMES = st.sampled_from(["a", "b", "c", "é", os.fsdecode(b"\xff"), "new\nline"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
MODES = st.sampled_from([0o600, 0o644, 0o755, 0o4711, 0o400])
FOLDER_MODES = st.sampled_from([0o700, 0o755, 0o2770, 0o500])
TEXTS = st.sampled_from([b"", b"x", b"y", b"z" * 70_000])
TIMES = st.integers(0, 2**61)
ACTIONS = st.one_of(
    st.tuples(st.just("file"), PATHS, MODES, TEXTS, TIMES),
    st.tuples(st.just("in place"), PATHS, TEXTS),
    st.tuples(st.just("folder"), PATHS, FOLDER_MODES, TIMES),
    st.tuples(st.just("link"), PATHS, st.sampled_from(["a", "..", "/etc/passwd", "b/c"]), TIMES),
    st.tuples(st.just("hard link"), PATHS, PATHS),
    st.tuples(st.just("fifo"), PATHS, MODES),
    st.tuples(st.just("mode"), PATHS, MODES),
    st.tuples(st.just("time"), PATHS, TIMES),
    st.tuples(st.just("rename"), PATHS, PATHS),
    st.tuples(st.just("remove"), PATHS),
)
SCRIPTS = st.lists(ACTIONS, max_size=14)


def apply(root: Path, action: tuple[Any, ...]) -> None:
    """Do one thing to a tree, or nothing where it cannot be done."""
    kind, names, *values = action
    path = root.joinpath(*names)
    with contextlib.suppress(OSError):
        if kind == "file":
            tree.remove(path)
            path.write_bytes(values[1])
            path.chmod(values[0])
            os.utime(path, ns=(values[2], values[2]))
        elif kind == "in place":
            was = os.lstat(path)
            if stat.S_ISREG(was.st_mode):
                path.write_bytes(values[0])
                os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
        elif kind == "folder":
            path.mkdir()
            path.chmod(values[0])
            os.utime(path, ns=(values[1], values[1]))
        elif kind == "link":
            path.symlink_to(values[0])
            os.utime(path, ns=(values[1], values[1]), follow_symlinks=False)
        elif kind == "hard link":
            os.link(root.joinpath(*values[0]), path, follow_symlinks=False)
        elif kind == "fifo":
            os.mkfifo(path, values[0])
        elif kind == "mode" and stat.S_ISREG(os.lstat(path).st_mode):
            path.chmod(values[0])
        elif kind == "time":
            os.utime(path, ns=(values[0], values[0]), follow_symlinks=False)
        elif kind == "rename":
            path.rename(root.joinpath(*values[0]))
        elif kind == "remove":
            tree.remove(path)


def play(root: Path, script: list[tuple[Any, ...]]) -> None:
    for action in script:
        if not any(os.path.islink(root.joinpath(*action[1][:n])) for n in range(1, len(action[1]))):
            apply(root, action)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(SCRIPTS, SCRIPTS, SCRIPTS)
def test_what_was_saved_comes_back(first: Any, second: Any, third: Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        live = base / "live"
        live.mkdir()
        pictures = []
        for number, script in enumerate([first, second, third]):
            play(live, script)
            age(live)
            found = tree.scan(live)
            room = tree.cost(found, base / str(number - 1))
            report = tree.snapshot(found, base / str(number), base / str(number - 1))
            assert report.warnings == ()
            assert report.copied <= room
            pictures.append(picture(live))
        for number, wanted in enumerate(pictures):
            assert picture(base / str(number)) == wanted
        for number in (0, 2, 1):
            tree.restore(base / str(number), live)
            assert picture(live) == pictures[number]
            assert tree.restore(base / str(number), live).changed == 0
        for number, wanted in enumerate(pictures):
            assert picture(base / str(number)) == wanted
        tree.remove(base / "0")
        tree.remove(live)
        assert not live.exists()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(SCRIPTS, SCRIPTS, SCRIPTS)
def test_a_tree_without_stamps_comes_back_too(first: Any, second: Any, third: Any) -> None:
    """Nothing waits for the clock here, so that every stamp is of this moment."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        live = base / "live"
        live.mkdir()
        play(live, first)
        tree.snapshot(tree.scan(live), base / "0", None)
        play(live, second)
        wanted = picture(live)
        tree.snapshot(tree.scan(live), base / "1", base / "0")
        play(live, third)
        tree.restore(base / "1", live)
        assert picture(live) == wanted
        tree.remove(live)
