"""Load: many projects, pushes, deployments, files and archives; nothing is lost, and what it takes is bounded.

The sizes are those that a run of the whole suite can afford; LOAD_SIZE=full takes the full ones.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from corpushooks.admin import rebuild
from corpushooks.core.deployment import Deployment, Request, Revision
from corpushooks.screen import screen
from corpushooks.store import history, log
from corpushooks.store.history import History
from corpushooks.system.process import run
from tests.support.box import FAILING, Box, tree_of, until

FULL = os.environ.get("LOAD_SIZE") == "full"
PROJECTS = 50
CLIENTS = 8
PUSHES = 200 if FULL else 80
ROWS = 10_000
FILES = 100_000 if FULL else 10_000
ARCHIVES = 1000 if FULL else 200


def cost(box: Box) -> dict[str, int]:
    """Return what the daemon takes: descriptors, threads, and the most memory it ever had, in MiB."""
    assert box.daemon
    proc = Path(f"/proc/{box.daemon.pid}")
    peak = re.search(r"VmHWM:\s+(\d+) kB", (proc / "status").read_text())
    assert peak
    count = {name: len(os.listdir(proc / name)) for name in ("fd", "task")}
    return {**count, "memory": int(peak[1]) >> 10}


def report(box: Box, what: str, size: int) -> None:
    """Show what a load cost, to whoever runs this with -s."""
    print(f"{size} {what}: {cost(box)}")


def quiet(box: Box) -> None:
    until(lambda: not box.ask(op="ping")["busy"], 60)


def returns_to(box: Box, before: dict[str, int]) -> None:
    """Await that the daemon holds no more descriptors and threads than before."""
    quiet(box)
    until(lambda: all(cost(box)[name] <= before[name] + 2 for name in ("fd", "task")))


def at_once(acts: list[Callable[[], None]]) -> None:
    """Do everything at the same time; fail where one fails."""
    wrong: list[BaseException] = []

    def guarded(act: Callable[[], None]) -> None:
        try:
            act()
        except BaseException as exc:
            wrong.append(exc)

    threads = [threading.Thread(target=guarded, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_many_projects_pushed_at_once(new_box: Callable[..., Box]) -> None:
    """Each is deployed, no more than max_parallel at a time, and every push got all lines of its own log."""
    box, names = new_box(), [f"p{number}" for number in range(PROJECTS)]
    mark = f"mark:\n  cmd.run:\n    - name: echo + >> {box.root}/marks; sleep 0.05; echo - >> {box.root}/marks\n"
    box.settings("max_parallel: 3\n")
    for name in names:
        box.init(name)
    box.start()
    before = cost(box)
    works = {name: box.app(name, name, {".salt/10_mark.sls": mark}) for name in names}
    pushed: dict[str, object] = {}

    def push(name: str) -> None:
        pushed[name] = works[name].push()

    at_once([lambda name=name: push(name) for name in names])  # type: ignore[misc]
    for name in names:
        done = pushed[name]
        assert (done.code, done.rejected) == (0, ""), done.text  # type: ignore[attr-defined]
        assert (box.project(name).tree / "index.html").read_text() == name
        assert (box.ref(name), box.row(name).live) == (works[name].head, 1)
        box.ended(1, name)
        path = box.project(name).log_file(1)
        short = [text.rstrip() for text in screen.texts(log.read(path), whole=False)]
        short = short[: next(n for n, text in enumerate(short) if text.startswith("success: ")) + 1]
        beats = ("hint: ", "      … ", "waiting for ")
        heard = [line for line in done.lines if not line.startswith(beats)]  # type: ignore[attr-defined]
        assert heard[: len(short)] == short
    depth = most = 0
    for sign in (box.root / "marks").read_text().split():
        depth += 1 if sign == "+" else -1
        most = max(most, depth)
    assert depth == 0 and most <= 3
    returns_to(box, before)
    report(box, "projects", PROJECTS)
    assert cost(box)["memory"] < 400


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_pushes_to_one_project(box: Box, tmp_path: Path) -> None:
    """Each push has a number and an outcome of its own; what is live in the end is what git says."""
    box.app().push()
    box.ended(1)
    before, outcomes = cost(box), list[tuple[str, int, str]]()
    works = []
    for client in range(CLIENTS):
        run(["git", "clone", "--quiet", box.work().remote, tmp_path / f"client{client}"])
        works.append(type(box.work())(tmp_path / f"client{client}", box.work().remote))

    def client(number: int) -> None:
        work = works[number]
        for turn in range(PUSHES // CLIENTS):
            commit = work.commit({"index.html": f"{number} {turn}"})
            to = "HEAD:refs/deploy/now" if turn % 2 else "HEAD:master"
            done = work.push(to, flags=("--force",), options=("force",))
            outcomes.append((commit, done.code, done.rejected))

    at_once([lambda number=number: client(number) for number in range(CLIENTS)])  # type: ignore[misc]
    quiet(box)
    with closing(box.history) as store:
        found = store.deployments("hello")
        row = store.project("hello")
    assert row and len(outcomes) == PUSHES
    rejected = [reason for _, code, reason in outcomes if code]
    assert set(rejected) <= {"the branch moved while this push waited", "stale info", "fetch first"}
    assert [one.number for one in found] == list(range(len(found), 0, -1))
    deployed = {one.new_code for one in found if one.state == "deployed"}
    assert deployed >= {commit for commit, code, _ in outcomes if code == 0}
    assert {one.state for one in found} <= {"deployed", "refused"} and all(one.ended for one in found)
    assert len(deployed) > PUSHES // 2
    last = next(one for one in found if one.state == "deployed")
    assert (row.live, row.code, box.ref()) == (last.number, last.new_code, last.new_code)
    shown = run(["git", "--git-dir", box.project().code_git, "show", f"{last.new_code}:index.html"]).text
    assert (box.project().tree / "index.html").read_text() == shown
    assert not list(box.project().git_dir.rglob("*.lock"))
    returns_to(box, before)
    report(box, "pushes", PUSHES)
    assert cost(box)["memory"] < 400


# a long history


@pytest.fixture
def long(box: Box) -> Box:
    """Return a host whose project has many deployments behind it, all but the first of them failed."""
    box.app().push()
    box.ended(1)
    box.stop()
    row = box.row()
    failed = Deployment("hello", 0, "", "rolled_back", Request(), new_code=row.code, queued=1.0, started=2.0, ended=4.0)
    steps = enumerate(["archive", "sync", "fixperms", "install", "undo refs", "undo restore"])
    journal = [{"project": "hello", "seq": seq, "step": step, "at": 1.0} for seq, step in steps]
    numbers = range(2, ROWS + 1)
    with closing(History(box.host.store)) as store:
        shown = rebuild._as_row(failed)
        store.fill("deployment", ({**shown, "number": number, "token": str(number)} for number in numbers))
        store.fill("journal", ({**line, "number": number} for number in numbers for line in journal))
        assert len(store.deployments("hello")) == ROWS
    box.start()
    return box


def test_a_long_history_costs_a_push_nothing(long: Box) -> None:
    before = cost(long)
    pushed = long.work().push("HEAD:refs/deploy/now")
    assert pushed.code == 0, pushed.text
    assert long.ended(ROWS + 1).state == "deployed"
    report(long, "deployments", ROWS)
    assert cost(long)["memory"] - before["memory"] < 50
    words = [sys.executable, "-m", "corpushooks", "--root", long.host.root]
    shown = run([*words, "history", "hello"]).text.splitlines()
    assert len(shown) == 20 and shown[0].startswith(f"*{ROWS + 1:>5}")


QUERIES: dict[str, Callable[[History, Deployment], object]] = {
    "project": lambda store, one: store.project("hello"),
    "add_project": lambda store, one: store.add_project("hello", "prod", "master"),
    "enqueue": lambda store, one: store.enqueue("hello", Request(token="new")),
    "deployment": lambda store, one: store.deployment("hello", 1),
    "deployments": lambda store, one: store.deployments("hello", 20),
    "earlier": lambda store, one: store.earlier("hello", "a", "b"),
    "newest": lambda store, one: store.newest("hello"),
    "unfinished": lambda store, one: store.unfinished("hello"),
    "queued": lambda store, one: store.queued("hello", 1),
    "ahead": lambda store, one: store.ahead(one),
    "move": lambda store, one: store.move(one, "running"),
    "aim": lambda store, one: store.aim(one, Revision("a", "b"), Revision("c", "d"), "archive"),
    "begin": lambda store, one: store.begin(one, "sync"),
    "steps": lambda store, one: store.steps(one),
    "children": lambda store, one: store.children(one),
    "set_cancelled": lambda store, one: store.set_cancelled(one, "me"),
    "end": lambda store, one: store.end(one),
}


@pytest.mark.parametrize("name", QUERIES)
def test_no_question_reads_a_whole_table(tmp_path: Path, name: str) -> None:
    with closing(History(tmp_path / "store")) as store:
        store.add_project("hello", "prod", "master")
        one = store.enqueue("hello", Request(token="t"))
        asked: list[str] = []
        store._db.set_trace_callback(asked.append)
        QUERIES[name](store, one)
        store._db.set_trace_callback(None)
        questions = [text for text in asked if text.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE")]
        plans = [row["detail"] for text in questions for row in store._db.execute(f"EXPLAIN QUERY PLAN {text}")]
        assert questions
        assert not [plan for plan in plans if plan.startswith("SCAN") and plan != "SCAN CONSTANT ROW"], plans


def test_what_was_live_last_is_found_past_all_that_failed(tmp_path: Path) -> None:
    """By its index: without it, every failure since is looked at."""
    with closing(History(tmp_path / "store")) as store:
        asked: list[str] = []
        store._db.set_trace_callback(asked.append)
        store.earlier("hello", "a", "b")
        store.add_project("hello", "prod", "master")
        store._db.set_trace_callback(None)
        plans = [
            row["detail"]
            for text in asked
            if text.startswith("SELECT") and history.LIVE in text
            for row in store._db.execute(f"EXPLAIN QUERY PLAN {text}")
        ]
    assert len(plans) == 2 and all("deployment_live" in plan for plan in plans)


# a large tree


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_tree_of_very_many_files(box: Box) -> None:
    """It is deployed, fails, and comes back exactly; the daemon's memory stays within bounds."""
    work = box.app()
    for number in range(FILES):
        path = work.path / f"many/{number // 1000}/{number}"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_text(str(number))
    work.commit()
    assert work.push().code == 0
    box.ended(1)
    (box.project().tree / "many/upload").write_text("precious")
    before = tree_of(box.project().tree)
    assert len(before) > FILES
    for number in range(0, FILES, 100):
        (work.path / f"many/{number // 1000}/{number}").write_text("changed")
    shutil.rmtree(work.path / "many/3")
    work.commit({".salt/10_broken.sls": FAILING})
    pushed = work.push()
    assert (pushed.code, pushed.rejected) == (1, "install 10_broken failed; rolled back")
    box.ended(2)
    assert tree_of(box.project().tree) == before
    report(box, "files", FILES)
    assert cost(box)["memory"] < 150 + FILES * 8 // 1000  # some 8 kB for each file are plenty


# many archives


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_very_many_archives(new_box: Callable[..., Box]) -> None:
    """Each keeps its own, shares what did not change, and only the oldest go."""
    box = new_box()
    box.settings(f"keep_archives: {ARCHIVES}\n")
    box.init()
    box.start()
    work = box.app(files={"same.txt": "never changes"})
    work.push()
    box.ended(1)
    fill_archives(box, ARCHIVES)
    before = cost(box)
    for number in (ARCHIVES + 1, ARCHIVES + 2):
        work.commit({"index.html": f"page {number}"})
        assert work.push().code == 0
        box.ended(number)
    kept = sorted(int(path.name.rpartition("_")[2]) for path in box.project().archives.iterdir())
    assert kept == list(range(3, ARCHIVES + 3))
    last = [next(box.project().archives.glob(f"*_{number}")) / "project" for number in (ARCHIVES + 1, ARCHIVES + 2)]
    assert [(path / "same.txt").read_text() for path in last] == ["never changes"] * 2
    returns_to(box, before)
    report(box, "archives", ARCHIVES)
    assert cost(box)["memory"] - before["memory"] < 100


def fill_archives(box: Box, count: int) -> None:
    """Give a project `count` deployments, each with an archive of its own: a copy of the first, of links."""
    box.stop()
    archives, row = box.project().archives, box.row()
    first = next(archives.iterdir())
    with closing(History(box.host.store)) as store:
        one = store.deployment("hello", 1)
        rows: list[dict[str, object]] = []
        for number in range(2, count + 1):
            name = f"{first.name.rpartition('_')[0]}_{number}"
            run(["cp", "-al", first, archives / name])
            rows.append({**rebuild._as_row(one), "number": number, "token": str(number), "archive": name})
        store.fill("deployment", rows)
        assert store.newest("hello") == count and row.live == 1
    with closing(sqlite3.connect(box.host.store)) as db:
        db.execute(f"UPDATE project SET live = {count}")
        db.commit()
    box.start()
