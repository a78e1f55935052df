"""The store: what must be true together, what may follow what, and what outlives a crash."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from corpushooks.core.deployment import (
    BROKEN,
    CANCELLED,
    DEPLOYED,
    DONE,
    FAILED,
    QUEUED,
    REFUSED,
    ROLLED_BACK,
    ROLLING_BACK,
    RUNNING,
    TRANSITIONS,
    ChildRow,
    Deployment,
    Request,
    Revision,
)
from corpushooks.core.errors import StoreError, UsageError
from corpushooks.core.policy import Policy
from corpushooks.host.site import open_site
from corpushooks.reports import reports
from corpushooks.reports.reports import Report
from corpushooks.store.fleet import Fleet
from corpushooks.store.history import History
from corpushooks.store.kept import Backups, Kept
from corpushooks.store.migrations import VERSION
from tests.support.box import Box

STATES = (QUEUED, RUNNING, ROLLING_BACK, DEPLOYED, DONE, REFUSED, CANCELLED, FAILED, ROLLED_BACK, BROKEN)
ALLOWED = {
    (QUEUED, RUNNING), (QUEUED, REFUSED), (QUEUED, CANCELLED), (RUNNING, DEPLOYED), (RUNNING, DONE), (RUNNING, REFUSED),
    (RUNNING, ROLLING_BACK), (RUNNING, FAILED), (ROLLING_BACK, ROLLED_BACK), (ROLLING_BACK, BROKEN),
}  # fmt: skip
WAYS: dict[str, tuple[str, ...]] = {QUEUED: (), RUNNING: (RUNNING,), ROLLING_BACK: (RUNNING, ROLLING_BACK)}
WAYS |= {new: (*WAYS[old], new) for old, new in sorted(ALLOWED) if new not in WAYS}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[History]:
    store = History(tmp_path / "var/store.sqlite")
    store.add_project("hello", "prod", "master")
    yield store
    store.close()


def enqueue(store: History, token: str, project: str = "hello", **given: object) -> Deployment:
    return store.enqueue(project, Request(token=token, **given))  # type: ignore[arg-type]


def brought(store: History, state: str) -> Deployment:
    """Return a deployment in a state, by the shortest way there."""
    deployment = enqueue(store, state)
    for step in WAYS[state]:
        deployment = store.move(deployment, step)
    return deployment


@pytest.mark.parametrize(("old", "new"), list(itertools.product(STATES, STATES)))
def test_only_the_table_allows(store: History, old: str, new: str) -> None:
    deployment = brought(store, old)
    if (old, new) in ALLOWED:
        assert store.move(deployment, new, "why").state == new
        assert store.deployment("hello", 1).reason == "why"
        return
    with pytest.raises(StoreError, match=f"hello deployment 1 cannot change from {old} to {new}"):
        store.move(deployment, new)
    assert store.deployment("hello", 1) == deployment


def test_a_state_is_final_where_nothing_follows() -> None:
    assert {state for state in STATES if state not in TRANSITIONS} == {
        DEPLOYED, DONE, REFUSED, CANCELLED, FAILED, ROLLED_BACK, BROKEN,
    }  # fmt: skip
    assert not Deployment("p", 1, "t", RUNNING, Request()).final
    assert Deployment("p", 1, "t", BROKEN, Request()).final


def test_what_is_stale_is_read_afresh_before_it_moves(store: History) -> None:
    stale = enqueue(store, "t")
    store.move(stale, CANCELLED)
    with pytest.raises(StoreError, match="from cancelled to running"):
        store.move(stale, RUNNING)


def test_a_token_that_came_before_gets_what_it_got_then(store: History) -> None:
    first = enqueue(store, "t", new="one")
    store.move(first, RUNNING)
    again = enqueue(store, "t", new="two")
    assert (again.number, again.state, again.request.new) == (1, RUNNING, "one")
    assert len(store.deployments("hello")) == 1


def test_numbers_are_each_projects_own(store: History) -> None:
    store.add_project("other", "prod", "master")
    numbers = [enqueue(store, f"{n}", project).number for n, project in enumerate(["hello", "other", "hello", "other"])]
    assert numbers == [1, 1, 2, 2]
    store.forget_project("hello", purge=False)
    assert enqueue(store, "later").number == 3
    store.forget_project("hello", purge=True)
    assert enqueue(store, "afresh").number == 1
    assert len(store.deployments("other")) == 2


def test_a_project_that_is_made_anew_reuses_no_number_that_backups_or_nodes_know(store: History) -> None:
    for number in range(3):
        enqueue(store, f"{number}")
    Backups(store).add(Kept("hello", 3, "host-hello-3", 1.0, None, None, 1, 1, 1, 0, 0))
    Fleet(store).begin("hello", 7, ["n1"], "unknown", Policy())
    store.forget_project("hello", purge=True)
    store.add_project("hello", "prod", "master")
    assert enqueue(store, "afresh").number == 8


def test_numbers_are_unique_among_threads_and_processes(store: History) -> None:
    other = History(store.path)

    def ask(which: History, name: str) -> None:
        for index in range(10):
            enqueue(which, f"{name}{index}")

    threads = [threading.Thread(target=ask, args=(s, n)) for s, n in ((store, "a"), (store, "b"), (other, "c"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert [one.number for one in store.deployments("hello")] == list(range(30, 0, -1))


def test_everything_outlives_the_process(store: History) -> None:
    request = Request(
        kind="rollback", repo="pillar", ref="refs/heads/x", old="old", new="new", who="me", key="key", via="push",
        token="t", task="task", target=7, only=("sync",), skip=("notify",), steps=("00_a", "10_b"),
        edited=("project/a",), units=("a.service",), force=True, insist=True, nowait=True, progress=True,
    )  # fmt: skip
    deployment = store.enqueue("hello", request)
    store.move(deployment, RUNNING)
    store.aim(deployment, Revision("a"), Revision("b", "c"), "archive_1")
    store.begin(deployment, "archive")
    store.begin(deployment, "sync")
    store.begin(deployment, "fixperms")
    store.begin(deployment, "fixperms")
    store.add_child(deployment, ChildRow(1, 2, 3))
    store.set_cancelled(deployment, "her")
    store.close()
    again = History(store.path)
    found = again.deployment("hello", 1)
    assert found.request == request
    assert (found.old_code, found.old_pillar, found.new_code, found.new_pillar) == ("a", None, "b", "c")
    assert (found.archive, found.cancelled, found.state) == ("archive_1", "her", RUNNING)
    assert again.steps(found) == ["archive", "sync", "fixperms", "fixperms"]
    assert again.children(found) == [ChildRow(1, 2, 3)]
    assert again.unfinished("hello") == [found]
    again.end(found)
    assert (again.unfinished("hello"), again.children(found)) == ([], [])
    again.close()


def test_publish_changes_everything_at_once_or_nothing(store: History) -> None:
    deployment = enqueue(store, "t")
    store.aim(deployment, Revision(), Revision("code", "pillar"), "a")
    with pytest.raises(StoreError, match="from queued to deployed"):
        store.publish(deployment)
    row = store.project("hello")
    assert row and (row.live, row.code) == (None, None)
    store.set_broken("hello", "why")
    store.move(deployment, RUNNING)
    assert store.publish(store.deployment("hello", 1)).state == DEPLOYED
    row = store.project("hello")
    assert row and (row.live, row.code, row.pillar, row.tree_code, row.tree_pillar, row.broken) == (
        1, "code", "pillar", "code", "pillar", None,
    )  # fmt: skip


def test_what_waits_and_what_runs(store: History) -> None:
    first, second, third = (enqueue(store, token) for token in "abc")
    first = store.move(first, RUNNING)
    assert [d.number for d in store.unfinished("hello")] == [1]
    assert [d.number for d in store.queued("hello")] == [2, 3]
    store.move(second, CANCELLED)
    store.end(second)
    assert store.queued("hello") == [third]
    store.move(first, FAILED)
    assert [d.number for d in store.unfinished("hello")] == [1]  # final, and something is left to do


def test_times_are_kept_in_order(store: History) -> None:
    deployment = store.move(enqueue(store, "t"), RUNNING)
    assert deployment.started and deployment.started >= deployment.queued and deployment.decided is None
    deployment = store.move(deployment, ROLLING_BACK, "first reason")
    assert deployment.decided is None
    deployment = store.move(deployment, ROLLED_BACK)
    assert deployment.decided and deployment.decided >= (deployment.started or 0)
    assert deployment.reason == "first reason"


def test_a_request_of_a_newer_version_is_read() -> None:
    assert Request.load('{"kind": "task", "only": ["a"], "colour": "blue"}') == Request(kind="task", only=("a",))


def test_json_shows_no_token(store: History) -> None:
    shown = enqueue(store, "secret", who="me", via="push").as_json()
    assert "secret" not in str(shown)
    assert (shown["kind"], shown["by"], shown["via"], shown["number"]) == ("deploy", "me", "push", 1)


def test_what_is_not_there_is_an_error(store: History) -> None:
    assert store.project("nobody") is None
    with pytest.raises(UsageError, match="hello has no deployment 7") as caught:
        store.deployment("hello", 7)
    assert str(caught.value.hint) == "corpus history hello"


@pytest.mark.parametrize("number", [0, -1, 1 << 62, (1 << 63) - 1, 1 << 63, -(1 << 63), 10**30, -(10**30)])
def test_a_number_that_no_store_takes_is_one_that_is_not_there(store: History, number: int) -> None:
    with pytest.raises(UsageError, match=f"hello has no deployment {number}"):
        store.deployment("hello", number)


@pytest.mark.parametrize("tell", [reports.history, reports.commands])
def test_a_limit_that_no_store_takes_is_everything(box: Box, tell: Callable[..., Report]) -> None:
    assert tell(open_site(box.host), box.row(), 10**30).value == []


def test_a_project_can_change_its_environment(store: History) -> None:
    store.set_tree("hello", "c", "p")
    store.add_project("hello", "dev", "main")
    row = store.project("hello")
    assert row and (row.environment, row.branch, row.tree_code) == ("dev", "main", "c")
    assert [one.name for one in store.projects()] == ["hello"]


def test_the_store_is_its_owners_and_durable(store: History) -> None:
    assert store.path.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(store.path) as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    db.close()
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL


def test_a_newer_store_is_refused_and_left_alone(store: History) -> None:
    store.close()
    with sqlite3.connect(store.path) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    with pytest.raises(StoreError, match="was written by a newer corpushooks"):
        History(store.path)
    with sqlite3.connect(store.path) as db:
        assert db.execute("SELECT count(*) FROM project").fetchone()[0] == 1
    db.close()


def test_what_is_no_store_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="is a folder"):
        History(tmp_path / "folder")
