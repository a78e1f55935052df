"""Kills that the random ones found or hit too seldom, one by one."""

from __future__ import annotations

import os

import pytest

from corpushooks import git
from tests.support.box import FAILING, Box, tree_of, until

# The shell that this runs in is killed, once.
KILLED_ONCE = "once:\n  cmd.run:\n    - name: test -e {0} || {{ touch {0}; kill -9 $$; }}\n"


@pytest.mark.parametrize("stem", ["rollback", "fixperms"])
def test_a_command_of_the_roll_back_that_is_killed_is_run_again(box: Box, stem: str) -> None:
    mark = box.root / "mark"
    mark.touch()
    work = box.app(files={f".salt/{stem}.sls": KILLED_ONCE.format(mark)})
    assert work.push().code == 0
    box.ended(1)
    before, good = tree_of(box.project().tree), work.head
    away = f"away:\n  file.absent:\n    - name: {mark}\n"
    work.commit({"index.html": "two", ".salt/10_broken.sls": FAILING, ".salt/05_away.sls": away})
    pushed = work.push()
    assert mark.exists(), "nothing was killed"
    assert (pushed.code, pushed.rejected) == (1, "install 10_broken failed; rolled back")
    assert box.ended(2).state == "rolled_back"
    assert box.row().broken is None
    assert tree_of(box.project().tree) == before
    assert box.ref() == good
    assert "the rollback is repeated" in box.log(2)


@pytest.mark.parametrize("victim", ["$$", "$PPID"], ids=["command", "salt"])
def test_what_is_killed_while_the_install_sls_run_again_is_run_once_more(box: Box, victim: str) -> None:
    mark = box.root / "mark"
    mark.touch()
    work = box.app(files={".salt/00_once.sls": KILLED_ONCE.format(mark).replace("$$", victim)})
    assert work.push().code == 0
    box.ended(1)
    away = f"away:\n  file.absent:\n    - name: {mark}\n"
    pushed = box.app("two", files={".salt/00_once.sls": away, ".salt/10_broken.sls": FAILING}).push()
    assert mark.exists(), "nothing was killed"
    assert (pushed.code, pushed.rejected) == (1, "install 10_broken failed; rolled back")
    assert (box.project().data / "page").read_text() == "one\n"
    assert "may still be in the failed state" not in box.log(2)


def test_salt_that_dies_again_and_again_leaves_the_roll_back_whole(box: Box) -> None:
    mark = box.root / "mark"
    mark.touch()
    dies = f"dies:\n  cmd.run:\n    - name: test -e {mark} || kill -9 $PPID\n"
    perms = "perms:\n  test.nop: []\n"
    work = box.app(files={".salt/00_dies.sls": dies, ".salt/fixperms.sls": perms})
    assert work.push().code == 0
    away = f"away:\n  file.absent:\n    - name: {mark}\n"
    work.commit({".salt/00_dies.sls": away, ".salt/10_broken.sls": FAILING})
    pushed = work.push()
    assert (pushed.code, pushed.rejected) == (1, "install 10_broken failed; rolled back")
    assert any("may still be in the failed state" in line for line in pushed.lines)
    assert box.row().broken is None


def test_a_rotation_that_was_killed_is_made_good_by_the_next(box: Box) -> None:
    box.settings("keep_archives: 2\n")
    box.stop()
    box.start()
    work = box.app()
    assert work.push().code == 0
    box.stop()
    repo = box.project().code_git
    lock = repo / "refs/corpus/90.lock"
    halves = (box.project().minion_dir / ".minion.new", box.project().work_git / ".stamps.new")
    for path in (lock, *halves):  # a daemon was killed while it let go of a commit, or wrote a file aside,
        path.touch()
    git.pin(repo, 91, work.head)  # and before it did, where the archive was gone already
    box.start("7 rotate", "before", "kill")
    work.commit({"index.html": "two"})
    assert work.push().code == 0
    assert box.daemon and box.daemon.wait(20)
    box.revive()
    assert box.ended(2).state == "deployed"
    assert git.pins(repo) == [1, 2]
    assert [path for path in (lock, *halves) if path.exists()] == []


def test_what_follows_a_roll_back_is_carried_on_by_the_next_daemon(box: Box) -> None:
    box.settings("keep_archives: 1\n")
    box.stop()
    box.start()
    mark = box.root / "mark"
    notify = f"told:\n  cmd.run:\n    - name: echo told >> {mark}; test $(wc -l < {mark}) != 2 || sleep 600\n"
    work = box.app(files={".salt/notify.sls": notify})
    assert work.push().code == 0
    box.ended(1)
    work.commit({"index.html": "two", ".salt/10_broken.sls": FAILING})
    assert work.push().code == 1
    until(lambda: mark.read_text() == "told\n" * 2)
    box.kill()
    half = box.project().archives / "2026-01-01_00_00-00_0"  # as if the rotation had been killed
    (half / "project").mkdir(parents=True)
    box.revive()
    assert box.ended(2).state == "rolled_back"
    assert not half.exists()
    assert mark.read_text() == "told\n" * 2, "nobody is told twice"


@pytest.mark.parametrize(("repo", "ref"), [("pillar", "refs/heads/master"), ("project", "refs/heads/feature")])
def test_the_lock_of_a_receive_pack_that_was_killed_hinders_no_push(box: Box, repo: str, ref: str) -> None:
    work = box.work(repo=repo)
    work.commit({"init.sls": "a: b\n"})
    lock = box.project().git_dir / f"{repo}.git/{ref}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    assert work.push(f"HEAD:{ref}").code == 1, "a fresh lock is somebody's"
    os.utime(lock, (1, 1))
    assert work.push(f"HEAD:{ref}").code == 0
    assert box.ref(repo=repo, ref=ref) == work.head
    assert not lock.exists()
