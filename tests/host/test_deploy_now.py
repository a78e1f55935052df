"""refs/deploy/now and what is live: what git would refuse for the branch is refused, since git tells nobody of -f."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from corpushooks.system.process import run
from tests.support.box import Box, Work, until
from tests.support.command import asked

NOW, PLAN = "HEAD:refs/deploy/now", "HEAD:refs/deploy/plan"
HINT = "hint: git pull prod master; or, to drop them: git push -o force prod, git push -f prod HEAD:master"  # both ways


@pytest.fixture
def work(box: Box) -> Work:
    """Return a working copy that is behind: a colleague has deployed since."""
    work = box.app()
    assert work.push(NOW).code == 0
    mine = work.head
    work.commit({"index.html": "theirs"}, "a colleague's work")
    assert work.push().code == 0
    work.git("tag", "theirs")
    work.git("reset", "--hard", "--quiet", mine)
    work.commit({"other.html": "mine"}, "mine")
    return work


def theirs(work: Work) -> str:
    return work.git("rev-parse", "theirs").text


def test_a_push_that_would_lose_live_commits_is_refused_and_names_both_ways(box: Box, work: Work) -> None:
    pushed = work.push(NOW)
    assert (pushed.code, pushed.rejected) == (1, "non-fast-forward: 1 commit of master would be lost")
    assert pushed.lines == [
        f"      lacks {theirs(work)[:7]} a colleague's work", f"error: {pushed.rejected}", HINT,
    ]  # fmt: skip
    assert (box.row().code, box.exists(3)) == (theirs(work), False)
    work.git("remote", "add", "prod", work.remote)
    work.git("config", "remote.prod.push", NOW)
    for command in (
        "git push -o force prod",
        "git push -f prod HEAD:master",
        "git pull --no-rebase --no-edit prod master",
    ):
        assert command.replace(" --no-rebase --no-edit", "") in HINT
    forced = work.git("push", "-o", "force", "prod", check=False)
    assert forced.code == 0 and b"warning: no longer live:" in forced.stderr and b"+ " in forced.stderr
    assert box.row().code == box.ref() == work.head


def test_the_other_ways_of_the_hint(box: Box, work: Work) -> None:
    mine = work.head
    work.git("pull", "--quiet", "--no-rebase", "--no-edit", work.remote, "master")
    assert work.push(NOW).code == 0
    assert box.row().code == work.head != mine
    work.git("reset", "--hard", "--quiet", mine)
    assert work.push(flags=("-f",)).code == 0
    assert box.row().code == mine


def test_what_loses_nothing_goes_on_as_it_was(box: Box, work: Work) -> None:
    assert work.push("theirs:refs/deploy/now").code == 0  # what is live, again
    work.git("reset", "--hard", "--quiet", "theirs")
    work.git("tag", "-a", "-m", "x", "v1")
    work.commit({"index.html": "next"})
    work.git("merge", "--quiet", "--no-edit", "--strategy=ours", "HEAD")
    assert work.push(NOW).code == 0
    assert work.push("v1:refs/deploy/now").rejected == "non-fast-forward: 1 commit of master would be lost"  # backwards
    assert work.push("v1:refs/deploy/now", options=("force",)).code == 0
    assert box.row().code == theirs(work)


def test_after_a_rollback_what_was_live_can_come_back_and_go_on(box: Box, work: Work) -> None:
    asked(box, "rollback", "hello", "1")
    older = box.row().code
    work.git("checkout", "--quiet", "--detach", "theirs")
    assert work.push(NOW).code == 0  # it has all that is live
    asked(box, "rollback", "hello", "1")
    work.git("checkout", "--quiet", "master")
    assert (work.git("rev-parse", "HEAD~1").text, work.push(NOW).code) == (older, 0)
    assert work.push("theirs:refs/deploy/now").rejected == "non-fast-forward: 1 commit of master would be lost"


def test_a_failed_push_leaves_nothing_to_lose(box: Box, work: Work) -> None:
    work.git("reset", "--hard", "--quiet", "theirs")
    work.commit({".salt/10_bad.sls": "bad:\n  test.fail_without_changes: []\n"})
    assert work.push(NOW).code == 1
    work.git("reset", "--hard", "--quiet", "theirs")
    work.commit({"index.html": "good"})
    assert work.push(NOW).code == 0


def test_first_deployments_and_other_histories(box: Box, work: Work) -> None:
    box.init("fresh")
    first = box.app(name="fresh")
    assert first.push("HEAD:topic").code == 0
    assert first.push(NOW).code == 0
    work.git("checkout", "--quiet", "--orphan", "elsewhere")
    work.commit({"index.html": "unrelated"})
    assert work.push(NOW).rejected == "non-fast-forward: 2 commits of master would be lost"
    assert work.push(NOW, options=("force",)).code == 0


def test_a_branch_that_was_never_deployed_is_not_lost_either(box: Box) -> None:
    """As the first commit of an installer is there: for the branch git would refuse it too."""
    box.init("made")
    installed = box.app(name="made")
    run(["git", "--git-dir", installed.remote, "fetch", "--quiet", str(installed.path), "HEAD:refs/heads/master"])
    installed.git("checkout", "--quiet", "--orphan", "elsewhere")
    installed.commit({"index.html": "unrelated"})
    assert installed.push(NOW).rejected == "non-fast-forward: 1 commit of master would be lost"
    installed.git("checkout", "--quiet", "master")
    assert installed.push(NOW).code == 0


def test_a_repository_that_was_made_anew_needs_what_is_live_first(box: Box, work: Work) -> None:
    box.stop()
    shutil.rmtree(box.project().code_git)
    box.init()
    box.start()
    pushed = work.push(NOW)
    missing = f"the live commit {theirs(work)[:7]} is missing in project.git; a failure could not be rolled back"
    assert (pushed.rejected, box.row().broken) == (missing, None)
    hint = next(line for line in pushed.lines if line.startswith("hint: "))
    work.git(*hint.partition("git ")[2].replace("REMOTE", work.remote).split())
    assert work.push(NOW).rejected == "non-fast-forward: 1 commit of master would be lost"
    assert work.push(NOW, options=("force",)).code == 0


def test_shallow_clones(box: Box, work: Work, tmp_path: Path) -> None:
    run(["git", "clone", "--quiet", "--depth=1", f"file://{work.remote}", tmp_path / "shallow"])
    shallow = Work(tmp_path / "shallow", f"file://{work.remote}")
    behind = shallow.commit({"index.html": "behind"})
    shallow.git("reset", "--hard", "--quiet", "HEAD~1")
    shallow.commit({"index.html": "shallow"})
    assert shallow.push(NOW).code == 0
    shallow.git("reset", "--hard", "--quiet", behind)
    assert shallow.push(NOW).rejected == "non-fast-forward: 1 commit of master would be lost"
    assert shallow.push(NOW, options=("force",)).code == 0


@pytest.fixture
def queued(box: Box, work: Work) -> Callable[..., list[int]]:
    """Return what pushes a commit, and after it one that lacks it and is queued behind it; and gives their codes."""

    def push(*options: str) -> list[int]:
        mine = work.head
        work.git("reset", "--hard", "--quiet", "theirs")
        gate = f"gate:\n  cmd.run:\n    - name: while ! test -e {box.root}/gate; do sleep 0.05; done\n"
        work.commit({".salt/10_gate.sls": gate}, "another colleague's")
        first = work.start_push()
        until(lambda: box.exists(3) and "install 00_page" in box.log(3))
        work.git("reset", "--hard", "--quiet", "theirs")
        work.commit({"index.html": mine}, "also on theirs")
        done = work.push(NOW, options=("nowait", *options))
        assert done.code == 0, done.text
        (box.root / "gate").touch()
        return [first.wait(30), box.ended(4).number]

    return push


def test_who_waited_is_judged_by_what_is_live_when_the_turn_comes(box: Box, queued: Callable[..., list[int]]) -> None:
    queued()
    assert box.deployment(4).state == "refused"
    assert box.deployment(4).reason == "non-fast-forward: 1 commit of master would be lost"
    assert "another colleague's" in box.log(4) and HINT in box.log(4)
    assert box.row().live == 3


def test_who_waited_with_force_deploys(box: Box, queued: Callable[..., list[int]]) -> None:
    queued("force")
    assert (box.deployment(4).state, box.row().live) == ("deployed", 4)


@pytest.mark.parametrize(("refspec", "options"), [(PLAN, ()), (NOW, ("dry-run",))])
def test_a_plan_says_that_a_push_would_be_refused(box: Box, work: Work, refspec: str, options: tuple[str, ...]) -> None:
    plan = work.push(refspec, options=options)
    assert plan.code == 0
    warning = "warning: non-fast-forward: 1 commit of master would be lost; a push needs -o force"
    assert warning in plan.lines
    assert warning not in work.push(refspec, options=(*options, "force")).lines


def test_a_pillar_too(box: Box, work: Work) -> None:
    pillar = box.work(repo="pillar")
    pillar.commit({"init.sls": "a: 1\n"})
    pillar.push(options=("deploy",))
    first = pillar.head
    pillar.commit({"init.sls": "a: 2\n"}, "stored, not deployed")
    pillar.push()
    pillar.git("reset", "--hard", "--quiet", first)
    pillar.commit({"init.sls": "a: 3\n"})
    pushed = pillar.push(NOW)
    assert pushed.rejected == "non-fast-forward: 1 commit of master would be lost"
    assert pushed.lines[-1] == (
        "hint: git pull REMOTE master; or, to drop them: git push -o force REMOTE HEAD:refs/deploy/now,"
        " git push -f -o deploy REMOTE HEAD:master"
    )
    assert pillar.push(NOW, options=("force",)).code == 0
    assert box.row().pillar == pillar.head


def test_insist_is_the_word_for_what_is_frozen_and_force_goes_on_working(box: Box, work: Work) -> None:
    work.git("reset", "--hard", "--quiet", "theirs")
    asked(box, "freeze", "hello", "moving")
    work.commit({"index.html": "now"})
    assert "frozen" in work.push(NOW).rejected
    assert work.push(NOW, options=("insist",)).code == 0
    assert work.push(NOW, options=("force",)).code == 0
    asked(box, "deploy", "hello", "--insist")
    asked(box, "rollback", "hello", "1", "--insist")
    assert box.row().live == 6
