"""A hostile application: it owns project/ and acts there while root archives, syncs, sets modes and rolls back."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from corpushooks.core.settings import load
from corpushooks.daemon import server
from corpushooks.host import accounts
from corpushooks.host.site import Site
from corpushooks.store.history import History
from corpushooks.system.process import Child, run, spawn
from corpushooks.tree import descriptors
from tests.support.box import FAILING, Box, tree_of, until
from tests.support.engines import FakeEngine

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="another user is needed")
APP = 12345  # the user of the application
SECRET = "the-secret-of-the-host"
MOMENTS = {
    "open", "os.scandir", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.chown", "os.utime",
    "os.link", "os.symlink", "os.setxattr",
}  # fmt: skip
AT: list[Callable[[object], None]] = []  # what is done at each moment of a lane; audit hooks stay for ever


def _at_each_moment(event: str, values: tuple[object, ...]) -> None:
    if AT and event in MOMENTS and threading.current_thread().name.startswith("lane"):
        act = AT.pop()
        try:
            act(values[0] if event == "open" else None)
        finally:
            AT.append(act)


sys.addaudithook(_at_each_moment)


@contextlib.contextmanager
def at_each_moment(act: Callable[[object], None]) -> Iterator[None]:
    """Do something whenever a deployment is about to touch a file; it is told what is opened."""
    AT.append(act)
    try:
        yield
    finally:
        AT.clear()


@dataclass
class Besieged(Box):
    """A host whose daemon works in this process."""

    site: Site | None = None

    def at_each_step(self, act: Callable[[], None]) -> None:
        """Do something at the beginning and the end of every step, forward and back."""
        assert self.site is not None
        self.site.probe = lambda _label, _when: act()


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Besieged]:
    """Return such a host with a live release, and an application's files."""
    box = Besieged(tmp_path / "box")
    box.root.mkdir()
    box.init()
    monkeypatch.setattr(accounts, "account_ids", lambda *_: (APP, APP) if ROOT else (None, None))
    box.site = Site(box.host, load(box.host.config_file), History(box.host.store), FakeEngine())
    with server.listening(box.site) as listener:
        served = server.Daemon(box.site, listener)
        thread = threading.Thread(target=served.serve)
        thread.start()
        try:
            assert box.app(files={"app/settings.py": "one", "app/media/logo": "one"}).push().code == 0
            box.ended(1)
            (box.project().tree / "app/media/upload").write_text("of the application")
            yield box
        finally:
            served.stop()
            thread.join()
    box.site.history.close()


@pytest.fixture
def victim(box: Box) -> Path:
    """Return a folder outside of the project that nobody may touch or read, with names that the project has too."""
    folder = box.root / "victim"
    (folder / "media").mkdir(parents=True)
    for name in ("settings.py", "media/logo", "media/other", "secret"):
        (folder / name).write_text(SECRET)
        (folder / name).chmod(0o600)
    return folder


def spilled(box: Box) -> list[Path]:
    """Return the files of the host that have the secret in them; a link is not followed."""
    files = (Path(folder) / name for folder, _, names in os.walk(box.host.root) for name in names)
    found = [path for path in files if path.is_file() and not path.is_symlink()]
    return [path for path in found if SECRET.encode() in path.read_bytes()]


def latest(box: Box) -> int:
    store = box.history
    number = max(one.number for one in store.deployments("hello"))
    store.close()
    return number


def deploy(box: Box) -> list[str]:
    """Deploy something new, and something that is rolled back; return the outcomes."""
    work = box.work()
    number = latest(box)
    work.commit({"app/settings.py": f"{number}", "app/media/logo": f"{number}", f"app/new{number}": "x"})
    work.push("+HEAD:master")
    work.commit({"app/settings.py": "bad", "app/media/new": "bad", ".salt/99_bad.sls": FAILING})
    work.push("+HEAD:master")
    work.git("reset", "--hard", "--quiet", "HEAD~1")
    return [box.ended(n).state for n in (number + 1, number + 2)]


# folders that become links under our hands


class Swap:
    """Swaps a folder for a link, and back, at every `period`th moment."""

    def __init__(self, folder: Path, to: Path, period: int) -> None:
        self.folder, self.to, self.period = folder, to, period
        self.aside = folder.parents[1] / "data" / f"aside-{folder.name}"
        self.moments = itertools.count(1)
        self.swaps = 0

    def __call__(self, _opened: object) -> None:
        if next(self.moments) % self.period == 0:
            self.turn()

    def turn(self) -> None:
        with contextlib.suppress(OSError):
            if self.folder.is_symlink():
                self.folder.unlink()
                self.aside.rename(self.folder)
            else:
                self.folder.rename(self.aside)
                self.folder.symlink_to(self.to)
            self.swaps += 1

    def stop(self) -> None:
        if self.folder.is_symlink():
            self.turn()
        shutil.rmtree(self.aside, ignore_errors=True)


def test_a_link_that_lies_where_we_write_at_any_moment_is_not_written_through(box: Box, victim: Path) -> None:
    before, tree = tree_of(victim), box.project().tree
    planted = []

    def plant(_opened: object) -> None:
        for folder in (tree, tree / "app", tree / "app/media"):
            with contextlib.suppress(OSError):
                (folder / descriptors.TEMP).symlink_to(victim / "settings.py")
                planted.append(folder)

    with at_each_moment(plant):
        deploy(box)
    repair(box, "then")
    assert len(planted) > 10
    assert tree_of(victim) == before
    assert spilled(box) == []
    assert deploy(box) == ["deployed", "rolled_back"]


def besiege(box: Box, victim: Path, period: int) -> int:
    """Deploy while a folder is swapped for a link to the victim; return how often it was."""
    swap = Swap(box.project().tree / "app", victim, period)
    with at_each_moment(swap):
        deploy(box)
    swap.stop()
    repair(box, f"{period}")
    return swap.swaps


def repair(box: Box, token: str) -> None:
    """Repair the project where an application that never rests broke its roll back."""
    if box.row().broken:
        box.ask(op="repair", project="hello", token=token)


def test_a_folder_that_is_swapped_for_a_link_at_any_moment_leads_nowhere(box: Box, victim: Path) -> None:
    before = tree_of(victim)
    assert sum(besiege(box, victim, period) for period in (1, 3)) > 50
    assert tree_of(victim) == before
    assert spilled(box) == []
    assert deploy(box) == ["deployed", "rolled_back"]
    assert box.row().broken is None


@pytest.mark.parametrize("guarded", [True, False])
def test_a_folder_that_is_a_link_whenever_it_is_opened_leads_nowhere_thanks_to_the_guard(
    box: Box, victim: Path, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    before, folder, number = tree_of(victim), box.project().tree / "app", itertools.count()

    def swap(opened: object) -> None:
        if opened == "app" and folder.exists() and not folder.is_symlink():
            folder.rename(box.project().data / f"aside{next(number)}")
            folder.symlink_to(victim)

    with monkeypatch.context() as patch, at_each_moment(swap):
        if not guarded:
            patch.setattr(os, "O_NOFOLLOW", 0)
        deploy(box)
    assert next(number) > 0
    assert (tree_of(victim) == before) == guarded
    assert (spilled(box) == []) == guarded


LOOP = """
import os, sys
os.chdir(sys.argv[1])
os.setgroups([]); os.setgid(12345); os.setuid(12345)
print(os.listdir('.'), flush=True)
while True:
    for step in (lambda: os.rename('app', '../data/aside'), lambda: os.symlink(sys.argv[2], 'app'),
                 lambda: os.unlink('app'), lambda: os.rename('../data/aside', 'app')):
        try: step()
        except OSError: pass
    if os.path.lexists('../data/stop'): break
"""


@as_root
def test_a_process_of_the_application_that_swaps_folders_all_the_time_leads_nowhere(box: Box, victim: Path) -> None:
    project = box.project()
    before = tree_of(victim)
    child = as_application(box, LOOP, str(victim))
    for token in "abc":
        deploy(box)
        repair(box, token)
    (project.data / "stop").touch()
    assert child.wait(30) == 0
    assert tree_of(victim) == before
    assert spilled(box) == []
    repair(box, "d")
    assert deploy(box) == ["deployed", "rolled_back"]


def as_application(box: Box, script: str, *words: str) -> Child[bytes]:
    """Run a script in project/, which it owns, and await its first word; it gives up root by itself."""
    project = box.project()
    for path in [project.tree, *project.tree.rglob("*"), project.data]:
        os.lchown(path, APP, APP)
    out = box.root / "application.log"
    fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    child = spawn([sys.executable, "-c", script, project.tree, *words], stdout=fd, stderr=fd)
    os.close(fd)
    until(lambda: b"\n" in out.read_bytes())
    return child


LOOK = """
import os, sys
os.chdir(sys.argv[1])
os.setgroups([]); os.setgid(12345); os.setuid(12345)
def reach(path):
    try: return os.listdir(path) if os.path.isdir(path) else open(path).read()
    except OSError as exc: return None
for path in ['.', '..', *sys.argv[2:]]:
    if reach('../../../../' + path if path.strip('.') else path) is not None: print(path, flush=True)
"""


@as_root
def test_the_application_reads_neither_archives_nor_pillar_nor_what_salt_reads(box: Box) -> None:
    box.work(repo="pillar").commit({"init.sls": "a: b\n"})
    assert box.work(repo="pillar").push(options=("deploy",)).code == 0
    deploy(box)
    root, project = box.host.root, box.project()
    kept = [project.archives, project.stage, project.pillar, project.pillar_git, project.work_git, project.logs,
            project.minion_dir, box.host.state_dir, box.host.store]  # fmt: skip
    failed = list(project.archives.rglob("project.failed"))
    assert failed
    words = [str(path.relative_to(root)) for path in [*kept, *failed, project.tree, project.dir]]
    child = as_application(box, LOOK, *words)
    assert child.wait(30) == 0
    found = (box.root / "application.log").read_text().split()
    assert sorted(found) == sorted([".", "..", str(project.tree.relative_to(root)), str(project.dir.relative_to(root))])


# what is planted between the steps


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """Return the folder in which everything that must not run leaves a mark."""
    folder = tmp_path / "marks"
    folder.mkdir(mode=0o777)
    return folder


def plant_git(folder: Path, marks: Path) -> None:
    """Give a folder a repository whose configuration runs programs, in every way that git has."""
    run(["git", "init", "--quiet", folder])
    git = ["git", "--git-dir", folder / ".git", "--work-tree", folder]  # it is not ours: git would not believe -C
    for name in ("post-checkout", "post-index-change", "pre-commit", "reference-transaction", "post-rewrite"):
        (folder / ".git/hooks").mkdir(exist_ok=True)
        (folder / ".git/hooks" / name).write_text(f"#!/bin/sh\ntouch {marks}/hook-{name}\n")
        (folder / ".git/hooks" / name).chmod(0o755)
    settings = {"core.fsmonitor": "fsmonitor", "filter.x.smudge": "smudge", "filter.x.clean": "clean",
                "core.sshCommand": "ssh", "core.pager": "pager", "diff.external": "diff"}  # fmt: skip
    for key, mark in settings.items():
        run([*git, "config", key, f"touch {marks}/{mark}; cat"])
    (folder / "planted").write_text(f"[core]\n fsmonitor = touch {marks}/included; false\n")
    run([*git, "config", "include.path", "../planted"])
    (folder / ".git/info").mkdir(exist_ok=True)
    (folder / ".git/info/attributes").write_text("* filter=x\n")


def plants(box: Box, victim: Path, marks: Path) -> Callable[[], None]:
    """Return what plants all that the application can think of, in turn."""
    tree, turn = box.project().tree, itertools.count()
    evil = f"evil:\n  cmd.run:\n    - name: touch {marks}/sls\n"

    def plant() -> None:
        which = next(turn) % 3
        tidy(tree / ".salt")
        if which == 0:
            (tree / ".salt").symlink_to("../git/stage/.salt")
        elif which == 1:
            (tree / ".salt").symlink_to(victim)
        else:
            (tree / ".salt/_modules").mkdir(parents=True)
            for name in ("00_page.sls", "01_evil.sls", "fixperms.sls", "rollback.sls", "notify.sls", "_modules/m.py"):
                (tree / ".salt" / name).write_text(evil)
        for folder in (tree, tree / "app"):
            tidy(folder / descriptors.TEMP)
            (folder / descriptors.TEMP).symlink_to((victim, victim / "settings.py", victim / "made")[which])
        for name in ("index.html", "app/settings.py"):
            tidy(tree / name)
            os.link(victim / "media/linked", tree / name)

    return plant


def tidy(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("repository", ["folder", "file"])
def test_what_the_application_plants_is_neither_run_nor_read_nor_written_through(
    box: Besieged, victim: Path, marks: Path, monkeypatch: pytest.MonkeyPatch, repository: str
) -> None:
    project = box.project()
    (victim / "media/linked").write_text("linked")  # what archives keep of it is root's alone
    (victim / "media/linked").chmod(0o600)
    before = tree_of(victim)
    plant_git(project.tree, marks)
    if repository == "file":
        (project.tree / ".git").rename(project.data / "git")
        (project.tree / ".git").write_text("gitdir: ../data/git\n")
    run(["git", "--git-dir", project.tree / ".git", "--work-tree", project.tree, "status"], check=False)
    assert (marks / "fsmonitor").exists() or (marks / "included").exists(), "git would run what is planted"
    for mark in marks.iterdir():
        mark.unlink()
    for key, value in {"GIT_DIR": f"{project.tree}/.git", "GIT_WORK_TREE": str(project.tree),
                       "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.fsmonitor",
                       "GIT_CONFIG_VALUE_0": f"touch {marks}/environment; false",
                       "GIT_EXTERNAL_DIFF": f"touch {marks}/diff; true"}.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    box.at_each_step(plants(box, victim, marks))
    assert deploy(box) == ["deployed", "rolled_back"]
    assert deploy(box) == ["deployed", "rolled_back"]
    assert list(marks.iterdir()) == []
    assert tree_of(victim) == before
    assert spilled(box) == []
    assert sorted(os.listdir(project.stage / ".salt")) == ["00_page.sls"]
    wired = [path for root in (box.host.root / "srv/salt", project.minion_dir) for path in root.rglob("*")]
    assert not [path for path in wired if path.is_symlink() and path.resolve().is_relative_to(project.tree)]
