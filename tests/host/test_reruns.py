"""What SLS that run again in a roll back change in project/: it is said, and not undone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corpushooks import tree
from tests.support.box import FAILING, Box

BUILT = """\
built:
  cmd.run:
    - name: echo $$ > built; mkdir -p run; echo $$ > run/app.pid; echo same > same
    - cwd: {tree}
"""


def failed(box: Box, sls: str, files: dict[str, str] | None = None) -> list[str]:
    """Deploy a release with an SLS, then one that fails; return what that push says."""
    box.app(files={".salt/10_build.sls": sls.format(tree=box.project().tree), **(files or {})}).push()
    box.ended(1)
    box.work().commit({"index.html": "two", ".salt/20_broken.sls": FAILING})
    pushed = box.work().push()
    assert (pushed.code, pushed.rejected) == (1, "install 20_broken failed; rolled back")
    return [" ".join(line.split()) for line in pushed.lines]


def test_what_runs_again_and_writes_is_counted_and_named(box: Box) -> None:
    lines = failed(box, BUILT)
    at = lines.index("again: 00_page, 10_build 3 files differ from the archive")
    assert lines[at + 1 : at + 4] == ["built", "run/app.pid", "same"]  # the last has another time only
    archive = next(box.project().archives.glob("*_2")) / "project"
    assert (box.project().tree / "built").read_text() != (archive / "built").read_text()  # it is not restored twice
    assert (box.project().tree / "index.html").read_text() == "one"
    assert "again: 00_page, 10_build" in " ".join(box.log(2).split())


def test_where_nothing_differs_nothing_is_said(box: Box) -> None:
    lines = failed(box, "built:\n  cmd.run:\n    - name: echo {tree} > /dev/null\n")
    assert not [line for line in lines if "differ" in line]
    assert "undo compare: as in the archive" in box.log(2)


def test_of_many_some_are_named_and_all_are_in_the_log(box: Box) -> None:
    sls = "built:\n  cmd.run:\n    - name: for i in $(seq 100 160); do echo $$ > f$i; done\n    - cwd: {tree}\n"
    lines = failed(box, sls)
    at = lines.index("again: 00_page, 10_build 61 files differ from the archive")
    assert lines[at + 1 : at + 6] == ["f100", "f101", "… 57 lines omitted …", "f159", "f160"]
    assert all(f"        f{number}" in box.log(2) for number in range(100, 161))


def test_rollback_sls_counts_too(box: Box) -> None:
    box.app(files={".salt/rollback.sls": f"r:\n  cmd.run:\n    - name: echo $$ > {box.project().tree}/rolled\n"}).push()
    box.ended(1)
    box.work().commit({"index.html": "two", ".salt/20_broken.sls": FAILING})
    lines = [" ".join(line.split()) for line in box.work().push().lines]
    assert "again: rollback, 00_page 1 file differs from the archive" in lines


def change(folder: Path, what: str) -> None:
    """Change one thing in a tree, and leave its size and time as they were where that can be."""
    file, times = folder / "sub/file", (folder / "sub/file").stat()
    if what == "content":
        file.write_text("FILE")
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif what == "another of the same":
        (folder / "sub/new").write_text("file")
        (folder / "sub/new").chmod(times.st_mode)
        os.utime(folder / "sub/new", ns=(times.st_atime_ns, times.st_mtime_ns))
        (folder / "sub/new").rename(file)
    elif what == "mode":
        file.chmod(0o600)
    elif what == "folder":
        (folder / "sub").chmod(0o700)
    elif what == "link":
        (folder / "link").unlink()
        (folder / "link").symlink_to("elsewhere")
    elif what == "kind":
        file.unlink()
        file.mkdir()
    elif what == "gone":
        file.unlink()
    elif what == "new":
        (folder / "more/deep").mkdir(parents=True)
        (folder / "more/deep/file").write_text("x")


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("nothing", []), ("content", ["sub/file"]), ("another of the same", []), ("mode", ["sub/file"]),
        ("folder", ["sub"]), ("link", ["link"]), ("kind", ["sub/file"]), ("gone", ["sub/file"]),
        ("new", ["more/deep/file"]),
    ],
)  # fmt: skip
def test_the_differences_between_a_tree_and_its_archive(what: str, found: list[str], tmp_path: Path) -> None:
    live = tmp_path / "live"
    (live / "sub").mkdir(parents=True)
    (live / "sub/file").write_text("file")
    (live / "sub-way").write_text("file")
    (live / "link").symlink_to("sub")
    (live / "sub").chmod(0o755)
    tree.snapshot(tree.scan(live), tmp_path / "saved", None)
    change(live, what)
    assert tree.differences(tmp_path / "saved", live) == found
