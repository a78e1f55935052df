"""A deployment that is held before it is final: confirmed, cancelled, out of time; by one of them, and only one."""

from __future__ import annotations

import getpass
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from corpushooks.core.deployment import Deployment, Request
from corpushooks.core.errors import RefusedError, StateError, UsageError
from corpushooks.core.settings import Settings
from corpushooks.deploy.lanes import Lanes
from corpushooks.host.site import Site
from corpushooks.operations.acts import ACTS
from corpushooks.store import lease
from corpushooks.store.history import History
from corpushooks.store.lease import Lease
from corpushooks.system.process import run, start_time
from tests.support.box import FAILING, Box, tree_of, until
from tests.support.command import corpus
from tests.support.engines import FakeEngine

ME = getpass.getuser()


def held(box: Box, number: int = 2, *options: str, files: dict[str, str | None] | None = None) -> None:
    """Push a release that is held, and return once it is."""
    box.work().commit({"index.html": "two", **(files or {})})
    pushed = box.work().push(options=("nowait", *(options or ("confirm=600",))))
    assert pushed.code == 0, pushed.text
    until(lambda: box.deployment(number).state == "held")


def confirm(box: Box, number: int = 2) -> dict[str, Any]:
    return box.ask(op="confirm", project="hello", number=number)


@pytest.fixture
def live(box: Box) -> Box:
    """Return a host with a live release."""
    assert box.app().push().code == 0
    box.ended(1)
    return box


def ends(box: Box, started: Any) -> str:
    """Await the end of a push; return what it said."""
    started.wait(60)
    return (box.work().path / ".git/push.log").read_text()


def test_a_push_waits_says_how_it_is_confirmed_and_ends_with_the_outcome(live: Box) -> None:
    old, new = live.work().head, live.work().commit({"index.html": "two"})
    words = ["--push-option=confirm=600", "HEAD:master"]
    push = live.work().start_push(*words)
    until(lambda: live.exists(2) and live.deployment(2).state == "held")
    assert live.ref() == live.row().code == old
    assert (live.project().tree / "index.html").read_text() == "two"
    said = live.work().path / ".git/push.log"
    until(lambda: "confirm hello 2" in said.read_text())
    assert push.poll() is None
    assert confirm(live)["state"] == "deployed"
    assert push.wait(30) == 0
    assert live.ref() == live.row().code == new
    text = said.read_text()
    assert "waiting for confirmation until " in text and "(10 min 0 s)" in text
    assert f"confirmed by {ME}" in text and "[7/9] publish" in text
    assert live.ended(2).confirmed == ME


def test_the_journal_has_the_row_that_decides_with_the_confirmation(live: Box) -> None:
    held(live)
    assert live.steps(2)[-1] == "hold"
    live.faults(("7 publish", "before", "wait"))
    threading.Thread(target=confirm, args=(live,)).start()
    until(live.happened)
    assert (live.deployment(2).state, live.steps(2)[-2:]) == ("running", ["hold", "publish"])
    with pytest.raises(RefusedError, match=f"deployment 2 was confirmed by {ME}, and is being published"):
        live.ask(op="cancel", project="hello")
    (live.host.root / "gate").touch()
    assert live.ended(2).state == "deployed"


def test_what_nobody_confirms_goes_back_exactly(live: Box) -> None:
    before, old = tree_of(live.project().tree), live.work().head
    live.work().commit({"index.html": "two"})
    pushed = live.work().push(options=("confirm=1",))
    assert (pushed.code, pushed.rejected) == (1, "not confirmed within 1 s; rolled back")
    done = live.ended(2)
    assert (done.state, done.reason) == ("rolled_back", "not confirmed within 1 s")
    assert tree_of(live.project().tree) == before
    assert live.ref() == live.row().code == old
    with pytest.raises(RefusedError, match=r"cannot be confirmed: it is rolled back: not confirmed within 1 s"):
        confirm(live)


def test_in_dev_it_goes_back_too(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.init(env="dev")
    box.start()
    box.app().push()
    box.ended(1)
    before = tree_of(box.project().tree)
    held(box, 2, "confirm=2")
    (box.project().tree / "index.html").write_text("saved meanwhile")
    assert box.ended(2).state == "rolled_back"
    assert tree_of(box.project().tree) == before
    assert next(box.project().archives.glob("*_2/project.failed/index.html")).read_text() == "saved meanwhile"


def test_in_dev_what_was_saved_while_it_was_held_is_an_edit(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.init(env="dev")
    box.start()
    box.app().push()
    held(box)
    (box.project().tree / "index.html").write_text("saved meanwhile")
    assert confirm(box)["state"] == "deployed"
    pushed = box.app("three").push()
    assert pushed.rejected == "1 file edited on the server would be lost"


def test_it_is_cancelled(live: Box) -> None:
    before = tree_of(live.project().tree)
    held(live)
    told = live.ask(op="cancel", project="hello")
    assert (told["state"], told["reason"], told["summary"]) == ("rolled_back", *[f"cancelled by {ME}"] * 2)
    assert tree_of(live.project().tree) == before
    assert live.ended(2).cancelled == ME


def test_the_number_is_that_of_one_deployment(live: Box) -> None:
    held(live)
    for number, why in ((1, "cannot be confirmed: it is deployed"), (3, "has no deployment 3")):
        with pytest.raises((RefusedError, UsageError), match=why):
            confirm(live, number)
    assert live.deployment(2).state == "held"
    confirm(live)
    assert confirm(live)["state"] == "deployed", "who asks again is told what came of it"


def test_what_is_not_held_yet_cannot_be_confirmed(live: Box) -> None:
    live.faults(("4 install", "before", "wait"))
    live.work().commit({"index.html": "two"})
    live.work().push(options=("nowait", "confirm"))
    live.work().push("HEAD:refs/deploy/now", options=("nowait",))
    until(live.happened)
    with pytest.raises(RefusedError, match="deployment 2 of hello is not held yet"):
        confirm(live)
    with pytest.raises(RefusedError, match="deployment 3 of hello is not held yet"):
        confirm(live, 3)
    (live.host.root / "gate").touch()
    until(lambda: live.deployment(2).state == "held")
    assert live.deployment(2).lease == 300
    confirm(live)
    assert live.ended(3).state == "deployed"


# settings and options


def test_the_setting_holds_each_deployment_and_its_limit_bounds_what_is_asked_for(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.settings("confirm_limit: 100\nprojects: {hello: {confirm: 90}}\n")
    box.init()
    box.init("other")
    box.start()
    assert box.app(name="other").push().code == 0
    box.app().push(options=("nowait",))
    until(lambda: box.exists(1) and box.deployment(1).state == "held")
    assert box.deployment(1).lease == 90
    confirm(box, 1)
    box.work().commit({"index.html": "two"})
    assert (
        box.work().push(options=("confirm=101",)).lines[0]
        == "error: confirm=101 exceeds the limit of 100 s (confirm_limit)"
    )
    assert not box.exists(2)
    with pytest.raises(UsageError, match="exceeds the limit of 100 s"):
        box.ask(op="deploy", project="hello", token="t", confirm=101)
    for wrong in ("confirm=", "confirm=0", "confirm=1.5", "confirm=-3", "confirm=soon", "confirm=1234567890"):
        assert "expected a number of seconds" in box.work().push(options=(wrong,)).text
    box.ask(op="plan", project="hello", token="p")
    assert box.ended(2).state == "done", "a plan has nothing to hold"
    box.ask(op="rollback", project="hello", number=1, token="r", nowait=True)
    until(lambda: box.deployment(3).state == "held")
    box.ask(op="cancel", project="hello")


def test_the_command_asks_and_confirms(live: Box) -> None:
    live.work().commit({"index.html": "two"})
    assert corpus(live, "deploy", "hello", "--nowait", "--confirm=600").code == 0
    until(lambda: live.deployment(2).state == "held")
    status = corpus(live, "status", "hello").stdout.decode()
    assert f"held: deployment 2 by {ME} until " in status and "confirm hello 2" in status
    found = json.loads(corpus(live, "status", "hello", "--json").stdout)["open"][0]
    assert (found["state"], found["lease"]) == ("held", 600) and 0 < found["left"] <= 600
    assert "boot" not in found and "until" not in found
    assert "  held  " in corpus(live, "history", "hello").stdout.decode()
    assert 'corpushooks_held{project="hello"} 1' in corpus(live, "metrics").stdout.decode()
    told = corpus(live, "confirm", "hello", "2")
    assert (told.code, told.stdout.decode()) == (0, "deployment 2 of hello: deployed\n")
    assert json.loads(corpus(live, "confirm", "hello", "2", "--json").stdout)["confirmed"] == ME
    assert corpus(live, "confirm", "hello", "1").code == 3
    assert corpus(live, "deploy", "--confirm", "hello", "--nowait").code == 0
    until(lambda: live.deployment(3).state == "held")
    assert live.deployment(3).lease == 300
    confirm(live, 3)


def test_a_deployment_without_a_daemon_is_held_too(live: Box) -> None:
    live.work().commit({"index.html": "two"})
    done: list[int] = []
    here = threading.Thread(target=lambda: done.append(corpus(live, "deploy", "hello", "--here", "--confirm=600").code))
    here.start()
    until(lambda: live.exists(2) and live.deployment(2).state == "held")
    assert confirm(live)["state"] == "deployed"
    here.join(30)
    assert done == [0]


def test_a_frozen_project_can_be_confirmed_and_cancelled(live: Box) -> None:
    held(live)
    live.ask(op="freeze", project="hello", reason="so")
    assert confirm(live)["state"] == "deployed"
    live.ask(op="thaw", project="hello")
    live.work().commit({"index.html": "three"})
    live.work().push(options=("nowait", "confirm"))
    until(lambda: live.deployment(3).state == "held")
    live.ask(op="freeze", project="hello", reason="so")
    assert live.ask(op="cancel", project="hello")["state"] == "rolled_back"


# the lane


def test_its_place_is_for_others_and_those_of_the_project_wait(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.settings("max_parallel: 1\ntimeout: 3\nstep_timeout: 3\n")
    box.init()
    box.init("other")
    box.start()
    box.app(files={".salt/notify.sls": "told:\n  test.nop: []\n"}).push()
    held(box)
    assert box.app(name="other").push().code == 0, "it has the one place"
    behind = box.work().start_push("HEAD:refs/deploy/now")
    told = box.work().path / ".git/push.log"
    until(lambda: f"waiting for deployment 2 by {ME}, which is waiting for confirmation until " in told.read_text())
    until(lambda: time.time() > (box.deployment(2).held or 0) + 3.2)  # more than a deployment may take
    assert box.deployment(2).state == "held"
    confirm(box)
    assert behind.wait(30) == 0
    assert "timed out after" not in box.log(2)
    assert (box.deployment(2).took or 9) < 3, "how long it was held is not how long it took"


def test_a_stop_leaves_it_to_the_next_daemon(live: Box) -> None:
    held(live)
    live.stop()
    assert live.deployment(2).state == "held"
    live.start()
    until(lambda: live.log(2).count("waiting for confirmation") == 2)
    assert confirm(live)["state"] == "deployed"


def test_a_stop_that_waits_for_nothing_cancels_none_that_is_held(live: Box) -> None:
    live.stop()
    live.work().commit({"index.html": "two"})
    run(["git", "--git-dir", live.project().code_git, "fetch", "--quiet", live.work().path, "HEAD"])
    with closing(History(live.host.store)) as store:
        store.enqueue("hello", Request(token="t", new=live.work().head, confirm=600))
        working = Lanes(Site(live.host, Settings(), store, FakeEngine()), ACTS)
        working.wake("hello")
        until(lambda: store.deployment("hello", 2).state == "held")
        working.site.stopping = True
        assert working.stop(0.0) == []
        until(lambda: not working.busy())
        assert (store.deployment("hello", 2).state, store.deployment("hello", 2).cancelled) == ("held", None)


def test_a_daemon_that_was_killed_is_held_on_and_keeps_the_lease(live: Box) -> None:
    held(live, 2, "confirm=3")
    lease_then = live.deployment(2).until
    live.kill()
    live.start()
    assert live.deployment(2).until == lease_then
    assert live.ended(2).reason == "not confirmed within 3 s"


def changed(box: Box, **columns: object) -> None:
    """Change what the store says of deployment 2, while nobody uses it."""
    with closing(History(box.host.store)) as store, store.change() as db:
        for name, value in columns.items():
            db.execute(f"UPDATE deployment SET {name} = ? WHERE number = 2", (value,))


def test_after_a_reboot_it_is_over(live: Box) -> None:
    before = tree_of(live.project().tree)
    held(live)
    live.kill()
    changed(live, boot="another")
    live.start()
    assert live.ended(2).reason == "not confirmed: the host was restarted"
    assert tree_of(live.project().tree) == before


def test_what_is_over_cannot_be_confirmed_before_anybody_noticed(live: Box) -> None:
    held(live)
    live.faults(("hold back", "before", "wait"))
    changed(live, until=0)
    until(live.happened)
    assert live.deployment(2).state == "held"
    with pytest.raises(RefusedError, match="its lease expired"):
        confirm(live)
    (live.host.root / "gate").touch()
    assert live.ended(2).state == "rolled_back"


def test_a_lease_is_counted_by_a_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = Lease.begin(100)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 99 < begun.left() <= 100
    now = lease.now()
    monkeypatch.setattr(lease, "now", lambda: now + 99.5)
    assert 0 < begun.left() <= 0.5
    monkeypatch.setattr(lease, "now", lambda: now + 101)
    assert begun.left() == 0
    monkeypatch.setattr(lease, "now", lambda: now - 1000)
    assert begun.left() == 100, "never longer than was asked for"
    assert Lease(100, "another", now + 50).left() == 0


# health


def test_health_goes_on_being_asked(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.settings("health_every: 0.1\nhealth_failures: 3\n")
    box.init()
    box.start()
    well = box.root / "well"
    well.touch()
    health = f"makina-projects.hello:\n  health:\n    - command: test -e {well}\n      retries: 0\n"
    box.app(files={".salt/PILLAR.sample": health}).push()
    box.ended(1)
    before = tree_of(box.project().tree)
    held(box)
    well.unlink()
    done = box.ended(2)
    assert done.state == "rolled_back"
    assert done.reason.startswith("health check failed 3 times while held: command test -e ")
    assert done.summary == "health check failed 3 times while held"
    assert tree_of(box.project().tree) == before
    assert box.log(2).count("FAILED   command test -e") == 3


# exactly one


def ready(box: Box) -> tuple[History, Deployment]:
    """Return a store with a deployment that is held, and nobody at it."""
    held(box)
    box.kill()
    store = History(box.host.store)
    return store, store.deployment("hello", 2)


def test_of_many_that_confirm_cancel_and_let_it_run_out_exactly_one_wins(live: Box) -> None:
    store, one = ready(live)
    others = [History(live.host.store) for _ in range(12)]
    won, gate = list[str](), threading.Barrier(12)
    acts: dict[str, Callable[[History], object]] = {
        "confirm": lambda store: store.confirm(one, "her"),
        "back": lambda store: store.move(one, "rolling_back", "late"),
        "cancel": lambda store: store.set_cancelled(one, "him"),
    }

    def act(number: int, other: History) -> None:
        name = list(acts)[number % 3]
        gate.wait()
        try:
            acts[name](other)
            won.append(name)
        except StateError:
            pass

    threads = [threading.Thread(target=act, args=pair) for pair in enumerate(others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = store.deployment("hello", 2)
    if won[0] == "confirm":
        assert won == ["confirm"] and (now.state, now.confirmed, now.cancelled) == ("running", "her", None)
    else:
        assert "confirm" not in won and (now.state, now.confirmed) == ("rolling_back", None)
    assert ("publish" in store.steps(now)) == (won[0] == "confirm")
    for each in (store, *others):
        each.close()


def test_what_was_cancelled_in_the_moment_before_is_not_held(live: Box) -> None:
    before = tree_of(live.project().tree)
    live.faults(("hold record", "before", "wait"))
    live.work().commit({"index.html": "two"})
    live.work().push(options=("nowait", "confirm"))
    until(live.happened)
    asking = threading.Thread(target=lambda: live.ask(op="cancel", project="hello"))
    asking.start()
    until(lambda: live.deployment(2).cancelled)
    (live.host.root / "gate").touch()
    asking.join(30)
    done = live.ended(2)
    assert (done.state, done.reason, done.held) == ("rolled_back", f"cancelled by {ME}", None)
    assert tree_of(live.project().tree) == before


def test_a_release_that_fails_is_not_held(live: Box) -> None:
    live.work().commit({".salt/10_broken.sls": FAILING})
    assert live.work().push(options=("confirm",)).rejected == "install 10_broken failed; rolled back"
    assert live.ended(2).held is None


@pytest.mark.parametrize("salt", [False, True], ids=["fake", "warm"])
def test_what_an_sls_left_running_lives_on_through_a_hold_and_a_daemon_that_is_killed(
    new_box: Callable[..., Box], salt: bool
) -> None:
    live = new_box(salt=salt)
    live.init()
    live.start()
    assert live.app().push().code == 0
    pid = live.root / "pid"
    left = f"left:\n  cmd.run:\n    - name: sleep 300 </dev/null >/dev/null 2>&1 & echo $! > {pid}\n"
    notify = f"told:\n  cmd.run:\n    - name: echo told > {live.root}/told\n"
    held(live, files={".salt/10_left.sls": left, ".salt/notify.sls": notify})
    number = int(pid.read_text())
    try:
        live.kill()
        live.start()
        until(lambda: live.steps(2).count("hold") == 2)
        confirm(live)
        assert live.ended(2).state == "deployed"
        assert start_time(number), "it was stopped"
        assert (live.root / "told").read_text() == "told\n"
    finally:
        os.kill(number, signal.SIGKILL)


def test_of_two_who_confirm_and_one_who_cancels_at_once_one_is_obeyed(live: Box) -> None:
    for number in range(2, 7):
        live.work().commit({"index.html": f"{number}"})
        push = live.work().start_push("--push-option=confirm=600", "HEAD:master", "--force")
        until(lambda number=number: live.exists(number) and live.deployment(number).state == "held")  # type: ignore[misc]
        gate, told = threading.Barrier(3), list[tuple[str, str]]()

        def ask(op: str, number: int = number, gate: threading.Barrier = gate, told: list[Any] = told) -> None:
            gate.wait()
            try:
                told.append(
                    (op, live.ask(op=op, project="hello", **({"number": number} if op == "confirm" else {}))["state"])
                )
            except RefusedError as exc:
                told.append((op, exc.message))

        asking = [threading.Thread(target=ask, args=(op,)) for op in ("confirm", "cancel", "confirm")]
        for each in asking:
            each.start()
        for each in asking:
            each.join(60)
        done = live.ended(number)
        deployed = done.state == "deployed"
        assert push.wait(30) == (0 if deployed else 1)
        assert (bool(done.confirmed), bool(done.cancelled)) == (deployed, not deployed), told
        assert all((said == "deployed") == deployed for op, said in told if op == "confirm"), told
        assert all((said == "rolled_back") != deployed for op, said in told if op == "cancel"), told


def test_a_clock_that_is_set_changes_no_lease(live: Box) -> None:
    """The daemon of this test has a wall clock of its own, which goes back and forth by years."""
    live.stop()
    live.work().commit({"index.html": "two"})
    run(["git", "--git-dir", live.project().code_git, "fetch", "--quiet", live.work().path, "HEAD"])
    shift, real = [0.0], time.time
    with pytest.MonkeyPatch.context() as patch, closing(History(live.host.store)) as store:
        patch.setattr(time, "time", lambda: real() + shift[0])
        store.enqueue("hello", Request(token="t", new=live.work().head, confirm=4))
        working = Lanes(Site(live.host, Settings(), store, FakeEngine()), ACTS)
        working.wake("hello")
        until(lambda: store.deployment("hello", 2).state == "held")
        begun = time.monotonic()
        for years in (10, -10, 1, -40):
            shift[0] = years * 31e6
            held_for = time.monotonic() - begun
            assert store.deployment("hello", 2).state == "held" or held_for > 4
            time.sleep(0.3)
        until(lambda: not working.busy())
        assert store.deployment("hello", 2).reason == "not confirmed within 4 s"
        assert time.monotonic() - begun > 3.5


def test_a_setting_that_was_lowered_meanwhile_counts_for_the_next(new_box: Callable[..., Box]) -> None:
    """The push, which comes again to the next daemon, is told what came of it."""
    box = new_box()
    box.settings("")
    box.init()
    box.start()
    push = box.app().start_push("--push-option=confirm=500", "HEAD:master")
    until(lambda: box.exists(1) and box.deployment(1).state == "held")
    box.stop()
    box.settings("confirm_limit: 100\n")
    box.start()
    assert confirm(box, 1)["state"] == "deployed"
    assert box.deployment(1).lease == 500
    assert push.wait(60) == 0
    assert box.app("two").push().code == 0
