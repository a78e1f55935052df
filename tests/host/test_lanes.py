"""The lanes, in this process and in a daemon: turns, places, the end, and what they must outlive."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from corpushooks import git
from corpushooks.core.deployment import DONE, Deployment, Request
from corpushooks.core.errors import CorpusError, StoreError
from corpushooks.core.settings import Settings
from corpushooks.deploy.lanes import Lanes
from corpushooks.deploy.run import Run
from corpushooks.host.site import Probe, Site
from corpushooks.operations.acts import ACTS
from corpushooks.store.history import History
from corpushooks.system.locks import Semaphore, locked
from corpushooks.system.process import run
from tests.support.box import FAILING, Box, tree_of, until
from tests.support.engines import FakeEngine
from tests.support.own_log import captured

GATE = "gate:\n  cmd.run:\n    - name: touch {0}/begun; while ! test -e {0}/gate; do sleep 0.05; done\n"


def test_tidying_collects_once_in_what_has_worked(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(git, "maintain", asked.append)
    lanes = Lanes(Site(box.host, Settings(), History(box.host.store), FakeEngine()), ACTS)
    lanes.wake("hello")
    lanes.stop()
    lanes.tidy()
    lanes.tidy()
    assert asked == [box.project().code_git, box.project().pillar_git]
    lanes.site.history.close()


def test_collecting_keeps_what_was_deployed(box: Box) -> None:
    work = box.app()
    work.push()
    lost = work.head
    work.git("commit", "--quiet", "--amend", "--message", "again")
    work.push(flags=("--force",))
    work.git("--git-dir", str(box.project().code_git), "gc", "--quiet", "--prune=now")
    assert git.commit(box.project().code_git, lost) == lost


# places


def waiting(places: Semaphore) -> int:
    return len(places._waiting)


def test_places_are_given_in_the_order_of_coming() -> None:
    places, order = Semaphore(1), list[str]()

    def come(name: str) -> None:
        with places:
            order.append(name)

    threads = [threading.Thread(target=come, args=(name,)) for name in "abc"]
    with places:
        for number, thread in enumerate(threads, 1):
            thread.start()
            until(lambda number=number: waiting(places) == number)  # type: ignore[misc]
    come("who had it")
    for thread in threads:
        thread.join()
    assert order == ["a", "b", "c", "who had it"]


def test_no_more_come_in_than_there_is_room_for() -> None:
    places, gate = Semaphore(3), threading.Event()
    inside, most = set[int](), list[int]()

    def come(number: int) -> None:
        with places:
            inside.add(number)
            most.append(len(inside))
            gate.wait(20)
            inside.remove(number)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    until(lambda: (len(inside), waiting(places)) == (3, 17))
    gate.set()
    for thread in threads:
        thread.join()
    assert max(most) == 3 and len(most) == 20
    assert places._free == 3


def test_a_place_is_given_back_where_something_fails() -> None:
    places = Semaphore(1)
    with pytest.raises(KeyError), places:
        raise KeyError
    with places:
        pass


def test_who_leaves_for_a_while_comes_back_without_waiting() -> None:
    places, gate, inside = Semaphore(1), threading.Event(), list[str]()

    def come() -> None:
        with places:
            inside.append("other")
            gate.wait(20)

    other = threading.Thread(target=come)
    with places:
        with places.left():
            other.start()
            until(lambda: inside)
        assert places._free == -1, "more are inside than there is room for"
        with places.at_once():
            assert places._free == -2
        later = threading.Thread(target=come)
        later.start()
        until(lambda: waiting(places) == 1)
        gate.set()
        other.join()
        assert waiting(places) == 1, "one is still too many"
    later.join(20)
    assert (inside, places._free) == (["other", "other"], 1)


@pytest.fixture
def here(new_box: Callable[..., Box]) -> Iterator[tuple[Lanes, list[str]]]:
    """Return the lanes of a host with `hello` and `other`, one place, and tasks that only say that they ran."""
    box, order = new_box(), list[str]()
    box.init()
    box.init("other")

    def note(run: Run) -> None:
        order.append(f"{run.project.name} {run.deployment.number}")
        run.move(DONE)

    site = Site(box.host, Settings(max_parallel=1), History(box.host.store), FakeEngine())
    yield Lanes(site, {**ACTS, "task": note}), order
    site.history.close()


def ask(site: Site, name: str, *tokens: str, kind: str = "task") -> None:
    for token in tokens:
        site.history.enqueue(name, Request(kind=kind, token=token))


def test_a_long_queue_keeps_no_other_lane_waiting(here: tuple[Lanes, list[str]]) -> None:
    working, order = here
    ask(working.site, "hello", "a", "b", "c")
    ask(working.site, "other", "a")
    with working._places:
        for number, name in enumerate(("hello", "other"), 1):
            working.wake(name)
            until(lambda number=number: waiting(working._places) == number)  # type: ignore[misc]
    until(lambda: not working.busy())
    assert order == ["hello 1", "other 1", "hello 2", "hello 3"]


def test_what_a_newer_version_queued_is_refused_and_the_lane_goes_on(here: tuple[Lanes, list[str]]) -> None:
    working, order = here
    ask(working.site, "hello", "a", kind="teleport")
    ask(working.site, "hello", "b", "c")
    with closing(sqlite3.connect(working.site.history.path)) as db:
        db.execute("UPDATE deployment SET request = '{\"kind\": 7}' WHERE number = 2")
        db.commit()
    working.wake("hello")
    until(lambda: not working.busy())
    found = {d.number: (d.state, d.reason, bool(d.ended)) for d in working.site.history.deployments("hello")}
    assert found[1] == ("refused", "unknown request 'teleport'", True)
    assert found[2] == ("refused", "unknown request 'unreadable'", True)
    assert order == ["hello 3"]


# the end


def gated(new_box: Callable[..., Box], settings: str) -> Box:
    """Return a host with a deployed release, on which a deployment runs that ends with a gate, and one waits."""
    box = new_box()
    box.settings(settings)
    box.init()
    box.start()
    assert box.app().push().code == 0
    box.ended(1)
    box.work().commit({"index.html": "two", ".salt/10_gate.sls": GATE.format(box.root)})
    assert box.work().push(options=("nowait",)).code == 0
    box.ask(op="deploy", project="hello", token="t", nowait=True)
    until((box.root / "begun").exists)
    return box


def leave(box: Box) -> None:
    """Await the end of a daemon that was told to stop."""
    assert box.daemon
    assert box.daemon.wait(30) == 0
    box.daemon = None


def test_a_stop_waits_up_to_its_limit_then_rolls_back(new_box: Callable[..., Box]) -> None:
    box = gated(new_box, "stop_timeout: 0.2\n")
    assert box.daemon
    box.daemon.terminate()
    leave(box)
    done = box.deployment(2)
    assert (done.state, done.ended is not None) == ("rolled_back", True)
    assert done.reason == "cancelled by the daemon, which was told to stop"
    assert (box.project().tree / "index.html").read_text() == "one"
    assert box.deployment(3).state == "queued"
    box.start()
    assert box.ended(3).state == "deployed"
    assert box.row().broken is None


def test_who_tells_it_to_stop_twice_does_not_want_to_wait(new_box: Callable[..., Box]) -> None:
    box = gated(new_box, "stop_timeout: null\n")
    assert box.daemon
    box.daemon.terminate()
    until(lambda: not box.reachable())
    assert box.daemon.poll() is None and box.deployment(2).state == "running"
    box.daemon.terminate()
    leave(box)
    assert [box.deployment(number).state for number in (2, 3)] == ["rolled_back", "queued"]


def test_a_stop_waits_for_a_roll_back(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.settings("stop_timeout: 0.1\n")
    box.init()
    box.start()
    box.app(files={".salt/rollback.sls": GATE.format(box.root)}).push()
    box.ended(1)
    before = tree_of(box.project().tree)
    box.work().commit({"index.html": "two", ".salt/10_broken.sls": FAILING})
    assert box.work().push(options=("nowait",)).code == 0
    until((box.root / "begun").exists)
    assert box.daemon
    box.daemon.terminate()
    until(lambda: not box.reachable())
    box.daemon.send_signal(signal.SIGTERM)
    with pytest.raises(TimeoutError):
        waits_for(box)
    (box.root / "gate").touch()
    leave(box)
    assert (box.deployment(2).state, box.deployment(2).reason) == ("rolled_back", "install 10_broken failed: broken")
    assert tree_of(box.project().tree) == before


def waits_for(box: Box) -> None:
    """Raise TimeoutError where the daemon is still there after more than its limit."""
    assert box.daemon
    try:
        box.daemon.wait(0.5)
    except Exception as exc:
        raise TimeoutError from exc


def test_a_lane_that_waits_for_the_lock_of_another_process_holds_up_no_stop(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.settings("stop_timeout: 0.1\n")
    box.init()
    box.start()
    with locked(box.project()):
        assert box.app().push(options=("nowait",)).code == 0
        assert box.daemon
        box.daemon.terminate()
        leave(box)
    assert box.deployment(1).state == "queued"
    box.start()
    assert box.ended(1).state == "deployed"


# logs


def test_where_no_log_can_be_made_nothing_runs(box: Box) -> None:
    work = box.app()
    folder = box.project().logs
    folder.rmdir()
    folder.write_text("no folder")
    pushed = work.push()
    assert pushed.code == 1
    assert pushed.rejected == f"cannot create the log {folder}/1.log: File exists"
    assert box.ended(1).state == "refused"
    folder.unlink()
    assert work.push().code == 0


def test_what_was_begun_comes_to_its_end_without_a_log(box: Box) -> None:
    box.app().push()
    box.ended(1)
    before = tree_of(box.project().tree)
    box.work().commit({"index.html": "two", ".salt/10_gate.sls": GATE.format(box.root)})
    push = box.work().start_push()
    until((box.root / "begun").exists)
    folder = box.project().logs
    folder.rename(folder.with_name("aside"))
    folder.write_text("no folder")
    box.kill()
    assert push.wait(60) == 1
    assert box.ended(2).state == "rolled_back"
    assert tree_of(box.project().tree) == before
    folder.unlink()
    folder.with_name("aside").rename(folder)
    box.work().commit({".salt/10_gate.sls": None})
    assert box.work().push().code == 0


# the store


def locking(path: Path, label: str, held: threading.Event) -> tuple[sqlite3.Connection, Probe]:
    """Return another user of the store, and a probe that has it take the store for itself at an effect."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    def probe(at: str, when: str) -> None:
        if (at, when) == (label, "before") and not held.is_set():
            other.execute("BEGIN IMMEDIATE")
            held.set()

    return other, probe


@pytest.mark.parametrize("label", ["1 archive", "3 fixperms", "4 install", "6 publish", "undo restore", "7 rotate"])
def test_a_store_that_is_locked_too_long_leaves_nothing_half(box: Box, label: str) -> None:
    box.app().push()
    box.ended(1)
    box.stop()
    project, held = box.project(), threading.Event()
    before = tree_of(project.tree)
    broken = {".salt/10_broken.sls": FAILING} if label == "undo restore" else {}
    box.work().commit({"index.html": "two", **broken})
    run(["git", "--git-dir", project.code_git, "fetch", "--quiet", box.work().path, "HEAD"])
    other, probe = locking(box.host.store, label, held)
    with captured(), closing(History(box.host.store, patience=0.05)) as store:
        site = Site(box.host, Settings(), store, FakeEngine(), probe)
        store.enqueue("hello", Request(token="t", new=box.work().head))
        working = Lanes(site, ACTS)
        working.wake("hello")
        until(lambda: held.is_set() and not working.running)
        assert working.busy()
        assert store.deployment("hello", 2).ended is None
        other.execute("ROLLBACK")
        until(lambda: not working.busy())
        done, row = store.deployment("hello", 2), store.project("hello")
    other.close()
    assert done.ended and row and row.broken is None
    if label == "7 rotate":
        assert (done.state, box.ref()) == ("deployed", box.work().head)
    else:
        assert done.state == ("refused" if label == "1 archive" else "rolled_back")
        assert tree_of(project.tree) == before
        assert box.ref() == row.code != box.work().head


@pytest.mark.parametrize(("method", "word"), [("begin", "undo restore"), ("move", "rolling_back")])
def test_a_store_that_fails_for_a_moment_breaks_no_project(
    box: Box, monkeypatch: pytest.MonkeyPatch, method: str, word: str
) -> None:
    box.app().push()
    box.ended(1)
    box.stop()
    before = tree_of(box.project().tree)
    box.work().commit({"index.html": "two", ".salt/10_broken.sls": FAILING})
    run(["git", "--git-dir", box.project().code_git, "fetch", "--quiet", box.work().path, "HEAD"])
    with captured(), closing(History(box.host.store)) as store:
        real, failed = getattr(store, method), list[str]()

        def flickers(deployment: Deployment, what: str, *more: str) -> object:
            if what == word and not failed:
                failed.append(what)
                raise StoreError("database is locked")
            return real(deployment, what, *more)

        monkeypatch.setattr(store, method, flickers)
        store.enqueue("hello", Request(token="t", new=box.work().head))
        working = Lanes(Site(box.host, Settings(), store, FakeEngine()), ACTS)
        working.wake("hello")
        until(lambda: not working.busy())
        done, row = store.deployment("hello", 2), store.project("hello")
    assert failed and done.state == "rolled_back"
    assert row and row.broken is None
    assert tree_of(box.project().tree) == before


def test_a_disk_that_takes_nothing_more_refuses_and_is_survived(box: Box) -> None:
    box.app().push()
    box.ended(1)
    before = tree_of(box.project().tree)
    box.work().commit({"index.html": "two", ".salt/10_gate.sls": GATE.format(box.root)})
    pushing = box.work().start_push()
    until((box.root / "begun").exists)
    assert box.daemon
    resource.prlimit(box.daemon.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # every write fails
    (box.root / "gate").touch()
    opened = Path(f"/proc/{box.daemon.pid}/fd")
    until(lambda: not [fd for fd in opened.iterdir() if os.path.lexists(fd) and "/2.log" in os.readlink(fd)])
    with pytest.raises(CorpusError, match=r"the store .* disk"):
        box.ask(op="deploy", project="hello", token="t")
    assert not box.deployment(2).final
    resource.prlimit(box.daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert pushing.wait(60) == 1
    assert box.ended(2).state == "rolled_back"
    assert tree_of(box.project().tree) == before
    assert box.work().push().code == 0
    assert box.row().live == 3


LONG = json.dumps({"at": 1.0, "text": "x" * (1 << 20)}).encode() + b"\n"


@pytest.mark.parametrize("fails", [False, True], ids=["that succeeds", "that fails"])
def test_a_log_disk_that_is_full_changes_no_outcome(box: Box, fails: bool) -> None:
    box.app().push()
    box.ended(1)
    log = box.project().log_file(2)
    log.write_bytes(LONG * 8)
    assert box.daemon
    limit = (log.stat().st_size, resource.RLIM_INFINITY)  # no other file comes near
    resource.prlimit(box.daemon.pid, resource.RLIMIT_FSIZE, limit)
    box.work().commit({"index.html": "two", **({".salt/10_broken.sls": FAILING} if fails else {})})
    pushed = box.work().push()
    assert log.stat().st_size == limit[0]
    assert pushed.code == (1 if fails else 0)
    assert pushed.rejected == ("install 10_broken failed; rolled back" if fails else "")
    assert box.ended(2).state == ("rolled_back" if fails else "deployed")
    box.work().commit({".salt/10_broken.sls": None} if fails else {})
    assert box.work().push().code == 0


def test_whoever_waits_for_a_place_is_told_so(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.settings("max_parallel: 1\n")
    box.init()
    box.init("other")
    box.start()
    first = box.app(files={".salt/10_gate.sls": GATE.format(box.root)}).start_push()
    until((box.root / "begun").exists)
    work = box.app(name="other")
    second = work.start_push()
    told = work.path / ".git/push.log"
    until(lambda: "waiting for a free slot: 1 deployment is running (max_parallel)" in told.read_text())
    (box.root / "gate").touch()
    assert (first.wait(60), second.wait(60)) == (0, 0)
    assert told.read_text().count("waiting for") == 1
