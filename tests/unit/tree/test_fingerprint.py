"""What a tree has in it, taken beside a copy and compared with what comes back."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from corpushooks.core.errors import CancelledError
from corpushooks.system.process import run
from corpushooks.tree import Fingerprint, compare, settle, take

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners are set")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    base = tmp_path / "tree"
    (base / "folder/deep").mkdir(parents=True)
    (base / "file").write_text("one")
    (base / "folder/other").write_text("two")
    (base / "folder/deep/third").write_text("three")
    os.link(base / "file", base / "folder/hard")
    (base / "link").symlink_to("file")
    os.mkfifo(base / "fifo")
    os.setxattr(base / "file", "user.kind", b"\x00\xff")
    return base


def copy(tree: Path) -> Path:
    to = tree.with_name("copy")
    shutil.rmtree(to, ignore_errors=True)
    run(["cp", "-a", tree, to])
    return to


def test_a_copy_is_as_it_was(tree: Path) -> None:
    taken = settle(take(tree), tree)
    assert not taken.changed
    assert taken.size == 3 + 3 + 5
    assert sorted(taken.digests) == ["file", "folder/deep/third", "folder/hard", "folder/other"]
    assert compare(taken, copy(tree)) == []
    assert compare(Fingerprint.unpack(taken.pack()), copy(tree)) == []


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ("printf two >file; touch -r ../tree/file file", ("file", "has different content")),
        ("printf longer >file", ("file", "has a different size")),
        ("touch -d 2001-01-01 file", ("file", "has a different time")),
        ("chmod 4755 file", ("file", "has a different mode")),
        ("rm file", ("file", "is missing")),
        ("ln -snf away link", ("link", "has a different target")),
        ("rm fifo; mkdir fifo", ("fifo", "is a folder, was a fifo")),
        ("touch more", ("more", "is new")),
        ('python3 -c \'import os; os.removexattr("file", "user.kind")\'', ("file", "has different attributes")),
        ('python3 -c \'import os; os.setxattr("folder", "user.more", b"1")\'', ("folder", "has different attributes")),
        ("cp -p file x; mv x file", ("file", "has different hard links")),
        ("chmod 700 folder", ("folder", "has a different mode")),
        ("chmod 700 .", ("", "has a different mode")),
        ("touch -h -d 2001-01-01 link", ("link", "has a different time")),
    ],
)
def test_any_difference_is_found(tree: Path, change: str, wrong: tuple[str, str]) -> None:
    taken = settle(take(tree), tree)
    other = copy(tree)
    subprocess.run(["sh", "-ec", change], cwd=other, check=True)
    assert wrong in compare(taken, other)


@needs_root
def test_another_owner_is_found_unless_that_is_whom_he_is_here(tree: Path) -> None:
    os.chown(tree / "file", 4711, 4712)
    taken = settle(take(tree), tree)
    other = copy(tree)
    assert compare(taken, other) == []
    os.chown(other / "file", 4713, 4714)
    assert ("file", "has a different owner") in compare(taken, other)
    here = {(4711, 4712): (4713, 4714)}
    assert compare(taken, other, lambda uid, gid: here.get((uid, gid), (uid, gid))) == []


def test_what_changes_between_is_not_compared(tree: Path) -> None:
    taken = take(tree)
    (tree / "file").write_text("changed")  # and its other name
    (tree / "folder/new").write_text("new")
    (tree / "folder/deep/third").unlink()
    taken = settle(taken, tree)
    assert {"file", "folder/hard", "folder/new", "folder", "folder/deep", "folder/deep/third"} == taken.changed
    other = copy(tree)
    (other / "file").write_text("anything")
    (other / "folder/brief").write_text("was there for a moment only")
    assert compare(taken, other) == []
    (other / "folder/other").write_text("another")
    assert compare(taken, other) == [("folder/other", "has a different size")]


def test_what_is_not_changed_is_not_read_again(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = settle(take(tree), tree)
    read: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, *given: read.append(fd) or real(fd, *given))
    assert take(tree, first).digests == first.digests
    assert not read
    (tree / "folder/other").write_text("TWO")
    assert take(tree, first).digests != first.digests
    assert read


def test_what_is_left_out_is_not_looked_at(tree: Path) -> None:
    taken = take(tree, without=["folder/deep", "fi", "link"])
    paths = dict(taken.manifest.entries)
    assert sorted(paths) == ["fifo", "file", "folder", "folder/hard", "folder/other"]
    (tree / "folder/deep/third").write_text("changed")
    (tree / "link").unlink()
    assert settle(taken, tree, ["folder/deep", "fi", "link"]).changed == {""}


def test_a_socket_is_nothing_that_can_be_kept(tree: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tree / "socket"))
        taken = settle(take(tree), tree)
        assert "socket" not in dict(taken.manifest.entries) and not taken.changed
        assert compare(taken, copy(tree)) == []


@needs_root
def test_a_file_that_somebody_linked_into_it_is_left(tree: Path) -> None:
    secret = tree.with_name("secret")
    secret.write_text("of root")
    secret.chmod(0o600)
    os.chown(tree, 4711, 4711)
    os.chown(tree / "folder", 4711, 4711)
    os.link(secret, tree / "folder/planted")
    taken = take(tree)
    assert taken.manifest.left == {"folder/planted"}
    assert "folder/planted" not in taken.digests


def test_a_look_can_be_cancelled(tree: Path) -> None:
    end = time.monotonic() + 60

    def cancel() -> None:
        assert time.monotonic() < end
        raise CancelledError("cancelled by somebody")

    with pytest.raises(CancelledError):
        take(tree, check=cancel)


def test_what_is_damaged_is_no_fingerprint(tree: Path) -> None:
    data = bytearray(take(tree).pack())
    data[-5] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        Fingerprint.unpack(bytes(data))
