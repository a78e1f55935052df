"""What the application made, where a commit now brings something: it gives way, and is named."""

from __future__ import annotations

import os
from pathlib import Path

from corpushooks import tree
from tests.support.box import Box
from tests.support.folders import write


def test_what_gives_way_is_named(tmp_path: Path) -> None:
    stage, live, cache = tmp_path / "stage", tmp_path / "live", tmp_path / "cache"
    fresh = ["file", "same", "folder", "was link", "link", "link same", "in/deep", "new", "fifo", "empty"]
    for name in ("file", "same", "folder", "was link", "in/deep", "new", "fifo", "empty", "old", "socket"):
        write(stage / name, name)
    (stage / "link").symlink_to("same")
    (stage / "link same").symlink_to("same")
    write(live / "file", "of the application")
    write(live / "same", "same")
    write(live / "folder/photo", "x")
    write(live / "folder/deep/photo", "x")
    (live / "was link").symlink_to("file")
    write(live / "link", "a file")
    (live / "link same").symlink_to("same")
    write(live / "in", "a file where a folder comes")
    os.mkfifo(live / "fifo")
    (live / "empty/folder").mkdir(parents=True)
    write(live / "old", "tracked before, and changed since")
    report = tree.sync(stage, live, [], cache, fresh=frozenset(fresh))
    assert sorted(report.replaced) == ["fifo", "file", "folder/deep/photo", "folder/photo", "in", "link", "was link"]
    assert tree.sync(stage, live, [], cache, fresh=frozenset(fresh)).replaced == ()


def test_a_push_says_which_files_of_the_application_it_replaces(box: Box) -> None:
    work = box.app()
    work.push()
    box.ended(1)
    own = box.project().tree
    (own / "uploads").mkdir()
    for number in range(7):
        (own / f"uploads/{number}").write_text("precious")
    (own / "same").write_text("same")
    work.commit({f"uploads/{number}": "of the commit" for number in range(7)} | {"same": "same"})
    pushed = work.push()
    assert pushed.code == 0
    said = " ".join(" ".join(pushed.lines).split())
    wanted = "warning: 7 files of the application replaced by files of the commit, kept in the archive:"
    assert f"{wanted} uploads/0, uploads/1, uploads/2, uploads/3, uploads/4, …" in said
    assert "same" not in said
    assert "        replaced uploads/6" in box.log(2)
    assert (next(box.project().archives.glob("*_2")) / "project/uploads/6").read_text() == "precious"
    work.commit({"uploads/0": "changed"})
    assert "of the application" not in work.push().text


def test_one_file_is_named_in_the_terminal_alone(box: Box) -> None:
    work = box.app()
    work.push()
    box.ended(1)
    (box.project().tree / "conf.ini").write_text("of the application")
    work.commit({"conf.ini": "of the commit"})
    said = " ".join(" ".join(work.push().lines).split())
    assert "1 file of the application replaced by files of the commit, kept in the archive: conf.ini" in said
    assert "        replaced" not in box.log(2)
