"""Pushes from clones that have not all: what git refuses is explained, what is whole for the server deploys."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from corpushooks.host import layout
from corpushooks.system.process import run
from tests.support.box import Box, Push, Work

NOW = "HEAD:refs/deploy/now"
HINT = "hint: git fetch --unshallow, then push again; in CI: fetch-depth: 0 (GitHub), GIT_DEPTH: 0 (GitLab)"


def cloned(work: Work, *options: str) -> Work:
    """Return a clone of a working copy that pushes where that does."""
    path = work.path.with_name(f"{work.path.name}.{time.monotonic_ns()}")
    work.git("config", "uploadpack.allowFilter", "true")
    work.git("config", "uploadpack.allowAnySHA1InWant", "true")
    run(["git", "clone", "--quiet", *options, f"file://{work.path}", path])
    return Work(path, work.remote)


def is_whole(path: Path) -> bool:
    """Say whether a repository has everything that its refs lead to, and knows of no end of its history."""
    checked = run(["git", "-C", path, "fsck", "--connectivity-only", "--no-dangling"], check=False)
    return checked.code == 0 and not list(path.glob("shallow*"))


def refused(pushed: Push, end: str) -> None:
    assert (pushed.code, pushed.rejected) == (1, "shallow update not allowed")
    said = f"error: this clone is shallow: its history ends at {end[:7]}, which the server does not have"
    assert pushed.lines == [said, HINT]


@pytest.mark.parametrize("repo", ["project", "pillar"])
def test_what_a_shallow_clone_lacks_is_said_with_what_helps(box: Box, repo: str) -> None:
    work = box.app() if repo == "project" else box.work(repo="pillar")
    for number in range(3):
        work.commit({"init.sls": f"makina-projects.hello: {{data: {{x: {number}}}}}", "index.html": str(number)})
    shallow = cloned(work, "--depth=1")
    for ref in ("HEAD:master", NOW, "HEAD:topic"):
        refused(shallow.push(ref), shallow.head)
    here = box.project().git_dir / f"{repo}.git"
    assert is_whole(here) and not (here / "refs/heads/topic").exists() and box.row().live is None
    shallow.git("fetch", "--quiet", "--unshallow")  # as the hint says
    assert shallow.push().code == 0 and is_whole(here)


def test_also_where_the_commit_before_is_here(box: Box) -> None:
    """git could have accepted it: it decides by the end of the client's history alone."""
    work = box.app()
    assert work.push().code == 0
    work.commit({"index.html": "two"})
    shallow = cloned(work, "--depth=1")
    refused(shallow.push(NOW), shallow.head)
    assert box.row().live == 1 and is_whole(box.project().code_git)


def test_a_shallow_clone_whose_end_is_live_deploys(box: Box) -> None:
    work = box.app()
    work.commit({"index.html": "two"})
    assert work.push().code == 0
    shallow = cloned(work, "--depth=1")
    shallow.commit({"index.html": "three"})
    pushed = shallow.push()
    assert pushed.code == 0 and not [line for line in pushed.lines if "shallow" in line]
    assert box.row().code == shallow.head and is_whole(box.project().code_git)


def test_only_the_refs_that_git_refuses_are(box: Box) -> None:
    work = box.app()
    assert work.push().code == 0
    work.commit({"index.html": "two"})
    shallow = cloned(work, "--depth=1")
    pushed = shallow.push("HEAD:topic", f"{box.row().code}:refs/tags/one", flags=("-v",))
    assert pushed.code == 1  # this client does not even have the other one
    shallow.git("fetch", "--quiet", "--depth=1", "origin", str(box.row().code))
    pushed = shallow.push("HEAD:topic", f"{box.row().code}:refs/tags/one")
    assert (pushed.code, pushed.rejected) == (1, "shallow update not allowed") and HINT in pushed.lines
    assert box.ref(ref="refs/tags/one") == box.row().code and box.ref(ref="refs/heads/topic") is None


def test_what_killed_pushes_left_refuses_nothing(box: Box) -> None:
    """Links, pipes and old files among them: the hook follows and awaits none."""
    work = box.app()
    folder = box.project().code_git
    (folder / "shallow_killed").write_text("0" * 40 + "\n")
    (folder / "shallow_linked").symlink_to("/etc/passwd")
    run(["mkfifo", folder / "shallow_pipe__"])
    assert work.push().code == 0
    work.commit({"index.html": "two"})
    shallow = cloned(work, "--depth=1")
    refused(shallow.push(NOW), shallow.head)


@pytest.mark.parametrize("kept", ["blob:none", "tree:0"])
def test_a_partial_clone_fetches_what_it_pushes(box: Box, kept: str) -> None:
    work = box.app()
    work.commit({"index.html": "two"})
    partial = cloned(work, f"--filter={kept}", "--no-checkout")
    assert partial.push().code == 0
    assert (box.project().tree / "index.html").read_text() == "two" and is_whole(box.project().code_git)


def test_a_partial_clone_that_cannot_fetch_deploys_nothing(box: Box) -> None:
    work = box.app()
    partial = cloned(work, "--filter=tree:0", "--no-checkout")
    work.path.rename(work.path.with_name("away"))
    assert partial.push().code != 0
    assert box.row().live is None and is_whole(box.project().code_git)


def test_a_history_that_grafts_cut_off_is_refused(box: Box) -> None:
    work = box.app()
    work.commit({"index.html": "two"})
    (work.path / ".git/info/grafts").write_text(f"{work.head}\n")
    pushed = work.push()
    assert (pushed.code, pushed.rejected) == (1, "missing necessary objects")
    assert box.row().live is None and is_whole(box.project().code_git)


def test_a_hook_of_somebody_else_stays(box: Box) -> None:
    hook = box.project().code_git / "hooks/pre-receive"
    ours = hook.read_text()
    hook.write_text("#!/bin/sh\necho own\n")
    with box.interpreter():
        layout.make(box.project(), "master")
        assert "own" in hook.read_text()
        hook.write_text(f"{ours}# an older one\n")
        hook.chmod(0o644)
        layout.make(box.project(), "master")
    assert hook.read_text() == ours and hook.stat().st_mode & 0o111
