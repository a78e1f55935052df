"""Real pushes into real repositories, with the fake engine: what is deployed, what is said, what is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from corpushooks.system.process import spawn
from tests.support.box import FAILING, Box, tree_of, until

SUCCESS = """\
hello (prod) deployment 1: nothing -> ccccccc
[1/8] archive                0 of 0 files                    0.0 s
[2/8] sync                   2 files                         0.0 s
[3/8] fixperms               3 changed                       0.0 s
[4/8] install 00_page        1 state, 1 changed              0.0 s
[5/8] fixperms                                               0.0 s
[6/8] publish                master ccccccc                  0.0 s
success: hello is live at ccccccc (deployment 1, 0.0 s)"""

FAILURE = """\
hello (prod) deployment 2: ccccccc -> ccccccc, 1 commit
[1/8] archive                2 of 2 files                    0.0 s
[2/8] sync                   2 files                         0.0 s
[3/8] fixperms               1 changed                       0.0 s
[4/8] install 00_page        1 state                         0.0 s
      install 10_broken
        FAILED   broken       test.fail_without_changes
          (10_broken.sls line 1)
          Failure!
error: install 10_broken failed: broken
      again: 00_page         1 state                         0.0 s
rolled back to ccccccc; the failed tree is kept: archive 2
hint: the whole log: corpus log hello 2"""


def wait_for(gate: Path) -> str:
    """Return an SLS that ends when a file is there."""
    return f"gate:\n  cmd.run:\n    - name: while ! test -e {gate}; do sleep 0.05; done\n"


def test_first_push_deploys(box: Box) -> None:
    pushed = box.app().push()
    assert pushed.transcript == SUCCESS
    assert (pushed.code, pushed.rejected) == (0, "")
    assert box.ref() == box.row().code == box.work().head
    assert (box.project().tree / "index.html").read_text() == "one"
    assert (box.project().data / "page").read_text() == "one\n"


def test_failing_push_is_rolled_back_and_rejected(box: Box) -> None:
    work = box.app()
    work.push()
    good = work.head
    work.commit({"index.html": "two", ".salt/10_broken.sls": FAILING})
    pushed = work.push()
    assert pushed.transcript == FAILURE
    assert (pushed.code, pushed.rejected) == (1, "install 10_broken failed; rolled back")
    assert box.ref() == box.row().code == good
    assert (box.project().tree / "index.html").read_text() == "one"
    failed = next(box.project().archives.glob("*_2")) / "project.failed"
    assert (failed / "index.html").read_text() == "two"
    assert work.git("rev-parse", "--verify", "--quiet", "refs/remotes/origin/master", check=False).code != 0


def test_same_commit_can_be_pushed_again_after_a_failure(box: Box) -> None:
    work = box.app()
    gate = box.root / "gate"
    work.commit({".salt/10_gate.sls": f"gate:\n  cmd.run:\n    - name: test -e {gate}\n"})
    assert work.push().code == 1
    gate.touch()
    assert work.push().code == 0
    assert box.ref() == work.head


def test_redeployment_of_the_live_commit(box: Box) -> None:
    work = box.app()
    work.push()
    (box.project().tree / "index.html").write_text("edited")
    pushed = work.push("HEAD:refs/deploy/now")
    assert pushed.code == 0
    assert pushed.lines[0] == f"hello (prod) deployment 2: {work.head[:7]} again"
    assert (box.project().tree / "index.html").read_text() == "one"
    assert box.ref(ref="refs/deploy/now") is None


def test_deploy_now_is_reported_as_the_branch(box: Box) -> None:
    work = box.app()
    work.git("remote", "add", "prod", work.remote)
    work.remote = "prod"
    assert work.push("HEAD:refs/deploy/now").code == 0
    assert work.git("rev-parse", "refs/remotes/prod/master").text == work.head == box.ref()


def test_force_push_names_what_is_lost(box: Box) -> None:
    work = box.app()
    first = work.head
    work.push()
    work.commit({"index.html": "two"}, "lost work")
    work.push()
    work.git("reset", "--hard", "--quiet", first)
    assert work.push(flags=("--force",)).code == 0
    assert box.ref() == first
    again = work.git("log", "--oneline").text
    assert "lost work" not in again
    assert any(line.startswith("warning: no longer live:") and "lost work" in line for line in _log(box, 3))


def _log(box: Box, number: int) -> list[str]:
    return box.log(number).splitlines()


def test_syntax_is_checked_where_what_salt_reads_is_not_what_is_live(box: Box) -> None:
    box.app().push()
    box.faults(("check syntax", "before", "bug"))
    work, pillar = box.work(), box.work(repo="pillar")
    work.commit({"index.html": "two"})
    assert (work.push().code, box.happened()) == (0, [])
    work.commit({".salt/files/page": "x"})
    assert (work.push().code, box.happened()) == (1, ["check syntax before"])
    box.faults(("check syntax", "before", "bug"))
    work.commit({".salt/files/page": None})
    pillar.commit({"init.sls": "a: b\n"})
    pillar.push()
    assert (work.push().code, box.happened()) == (1, ["check syntax before"])


def test_removed_files_go_and_untracked_ones_stay(box: Box) -> None:
    work = box.app(files={"old/gone.txt": "x", "kept.txt": "x"})
    work.push()
    (box.project().tree / "uploaded").write_text("by the application")
    work.commit({"old/gone.txt": None})
    work.push()
    tree = box.project().tree
    assert not (tree / "old").exists()
    assert (tree / "uploaded").read_text() == "by the application"
    assert (tree / "kept.txt").exists()


def test_other_branches_and_tags_are_stored_with_a_hint(box: Box) -> None:
    work = box.app()
    pushed = work.push("HEAD:topic", "HEAD:refs/tags/v1")
    assert pushed.code == 0
    assert box.ref(ref="refs/heads/topic") == box.ref(ref="refs/tags/v1") == work.head
    assert box.row().live is None
    assert pushed.lines == [
        "hint: topic is stored; only master deploys: git push REMOTE topic:master",
        "hint: v1 is stored; only master deploys: git push REMOTE v1:master",
    ]


def test_branch_and_deployment_in_one_push(box: Box) -> None:
    work = box.app()
    assert work.push("HEAD:topic", "HEAD:master", "HEAD:refs/deploy/now").code == 0
    assert box.row().live == 1
    assert box.ref(ref="refs/heads/topic") == work.head
    assert not box.exists(2)


REFUSED = {
    "two commits": (("HEAD:master", "HEAD~1:refs/deploy/now"), "one push can deploy only one commit"),
    "plan and deploy": (("HEAD:master", "HEAD:refs/deploy/plan"), "one push cannot both plan and deploy"),
    "atomic with more": (
        ("--atomic", "HEAD:master", "HEAD:topic"),
        "an atomic push that deploys cannot change other refs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_pushes_touch_nothing(box: Box, case: str) -> None:
    work = box.app()
    work.push()
    work.commit({"index.html": "two"})
    words, reason = REFUSED[case]
    flags = tuple(word for word in words if word.startswith("--"))
    before = box.ref()
    pushed = work.push(*(word for word in words if not word.startswith("--")), flags=flags)
    assert (pushed.code, pushed.rejected) == (1, reason)
    assert pushed.lines[0] == f"error: {reason}"
    assert box.ref() == before
    assert box.ref(ref="refs/heads/topic") is None
    assert not box.exists(2)


BAD_TREES = {
    "no .salt": ({".salt/00_page.sls": None}, "has no .salt folder"),
    "no install SLS": (
        {".salt/00_page.sls": None, ".salt/task_x.sls": "", ".salt/fixperms.sls": ""},
        "no install SLS in .salt",
    ),
    "a dot in the stem": ({".salt/10.a.sls": ""}, ".salt/10.a.sls: Salt reads a dot in the name as a folder"),
    "sample with wrong YAML": ({".salt/PILLAR.sample": "a: [1\n"}, "PILLAR.sample"),
    "SLS with wrong Jinja": ({".salt/10_x.sls": "a:\n  {% if %}\n"}, "10_x.sls line 2"),
    "SLS with wrong YAML": ({".salt/10_x.sls": "a:\n  - b\n c: d\n"}, "10_x.sls line 3"),
}


@pytest.mark.parametrize("case", BAD_TREES)
def test_trees_that_cannot_be_deployed_are_refused(box: Box, case: str) -> None:
    work = box.app()
    work.push()
    live, page = work.head, (box.project().tree / "index.html").stat()
    files, reason = BAD_TREES[case]
    work.commit(files)
    pushed = work.push()
    assert pushed.code == 1
    assert reason in pushed.rejected
    assert any(line.startswith("hint: ") for line in pushed.lines)
    assert box.ref() == live
    assert (box.project().tree / "index.html").stat() == page
    assert box.row().live == 1
    assert [p.name for p in box.project().archives.glob("*_2")] == []


def test_what_is_no_commit_is_refused(box: Box) -> None:
    work = box.app()
    blob = work.git("rev-parse", "HEAD:index.html").text
    pushed = work.push(f"{blob}:refs/deploy/now")
    assert (pushed.code, pushed.rejected) == (1, f"{blob[:12]} is a blob, not a commit")


OPTIONS = {
    "unknown": ("fast", "unknown push option 'fast'"),
    "unknown step": ("only=instal", "only=instal: unknown step"),
    "unknown SLS": ("steps=99_none", "steps=99_none: unknown install SLS"),
    "never left out": ("skip=rollback", "skip=rollback: this step cannot be skipped"),
    "new commit without sync": ("only=install", "a new commit needs the step sync, which only/skip leave out"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_wrong_options_are_refused(box: Box, case: str) -> None:
    option, reason = OPTIONS[case]
    pushed = box.app().push(options=(option,))
    assert (pushed.code, pushed.rejected) == (1, reason)
    assert box.row().live is None
    assert (box.project().tree / "index.html").exists() is False


def test_only_and_steps_select(box: Box) -> None:
    work = box.app(files={".salt/10_more.sls": "more:\n  test.succeed_with_changes: []\n"})
    work.push()
    pushed = work.push("HEAD:refs/deploy/now", options=("only=install,fixperms", "steps=10_more.sls"))
    assert pushed.code == 0
    assert [line.split("  ")[0] for line in pushed.lines[1:-1]] == [
        "[1/8] archive", "[2/8] sync", "[3/8] fixperms", "[4/8] install 10_more", "[5/8] fixperms", "[6/8] publish",
    ]  # fmt: skip
    assert "skipped" in pushed.lines[2]


def test_nowait_is_answered_with_the_number(box: Box) -> None:
    work = box.app()
    pushed = work.push(options=("nowait",))
    assert pushed.code == 0
    assert "refs/deploy/queued/1" in pushed.text
    assert box.ended(1).state == "deployed"
    assert box.ref() == work.head


def test_progress_rewrites_a_line_while_a_step_runs(box: Box) -> None:
    gate = box.root / "gate"
    work = box.app(files={".salt/10_gate.sls": wait_for(gate)})
    words = ["git", "-C", work.path, "push", "--push-option=progress", work.remote, "HEAD:master"]
    log = box.root / "push.log"
    push = spawn(words, stderr=os.open(log, os.O_WRONLY | os.O_CREAT, 0o600))
    until(lambda: re.search(r"… install 10_gate, \d+ s *\r", log.read_bytes().decode()))
    gate.touch()
    assert push.wait(30) == 0


def test_environment_of_the_client_is_not_believed(box: Box) -> None:
    work = box.app()
    elsewhere = {"CORPUS_ROOT": "/nonexistent", "PYTHONPATH": str(box.root / "evil"), "PYTHONSTARTUP": "/nonexistent"}
    (box.root / "evil").mkdir()
    (box.root / "evil/socket.py").write_text("raise SystemExit('read')\n")
    assert work.git("push", work.remote, "HEAD:master", env=elsewhere, check=False).code == 0


def test_two_pushes_of_one_project_wait_for_each_other(box: Box) -> None:
    gate = box.root / "gate"
    work = box.app(files={".salt/10_gate.sls": wait_for(gate)})
    first = work.start_push()
    until(lambda: box.exists(1) and box.deployment(1).state == "running")
    second = work.start_push("HEAD:refs/deploy/now")
    until(lambda: box.exists(2))
    assert box.deployment(2).state == "queued"
    gate.touch()
    assert (first.wait(30), second.wait(30)) == (0, 0)
    assert box.deployment(2).started >= box.deployment(1).decided  # type: ignore[operator]
    assert box.row().live == 2


def test_a_push_whose_old_commit_moved_while_it_waited_is_refused(box: Box) -> None:
    gate = box.root / "gate"
    work = box.app(files={".salt/10_gate.sls": wait_for(gate)})
    first = work.start_push()
    until(lambda: box.exists(1) and box.deployment(1).state == "running")
    work.commit({"index.html": "two"})
    second = work.start_push()
    until(lambda: box.exists(2))
    gate.touch()
    assert (first.wait(30), second.wait(30)) == (0, 1)
    assert box.deployment(2).state == "refused"
    assert box.row().live == 1


def test_a_push_of_what_was_deployed_while_it_waited_is_a_redeployment(box: Box) -> None:
    gate = box.root / "gate"
    work = box.app(files={".salt/10_gate.sls": wait_for(gate)})
    first = work.start_push()
    until(lambda: box.exists(1) and box.deployment(1).state == "running")
    second = work.start_push()
    until(lambda: box.exists(2))
    gate.touch()
    assert (first.wait(30), second.wait(30)) == (0, 0)
    assert (box.ref(), box.row().live) == (work.head, 2)


def test_two_projects_deploy_side_by_side(box: Box) -> None:
    box.init("other")
    meet = "meet:\n  cmd.run:\n    - name: touch {0}/{1}; until test -e {0}/{2}; do sleep 0.05; done\n"
    one = box.app(name="hello", files={".salt/10_meet.sls": meet.format(box.root, "a", "b")})
    two = box.app(name="other", files={".salt/10_meet.sls": meet.format(box.root, "b", "a")})
    pushes = one.start_push(), two.start_push()
    assert [push.wait(30) for push in pushes] == [0, 0]


@pytest.mark.parametrize("number", [2, 9, 15])
def test_a_client_that_goes_changes_nothing(box: Box, number: int) -> None:
    gate = box.root / "gate"
    work = box.app(files={".salt/10_gate.sls": wait_for(gate)})
    push = work.start_push()
    until(lambda: box.exists(1) and box.deployment(1).state == "running")
    push.send_signal(number)
    push.wait(10)
    gate.touch()
    assert box.ended(1).state == "deployed"
    assert box.ref() == work.head == box.row().code


def test_plan_changes_nothing(box: Box) -> None:
    work = box.app()
    work.push()
    box.ended(1)
    work.commit(
        {"index.html": "two", ".salt/00_page.sls": (work.path / ".salt/00_page.sls").read_text().replace("one", "two")}
    )
    before = tree_of(box.host.root / "srv")
    pushed = work.push("HEAD:refs/deploy/plan")
    assert pushed.code == 0
    assert "refs/deploy/plan" in pushed.text
    assert any("would" in line and "page" in line for line in pushed.lines)
    after = {k: v for k, v in tree_of(box.host.root / "srv").items() if "/git/" not in k}
    assert after == {k: v for k, v in before.items() if "/git/" not in k}
    assert box.ref() != work.head
    assert box.row().live == 1
