"""A store that is gone, damaged, older or newer than the host it tells of: said, kept, and made anew when asked."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from corpushooks.admin import rebuild
from corpushooks.core.deployment import Deployment, Request
from corpushooks.core.errors import LostStoreError, NoDaemonError, StoreError, UsageError
from corpushooks.core.hints import command
from corpushooks.core.project import Host
from corpushooks.core.settings import Settings
from corpushooks.store import migrations
from corpushooks.store.history import History, open_store
from corpushooks.system.process import run
from tests.support.box import FAILING, Box, DaemonDiedError, tree_of
from tests.support.command import corpus
from tests.support.shared_box import shared_box


def told(box: Box) -> list[str]:
    """Have the lost store made anew; return what was said of it."""
    return rebuild.rebuild(box.host, Settings())


def refuses(box: Box) -> str:
    """Return why the daemon does not start: two lines, of which the second names the command that helps."""
    with pytest.raises(DaemonDiedError) as caught:
        box.start()
    lines = str(caught.value).splitlines()
    assert "corpushooks.core.errors.LostStoreError: " in lines[-1]
    (box.root / "daemon.log").write_text("")
    return lines[-1]


@pytest.fixture(scope="module")
def three_made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Return a host on which two releases were deployed and a third failed, and no daemon runs."""
    with shared_box(tmp_path_factory.mktemp("three"), page="one") as box:
        for number, broken in ((2, None), (3, FAILING)):
            extra = {".salt/10_broken.sls": broken} if broken else {}
            box.work().commit({"index.html": f"page {number}", **extra}, str(number))
            assert box.work().push().code == (1 if broken else 0)
            box.ended(number)
        box.work().commit({".salt/10_broken.sls": None})
        box.stop()
        run(["cp", "-a", box.host.root, box.root / "aside"])
        yield box


@pytest.fixture
def three(three_made: Box) -> Iterator[Box]:
    """Return that host, as if nobody else had it."""
    yield three_made
    three_made.stop()
    shutil.rmtree(three_made.host.root)
    run(["cp", "-a", three_made.root / "aside", three_made.host.root])


def deployments(box: Box, name: str = "hello") -> list[Deployment]:
    with closing(box.history) as store:
        return store.deployments(name)


def projects(box: Box) -> list[str]:
    with closing(box.history) as store:
        return [row.name for row in store.projects()]


def beside(box: Box) -> list[Path]:
    return sorted(box.host.state_dir.glob("store.sqlite*"))


def grow(box: Box, rows: int) -> None:
    """Give the store many more deployments, older than those that there are."""
    with closing(History(box.host.store)) as store:
        for table in ("deployment", "journal", "project"):
            with store.change() as db:
                if table == "project":
                    db.execute(f"UPDATE project SET live = live + {rows}")
                else:
                    db.execute(f"UPDATE {table} SET number = number + {rows}")
        old = Deployment("hello", 0, "", "deployed", Request(), new_code="c" * 40, queued=1.0, ended=1.0)
        store.fill("deployment", (rebuild._as_row(old) | {"number": n, "token": str(n)} for n in range(1, rows + 1)))
    for path in list(box.project().logs.iterdir()):
        path.rename(path.with_name(f"{int(path.stem) + rows}.log"))


# gone


def test_a_store_that_is_gone_is_not_begun_anew(three: Box) -> None:
    shutil.rmtree(three.host.state_dir)
    reason = f"the store {three.host.store} is missing, but {three.project().code_git} exists"
    assert reason in refuses(three)
    with pytest.raises(LostStoreError, match="is missing, but"):
        three.init("another")
    assert not three.host.store.exists()


def test_what_sqlite_left_beside_it_is_taken_for_a_store_too(tmp_path: Path) -> None:
    host = Host(tmp_path)
    open_store(host).close()
    host.store.rename(host.store.with_name("store.sqlite-wal"))
    with pytest.raises(LostStoreError, match=r"is missing, but .*-wal exists"):
        open_store(host)


def test_a_store_that_is_gone_is_made_anew_from_the_disk(three: Box) -> None:
    before, row, tree = deployments(three), three.row(), tree_of(three.project().tree)
    for path in beside(three):
        path.unlink()
    lines = told(three)
    assert lines[2:4] == [
        "hello: 3 deployments from logs, archives and pins",
        f"hello: prod, deploys master, live is deployment 2 at {row.code[:7] if row.code else ''}; check this",
    ]
    made = three.row()
    assert (made.live, made.code, made.pillar, made.tree_code) == (row.live, row.code, row.pillar, row.tree_code)
    after = deployments(three)
    assert [(d.number, d.state, d.new_code, d.archive) for d in after] == [
        (d.number, d.state, d.new_code, d.archive) for d in before
    ]
    assert tree_of(three.project().tree) == tree
    three.start()
    pushed = three.work().push()
    assert (pushed.code, three.row().live) == (0, 4)
    three.ended(4)
    assert three.ask(op="rollback", project="hello", number=2)["state"] == "deployed"
    assert (three.project().tree / "index.html").read_text() == "page 2"


def test_the_environment_is_that_of_the_last_log(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.init(env="staging")
    box.start()
    box.app().push()
    box.ended(1)
    box.stop()
    box.host.store.unlink()
    told(box)
    assert box.row().environment == "staging"


def test_a_broken_project_stays_broken_until_it_is_repaired(box: Box) -> None:
    box.app().push()
    box.ended(1)
    before = tree_of(box.project().tree)
    box.stop()
    box.start("undo restore", "before", "EIO")
    box.work().commit({"index.html": "two", ".salt/10_broken.sls": FAILING})
    box.work().push()
    assert box.ended(2).state == "broken"
    box.stop()
    box.host.store.unlink()
    told(box)
    box.start()
    assert "corpus repair hello" in box.work().push(flags=("--force",)).text
    assert box.ask(op="repair", project="hello", token="r")["state"] == "done"
    assert tree_of(box.project().tree) == before


@pytest.mark.parametrize("moved", [False, True], ids=["in an install", "as it was published"])
def test_what_was_interrupted_when_the_store_was_lost_comes_to_its_end(box: Box, moved: bool) -> None:
    box.app().push()
    box.ended(1)
    before, old = tree_of(box.project().tree), box.work().head
    box.stop()
    python = box.root / "python"  # no hook brings a daemon back before we look
    python.write_text(re.sub(r"\) cd .* ;;", ") exit 1 ;;", python.read_text()))
    box.start("move ref" if moved else "5 fixperms", "after", "kill")
    new = box.work().commit({"index.html": "two"})
    push = box.work().start_push()
    assert box.daemon and box.daemon.wait(30)
    box.daemon = None
    assert push.wait(30) == 1
    for path in beside(box):
        path.unlink()
    told(box)
    box.start()
    done = box.ended(2)
    assert (done.state, box.ref(), box.row().code) == (("deployed", new, new) if moved else ("rolled_back", old, old))
    if not moved:
        assert tree_of(box.project().tree) == before
    assert (box.project().tree / "index.html").read_text() == ("two" if moved else "one")
    assert box.work().push("HEAD:refs/deploy/now").code == 0
    assert box.row().live == 3


# damaged


def garbage(path: Path) -> None:
    path.write_bytes(b"no store of anything\n" * 1000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [garbage, empty, zeros])
def test_a_store_that_is_none_is_refused_kept_and_made_anew(three: Box, damage: Callable[[Path], None]) -> None:
    row = three.row()
    damage(three.host.store)
    left = three.host.store.read_bytes()
    assert f"the store {three.host.store} is damaged" in refuses(three)
    assert three.host.store.read_bytes() == left
    with pytest.raises(StoreError):
        three.init("another")
    kept = [Path(line.removeprefix("kept: ")) for line in told(three) if line.startswith("kept: ")]
    assert kept[0].read_bytes() == left
    assert (three.row().live, three.row().code) == (row.live, row.code)
    three.start()
    assert three.work().push().code == 0
    assert three.row().live == 4


def test_what_can_be_read_of_a_damaged_store_is_kept(three: Box) -> None:
    grow(three, 400)
    size = three.host.store.stat().st_size // 4096
    with three.host.store.open("r+b") as file:
        file.seek(size // 2 * 4096)
        file.write(b"\xff" * 4096)
    assert "is damaged" in refuses(three)
    assert told(three)[0].startswith(f"the store {three.host.store} is damaged")
    found = deployments(three)
    assert found[0].number == 403 and len(found) > 300
    assert found[-1].number == 1
    assert (three.row().live, three.row().environment, three.row().branch) == (402, "prod", "master")
    three.start()
    assert three.work().push().code == 0
    assert three.row().live == 404


def test_a_store_that_lost_its_last_rows_is_said_so_and_gets_them_back(box: Box) -> None:
    """As when its WAL is torn, or when it comes back from a backup."""
    box.app("one").push()
    box.ended(1)
    box.stop()
    old = box.host.store.read_bytes()
    box.start()
    box.work().commit({"index.html": "two"})
    box.work().push()
    box.ended(2)
    box.stop()
    row = box.row()
    box.host.store.write_bytes(old)
    assert "is missing deployments of hello: 1 recorded, 2 on disk" in refuses(box)
    with pytest.raises(LostStoreError, match="is missing deployments of hello"):
        box.init()
    told(box)
    assert (box.row().live, box.row().code, box.row().tree_code) == (2, row.code, row.code)
    assert [d.state for d in deployments(box)] == ["deployed", "deployed"]
    box.start()
    box.work().commit({"index.html": "three"})
    assert box.work().push().code == 0
    assert box.row().live == 3


def test_a_project_that_was_removed_is_not_brought_back(three: Box) -> None:
    three.init("other")
    with closing(three.history) as store:
        store.forget_project("hello", purge=False)
        assert store.newest("hello") == 3
    assert told(three) == ["the store is intact; nothing was changed"]
    (three.project("other").logs / "1.log").write_text("")  # of a deployment that the store has lost
    assert "is missing deployments of other" in told(three)[0]
    assert projects(three) == ["other"]
    three.init()
    assert three.row().live == 2


def test_a_damage_that_is_met_in_use_names_the_command(tmp_path: Path) -> None:
    store = History(tmp_path / "store")
    store.add_project("hello", "prod", "master")
    (root,) = store.rows("SELECT rootpage FROM sqlite_schema WHERE name = 'project'")
    store.close()
    with store.path.open("r+b") as file:
        file.seek((root["rootpage"] - 1) * 4096)  # not where the schema is, which is read as it is opened
        file.write(b"\xff" * 4096)
    with closing(History(store.path)) as again, pytest.raises(LostStoreError, match="is damaged") as caught:
        again.projects()
    assert str(caught.value.hint) == "corpus rebuild"


def test_a_store_that_is_taken_away_in_use_is_not_written_on(tmp_path: Path) -> None:
    with closing(History(tmp_path / "store")) as store:
        store.path.rename(tmp_path / "away")
        with pytest.raises(LostStoreError, match="was removed or replaced while it was in use"):
            store.add_project("hello", "prod", "master")
        with (
            closing(History(store.path)),
            pytest.raises(LostStoreError, match="was removed or replaced while it was in use"),
        ):
            store.add_project("hello", "prod", "master")
    with closing(History(tmp_path / "away")) as away:
        assert away.projects() == []


# rebuild itself


def test_a_whole_store_is_left_alone(three: Box) -> None:
    before = [(path.name, path.read_bytes()) for path in beside(three)]
    assert told(three) == ["the store is intact; nothing was changed"]
    assert [(path.name, path.read_bytes()) for path in beside(three)] == before


def test_the_command_says_what_is_wrong_and_makes_it_anew(three: Box) -> None:
    garbage(three.host.store)
    asked = corpus(three, "status")
    wrong = f"the store {three.host.store} is damaged: file is not a database"
    assert (asked.code, asked.stderr.decode().splitlines()) == (
        1,
        [f"error: {wrong}", f"hint: {three.host.spell(command('rebuild'))}"],
    )
    said = json.loads(corpus(three, "rebuild", "--json").text)["done"]
    assert said[0] == wrong and said[-1].startswith(f"kept: {three.host.store}.damaged-")
    assert corpus(three, "rebuild").text == "the store is intact; nothing was changed"
    assert "deployment 2" in corpus(three, "status").text


def test_the_command_says_who_is_at_work_with_what_is_left(three: Box) -> None:
    three.start()
    assert three.daemon
    asked = corpus(three, "rebuild")
    wrong = [
        "error: a daemon is still running on this store",
        f"hint: stop it first: kill {three.daemon.pid}",
    ]
    assert (asked.code, asked.stderr.decode().splitlines()) == (3, wrong)
    three.stop()


def test_nothing_is_made_anew_beside_a_daemon(box: Box) -> None:
    with pytest.raises(NoDaemonError, match="a daemon is already running"):
        told(box)


def test_where_nothing_was_ever_made_there_is_nothing_to_make_anew(new_box: Callable[..., Box]) -> None:
    with pytest.raises(UsageError, match="no projects exist under"):
        told(new_box())


def test_a_newer_store_is_not_made_anew(box: Box) -> None:
    box.stop()
    with closing(sqlite3.connect(box.host.store)) as db:
        db.execute(f"PRAGMA user_version = {migrations.VERSION + 1}")
    with pytest.raises(StoreError, match="was written by a newer corpushooks"):
        told(box)


@pytest.mark.parametrize("at", ["keep_aside", "put"])
def test_making_it_anew_can_be_interrupted(three: Box, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    row, known = three.row(), deployments(three)
    (three.project().logs / "4.log").write_text("")  # of a deployment that the store has lost
    real = getattr(rebuild, at)

    def dies(*words: object) -> None:
        if at == "keep_aside":
            real(*words)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rebuild, at, dies)
        with pytest.raises(KeyboardInterrupt):
            told(three)
    with pytest.raises(LostStoreError, match="is missing, but"):
        open_store(three.host)
    told(three)
    assert deployments(three)[1:] == known  # with all that only the old store could say
    assert (three.row().live, three.row().code) == (row.live, row.code)
    assert len([path for path in beside(three) if "damaged" in path.name]) == 1
