"""A project whose commits are named by SHA-256, from init to rebuild, and what clients of the other hash are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from corpushooks import git
from corpushooks.system.process import run
from tests.support.box import FAILING, Box, Work
from tests.support.command import asked, complains, corpus, said


def working_copy(box: Box, hashed: str, name: str = "work") -> Work:
    """Return a working copy of its own hash whose remote is project.git."""
    path = box.root / name
    run(["git", "init", "--quiet", "--initial-branch=master", f"--object-format={hashed}", path])
    return Work(path, str(box.project().code_git))


@pytest.fixture
def long(new_box: Callable[..., Box]) -> Box:
    """Return a host with a project of SHA-256, and its daemon."""
    box = new_box()
    box.init(hashed="sha256")
    box.start()
    return box


def page(text: str) -> dict[str, str | None]:
    return {"index.html": text, ".salt/00_page.sls": f"page:\n  cmd.run:\n    - name: echo {text}\n"}


def test_a_project_of_sha256_lives_as_any_other(long: Box) -> None:
    box, work = long, working_copy(long, "sha256")
    one = work.commit(page("one"))
    assert len(one) == 64
    pushed = work.push()
    assert pushed.code == 0, pushed.text
    assert (box.row().code, box.ref()) == (one, one)
    two = work.commit(page("two"))
    assert work.push("HEAD:refs/deploy/plan").code == 0 and box.row().code == one
    assert work.push("HEAD:refs/deploy/now").code == 0 and box.row().code == two
    assert work.push("HEAD:refs/deploy/now").code == 0  # the same again
    work.commit({**page("three"), ".salt/10_broken.sls": FAILING})
    assert work.push().code == 1 and box.ref() == two
    work.git("reset", "--quiet", "--hard", two)
    assert work.push("HEAD:refs/heads/topic", "HEAD:refs/tags/v1").code == 0
    assert work.push(":topic").code == 0
    (box.project().tree / "index.html").write_text("edited")
    assert asked(box, "status", "hello")["drift"] == ["index.html"]
    assert asked(box, "diff", "hello", "1", "3")["files"] == [["M", ".salt/00_page.sls"], ["M", "index.html"]]
    assert corpus(box, "rollback", "hello", "1").code == 0
    assert (box.row().code, box.ref(), (box.project().tree / "index.html").read_text()) == (one, one, "one\n"[:3])
    assert corpus(box, "deploy", "hello", "master").code == 0
    assert len(asked(box, "archives", "hello")) > 2 and corpus(box, "log", "hello").code == 0
    assert git.pins(box.project().code_git)
    run(["git", "--git-dir", box.project().code_git, "fsck", "--strict"])
    run(["git", "--git-dir", box.project().code_git, "gc", "--quiet"])
    assert run(["git", "--git-dir", box.project().code_git, "reflog", "show", "master"]).text
    again = said(corpus(box, "init", "hello", "--object-format", "sha256"))
    assert again.startswith("repaired hello") and "    git init --object-format=sha256\n" in again
    assert git.object_format(box.project().code_git) == "sha256"


def test_its_pillar_is_of_the_same_hash(long: Box) -> None:
    work = working_copy(long, "sha256")
    work.commit(page("one"))
    work.push()
    pillar = working_copy(long, "sha256", "pillar")
    pillar.remote = str(long.project().pillar_git)
    pillar.commit({"init.sls": "makina-projects.hello:\n  data:\n    colour: blue\n"})
    pushed = pillar.push(options=("deploy",))
    assert pushed.code == 0, pushed.text
    assert len(long.row().pillar or "") == 64 and (long.project().pillar / "init.sls").exists()


def test_a_lost_store_of_it_is_made_anew(long: Box) -> None:
    work = working_copy(long, "sha256")
    one = work.commit(page("one"))
    work.push()
    long.stop()
    long.host.store.unlink()
    assert corpus(long, "rebuild").code == 0
    assert long.row().code == one


def test_a_damaged_configuration_keeps_the_hash(long: Box) -> None:
    work = working_copy(long, "sha256")
    one = work.commit(page("one"))
    work.push()
    (long.project().code_git / "config").write_text("")
    assert corpus(long, "init", "hello").code == 0
    assert run(["git", "--git-dir", long.project().code_git, "rev-parse", "master"]).text == one


def test_the_hash_of_a_project_does_not_change(box: Box) -> None:
    told = corpus(box, "init", "hello", "--object-format", "sha256")
    complains(told, 3, "hello already has sha1 commits; the hash of a project cannot be changed",
              "corpus remove hello --purge, then init it again")  # fmt: skip


def test_a_project_is_of_sha1_whatever_git_has_for_a_default(new_box: Callable[..., Box], tmp_path: Path) -> None:
    box = new_box()
    config = tmp_path / "home/.gitconfig"
    config.write_text(config.read_text() + "[init]\n defaultObjectFormat = sha256\n")
    corpus(box, "init", "hello", GIT_DEFAULT_HASH="sha256")
    for repo in (box.project().code_git, box.project().pillar_git, box.project().work_git):
        assert git.object_format(repo) == "sha1"
