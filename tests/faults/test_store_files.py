"""The files of the store damaged, gone or not to be used: a push, status and doctor say which and what helps; it does.

The daemon was killed: what it committed last is in the WAL beside the store.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from corpushooks.admin import rebuild
from corpushooks.core.errors import StoreError
from corpushooks.core.hints import command
from corpushooks.core.settings import Settings
from corpushooks.store.history import open_store
from corpushooks.system.process import run
from tests.support.box import Box
from tests.support.mounts import mounting
from tests.support.shared_box import corpus, harmless, shared_box

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount, and give files to others")


@pytest.fixture(scope="module")
def killed_once() -> Iterator[Box]:
    """Return a host on which two releases were deployed, and whose daemon was killed."""
    with tempfile.TemporaryDirectory(prefix="killed-", dir="/tmp") as name:  # where others can go, too
        Path(name).chmod(0o755)
        yield from made(Path(name))


def made(folder: Path) -> Iterator[Box]:
    with shared_box(folder, page="one") as box:
        box.app("two").push()
        box.ended(2)
        box.kill()
        assert wal(box.host.store).stat().st_size > 4096
        box.app("three")
        run(["cp", "-a", box.host.root, box.root / "aside"])
        yield box


@pytest.fixture
def killed(killed_once: Box) -> Iterator[Box]:
    """Return that host, as if nobody else had it."""
    yield killed_once
    killed_once.stop()
    shutil.rmtree(killed_once.host.root)
    run(["cp", "-a", killed_once.root / "aside", killed_once.host.root])


def wal(store: Path) -> Path:
    return store.with_name(f"{store.name}-wal")


def shm(store: Path) -> Path:
    return store.with_name(f"{store.name}-shm")


def garbage(path: Path) -> None:
    path.write_bytes(b"\xff\0garbage" * 4000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


def cut(part: float) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        os.truncate(path, int(path.stat().st_size * part))

    return act


def spoilt_within(path: Path) -> None:
    """Overwrite a page in the middle: sqlite reads what is committed before it."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 4096)


def each(*acts: Callable[[Path], None]) -> Callable[[Path], None]:
    def act(store: Path) -> None:
        for one in acts:
            one(store)

    return act


def to(find: Callable[[Path], Path], act: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda store: act(find(store))


def itself(store: Path) -> Path:
    return store


CASES: dict[str, Callable[[Path], None]] = {
    "WAL and shm gone": each(to(wal, Path.unlink), to(shm, Path.unlink)),
    "WAL gone": to(wal, Path.unlink),
    "shm gone": to(shm, Path.unlink),
    "WAL empty": to(wal, empty),
    "WAL cut in its header": to(wal, lambda path: os.truncate(path, 10)),
    "WAL cut": to(wal, cut(0.5)),
    "WAL cut near its end": to(wal, cut(0.97)),
    "WAL garbage": to(wal, garbage),
    "WAL spoilt": to(wal, spoilt_within),
    "WAL a folder": to(wal, a_folder),
    "shm garbage": to(shm, garbage),
    "shm empty": to(shm, empty),
    "shm cut": to(shm, cut(0.3)),
    "shm a folder": to(shm, a_folder),
    "store empty": to(itself, empty),
    "store cut": to(itself, cut(0.5)),
    "store garbage": to(itself, garbage),
    "store gone": to(itself, Path.unlink),
    "store a folder": to(itself, a_folder),
    "store a pipe": to(itself, a_pipe),
    "all gone": each(to(wal, Path.unlink), to(shm, Path.unlink), to(itself, Path.unlink)),
    "folder gone": lambda store: shutil.rmtree(store.parent),
    "folder a file": lambda store: a_file(store.parent),
}


def told(box: Box) -> tuple[str, str]:
    """Return what is wrong and what helps, as status says it; a push and doctor say the same."""
    status = corpus(box, "status")
    if status.code == 0:
        return "", ""
    harmless(status)
    error, hint = status.stderr.decode().splitlines()
    wrong, helps = error.removeprefix("error: "), hint.removeprefix("hint: ")
    assert str(box.host.state_dir) in wrong
    doctor = harmless(corpus(box, "doctor"))
    assert f"wrong  settings and store   {wrong}; {helps}\n" in doctor
    push = box.work().push()
    assert (push.code, push.rejected) == (1, wrong)
    assert push.lines == [f"error: {wrong}", "hint: " + re.sub(r"corpus --root \S+ ", "corpus ", helps)]
    return wrong, helps


def paste(command: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(["sh", "-c", command], env={"PATH": path}, capture_output=True, check=False)
    assert done.returncode == 0, (command, done)


def mend(box: Box) -> list[str]:
    """Do what is said to help until nothing is wrong; return what was."""
    found: list[str] = []
    while len(found) < 4:
        wrong, helps = told(box)
        if not wrong:
            return found
        assert wrong not in found, "it helped"
        found.append(wrong)
        paste(helps)
    raise AssertionError(found)


def see_nothing_lost(box: Box) -> None:
    """See that what was live is, that nothing was taken back, and that the next push deploys."""
    assert (box.row().live, box.row().code) == (2, box.ref())
    assert (box.project().tree / "index.html").read_text() == "two"
    pushed = box.work().push()
    assert pushed.code == 0, pushed.text
    box.ended(3)
    first = "deployed" if (box.project().logs / "1.log").exists() else "refused"  # nothing else says how it ended
    assert [box.deployment(number).state for number in (1, 2, 3)] == [first, "deployed", "deployed"]
    assert (box.row().live, box.row().code, box.ref()) == (3, box.work().head, box.work().head)
    assert (box.project().tree / "index.html").read_text() == "three"


FEW = ("WAL and shm gone", "WAL cut", "shm garbage", "store a folder", "folder gone")


@pytest.mark.parametrize("case", [pytest.param(case, marks=[] if case in FEW else pytest.mark.slow) for case in CASES])
def test_what_is_wrong_with_the_store_is_said_and_what_is_said_to_help_does(killed: Box, case: str) -> None:
    CASES[case](killed.host.store)
    mend(killed)
    see_nothing_lost(killed)


def test_a_push_alone_says_which_command_makes_the_store_anew(killed: Box) -> None:
    CASES["WAL and shm gone"](killed.host.store)
    reason = f"the store {killed.host.store} is missing deployments of hello: 0 recorded, 2 on disk"
    push = killed.work().push()
    assert (push.rejected, push.lines) == (reason, [f"error: {reason}", "hint: corpus rebuild"])
    paste(killed.host.spell(command("rebuild")))
    see_nothing_lost(killed)


def cut_short(box: Box, number: int) -> None:
    """Make the store what it was in the midst of a deployment: sqlite had written it then, and its WAL is gone."""
    for path in (wal(box.host.store), shm(box.host.store)):
        path.unlink(missing_ok=True)
    with closing(sqlite3.connect(box.host.store)) as db, db:
        db.execute("DELETE FROM deployment WHERE number > ?", (number,))
        db.execute("UPDATE deployment SET state = 'running', decided = NULL, ended = NULL WHERE number = ?", (number,))
        db.execute("DELETE FROM journal WHERE number > ? OR step IN ('publish', 'rotate', 'notify')", (number,))
        db.execute("UPDATE project SET live = 1, code = (SELECT new_code FROM deployment WHERE number = 1)")
        db.execute("UPDATE project SET tree_code = code")


def test_a_release_whose_end_the_store_has_lost_is_not_taken_back(killed: Box) -> None:
    killed.start()
    killed.kill()  # the WAL is in the store
    open_store(killed.host).close()
    cut_short(killed, 2)
    reason = f"the store {killed.host.store} is missing the end of deployment 2 of hello"
    assert told(killed)[0] == reason
    assert mend(killed) == [reason]
    assert killed.row().live == 2
    see_nothing_lost(killed)


def test_a_deployment_at_work_in_an_old_store_is_not_taken_back_later(killed: Box) -> None:
    killed.start()
    killed.kill()
    open_store(killed.host).close()
    cut_short(killed, 1)
    assert mend(killed) == [f"the store {killed.host.store} is missing deployments of hello: 1 recorded, 2 on disk"]
    assert killed.row().live == 2
    see_nothing_lost(killed)


def test_a_request_that_waited_in_an_old_store_does_not_begin_again(killed: Box) -> None:
    killed.start()
    killed.kill()
    open_store(killed.host).close()
    cut_short(killed, 1)
    with closing(sqlite3.connect(killed.host.store)) as db, db:
        db.execute("UPDATE deployment SET state = 'queued', started = NULL")
    mend(killed)
    see_nothing_lost(killed)


def test_keys_and_freezes_of_an_old_store_are_named(killed: Box) -> None:
    with closing(open_store(killed.host)) as store:
        store.freeze("", "inventory", "root")
    cut_short(killed, 1)
    (line,) = [line for line in rebuild.rebuild(killed.host, Settings()) if line.startswith("keys and freezes")]
    assert line.endswith(f"later changes may be lost, check them: corpus --root {killed.host.root} key list")


# what cannot be used


@AS_ROOT
def test_a_disk_that_is_read_only_is_said_to_be(killed: Box) -> None:
    folder = killed.host.state_dir
    with mounting() as mount:
        mount(folder, folder)
        run(["mount", "-o", "remount,ro,bind", folder])
        wrong, helps = told(killed)
        assert wrong == f"the store {killed.host.store} cannot be used: {folder} is on a read-only file system"
        paste(helps)
        see_nothing_lost(killed)
        killed.stop()


@AS_ROOT
def test_a_disk_that_is_full_is_said_to_be(killed: Box) -> None:
    folder = killed.host.state_dir
    run(["cp", "-a", folder, folder.with_name("kept")])
    with mounting() as mount:
        mount(folder)
        folder.chmod(0o700)
        run(["cp", "-a", f"{folder.with_name('kept')}/.", folder])
        shm(killed.host.store).unlink()
        fill(folder / "filler")
        wrong, helps = told(killed)
        assert wrong == f"the store {killed.host.store} cannot be used: the disk of {folder} is full"
        paste(helps)
        (folder / "filler").unlink()
        see_nothing_lost(killed)
        killed.stop()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@AS_ROOT
@pytest.mark.parametrize("name", ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"])
@pytest.mark.parametrize("how", ["owner", "mode"])
def test_a_file_that_its_owner_cannot_use_is_named(killed: Box, name: str, how: str) -> None:
    path = killed.host.state_dir / name
    run(["chown", "-R", "65534", killed.host.root])
    os.chown(path, *((0, 0) if how == "owner" else (65534, -1)))
    path.chmod(0o600 if how == "owner" else 0)
    os.seteuid(65534)
    try:
        with pytest.raises(StoreError, match="cannot be used") as caught:
            open_store(killed.host).close()
    finally:
        os.seteuid(0)
    what = "belongs to root, not to nobody" if how == "owner" else "has mode 0000"
    assert caught.value.message == f"the store {killed.host.store} cannot be used: {path} {what}"
    paste(str(caught.value.hint))
    os.seteuid(65534)
    try:
        open_store(killed.host).close()
    finally:
        os.seteuid(0)


@AS_ROOT
def test_a_store_that_is_immutable_is_said_to_be(killed: Box) -> None:
    run(["chattr", "+i", killed.host.store])
    try:
        wrong, helps = told(killed)
        assert wrong == f"the store {killed.host.store} cannot be used: {killed.host.store} is immutable or append-only"
        paste(helps)
        see_nothing_lost(killed)
    finally:
        run(["chattr", "-i", killed.host.store])
