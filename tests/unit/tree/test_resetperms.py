"""`resetperms` with every option of the program it stands in for, and access lists as setfacl makes them."""

from __future__ import annotations

import os
import pwd
import stat
import sys
from pathlib import Path

import pytest

from corpushooks.system.process import Output, run
from corpushooks.tree import acl

RESETPERMS = Path(sys.executable).with_name("resetperms")
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="owners are root's to change")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a tree with a folder, files and a link."""
    folder = tmp_path / "tree"
    (folder / "in/deep").mkdir(parents=True)
    for name in ("in/file", "in/deep/inner", "cache"):
        (folder / name).write_text("")
        (folder / name).chmod(0o600)
    (folder / "link").symlink_to("in/file")
    return folder


def resetperms(*words: str | Path, check: bool = True) -> Output:
    return run([RESETPERMS, *words], check=check)


def mode(path: Path) -> str:
    return f"{stat.S_IMODE(path.stat().st_mode):o}"


def listed(path: Path) -> list[str]:
    """Return the access list of a file, as the program getfacl shows it."""
    return run(["getfacl", "-cpE", path]).text.split()


def me() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


@pytest.mark.parametrize("paths", ["--paths", "--path", "--pat", "-p"])
def test_options_can_be_shortened_as_they_could(tree: Path, paths: str) -> None:
    assert resetperms("--no-acl", "--dmod", "0751", "--fm", "0640", "--quie", paths, tree / "in").stderr == b""
    assert (mode(tree / "in"), mode(tree / "in/file")) == ("751", "640")
    found = resetperms("--no", paths, tree, check=False)
    assert found.code == 2 and b"ambiguous option: --no (" in found.stderr


def test_words_that_are_no_options_and_no_paths_at_all_do_nothing(tree: Path) -> None:
    assert resetperms("-q").code == 0
    resetperms("-n", "--fmode", "640", "-p", tree / "cache", tree / "in/file")
    assert (mode(tree / "cache"), mode(tree / "in/file")) == ("640", "600")


def test_not_recursive(tree: Path) -> None:
    resetperms("-n", "-R", "--dmode", "0711", "--fmode", "0640", "-p", tree)
    assert (mode(tree), mode(tree / "cache")) == ("711", "600")


def test_verbose_says_what_is_done_unless_quiet(tree: Path) -> None:
    words = ("-n", "--fmode", "640", "-p", tree / "cache")
    assert resetperms("-v", *words).text == f"Path: {tree}/cache (root:root, dmode: 770, fmode: 640)"
    assert resetperms("-v", "-q", *words).text == ""


def test_what_is_excluded_takes_all_with_it_that_is_in_it(tree: Path) -> None:
    found = resetperms(
        "-n", "--debug", "--fmode", "640", "--dmode", "750", "-e", "deep$", "--exclude", "cac.e", "-p", tree
    )
    assert found.text.splitlines() == [f"excluded: {tree}/cache", f"excluded: {tree}/in/deep"]
    modes = {name: mode(tree / name) for name in ("cache", "in", "in/file", "in/deep/inner")}
    assert modes == {"cache": "600", "in": "750", "in/file": "640", "in/deep/inner": "600"}
    resetperms("-n", "--fmode", "640", "-e", "cache", "-p", tree / "cache")
    assert mode(tree / "cache") == "600"
    resetperms("-n", "--fmode", "640", "-e", "[^/", "-e", "(", "-p", tree / "cache", check=False)


@ROOT
def test_owner_and_group_are_root_unless_they_are_named(tree: Path) -> None:
    os.chown(tree / "cache", 1, 1)
    resetperms("-n", "-p", tree / "cache")
    st = (tree / "cache").stat()
    assert (st.st_uid, st.st_gid, mode(tree / "cache")) == (0, 0, "770")
    resetperms("-n", "-u", "daemon", "-g", "1", "-p", tree / "in")
    assert (tree / "in/file").stat().st_uid == pwd.getpwnam("daemon").pw_uid
    os.chown(tree / "in/file", 0, 0)
    resetperms("-o", "-u", "daemon", "-p", tree / "in")
    assert (tree / "in/file").stat().st_uid == 0


@ROOT
def test_access_lists_as_setfacl_makes_them(tree: Path) -> None:
    words = ["--users", "www-data:r-x", "--users", "daemon", "--groups", "www-data:r--"]
    resetperms("-u", "root", "-g", "root", *words, "--dmode", "0750", "--fmode", "0640", "-p", tree)
    own = ["user:root:rw-", "user:daemon:rw-", "user:www-data:r-x"]
    groups = ["group:root:r--", "group:www-data:r--"]
    assert listed(tree / "in/file") == ["user::rw-", *own, "group::r--", *groups, "mask::rwx", "other::---"]
    folder = listed(tree / "in")
    assert {"user:www-data:r-x", "user:daemon:rwx", "group:www-data:r--", "mask::rwx"} <= set(folder)
    assert {f"default:{each}" for each in folder if not each.startswith("default")} == {
        each for each in folder if each.startswith("default")
    }
    seen = run(["setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups", "cat", tree / "in/file"], check=False)
    assert seen.code != 0  # the folders above are pytest's own
    expected = tree.parent / "expected"
    expected.touch(0o640)
    named = "u:0:rw-,g:0:r--,u:www-data:r-x,u:daemon:rw-,g:www-data:r--,mask:rwx"
    run(["setfacl", "-m", named, expected])
    assert acl.read(str(expected)) == acl.read(str(tree / "in/file"))


@ROOT
def test_no_acls_only_acls_and_reset(tree: Path) -> None:
    resetperms("-n", "-k", "--users", "daemon:r-x", "-p", tree)
    assert not any("daemon" in each for each in listed(tree / "cache"))
    (tree / "cache").chmod(0o600)
    resetperms("-o", "--users", "daemon:r-x", "--fmode", "0644", "-p", tree / "cache")
    assert "user:daemon:r-x" in listed(tree / "cache")
    assert "other::---" in listed(tree / "cache")  # its mode is not touched
    resetperms("-o", "--users", "www-data:r--", "-p", tree / "cache")
    assert {"user:daemon:r-x", "user:www-data:r--"} <= set(listed(tree / "cache"))
    resetperms("-ok", "--users", "www-data:--x", "-p", tree / "cache")
    assert "user:www-data:--x" in listed(tree / "cache")
    assert not any("daemon" in each for each in listed(tree / "cache"))


@ROOT
def test_who_is_not_there_is_left_out_of_access_lists(tree: Path) -> None:
    found = resetperms(
        "--users", "nobody-at-all:r-x", "--users", "daemon:worse", "--users", "daemon", "-p", tree / "cache"
    )
    assert found.stderr.decode().splitlines() == [
        "nobody-at-all:r-x: not added to the access lists: unknown user 'nobody-at-all'",
        "daemon:worse: not added to the access lists: invalid permissions 'worse': use r-x, for example",
    ]
    assert "user:daemon:rwx" in listed(tree / "cache")
    assert resetperms("-n", "--users", "nobody-at-all", "-p", tree / "cache").stderr == b""


@ROOT
def test_no_access_list_reaches_a_file_outside_by_a_name_in_the_tree(tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("")
    os.chown(outside, 1, 1)
    os.link(outside, tree / "in/planted")
    (tree / "in/way").symlink_to(outside)
    resetperms("-q", "--users", "daemon:rwx", "-u", "www-data", "-p", tree)
    assert listed(outside) == ["user::rw-", "group::r--", "other::r--"]


def test_access_lists_are_read_and_written_alike() -> None:
    known = {**acl.of_mode(0o750), (acl.USER, 1000): 5, (acl.MASK, acl.ALL): 7}
    assert acl.decode(acl.encode(known)) == known
    assert acl.decode(b"") == acl.decode(b"\x03\0\0\0") == {}
