"""A git library that runs no hooks (dulwich, over a path) moves the branch and deploys nothing: said, and mended."""

from __future__ import annotations

import io

import pytest
from dulwich import porcelain

from tests.support.box import Box, Work
from tests.support.command import asked, corpus, said

NOW = "HEAD:refs/deploy/now"


def push(work: Work, refspec: str) -> None:
    """Push with a library."""
    porcelain.push(str(work.path), work.remote, refspec, outstream=io.BytesIO(), errstream=io.BytesIO())


@pytest.fixture
def work(box: Box) -> Work:
    """Return a working copy whose head is on the branch, and not live."""
    work = box.app()
    assert work.push().code == 0
    work.git("tag", "live")
    work.commit({"index.html": "past"})
    push(work, "refs/heads/master:refs/heads/master")
    assert (box.ref(), box.exists(2)) == (work.head, False)
    assert "Everything up-to-date" in work.push().text
    return work


def live(work: Work) -> str:
    return work.git("rev-parse", "live").text


def status(box: Box, name: str = "hello") -> list[str]:
    return [line.strip() for line in said(corpus(box, "status", name)).splitlines()[1:]]


def test_status_says_that_the_branch_is_not_what_is_live_and_how_to_go_on(box: Box, work: Work) -> None:
    assert status(box)[:2] == [
        f"master is at {work.head[:7]}, which is not live",
        "to deploy it: corpus deploy hello master; to move it back: corpus deploy hello",
    ]
    found = asked(box, "status", "hello")
    assert (found["commit"], found["branch_at"], found["branch_moved"]) == (live(work), work.head, True)
    assert asked(box, "deploy", "hello", "master")["new_code"] == work.head
    assert (box.row().code, box.ref(), asked(box, "status", "hello")["branch_moved"]) == (work.head, work.head, False)


def test_it_is_taken_back(box: Box, work: Work) -> None:
    asked(box, "deploy", "hello")
    assert box.row().code == box.ref() == live(work)
    assert (
        f"warning: master was at {work.head[:7]}, not at the live commit: it was changed without our hooks"
        in box.log(2)
    )
    assert work.push().code == 0  # and now git has something to push
    assert box.row().code == box.ref() == work.head


@pytest.mark.parametrize("refspec", [NOW, "HEAD:master"])
def test_the_next_push_mends_it(box: Box, work: Work, refspec: str) -> None:
    past = work.head
    if refspec != NOW:
        work.commit({"index.html": "next"})
    pushed = work.push(refspec)
    assert pushed.code == 0
    assert any(line.startswith(f"warning: master was at {past[:7]}, not at the live commit") for line in pushed.lines)
    assert box.row().code == box.ref() == work.head
    assert not asked(box, "status", "hello")["branch_moved"]


def test_what_was_moved_so_is_not_lost_either_but_what_is_live_goes_again(box: Box, work: Work) -> None:
    past = work.head
    work.git("reset", "--hard", "--quiet", "live")
    work.commit({"index.html": "mine"})
    assert work.push(NOW).rejected == "non-fast-forward: 1 commit of master would be lost"
    assert box.ref() == past
    assert work.push("live:refs/deploy/now").code == 0
    assert box.ref() == box.row().code == live(work)


def test_a_deployment_that_fails_leaves_it_to_be_said(box: Box, work: Work) -> None:
    past = work.head
    work.commit({".salt/10_bad.sls": "bad:\n  test.fail_without_changes: []\n"})
    assert work.push().code == 1
    found = asked(box, "status", "hello")
    assert (found["commit"], found["branch_at"], found["branch_moved"]) == (live(work), past, True)
    asked(box, "rollback", "hello", "1")
    assert box.ref() == box.row().code == live(work)


def test_a_branch_that_is_gone_comes_back(box: Box, work: Work) -> None:
    porcelain.branch_delete(work.remote, "master")
    assert f"lacks the branch master, which is live at {live(work)[:7]}; " in status(box)[0]
    asked(box, "deploy", "hello")
    assert box.ref() == box.row().code == live(work)


def test_the_first_push_of_all(box: Box) -> None:
    box.init("fresh")
    work = box.app(name="fresh")
    push(work, "refs/heads/master:refs/heads/master")
    assert status(box, "fresh")[0] == f"master is at {work.head[:7]}, which is not deployed yet: corpus deploy fresh"
    asked(box, "deploy", "fresh")
    assert box.row("fresh").code == work.head
