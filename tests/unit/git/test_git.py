"""The door to git: refs moved by compare-and-swap, checkouts as git makes them, nobody's configuration believed."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dulwich import pack as pack_files

from corpushooks import git
from corpushooks.core.errors import GitError, UsageError
from corpushooks.git import access, checkouts
from corpushooks.system.process import Output, run
from tests.support.box import Work, tree_of
from tests.support.counted_disk import Disk

HEAD = "refs/heads/master"
NOWHERE = "1" * 40


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Return a working copy whose remote is a bare repository as init makes it."""
    run(["git", "init", "--quiet", "--initial-branch=master", tmp_path / "work"])
    git.init_bare(tmp_path / "project.git", "master")
    return Work(tmp_path / "work", str(tmp_path / "project.git"))


@pytest.fixture
def repo(work: Work) -> Path:
    return Path(work.remote)


@pytest.fixture
def bring(work: Work, repo: Path) -> Callable[..., str]:
    """Return what commits files and brings the commit into the bare repository, on no branch."""

    def bring(files: dict[str, str | None] | None = None, message: str = "change") -> str:
        commit = work.commit(files, message)
        run(["git", "--git-dir", repo, "fetch", "--quiet", work.path, "+HEAD:refs/keep/all"])
        return commit

    return bring


@pytest.fixture
def place(tmp_path: Path, repo: Path) -> tuple[Path, Path]:
    """Return our git dir for checkouts, and the folder of one."""
    git.init_work(tmp_path / "work.git", [repo])
    return tmp_path / "work.git", tmp_path / "stage"


Bring = Callable[..., str]
Place = tuple[Path, Path]


# refs


def test_a_ref_moves_only_from_what_it_was(repo: Path, bring: Bring) -> None:
    one, two = bring(), bring()
    assert git.ref(repo, HEAD) is None
    assert not git.move_ref(repo, HEAD, two, one)
    assert git.move_ref(repo, HEAD, None, one)
    assert not git.move_ref(repo, HEAD, None, two)
    assert not git.move_ref(repo, HEAD, two, two)
    assert git.ref(repo, HEAD) == one
    assert git.move_ref(repo, HEAD, one, two)
    assert git.ref(repo, HEAD) == two
    assert run(["git", "--git-dir", repo, "rev-parse", HEAD]).text == two
    assert (
        "corpushooks" in run(["git", "--git-dir", repo, "reflog", "show", HEAD]).text or (repo / "logs" / HEAD).exists()
    )


def test_a_packed_ref_moves_too(repo: Path, bring: Bring) -> None:
    one, two = bring(), bring()
    git.move_ref(repo, HEAD, None, one)
    run(["git", "--git-dir", repo, "pack-refs", "--all"])
    assert git.ref(repo, HEAD) == one
    assert not git.move_ref(repo, HEAD, None, two)
    assert git.move_ref(repo, HEAD, one, two)
    assert git.ref(repo, HEAD) == two


def test_a_ref_in_a_folder_that_is_not_there(repo: Path, bring: Bring) -> None:
    one, two = bring(), bring()
    assert not git.move_ref(repo, "refs/heads/team/prod", one, two)
    assert git.move_ref(repo, "refs/heads/team/prod", None, two)


def test_a_stale_lock_is_removed_and_a_fresh_one_respected(repo: Path, bring: Bring) -> None:
    one = bring()
    lock = repo / f"{HEAD}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    assert git.move_ref(repo, HEAD, None, one, patience=0.1)
    assert git.ref(repo, HEAD) == one
    assert not lock.exists()


@pytest.mark.parametrize("name", ["refs/corpus/7", "packed-refs"])
def test_a_stale_lock_keeps_no_commit_for_ever(repo: Path, bring: Bring, name: str) -> None:
    git.pin(repo, 7, bring())
    run(["git", "--git-dir", repo, "pack-refs", "--all"])
    lock = repo / f"{name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    git.unpin(repo, 7, patience=0.1)
    assert not lock.exists()
    assert git.pins(repo) == []


def test_a_ref_in_new_folders_is_on_the_disk(repo: Path, bring: Bring, monkeypatch: pytest.MonkeyPatch) -> None:
    name, seen = bring(), Disk(monkeypatch)
    assert git.move_ref(repo, "refs/heads/a/b/master", None, name)
    place = repo / "refs/heads/a/b/master"
    assert seen.has(place, place.parent, place.parent.parent, repo / "refs/heads")


def test_a_ref_is_taken_back_only_from_where_we_moved_it(repo: Path, bring: Bring) -> None:
    one, two, three = bring(), bring(), bring()
    git.move_ref(repo, HEAD, None, three)
    git.take_back_ref(repo, HEAD, two, one)
    git.take_back_ref(repo, HEAD, two, None)
    assert git.ref(repo, HEAD) == three
    git.take_back_ref(repo, HEAD, three, one)
    assert git.ref(repo, HEAD) == one
    git.take_back_ref(repo, HEAD, one, None)
    git.take_back_ref(repo, HEAD, one, None)
    assert git.ref(repo, HEAD) is None


def test_pins_are_hidden_and_nobody_elses_to_push(work: Work, repo: Path, bring: Bring) -> None:
    commit = bring()
    git.pin(repo, 7, commit)
    git.pin(repo, 7, commit)
    git.pin(repo, 12, commit)
    assert git.pins(repo) == [7, 12]
    assert "refs/corpus" not in work.git("ls-remote", work.remote).text
    (repo / "hooks/proc-receive").write_text("#!/bin/sh\ntouch ran\nexit 1\n")
    (repo / "hooks/proc-receive").chmod(0o755)
    for refspec in ("HEAD:refs/corpus/8", ":refs/corpus/7", "+HEAD:refs/corpus/7"):
        pushed = work.push(refspec)
        assert pushed.code == 1
        assert pushed.rejected in ("deny updating a hidden ref", "deny deleting a hidden ref")
    assert not (repo / "ran").exists()
    git.unpin(repo, 7)
    git.unpin(repo, 7)
    assert [path.name for path in (repo / "logs/refs/corpus").iterdir()] == ["12"]
    assert git.pins(repo) == [12]


def test_a_pin_keeps_a_commit_from_being_collected(repo: Path, bring: Bring) -> None:
    kept, lost = bring({"a": "kept"}), bring({"a": "lost"})
    git.pin(repo, 1, kept)
    run(["git", "--git-dir", repo, "update-ref", "-d", "refs/keep/all"])
    run(["git", "--git-dir", repo, "reflog", "expire", "--expire=now", "--all"])
    run(["git", "--git-dir", repo, "gc", "--quiet", "--prune=now"])
    assert git.commit(repo, kept) == kept
    with pytest.raises(GitError, match="is not in the repository"):
        git.commit(repo, lost)


# the configuration


def test_a_repository_is_made_once_and_repaired(tmp_path: Path) -> None:
    path = tmp_path / "a/project.git"
    assert git.init_bare(path, "main")
    assert not git.init_bare(path, "main")
    run(["git", "--git-dir", path, "config", "core.hooksPath", "/evil"])
    run(["git", "--git-dir", path, "config", "--add", "transfer.hideRefs", "refs/heads"])
    assert git.init_bare(path, "main")
    listed = run(["git", "--git-dir", path, "config", "--file", path / "config", "--list"]).text.splitlines()
    found = dict(line.split("=", 1) for line in listed)
    assert found.items() >= {key.lower(): value for key, value in git.bare_config(path).items()}.items()
    assert not git.init_bare(path, "main")
    assert git.init_bare(path, "other")
    assert (path / "HEAD").read_text() == "ref: refs/heads/other\n"


@pytest.mark.parametrize(
    "last", ["[user]\n\tname = jo\n", "[user]\n\tname = jo", "[user]\n\tname = jo\\\n", "[user] name = jo # \\"]
)
def test_a_configuration_that_is_completed_keeps_what_it_had(tmp_path: Path, last: str) -> None:
    repo = tmp_path / 'a "b" \\n # c\nd.git'
    git.init_bare(repo, "master")
    (repo / "config").write_text(f"[core]\n\tbare = true\n{last}")
    assert git.init_bare(repo, "master") and not git.init_bare(repo, "master")
    listed = run(["git", "config", "--null", "--file", repo / "config", "--list"]).stdout.decode().split("\0")
    found = dict(entry.partition("\n")[::2] for entry in listed if entry)
    assert found.pop("user.name") == "jo"
    assert found == {key.lower(): value for key, value in git.bare_config(repo).items()}
    assert len(listed) == len(found) + 2  # each once, the name, and the end


def test_a_configuration_is_mended_aside_and_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo, config = tmp_path / "hello.git", tmp_path / "hello.git/config"
    git.init_bare(repo, "master")
    run(["git", "--git-dir", repo, "config", "receive.procReceiveRefs", "elsewhere"])
    seen, old = Disk(monkeypatch), config.read_text()
    with config.open() as before:
        assert git.init_bare(repo, "master")
        assert (before.read(), config.read_text()) == (old, old.replace("elsewhere", "refs"))
    assert config.stat().st_ino in seen.renamed["config"]
    assert not list(repo.glob("*config*.*"))


def test_a_template_of_the_user_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "template/hooks").mkdir(parents=True)
    (tmp_path / "template/hooks/update").write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path / "template"))
    run(["git", "config", "--global", "init.templateDir", tmp_path / "template"])
    git.init_bare(tmp_path / "project.git", "master")
    assert list((tmp_path / "project.git/hooks").iterdir()) == []


def test_what_is_no_repository_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="is not a repository"):
        git.ref(tmp_path, HEAD)
    assert git.version() >= git.MINIMUM
    git.check_version()


def test_an_old_git_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "version", lambda: (2, 29, 9))
    with pytest.raises(GitError, match=r"git 2\.29\.9 is too old"):
        git.check_version()


# objects


def test_objects(work: Work, repo: Path, bring: Bring) -> None:
    one = bring({"a/b": "one"}, "first\n\nbody")
    os.symlink("a/b", work.path / "link")
    two = bring({"a/c": "two"}, "zweiter Wurf")
    entries = git.listing(repo, two)
    assert git.folder(entries, "a") == {"b": 0o100644, "c": 0o100644}
    assert git.folder(entries, "") == {"a": 0o40000, "link": git.LINK}
    assert [git.folder(entries, name) for name in ("a/b", "none/x", "link", "link/x")] == [None] * 4
    assert sorted(git.listing_below(repo, two, "a")) == sorted(entry for entry in entries if entry[2] != "link")
    assert git.listing_below(repo, two, "link") == git.listing_below(repo, two, "none") == []
    assert git.object_id(repo, one, "a/b") == git.object_id(repo, two, "a/b") != git.object_id(repo, two, "a")
    assert git.object_id(repo, one, "a/c") is None
    assert (git.content(repo, two, "a/c"), git.content(repo, two, "a"), git.content(repo, two, "link")) == (
        b"two", None, None,
    )  # fmt: skip
    assert (git.change(repo, None, two), git.change(repo, one, two)) == (git.Change(2, 0), git.Change(1, 0))
    assert git.change(repo, two, one) == git.Change(0, 1)
    assert git.lost_commits(repo, two, one) == [f"{two[:7]} zweiter Wurf"]
    assert git.differing(repo, two, one) == [("D", "a/c"), ("D", "link")]
    assert git.differing(repo, one, two) == [("A", "a/c"), ("A", "link")]
    assert git.differing(repo, None, one) == [("A", "a/b")]


def test_odd_names_come_back_as_they_are(work: Work, repo: Path, bring: Bring) -> None:
    one = bring()
    names = ["with\nnewline", "with space", "ä€", '"quoted"', "tab\there", "-dash"]
    (work.path / os.fsdecode(b"\xff")).write_text("x")
    two = bring(dict.fromkeys(names, "x"))
    wanted = sorted([*names, os.fsdecode(b"\xff")])
    assert sorted(name for _, name in git.differing(repo, one, two)) == wanted
    assert sorted(git.folder(git.listing(repo, two), "") or {}) == wanted


def test_a_tag_is_followed_and_what_is_no_commit_is_named(work: Work, repo: Path, bring: Bring) -> None:
    commit = bring({"a": "x"})
    work.git("tag", "-a", "-m", "x", "v1")
    work.git("tag", "-a", "-m", "x", "v2", "v1")
    run(["git", "--git-dir", repo, "fetch", "--quiet", work.path, "refs/tags/v2:refs/tags/v2"])
    tag, blob = git.ref(repo, "refs/tags/v2"), work.git("rev-parse", "HEAD:a").text
    assert tag and git.commit(repo, tag) == commit
    with pytest.raises(GitError, match=f"{blob[:12]} is a blob, not a commit"):
        git.commit(repo, blob)
    for wrong in (NOWHERE, "x", "", "../x"):
        with pytest.raises(GitError, match="is not in the repository"):
            git.commit(repo, wrong)


def test_revisions_as_people_write_them(repo: Path, bring: Bring) -> None:
    one, two = bring(), bring()
    git.move_ref(repo, HEAD, None, two)
    assert git.resolve(repo, "master~1") == git.resolve(repo, one[:9]) == one
    assert git.resolve(repo, "master") == git.resolve(repo, "HEAD") == two
    for wrong in ("", "nowhere", "--all", "-h", "master; id", "HEAD\nHEAD", "@{-1}", NOWHERE):
        with pytest.raises(UsageError, match="unknown revision"):
            git.resolve(repo, wrong)


def test_attributes_and_submodules_of_a_commit(work: Work, repo: Path, bring: Bring) -> None:
    bring({"plain": "x", ".gitattributes": "*.txt text\n", "big/.gitattributes": "*.iso filter=lfs\n"})
    work.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(work.path), "lib/sub")
    commit = bring({"plain": "y"})
    entries = git.listing(repo, commit)
    assert git.attributes(repo, commit, entries) == {
        ".gitattributes": "*.txt text\n", "big/.gitattributes": "*.iso filter=lfs\n",
    }  # fmt: skip
    assert [path for mode, _, path in entries if mode == git.SUBMODULE] == ["lib/sub"]


# checkouts


CONVERTING = """\
* text=auto eol=crlf
*.id ident
*.f filter=shout
*.utf16 text working-tree-encoding=UTF-16LE
"""


def hostile(tmp_path: Path) -> None:
    """Give the user a configuration that changes files, runs programs and hides hooks."""
    marks = {
        "core.autocrlf": "true", "core.eol": "crlf", "core.hooksPath": str(tmp_path / "hooks"),
        "filter.shout.smudge": f"touch {tmp_path}/smudged; tr a-z A-Z", "filter.shout.required": "true",
        "core.fsmonitor": f"touch {tmp_path}/monitored; false", "core.attributesFile": str(tmp_path / "attributes"),
        "core.fileMode": "false", "core.symlinks": "false", "core.sparseCheckout": "true",
    }  # fmt: skip
    (tmp_path / "attributes").write_text("* filter=shout\n")
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks/post-checkout").write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    (tmp_path / "hooks/post-checkout").chmod(0o755)
    for key, value in marks.items():
        run(["git", "config", "--global", key, value])


def test_files_are_checked_out_as_attributes_say_and_no_filter_is_run(tmp_path: Path, work: Work, place: Place) -> None:
    contents = {"a.txt": "one\ntwo\n", "b.txt": "one\r\ntwo\r\n", "c.id": "$Id$\n", "d.f": "quiet\n", "e.utf16": "x\n"}
    (work.path / "run.sh").write_text("#!/bin/sh\n")
    (work.path / "run.sh").chmod(0o755)
    os.symlink("a.txt", work.path / "link")
    work.commit(contents)
    work.write({".gitattributes": CONVERTING})
    work.git("add", ".gitattributes")  # alone, so that git does not convert the others as it adds them
    work.git("commit", "--quiet", "--message", "attributes")
    commit = work.head
    run(["git", "--git-dir", work.remote, "fetch", "--quiet", work.path, "+HEAD:refs/keep/all"])
    hostile(tmp_path)
    git.checkout(*place, commit)
    stage = place[1]
    made = {name: (stage / name).read_bytes() for name in contents}
    assert made.pop("c.id").startswith(b"$Id: ") and (stage / "run.sh").read_bytes() == b"#!/bin/sh\r\n"
    assert made == {
        "a.txt": b"one\r\ntwo\r\n", "b.txt": b"one\r\ntwo\r\n", "d.f": b"quiet\r\n",
        "e.utf16": "x\r\n".encode("utf-16-le"),
    }  # fmt: skip
    assert os.readlink(stage / "link") == "a.txt"
    assert stat.S_IMODE((stage / "run.sh").stat().st_mode) & 0o111 == 0o111
    assert not list(tmp_path.glob("*ed"))
    git.export(place[0], tmp_path / "out", commit)
    assert tree_of(tmp_path / "out", times=False) == tree_of(stage, times=False)


def test_a_part_is_exported_as_the_whole_would_be(tmp_path: Path, bring: Bring, place: Place) -> None:
    commit = bring({".gitattributes": "*.txt text eol=crlf\n", "in/a.txt": "one\n", "in/b": "two\n", "out.txt": "x\n"})
    git.export_part(place[0], tmp_path / "part", commit, "in")
    assert (tmp_path / "part/in/a.txt").read_bytes() == b"one\r\n"
    assert sorted(p.name for p in (tmp_path / "part").rglob("*")) == ["a.txt", "b", "in"]


def test_files_that_stay_take_the_form_of_new_attributes(bring: Bring, place: Place) -> None:
    git.checkout(*place, bring({"a.txt": "one\n", "in/b.txt": "two\n"}))
    git.checkout(*place, bring({"in/.gitattributes": "*.txt eol=crlf\n"}))
    assert ((place[1] / "a.txt").read_bytes(), (place[1] / "in/b.txt").read_bytes()) == (b"one\n", b"two\r\n")
    git.checkout(*place, bring({"in/.gitattributes": "# none\n"}))
    assert (place[1] / "in/b.txt").read_bytes() == b"two\n"


def test_of_many_packs_only_those_are_read_in_which_something_is(
    repo: Path, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest first: what is asked for is mostly what was pushed last."""
    run(["git", "--git-dir", repo, "config", "fetch.unpackLimit", "1"])
    commits = [bring({"a": str(number), "in/same": "x"}) for number in range(5)]
    for age, commit in enumerate(reversed(commits)):
        for pack in (repo / "objects/pack").glob("*.pack"):
            packed = run(["git", "--git-dir", repo, "show-index"], stdin=pack.with_suffix(".idx").read_bytes()).text
            if commit in packed:
                os.utime(pack, (1_000_000 - age, 1_000_000 - age))
    read: list[str] = []
    real = pack_files.load_pack_index

    def load_pack_index(path: str, *words: Any, **given: Any) -> Any:
        read.append(path)
        return real(path, *words, **given)

    monkeypatch.setattr(pack_files, "load_pack_index", load_pack_index)
    assert git.commit(repo, commits[-1]) == commits[-1]
    assert len(read) == 1
    assert git.object_id(repo, commits[-1], "in") == git.object_id(repo, commits[-2], "in")
    assert len(read) == 4  # of both commits; the folder itself lies in the first, where nobody looks
    assert git.commit(repo, commits[0]) == commits[0]


def test_the_configuration_of_a_repository_is_parsed_again_where_it_changed(repo: Path) -> None:
    def said() -> list[bytes]:
        with access.opened(repo) as found:
            return [found.get_config().get(("corpus",), name) for name in (b"one", b"two")]

    run(["git", "--git-dir", repo, "config", "corpus.one", "1"])
    run(["git", "--git-dir", repo, "config", "corpus.two", "1"])
    assert said() == [b"1", b"1"]
    run(["git", "--git-dir", repo, "config", "corpus.two", "2"])
    assert said() == [b"1", b"2"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the commands of git that checkouts start from now on."""
    found: list[str] = []
    real = checkouts.call

    def call(work: Path, *words: str, **given: Any) -> Output:
        found.append(words[0])
        return real(work, *words, **given)

    monkeypatch.setattr(checkouts, "call", call)
    return found


def test_a_checkout_asks_only_what_is_not_known(bring: Bring, place: Place, started: list[str]) -> None:
    one = bring({"a.txt": "one\n", "in/b.txt": "two\n"})
    two, three = bring({"a.txt": "new\n"}), bring({"in/.gitattributes": "*.txt eol=crlf\n"})
    git.checkout(*place, one)
    assert started == ["read-tree"]
    git.checkout(*place, two, since=(one, [("M", "a.txt")]))
    assert started == ["read-tree"] * 2
    git.checkout(*place, three, since=(two, [("A", "in/.gitattributes")]))
    assert started == ["read-tree"] * 3
    assert (place[1] / "in/b.txt").read_bytes() == b"two\r\n"


def test_a_checkout_asks_where_something_else_was_checked_out(bring: Bring, place: Place, started: list[str]) -> None:
    one, two = bring({"b.txt": "two\n"}), bring({".gitattributes": "*.txt eol=crlf\n"})
    git.checkout(*place, one)
    git.checkout(*place, two, since=(two, []))
    assert started == ["read-tree", "diff-index", "read-tree"]
    assert (place[1] / "b.txt").read_bytes() == b"two\r\n"
    run(["git", "--git-dir", place[0], "read-tree", one], env={"GIT_INDEX_FILE": str(place[0] / "stage.index")})
    git.checkout(*place, two, since=(two, []))
    assert started[3:] == ["diff-index", "read-tree"]


@pytest.mark.parametrize("more", ["file", "empty/folder/", "in/link"])
def test_what_is_not_of_the_commit_is_cleaned_away(bring: Bring, place: Place, started: list[str], more: str) -> None:
    one = bring({"a": "x", "in/b": "x"})
    git.checkout(*place, one)
    path = place[1] / more
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if more.endswith("/") else path.symlink_to("b") if more == "in/link" else path.touch()
    git.checkout(*place, one)
    assert started[-1] == "clean"
    assert sorted(str(p.relative_to(place[1])) for p in place[1].rglob("*")) == ["a", "in", "in/b"]


def test_what_a_checkout_of_other_attributes_left_is_made_anew(bring: Bring, place: Place) -> None:
    commit = bring({".gitattributes": "*.txt eol=crlf\n", "a.txt": "one\n"})
    (place[0] / "info/attributes").write_text("* -text -filter\n")
    git.checkout(*place, commit)
    assert (place[1] / "a.txt").read_bytes() == b"one\n"
    sources = (place[0] / "objects/info/alternates").read_text().splitlines()
    git.init_work(place[0], [Path(source).parent for source in sources])
    git.checkout(*place, commit)
    assert (place[1] / "a.txt").read_bytes() == b"one\r\n"


def test_a_checkout_is_exactly_the_commit(work: Work, bring: Bring, place: Place) -> None:
    one = bring({"a": "one", "dir/b": "one", "same": "x", ".gitignore": "*.log\n"})
    two = bring({"a": "two", "new/c": "two"})
    stage = place[1]
    git.checkout(*place, one)
    first = tree_of(stage, times=False)
    git.checkout(*place, two)
    damage(stage)
    git.checkout(*place, two)
    assert (stage / "a").read_text() == "two"
    assert sorted(str(p.relative_to(stage)) for p in stage.rglob("*") if p.is_file()) == [
        ".gitignore", "a", "dir/b", "new/c", "same",
    ]  # fmt: skip
    git.checkout(*place, one)
    assert tree_of(stage, times=False) == first
    git.checkout(*place, None)
    assert list(stage.iterdir()) == []


def damage(stage: Path) -> None:
    """Do to a stage what a person or a crash can do."""
    (stage / "same").write_text("y")
    (stage / "dir/b").unlink()
    (stage / "new/c").chmod(0o755)
    (stage / "debug.log").write_text("ignored")
    (stage / "empty").mkdir()
    run(["git", "init", "--quiet", stage / "nested"])
    (stage / "a").unlink()
    (stage / "a").mkdir()
    (stage / "a/file").write_text("in the way")


def test_a_folder_becomes_a_link_and_back(work: Work, bring: Bring, place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    one = bring({"dir/file": "x"})
    (work.path / "dir/file").unlink()
    (work.path / "dir").rmdir()
    os.symlink(outside, work.path / "dir")
    two = bring()
    for commit in (one, two, one):
        git.checkout(*place, commit)
    assert list(outside.iterdir()) == []
    assert (place[1] / "dir/file").read_text() == "x"


def test_a_dead_lock_of_the_index_is_no_obstacle(bring: Bring, place: Place) -> None:
    commit = bring({"a": "x"})
    git.checkout(*place, None)
    (place[0] / "stage.index.lock").touch()
    git.checkout(*place, commit)
    assert (place[1] / "a").exists()


def test_a_git_that_is_killed_in_a_checkout_leaves_no_obstacle(
    bring: Bring, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = bring({"a": "one"})
    lock, real = place[0] / f"{place[1].name}.index.lock", shutil.which("git")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text(f"#!/bin/sh\ntest -e {tmp_path}/once && exec {real} \"$@\"\n"
                                      f"touch {tmp_path}/once {lock}; kill -9 $$\n")  # fmt: skip
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    git.checkout(*place, commit)
    assert (tmp_path / "once").exists()
    assert (place[1] / "a").read_text() == "one"
    assert not lock.exists()


@pytest.mark.parametrize("torn", [b"", b"DIRC\0\0\0\2\0\0", b"\0" * 500])
def test_a_torn_index_is_no_obstacle(bring: Bring, place: Place, torn: bytes) -> None:
    one, two = bring({"a": "x", "gone": "x"}), bring({"a": "y", "gone": None})
    git.checkout(*place, one)
    (place[0] / "stage.index").write_bytes(torn)
    git.checkout(*place, two)
    assert sorted(p.name for p in place[1].iterdir()) == ["a"]
    assert (place[1] / "a").read_text() == "y"


def test_an_index_that_knows_what_never_reached_the_disk_can_be_distrusted(bring: Bring, place: Place) -> None:
    work, stage = place
    name, file, index = bring({"a": "content"}), stage / "a", work / "stage.index"
    git.checkout(work, stage, name)
    for key, value in (("core.trustctime", "false"), ("core.checkStat", "minimal")):  # as if it were that inode
        run(["git", "--git-dir", work, "config", key, value])
    st = file.stat()
    file.write_bytes(bytes(st.st_size))
    os.utime(file, ns=(st.st_mtime_ns, st.st_mtime_ns))
    os.utime(index, (st.st_mtime + 9, st.st_mtime + 9))  # git looks into what is as young as its index
    git.checkout(work, stage, name)
    assert file.read_bytes() == bytes(st.st_size)  # what it believes
    git.distrust(work)
    git.checkout(work, stage, name)
    assert file.read_text() == "content"


def evil_commit(work: Work, name: str) -> str:
    """Make a commit with an entry that no honest git would make."""
    blob = run(["git", "hash-object", "-w", "--stdin"], cwd=work.path, stdin=b"[core]\n").text
    inner = run(["git", "mktree"], cwd=work.path, stdin=f"100644 blob {blob}\tconfig\n".encode()).text
    tree = run(["git", "mktree"], cwd=work.path, stdin=f"040000 tree {inner}\t{name}\n".encode()).text
    return run(["git", "commit-tree", "-m", "evil", tree], cwd=work.path).text


@pytest.mark.parametrize("name", [".git", ".GIT", "..", ".git\u200c"])
def test_a_git_folder_in_a_tree_is_refused_or_harmless(
    work: Work, repo: Path, bring: Bring, place: Place, tmp_path: Path, name: str
) -> None:
    good = bring({"a": "x"})
    commit = evil_commit(work, name)
    run(["git", "--git-dir", repo, "fetch", "--quiet", work.path, f"{commit}:refs/keep/evil"])
    git.checkout(*place, good)
    before = tree_of(tmp_path / "work.git", times=False)
    try:
        git.checkout(*place, commit)
    except GitError:
        assert (place[1] / "a").read_text() == "x"
    assert not (place[1] / ".git").exists()
    assert not (tmp_path / "config").exists()
    after = tree_of(tmp_path / "work.git", times=False)
    assert {k: v for k, v in after.items() if "index" not in k} == {k: v for k, v in before.items() if "index" not in k}


def test_export_of_a_folder_leaves_other_checkouts_alone(bring: Bring, place: Place, tmp_path: Path) -> None:
    commit = bring({".salt/a.sls": "x", "b": "x"})
    git.checkout(*place, commit)
    before = tree_of(place[1])
    git.export(place[0], tmp_path / "out/.salt", f"{commit}:.salt")
    assert [p.name for p in (tmp_path / "out/.salt").iterdir()] == ["a.sls"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == [".salt"]
    assert tree_of(place[1]) == before
    with pytest.raises(GitError):
        git.export(place[0], tmp_path / "none", f"{commit}:none")


def test_our_git_dir_is_repaired(place: Place, repo: Path, bring: Bring, work: Work) -> None:
    commit = bring({"a": "one\n", ".gitattributes": "* eol=crlf\n"})
    (place[0] / "info/attributes").unlink()
    (place[0] / "objects/info/alternates").write_text("/nonexistent\n")
    run(["git", "--git-dir", place[0], "config", "core.hooksPath", "/evil"])
    git.init_work(place[0], [repo])
    git.checkout(*place, commit)
    assert (place[0] / "info/attributes").read_text() == "* -filter\n"
    assert (place[1] / "a").read_bytes() == b"one\r\n"
    assert run(["git", "--git-dir", place[0], "config", "core.hooksPath"]).text == os.devnull


def test_maintenance_keeps_what_is_needed(repo: Path, bring: Bring, place: Place) -> None:
    commit = bring({"a": "x"})
    git.maintain(repo)
    git.checkout(*place, commit)
    assert (place[1] / "a").exists()
