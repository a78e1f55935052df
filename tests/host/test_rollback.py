"""What the roll back brings back, what dev leaves, what rotation keeps, and the special SLS."""

from __future__ import annotations

import pytest

from corpushooks.admin import projects
from corpushooks.core.deployment import Request
from corpushooks.core.project import Project
from corpushooks.core.settings import Settings
from corpushooks.deploy.lanes import Lanes
from corpushooks.host.site import Site
from corpushooks.operations.acts import ACTS
from corpushooks.system.process import run
from tests.support.box import FAILING, Box, tree_of, until
from tests.support.engines import FakeEngine


def archive(project: Project, number: int) -> str:
    return str(next(project.archives.glob(f"*_{number}")))


def test_first_deployment_that_fails_goes_back_to_the_empty_project(box: Box) -> None:
    work = box.app(files={".salt/10_broken.sls": FAILING})
    pushed = work.push()
    assert (pushed.code, pushed.rejected) == (1, "install 10_broken failed; rolled back")
    assert "rolled back to the empty project" in pushed.text
    assert list(box.project().tree.iterdir()) == list(box.project().stage.iterdir()) == []
    assert box.ref() is None
    assert box.row().live is None
    work.commit({".salt/10_broken.sls": None})
    assert work.push().code == 0


def test_two_failures_in_a_row_go_back_to_the_last_good_one(box: Box) -> None:
    work = box.app()
    work.push()
    box.ended(1)
    before = tree_of(box.project().tree)
    for page in ("two", "three"):
        work.commit({"index.html": page, ".salt/10_broken.sls": FAILING})
        assert work.push().code == 1
        assert tree_of(box.project().tree) == before


def test_dev_leaves_the_failed_tree_and_says_so(box: Box) -> None:
    box.init(env="dev")
    work = box.app()
    work.push()
    good = work.head
    work.commit({"index.html": "two", ".salt/10_broken.sls": FAILING})
    pushed = work.push()
    assert (pushed.code, pushed.rejected) == (1, "install 10_broken failed; left in place")
    assert (box.project().tree / "index.html").read_text() == "two"
    row = box.row()
    assert (box.ref(), row.code, row.tree_code) == (good, good, work.head)
    assert box.deployment(2).state == "failed"
    work.commit({".salt/10_broken.sls": None, "index.html": "three"})
    assert work.push().code == 0
    assert not (box.project().tree / ".salt/10_broken.sls").exists()


def test_dev_rolls_back_where_the_host_says_always(box: Box) -> None:
    box.settings("rollback: always\n")
    box.init(env="dev")
    box.stop()
    box.start()
    box.app().push()
    box.work().commit({"index.html": "two", ".salt/10_broken.sls": FAILING})
    assert box.work().push().rejected == "install 10_broken failed; rolled back"
    assert (box.project().tree / "index.html").read_text() == "one"


def test_special_sls_run_where_the_table_says(box: Box) -> None:
    say = "{0}:\n  file.append:\n    - name: " + str(box.root / "ran") + "\n    - text: {0}\n"
    special = {f".salt/{stem}.sls": say.format(stem) for stem in ("archive", "post_archive", "fixperms", "notify")}
    work = box.app(files={**special, ".salt/10_x.sls": say.format("install")})
    assert work.push().code == 0
    box.ended(1)
    ran = (box.root / "ran").read_text().split()
    assert ran == ["fixperms", "install", "fixperms", "notify"] or ran[0] == "fixperms"
    (box.root / "ran").unlink()
    work.commit({"index.html": "two"})
    work.push()
    box.ended(2)
    assert (box.root / "ran").read_text().split()[:2] == ["archive", "post_archive"]


def test_rollback_sls_of_the_restored_release_runs_then_the_failed_tree_is_put_in_place(box: Box) -> None:
    note = box.root / "note"
    sls = (
        "note:\n  cmd.run:\n    - name: ls -A {{ cfg.current_archive_dir }} > " + str(note) + "; "
        "mkdir -p {{ cfg.current_archive_dir }}/project.failed; "
        "echo x > {{ cfg.current_archive_dir }}/project.failed/x\n"
    )
    work = box.app(files={".salt/rollback.sls": sls})
    work.push()
    work.commit({"index.html": "two", ".salt/10_broken.sls": FAILING})
    assert work.push().code == 1
    assert "project.failed" not in note.read_text().split()
    failed = next(box.project().archives.glob("*_2")) / "project.failed"
    assert (failed / "index.html").read_text() == "two"
    assert not (failed / "x").exists()


def test_failing_rollback_sls_breaks_the_project(box: Box) -> None:
    gate = box.root / "gate"
    work = box.app(files={".salt/rollback.sls": f"gate:\n  cmd.run:\n    - name: test -e {gate}\n"})
    work.push()
    good = work.head
    work.commit({"index.html": "two", ".salt/10_broken.sls": FAILING})
    pushed = work.push()
    assert pushed.rejected == "install 10_broken failed; THE ROLLBACK FAILED"
    assert box.row().broken
    assert (box.project().tree / "index.html").read_text() == "one"
    work.commit({".salt/10_broken.sls": None})
    assert "is broken" in work.push().rejected
    gate.touch()
    assert box.ask(op="repair", project="hello", token="t")["state"] == "done"
    assert box.ref() == good
    assert work.push().code == 0


def test_install_again_that_fails_is_a_warning(box: Box) -> None:
    once = box.root / "once"
    work = box.app(files={".salt/05_once.sls": f"once:\n  cmd.run:\n    - name: test ! -e {once}\n"})
    work.push()
    work.commit({".salt/10_broken.sls": FAILING, ".salt/05_once.sls": f"once:\n  cmd.run:\n    - name: touch {once}\n"})
    pushed = work.push()
    assert pushed.rejected == "install 10_broken failed; rolled back"
    assert any(line.startswith("warning: install 05_once failed") for line in pushed.lines)
    assert box.row().broken is None


def test_rotation_keeps_the_newest_and_the_one_of_the_live_release(box: Box) -> None:
    box.settings("keep_archives: 2\n")
    box.stop()
    box.start()
    work = box.app()
    work.push()
    for number in range(2, 6):
        work.commit({"index.html": str(number), ".salt/10_broken.sls": FAILING})
        assert work.push().code == 1
        box.ended(number)
    numbers = sorted(int(p.name.rpartition("_")[2]) for p in box.project().archives.iterdir())
    assert numbers == [1, 4, 5]


def test_rollback_command_returns_code_and_pillar(box: Box) -> None:
    work = box.app()
    pillar = box.work(repo="pillar")
    pillar.commit({"init.sls": "makina-projects.hello:\n  data: {v: 1}\n"})
    assert pillar.push().code == 0
    work.push()
    first = work.head, pillar.head
    pillar.commit({"init.sls": "makina-projects.hello:\n  data: {v: 2}\n"})
    pillar.push()
    work.commit({"index.html": "two"})
    work.push()
    result = box.ask(op="rollback", project="hello", number=1, token="t")
    assert result["state"] == "deployed"
    row = box.row()
    assert (row.code, row.pillar) == first
    assert box.ref() == first[0]
    assert "v: 1" in (box.project().pillar / "init.sls").read_text()
    assert (box.project().tree / "index.html").read_text() == "one"
    assert box.ref(repo="pillar") == pillar.head


def test_rollback_to_a_deployment_that_was_never_live_is_refused(box: Box) -> None:
    work = box.app()
    work.push()
    work.commit({".salt/10_broken.sls": FAILING})
    work.push()
    result = box.ask(op="rollback", project="hello", number=2, token="t")
    assert (result["state"], result["reason"]) == ("refused", "deployment 2 was never live")


@pytest.mark.parametrize("where", ["install", "archive"])
def test_cancel_stops_and_rolls_back(box: Box, where: str) -> None:
    work = box.app()
    work.push()
    box.ended(1)
    before = tree_of(box.project().tree)
    mark = box.root / "mark"
    stem = "10_wait" if where == "install" else "archive"
    sls = f"wait:\n  cmd.run:\n    - name: touch {mark}; sleep 600\n"
    if where == "archive":
        work.commit({".salt/archive.sls": sls})
        work.push()
        box.ended(2)
        work.commit({"index.html": "two"})
        before = tree_of(box.project().tree)
    else:
        work.commit({"index.html": "two", f".salt/{stem}.sls": sls})
    number = box.row().live + 1  # type: ignore[operator]
    until(lambda: box.deployment(number - 1).ended)
    mark.unlink(missing_ok=True)
    push = work.start_push()
    until(mark.exists)
    result = box.ask(op="cancel", project="hello")
    assert push.wait(30) == 1
    assert result["state"] == ("rolled_back" if where == "install" else "refused")
    assert result["reason"].startswith("cancelled by ")
    assert tree_of(box.project().tree) == before


def test_timeout_of_an_sls_rolls_back(box: Box) -> None:
    box.settings("step_timeout: 1\n")
    box.stop()
    box.start()
    work = box.app()
    work.push()
    work.commit({".salt/10_wait.sls": "wait:\n  cmd.run:\n    - name: sleep 600\n"})
    pushed = work.push()
    assert pushed.rejected == "install 10_wait; rolled back" or "rolled back" in pushed.rejected
    assert "timed out after 1 s" in pushed.text
    assert box.row().live == 1


def test_full_disk_is_refused_before_anything_is_touched(box: Box) -> None:
    work = box.app()
    work.push()
    box.ended(1)
    before = tree_of(box.project().tree)
    box.stop()
    box.settings("reserve: 100000000\nenlarge: [touch, " + str(box.root / "enlarged") + "]\n")
    box.start()
    work.commit({"index.html": "two"})
    pushed = work.push()
    assert pushed.code == 1
    assert pushed.rejected.startswith("the disk is too full: ")
    assert (box.root / "enlarged").exists()
    assert tree_of(box.project().tree) == before
    assert not list(box.project().archives.glob("*_2"))


def test_modules_of_the_project_are_linked_and_unlinked(box: Box) -> None:
    work = box.app(files={".salt/_modules/foo.py": "def f():\n    return 1\n"})
    work.push()
    shared = box.host.salt_dir / "_modules"
    assert sorted(p.name for p in shared.iterdir()) == ["foo.py", "hello_foo.py"]
    work.commit({".salt/_modules/foo.py": None})
    work.push()
    assert list(shared.iterdir()) == []


def test_hooks_and_links_are_repaired_by_each_deployment(box: Box) -> None:
    work = box.app()
    work.push()
    project = box.project()
    hook = project.pillar_git / "hooks/proc-receive"
    hook.write_text("")
    project.wired_salt.unlink()
    work.push("HEAD:refs/deploy/now")
    assert "start templated" in hook.read_text()
    assert project.wired_salt.resolve() == (project.stage / ".salt").resolve()


def test_project_that_was_removed_and_made_again_goes_on(box: Box) -> None:
    work = box.app()
    work.push()
    box.ended(1)
    before = tree_of(box.project().tree)
    store = box.history
    projects.remove(box.project(), store, purge=False)
    assert store.project("hello") is None
    store.close()
    box.init()
    row = box.row()
    assert (row.live, row.code, row.tree_code) == (1, work.head, work.head)
    work.commit({"index.html": "two", ".salt/10_broken.sls": FAILING})
    assert work.push().code == 1
    assert tree_of(box.project().tree) == before
    assert (box.project().stage / "index.html").read_text() == "one"


def test_what_waits_in_a_project_that_is_removed_is_cancelled(box: Box) -> None:
    box.stop()
    store = box.history
    waiting = store.enqueue("hello", Request(kind="task", task="x", token="t"))
    projects.remove(box.project(), store, purge=False)
    done = store.deployment("hello", waiting.number)
    assert (done.state, done.reason) == ("cancelled", "the project was removed")
    assert done.ended
    store.close()


def test_salt_that_dies_in_the_roll_back_is_asked_again(box: Box) -> None:
    once = box.root / "once"
    sls = f"once:\n  cmd.run:\n    - name: test -e {once} || (touch {once}; kill -9 $PPID; sleep 9)\n"
    work = box.app(files={".salt/rollback.sls": sls})
    work.push()
    work.commit({".salt/10_broken.sls": FAILING})
    assert work.push().rejected == "install 10_broken failed; rolled back"
    assert once.exists()
    assert box.row().broken is None


def test_a_daemon_that_is_stopped_in_the_roll_back_leaves_it_to_the_next(box: Box) -> None:
    work = box.app()
    work.push()
    box.ended(1)
    before = tree_of(box.project().tree)
    bad = work.commit({"index.html": "two", ".salt/10_broken.sls": FAILING})
    assert work.push("HEAD:topic").code == 0
    box.stop()

    def stopped(label: str, when: str) -> None:
        if label == "undo restore":
            site.stopping = True
            raise OSError("Salt was stopped with us")

    site = Site(box.host, Settings(), box.history, FakeEngine(), stopped)
    with box.interpreter():
        waiting = site.history.enqueue("hello", Request(new=bad, token="t"))
        Lanes(site, ACTS).work_off("hello")
        assert site.history.deployment("hello", waiting.number).state == "rolling_back"
        Lanes(Site(box.host, Settings(), site.history, FakeEngine()), ACTS).work_off("hello")
    assert site.history.deployment("hello", waiting.number).state == "rolled_back"
    assert box.row().broken is None
    assert tree_of(box.project().tree) == before
    site.history.close()


def test_any_deployment_with_an_archive_can_be_returned_to_and_one_without_says_why_not(box: Box) -> None:
    box.settings("keep_archives: 3\n")
    box.stop()
    box.start()
    work = box.app()
    for page in ("1", "2", "3", "4", "5"):  # each on its own root: nothing but a pin keeps what is no longer live
        work.git("checkout", "--quiet", "--orphan", f"only-{page}")
        work.commit({"index.html": page})
        assert work.push(flags=("--force",)).code == 0
        box.ended(int(page))
    done = box.ask(op="rollback", project="hello", number=3, token="a")
    assert (done["state"], done["number"], done["kind"]) == ("deployed", 6, "rollback")
    assert (box.project().tree / "index.html").read_text() == "3"
    assert (box.row().live, box.ref()) == (6, box.deployment(3).new_code)
    box.ended(6)
    code = box.project().code_git
    run(["git", "--git-dir", code, "reflog", "expire", "--expire=now", "--all"])
    run(["git", "--git-dir", code, "gc", "--quiet", "--prune=now"])
    done = box.ask(op="rollback", project="hello", number=1, token="b")
    assert (done["state"], done["reason"]) == (
        "refused", "the commits of deployment 1 are gone: its archive was rotated away"
    )  # fmt: skip
    assert "hint: possible targets: 5, 4, 3; " in box.log(7)
    assert box.row().live == 6
