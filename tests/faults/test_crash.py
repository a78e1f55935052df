"""The daemon killed at every step of the table, and at every step of the roll back: old or new, never between."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from corpushooks.core.deployment import Deployment
from corpushooks.deploy import deploy
from corpushooks.system.process import carrying
from tests.support.box import FAILING, Box, tree_of, until
from tests.support.effects import MOMENTS, parts

STEPS = [f"{index} {step.name}" for index, step in enumerate(deploy.PROCEDURE.steps, 1)]
EFFECTS = [*STEPS[:5], "move ref", *STEPS[5:]]
UNDO = [f"undo {step.name}" for step in deploy.ROLL_BACK.steps]
COMMIT_POINT = EFFECTS.index("move ref")


FORWARD = [
    *STEPS,
    *(label for label in parts() if not label.startswith(("undo ", "hold ", "backup ", "restore ", "drill "))),
]  # tests/faults/test_hold_crash.py, tests/host/test_backup.py
BACK = [*UNDO, *(label for label in parts() if label.startswith("undo "))]
WAYS = ("ENOSPC", "EIO", "EACCES", "bug")


def old_release(box: Box) -> dict[str, tuple[object, ...]]:
    """Deploy a first release, let the application write beside it, and return its tree as it is then."""
    box.app(files={"removed-later.txt": "x", "lib/a.txt": "a"}).push()
    box.ended(1)
    tree = box.project().tree
    (tree / "uploads").mkdir(mode=0o750)
    (tree / "uploads/photo").write_text("precious")
    (tree / "link").symlink_to("/etc/hostname")
    (tree / "lib/a.txt").chmod(0o440)
    return tree_of(tree)


def new_release(box: Box, extra: dict[str, str | None] | None = None) -> str:
    sls = (box.work().path / ".salt/00_page.sls").read_text().replace("one", "two")
    files = {"index.html": "two", "removed-later.txt": None, "lib/b.txt": "b", ".salt/00_page.sls": sls}
    return box.work().commit({**files, **(extra or {})})


def check_whole(box: Box, number: int) -> None:
    """Assert what holds after every crash: all is said, nothing is left, the next push needs nobody's help."""
    done = box.ended(number)
    row, project = box.row(), box.project()
    assert done.final and row.broken is None
    assert box.ref() == row.code == row.tree_code
    assert not list(project.git_dir.rglob("*.lock"))
    assert (project.salt_link / "00_page.sls").is_file()
    assert not [p for p in project.dir.rglob("*") if p.name.endswith((".new", ".partial"))]
    work = box.work()
    work.commit({".salt/10_broken.sls": None} if (work.path / ".salt/10_broken.sls").exists() else {}, "next")
    pushed = work.push(flags=("--force",))
    assert (pushed.code, pushed.rejected) == (0, ""), pushed.text
    assert box.ref() == work.head
    assert (project.tree / "uploads/photo").read_text() == "precious"


def crash(box: Box, label: str, when: str, action: str) -> int:
    """Push the new release into a daemon that dies or fails at one effect; return the push's exit code."""
    box.stop()
    box.start(label, when, action)
    pushed = box.work().push()
    until(box.happened)  # the push may end before
    if action == "kill":
        assert box.daemon and box.daemon.wait(10)
        box.daemon = None
        if label in STEPS[6:]:
            box.revive()  # the push had its answer already, so that no hook starts one
    return pushed.code


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("label", EFFECTS)
def test_daemon_killed_in_a_deployment(box: Box, label: str, when: str) -> None:
    before = old_release(box)
    old, new = box.work().head, new_release(box)
    code = crash(box, label, when, "kill")
    forward = EFFECTS.index(label) > COMMIT_POINT or (EFFECTS.index(label) == COMMIT_POINT)
    if label == "6 publish" and when == "before":
        forward = False
    box.ended(2)
    assert code == (0 if forward else 1)
    assert box.ref() == (new if forward else old)
    assert (box.project().stage / "index.html").read_text() == ("two" if forward else "one")
    if forward:
        assert (box.project().tree / "index.html").read_text() == "two"
        assert not (box.project().tree / "removed-later.txt").exists()
        assert box.deployment(2).state == "deployed"
    else:
        assert tree_of(box.project().tree) == before
        assert box.deployment(2).state in ("refused", "rolled_back")
    check_whole(box, 2)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("label", UNDO)
def test_daemon_killed_in_a_roll_back(box: Box, label: str, when: str) -> None:
    before = old_release(box)
    old = box.work().head
    new_release(box, {".salt/10_broken.sls": FAILING})
    assert crash(box, label, when, "kill") == 1
    done = box.ended(2)
    assert (done.state, done.reason) == ("rolled_back", "install 10_broken failed: broken")
    assert tree_of(box.project().tree) == before
    assert box.ref() == old
    failed = next(box.project().archives.glob("*_2")) / "project.failed"
    assert (failed / "index.html").read_text() == "two"
    check_whole(box, 2)


@pytest.mark.parametrize("action", ["ENOSPC", "EIO", "EACCES"])
@pytest.mark.parametrize("label", EFFECTS)
def test_effect_that_fails(box: Box, label: str, action: str) -> None:
    before = old_release(box)
    old, new = box.work().head, new_release(box)
    code = crash(box, label, "before", action)
    done = box.ended(2)
    if label in ("7 rotate", "8 notify"):
        assert (code, done.state, box.ref()) == (0, "deployed", new)
    else:
        assert (code, box.ref()) == (1, old)
        assert done.state == ("refused" if label == "1 archive" else "rolled_back")
        assert tree_of(box.project().tree) == before
    check_whole(box, 2)


@pytest.mark.parametrize("label", list(UNDO))
def test_roll_back_that_fails_breaks_the_project_until_it_is_repaired(box: Box, label: str) -> None:
    before = old_release(box)
    new_release(box, {".salt/10_broken.sls": FAILING})
    assert crash(box, label, "before", "EIO") == 1
    done = box.ended(2)
    assert done.state == "broken"
    assert "the rollback of deployment 2 failed: " in (box.row().broken or "")
    refused = box.work().push(flags=("--force",))
    assert refused.code == 1
    assert "corpus repair hello" in "\n".join(refused.lines)
    assert box.ask(op="repair", project="hello", token="r")["state"] == "done"
    assert tree_of(box.project().tree) == before
    check_whole(box, 2)


def test_what_a_dead_daemon_left_running_is_stopped_before_anything_is_restored(box: Box) -> None:
    old_release(box)
    mark = Path(box.root / "mark")
    loop = f"loop:\n  cmd.run:\n    - name: while true; do date >> {mark}; sleep 0.05; done\n"
    new_release(box, {".salt/10_loop.sls": loop})
    push = box.work().start_push()
    until(mark.exists)
    box.kill()
    assert push.wait(60) == 1
    assert box.ended(2).state == "rolled_back"
    size = mark.stat().st_size
    box.work().commit({".salt/10_loop.sls": None})
    assert box.work().push().code == 0
    assert mark.stat().st_size == size


SLOW_GIT = """\
#!/bin/sh
case "$*" in
*"read-tree -u --reset"*)
    if [ -n "$CORPUS_CHECKOUT" ] && rm "{flag}" 2>/dev/null; then
        while :; do echo torn > "$CORPUS_CHECKOUT/index.html"; touch "{flag}.writes"; sleep 0.05; done
    fi ;;
esac
exec {git} "$@"
"""


def test_a_checkout_that_outlived_its_daemon_is_stopped(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    before = old_release(box)
    new_release(box)
    box.stop()
    flag, folder, stage = box.root / "slow", box.root / "bin", box.project().stage
    folder.mkdir()
    (folder / "git").write_text(SLOW_GIT.format(flag=flag, git=shutil.which("git")))
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    box.start()
    flag.touch()
    push = box.work().start_push()
    until(box.root.joinpath("slow.writes").exists)
    box.kill()
    assert push.wait(60) == 1
    assert box.ended(2).state == "rolled_back"
    assert carrying(f"CORPUS_CHECKOUT={stage}") == set()
    assert (tree_of(box.project().tree), (stage / "index.html").read_text()) == (before, "one")


def test_queue_survives(box: Box) -> None:
    old_release(box)
    gate = box.root / "gate"
    wait = f"gate:\n  cmd.run:\n    - name: while ! test -e {gate}; do sleep 0.05; done\n"
    new_release(box, {".salt/10_wait.sls": wait})
    first = box.work().start_push()
    until(lambda: box.exists(2) and "install 00_page" in box.log(2))  # past sync: it will be rolled back
    second = box.work().start_push("HEAD:refs/deploy/now")
    until(lambda: box.exists(3))
    gate.touch()
    box.kill()
    assert first.wait(60) == 1
    assert second.wait(60) == 0
    assert box.ended(2).state == "rolled_back"
    assert box.row().live == 3


def test_dev_has_the_whole_tree_of_what_was_interrupted(box: Box) -> None:
    """Also what a power cut took of it, while git's index says that all is there."""
    box.init(env="dev")
    old_release(box)
    old, new = box.work().head, new_release(box)
    box.stop()
    box.start("4 install", "before", "wait")
    push = box.work().start_push()
    until(box.happened)
    box.kill()
    for folder in (box.project().stage, box.project().tree):
        (folder / "index.html").write_text("")
    assert push.wait(60) == 1
    done, row = box.ended(2), box.row()
    assert (done.state, row.code, row.tree_code, box.ref()) == ("failed", old, new, old)
    assert (box.project().tree / "index.html").read_text() == "two"
    assert "dev: the tree of deployment 2 is left in place; master is still at" in box.log(2)


# every effect within the steps, each in every way


NEEDS = {  # what a host must have for an effect to be met
    "hand over a notification": "notify: ['json://127.0.0.1:1/']\nnotify_on: [success, failure]\n",
}


@pytest.fixture
def busy(box: Box, request: pytest.FixtureRequest) -> Box:
    """Return a host with a live release, files of its application, and archives to rotate."""
    box.stop()
    box.settings("keep_archives: 1\n" + NEEDS.get(request.node.callspec.params.get("label", ""), ""))
    box.start()
    old_release(box)
    box.work().push("HEAD:refs/deploy/now")  # all has its modes now
    return box


def ended(box: Box, number: int) -> bool:
    """Say whether nothing of a deployment is left to do; keep a daemon at it, as an init system would."""
    box.revive()
    return box.exists(number) and box.deployment(number).ended is not None


def tried(box: Box, number: int, faults: list[tuple[str, str, str]], *, page: str) -> Deployment:
    """Push a release into these faults and check the promise; return what came of it."""
    tree, live = box.project().tree, box.row().code
    before, old_page = tree_of(tree), (tree / "index.html").read_text()
    new = box.work().commit({"index.html": page, ".salt/note": page})  # with the same .salt less is done
    box.faults(*faults)
    code = box.work().push(flags=("--force",)).code
    until(lambda: ended(box, number), 60)
    done, row = box.deployment(number), box.row()
    wanted, happened = [f"{label} {when}" for label, when, _ in faults], box.happened()
    assert happened in (wanted, wanted[:-1] or wanted)  # what is done for good is not done twice
    assert row.broken is None
    deployed = done.state == "deployed"
    assert code == (0 if deployed else 1)
    assert box.ref() == row.code == row.tree_code == (new if deployed else live)
    assert (box.project().stage / "index.html").read_text() == (page if deployed else old_page)
    after = tree_of(tree)
    if deployed:
        for each in (before, after):
            each.pop("."), each.pop("index.html"), each.pop(".salt"), each.pop(".salt/note", None)
        assert (tree / "index.html").read_text() == page
        assert box.log(number).count("success: hello is live") == 1
    assert after == before
    assert not list(box.project().git_dir.rglob("*.lock"))
    return done


def go_on(box: Box, number: int) -> None:
    """Assert that the next push needs nobody's help."""
    assert tried(box, number, [], page="at last").state == "deployed"


@pytest.mark.parametrize("label", FORWARD)
def test_any_effect_fails_in_any_way(busy: Box, label: str) -> None:
    number = 2
    for when in MOMENTS:
        for way in WAYS:
            number += 1
            done = tried(busy, number, [(label, when, way)], page=f"{when} {way}")
            if label != "2 sync" and "sync" not in busy.steps(number):
                assert done.state == "refused"
            assert done.state == "deployed" or done.reason
    go_on(busy, number + 1)


@pytest.mark.parametrize("label", FORWARD)
def test_a_daemon_is_killed_at_any_effect(busy: Box, label: str) -> None:
    for number, when in enumerate(MOMENTS, 3):
        done = tried(busy, number, [(label, when, "kill")], page=when)
        assert (done.state == "deployed") == ("publish" in busy.steps(number))
    go_on(busy, 5)


@pytest.mark.parametrize("label", BACK)
def test_a_daemon_is_killed_twice_while_it_undoes_what_another_left(busy: Box, label: str) -> None:
    refs_moved = [("record live", "before", "EIO")]
    for number, when in enumerate(MOMENTS, 3):
        kills = [(label, when, "kill"), (label, when, "kill")]
        done = tried(busy, number, [*refs_moved, *kills], page=when)
        assert done.state == "rolled_back"
        assert "publish" in busy.steps(number)
    go_on(busy, 5)


@pytest.mark.parametrize("label", [label for label in BACK if label not in ("undo refs", "undo move ref")])
def test_a_roll_back_that_recovery_began_is_killed_twice(busy: Box, label: str) -> None:
    for number, when in enumerate(MOMENTS, 3):
        kills = [("SLS", "after", "kill"), (label, when, "kill"), (label, when, "kill")]
        assert tried(busy, number, kills, page=when).state == "rolled_back"
    go_on(busy, 5)


@pytest.mark.parametrize("label", BACK)
def test_any_effect_of_a_roll_back_fails(busy: Box, label: str) -> None:
    """What fails in a roll back waits for a person, who says `corpus repair`; nothing is lost by that."""
    before = tree_of(busy.project().tree)
    number = 2
    for when in MOMENTS:
        number += 1
        busy.work().commit({"index.html": when})
        busy.faults(("record live", "before", "EIO"), (label, when, "EIO"))
        assert busy.work().push(flags=("--force",)).code == 1
        assert busy.ended(number).state == "broken"
        number += 1
        assert busy.ask(op="repair", project="hello", token=when)["state"] == "done"
        assert tree_of(busy.project().tree) == before
    go_on(busy, number + 1)
