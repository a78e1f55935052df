"""What is judged before a deployment touches anything, in the cases that a push can hardly bring about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from corpushooks import git
from corpushooks.checks.finding import Finding
from corpushooks.core.deployment import Request, Revision
from corpushooks.core.errors import RefusedError, UsageError
from corpushooks.deploy import prepare
from corpushooks.deploy.push import NOW
from corpushooks.deploy.run import Run
from tests.support.alone import at_work, commit
from tests.support.box import Box

HEAD = "refs/heads/master"
PIN = "refs/corpus/1"
OLD, NEW, OTHER = (letter * 40 for letter in "abc")


@pytest.fixture
def alone(new_box: Callable[..., Box]) -> Iterator[Run]:
    """Return a deployment of a project in which nothing was deployed."""
    box = new_box()
    box.init()
    with at_work(box) as run:
        yield run


def asking(run: Run, **asked: object) -> Run:
    """Return the deployment as that of another request."""
    run.deployment = replace(run.deployment, request=replace(run.request, **asked))  # type: ignore[arg-type]
    return run


# the ref


UNMOVED = {  # how it was asked for, where the branch is now -> whether it may go on
    ("push", HEAD, OLD): True,
    ("push", HEAD, NEW): True,  # we moved it before a crash
    ("push", HEAD, OTHER): False,
    ("push", HEAD, None): False,
    ("set", HEAD, OTHER): False,
    ("push", NOW, OTHER): True,  # git asks nothing of that ref
    ("command", HEAD, OTHER): True,
}


@pytest.mark.parametrize(("via", "ref", "now"), UNMOVED)
def test_a_push_that_waited_is_refused_where_the_branch_was_moved(
    alone: Run, via: str, ref: str, now: str | None
) -> None:
    run = asking(alone, via=via, ref=ref, old=OLD, new=NEW)
    if UNMOVED[via, ref, now]:
        prepare._check_unmoved(run, HEAD, Revision(now))
    else:
        with pytest.raises(RefusedError, match="moved while this push waited"):
            prepare._check_unmoved(run, HEAD, Revision(now))


def test_a_first_push_of_a_branch_expects_none(alone: Run) -> None:
    run = asking(alone, via="push", ref=HEAD, old="", new=NEW)
    prepare._check_unmoved(run, HEAD, Revision(None))
    with pytest.raises(RefusedError):
        prepare._check_unmoved(run, HEAD, Revision(OTHER))


# from where to where


def test_a_pillar_alone_is_no_deployment(alone: Run) -> None:
    with pytest.raises(RefusedError, match="nothing is deployed yet"):
        prepare._targets(asking(alone, repo="pillar", new=NEW), Revision())


def test_a_pillar_goes_with_the_live_code_and_code_with_the_stored_pillar(alone: Run) -> None:
    old = Revision(OLD, OTHER)
    assert prepare._targets(asking(alone, repo="pillar", new=NEW), old) == (OLD, NEW)
    assert prepare._targets(asking(alone, repo="project", new=NEW), old) == (NEW, OTHER)
    assert prepare._targets(asking(alone, new=""), old) == old


def test_what_was_never_live_is_not_returned_to(alone: Run) -> None:
    run = asking(alone, kind="rollback", target=alone.deployment.number)
    with pytest.raises(UsageError, match="was never live"):
        prepare._targets(run, Revision(OLD))


def test_a_release_that_could_not_be_restored_is_not_replaced(alone: Run) -> None:
    there = commit(alone.project.code_git, "there")
    alone.row = replace(alone.row, tree_code=there)
    prepare._check_return(alone)
    alone.row = replace(alone.row, tree_code=OLD)
    with pytest.raises(RefusedError, match=r"aaaaaaa is missing in project\.git; a failure could not be rolled back"):
        prepare._check_return(alone)


# requests of the command


@pytest.mark.parametrize("kind", ["edit", "teleport"])
def test_what_nobody_may_ask_for_by_a_command_is_refused(alone: Run, kind: str) -> None:
    with pytest.raises(UsageError, match=f"unknown request '{kind}'"):
        prepare.requested(alone.site, alone.row, Request(kind=kind))


def test_a_rollback_needs_an_earlier_release(alone: Run) -> None:
    with pytest.raises(UsageError, match="no earlier release"):
        prepare.requested(alone.site, alone.row, Request(kind="rollback"))
    assert prepare.requested(alone.site, alone.row, Request(kind="rollback", target=7)).target == 7


# what a push lacks


def test_a_push_lacks_what_is_live_or_on_the_branch_but_never_what_is_gone(alone: Run) -> None:
    repo, project = alone.project.code_git, alone.project
    base = commit(repo, "base")
    live, branch, new = (commit(repo, text, base) for text in ("live", "branch", "new"))
    row = replace(alone.row, code=live)
    asked = Request(ref=NOW, new=new)
    assert prepare.lost(project, row, asked)[0] == 1
    assert prepare.lost(project, row, replace(asked, new=live)) == (0, [])  # it is live already
    assert prepare.lost(project, row, replace(asked, ref=HEAD)) == (0, [])  # git judges those
    gone = replace(row, code=OLD)
    assert prepare.lost(project, gone, asked) == (0, [])
    git.move_ref(repo, HEAD, None, branch)
    number, named = prepare.lost(project, gone, asked)
    assert number == 1 and "branch" in named[0]


def test_how_to_lose_commits_is_said_for_each_repository(alone: Run) -> None:
    row = replace(alone.row, environment="prod")
    code, pillar = (prepare.refusal(row, Request(repo=repo), 2) for repo in ("project", "pillar"))
    assert code.message == pillar.message == "non-fast-forward: 2 commits of master would be lost"
    assert "git push -o force prod," in str(code.hint)
    assert f"git push -o force REMOTE HEAD:{NOW}," in str(pillar.hint) and "-o deploy" in str(pillar.hint)


# files


ASIDE = {("task_a.sls", "compile"): True, ("task_a.sls", "syntax"): False, ("10_a.sls", "compile"): False}


@pytest.mark.parametrize(("name", "kind"), ASIDE)
def test_what_is_wrong_in_a_task_stops_no_deployment_but_where_it_cannot_be_read(name: str, kind: str) -> None:
    assert prepare._is_aside(Finding(kind, f".salt/{name}", 1, "wrong")) is ASIDE[name, kind]


def test_what_a_killed_daemon_was_writing_is_removed(alone: Run) -> None:
    alone.project.minion_dir.mkdir(parents=True, exist_ok=True)
    repo = alone.project.code_git
    git.pin(repo, 1, commit(repo, "a"))
    ours = [alone.project.minion_dir / ".minion.new", alone.project.work_git / ".stamps.new", repo / f"{PIN}.lock"]
    others = [alone.project.minion_dir / "minion", repo / "refs/heads/master.lock"]  # of a push that stores a branch
    for path in (*ours, *others):
        path.write_text("half")
    prepare.clear_left(alone)
    prepare.clear_left(alone)
    assert [path for path in (*ours, *others) if path.exists()] == others
