"""A host, one traced deployment on it, and what must hold after the power went at any moment of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpushooks import tree
from corpushooks.core.deployment import DEPLOYED, REFUSED
from corpushooks.core.errors import NoDaemonError, StateError
from corpushooks.core.settings import load as load_settings
from corpushooks.daemon import server
from corpushooks.deploy import hold
from corpushooks.host.site import Site
from corpushooks.protocol import client
from corpushooks.store import lease
from corpushooks.store.history import History
from corpushooks.system.process import run
from corpushooks.tree.manifest import EMPTY, manifest_path, read_manifest
from tests.faults.power.model import Change, Choice, Disk, Image, Mark, Sync, load
from tests.faults.power.stamps import renew
from tests.faults.power.trace import Reader, strace
from tests.support.box import FAILING, Box, tree_of, until
from tests.support.engines import FakeEngine
from tests.support.places import TOP
from tests.support.shared_box import world

Tree = dict[str, tuple[Any, ...]]
MODULE = ".salt/_modules/asked.py"


@dataclass
class Scenario:
    """One deployment, traced, and the disk that it worked on."""

    box: Box
    fails: bool
    holds: bool = False  # until somebody confirms it
    old: str = ""  # commits
    new: str = ""
    trees: dict[str, tuple[Tree, Tree, Tree]] = field(default_factory=dict)  # commit -> project, stage and pillar
    disk: Disk = field(init=False)
    seen: set[Any] = field(default_factory=set)

    @property
    def base(self) -> Path:
        return self.box.root / "base"


@contextlib.contextmanager
def recorded(*, fails: bool = False, holds: bool = False) -> Iterator[Scenario]:
    """Give a traced deployment; in memory, where this system has that: the disk of a replay need not be a disk."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="power-", dir=memory) as folder, world(Path(folder) / "home"):
        box = Box(Path(folder) / "box")
        box.root.mkdir()
        yield record(box, fails=fails, holds=holds)


def contents(path: Path, times: bool = False) -> Tree:
    """Return what must be the same in a tree."""
    return tree_of(path, times=times)


def record(box: Box, *, fails: bool = False, holds: bool = False) -> Scenario:
    """Deploy a release, trace the deployment of the next, and keep the disk as it was between them."""
    made = Scenario(box, fails, holds)
    made.old = _first(box)
    made.new = _second(box, fails)
    shutil.copytree(box.host.root, made.base, symlinks=True, copy_function=shutil.copy2, ignore=_sockets)
    made.disk = Disk(load(box.host.root, made.base))
    trees = [contents(path, times=True) for path in _trees(box)]
    made.trees[made.old] = (trees[0], trees[1], trees[2])
    trace = box.root / "trace"
    words = [
        sys.executable,
        "-m",
        "tests.faults.power.driver",
        box.root,
        box.work().path,
        "HEAD:master",
        *(["hold"] if holds else []),
    ]
    done = run(strace(words, trace), cwd=TOP, check=False)
    assert done.code == (1 if fails else 0), done.stderr.decode()
    Reader(made.disk, str(TOP)).read(trace)
    _compare(made)
    if not fails:
        trees = [contents(path) for path in _trees(box)]
        made.trees[made.new] = (trees[0], trees[1], trees[2])
    _next(box)
    return made


def _first(box: Box) -> str:
    box.init()
    box.start()
    config = box.work(repo="pillar")
    config.commit({"init.sls": "makina-projects.hello:\n  data: {word: one}\n"})
    assert config.push().code == 0
    removed = {f"gone/{n}.txt": f"{n}" for n in range(3)}
    built = {".salt/fixperms.sls": PERMS, ".salt/05_build.sls": BUILD}
    work = box.app(files={"lib/a.txt": "a", "lib/same.txt": "same", **built, **removed})
    assert work.push().code == 0
    box.ended(1)
    live = box.project().tree
    (live / "uploads").mkdir(mode=0o750)
    (live / "uploads/photo").write_text("precious")
    (live / "uploads/photo").chmod(0o640)
    (live / "link").symlink_to("/etc/hostname")
    config.commit({"init.sls": "makina-projects.hello:\n  data: {word: two}\n", "more.sls": "{}\n"})
    assert config.push().code == 0
    box.stop()
    return work.head


# Both can be run again: what they find as they want it they leave alone, since an exact tree is compared.
PERMS = """\
perms:
  cmd.run:
    - name: chmod -R u=rwX,g=rX,o= .
    - cwd: {{ cfg.project_root }}
"""
BUILD = """\
build:
  cmd.run:
    - name: test -e built-one || { mkdir built-one && echo one > built-one/file; }
    - cwd: {{ cfg.project_root }}
"""


def _second(box: Box, fails: bool) -> str:
    sls = (box.work().path / ".salt/00_page.sls").read_text().replace("one", "two")
    files: dict[str, str | None] = {
        "index.html": "two", "lib/a.txt": "aa", "lib/new/b.txt": "b", ".salt/00_page.sls": sls,
        ".salt/05_build.sls": BUILD.replace("one", "two"), MODULE: "def me():\n    return 1\n",
        **{f"gone/{n}.txt": None for n in range(3)},
        **({".salt/10_broken.sls": FAILING} if fails else {}),
    }  # fmt: skip
    return box.work().commit(files, "two")


def _next(box: Box) -> None:
    """Have a commit ready to push after the cut."""
    work = box.work()
    broken = {".salt/10_broken.sls": None} if (work.path / ".salt/10_broken.sls").exists() else {}
    work.commit({"index.html": "three", **broken}, "three")
    work.git("branch", "--force", "next")
    work.git("reset", "--quiet", "--hard", "HEAD~1")


def _sockets(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if (Path(folder) / name).is_socket()}


def _trees(box: Box) -> tuple[Path, Path, Path]:
    return box.project().tree, box.project().stage, box.project().pillar


def _compare(made: Scenario) -> None:
    """Assert that the model, after all that was traced, is what the disk is: then it forgot nothing."""
    now = load(made.box.host.root, made.box.host.root)
    there, told = (
        {path: _what(image, number) for path, number in image.paths() if not path.endswith("-shm")}
        for image in (now, made.disk)
    )
    wrong = {path for path in there.keys() | told.keys() if there.get(path) != told.get(path)}
    assert not wrong, f"the model differs from the disk: {sorted(wrong)}"


def _what(image: Image, number: int) -> tuple[Any, ...]:
    inode = image.inodes[number]
    return inode.kind, oct(inode.mode), inode.target, bytes(inode.content()) if inode.kind == "file" else b""


def moments(disk: Disk) -> list[int]:
    """Return where a cut may find something else: before each thing that is brought to the disk, and at the end."""
    synced = [index for index, done in enumerate(disk.done) if isinstance(done.change, Sync)]
    return [*synced, len(disk.done)]


# after a cut


@contextlib.contextmanager
def another_boot(box: Box) -> Iterator[None]:
    """Have this be another boot of the machine."""
    real, lease.BOOT = lease.BOOT, box.root / "boot"
    lease.BOOT.write_text("another")
    try:
        yield
    finally:
        lease.BOOT = real


@contextlib.contextmanager
def daemon_of(box: Box) -> Iterator[History]:
    """Run the daemon in a thread of ours: its start is most of what a replay takes. The machine was started anew."""
    with another_boot(box), box.interpreter(), contextlib.closing(History(box.host.store)) as store:
        site = Site(box.host, load_settings(box.host.config_file), store, FakeEngine())
        with server.listening(site) as listener:
            served = server.Daemon(site, listener)
            thread = threading.Thread(target=served.serve)
            thread.start()
            try:
                yield store
            finally:
                served.stop()
                with contextlib.suppress(NoDaemonError):
                    client.connect(box.host).close()  # wakes it
                thread.join()


def replay(made: Scenario, end: int, choose: Callable[[Change], Choice]) -> bool:
    """Cut the power after so many changes, start the host again, and assert the promise; False: nothing new."""
    said = tuple(done.change.text for done in made.disk.done[:end] if isinstance(done.change, Mark))
    promised = (_was_queued(said), _verdict(said))
    image, chosen = made.disk.after_cut(end, choose)
    if (chosen, promised) in made.seen:
        return False
    made.seen.add((chosen, promised))
    shutil.rmtree(made.box.host.root)
    image.write()
    renew(made.disk, image)
    with daemon_of(made.box) as store:
        until(lambda: _is_over(store), 60)
        check(made, store, *promised)
        push_again(made, store)
    return True


def _is_over(store: History) -> bool:
    """Say whether all has ended; confirm what is held by now: what was queued when the power went begins after it."""
    open_ones = store.unfinished("hello")
    for each in filter(hold.is_held, open_ones):  # in this boot
        with contextlib.suppress(StateError):  # it may go back in this moment
            store.confirm(each, "somebody")
    return not open_ones and not store.queued("hello")


def _was_queued(said: tuple[str, ...]) -> bool:
    return any(text.startswith("said") and '"number": 2' in text for text in said)


def _verdict(said: tuple[str, ...]) -> str:
    """Return what the hook was told of the deployment, or who confirmed it, if they were."""
    if any(text.startswith("said") and "is confirmed" in text for text in said):
        return "ok"
    reports = [text for text in said if text.startswith("said") and '"report"' in text]
    return ("ok" if "ok refs" in reports[0] else "ng") if reports else ""


def check(made: Scenario, store: History, queued: bool, verdict: str) -> None:
    """Assert the promise."""
    box, project = made.box, made.box.project()
    assert store.rows("PRAGMA integrity_check")[0][0] == "ok"
    row = store.project("hello")
    assert row is not None and row.broken is None, row
    numbers = {each.number: each for each in store.deployments("hello")}
    assert not queued or 2 in numbers, "the deployment whose number was told is not known"
    assert all(each.final and each.ended for each in numbers.values()), numbers[2]
    assert all("interrupted" in each.reason for each in numbers.values() if each.state == REFUSED), numbers
    assert row.code == row.tree_code == box.ref(), (row.code, row.tree_code, box.ref())
    assert row.code in made.trees, row.code
    assert (row.code == made.new) == (2 in numbers and numbers[2].state == DEPLOYED)
    assert verdict != "ok" or row.code == made.new, "what was said to be live is not"
    assert verdict != "ng" or row.code == made.old, "what was said to be rolled back is live"
    check_trees(made, row.code)
    for number in numbers:
        assert any(line.strip() for line in box.log(number).splitlines()), f"the log of {number} is empty"
    for repo in (project.code_git, project.pillar_git):
        run(["git", "--git-dir", repo, "fsck", "--full", "--no-dangling"])
    left = [str(path) for path in project.git_dir.rglob("*.lock")]
    assert not left, f"locks are left: {left}"


def check_trees(made: Scenario, commit: str) -> None:
    """Assert that all trees are those of one commit."""
    old, box, project = commit == made.old, made.box, made.box.project()
    for path, wanted in zip(_trees(box), made.trees[commit], strict=True):
        exact = old and path == project.tree
        wrong = _differs(contents(path, times=exact), wanted, exact)
        assert not wrong, (path, wrong)
    linked = project.host.salt_dir / "_modules/asked.py"
    assert (linked.is_symlink(), linked.exists()) == (not old, not old), f"{linked} of {'old' if old else 'new'}"
    assert project.wired_salt.resolve() == project.stage / ".salt"
    assert project.wired_pillar.resolve() == project.pillar_stage
    assert "hello" in (project.host.pillar_dir / "top.sls").read_text()
    for saved in project.archives.glob("*_2/project"):
        if tree.is_whole(saved):
            wrong = _differs(contents(saved, times=True), made.trees[made.old][0], True)
            assert not wrong, (saved, wrong)
    for saved in project.archives.glob("*_2/project.failed"):
        manifest = read_manifest(manifest_path(saved).read_bytes()) if tree.is_whole(saved) else EMPTY
        sizes = {name: entry.size for name, entry in manifest.entries if entry.kind == "file"}
        assert {name: (saved / name).stat().st_size for name in sizes} == sizes, saved


def _differs(found: Tree, wanted: Tree, exact: bool) -> dict[str, Any]:
    cut = slice(0, 5) if exact else slice(0, 3)  # type, mode and owner without the time
    both = {name: (found.get(name), wanted.get(name)) for name in found.keys() | wanted.keys()}
    return {
        name: (one, other)
        for name, (one, other) in both.items()
        if one is None or other is None or one[cut] != other[cut] or one[4] != other[4]
    }


def push_again(made: Scenario, store: History) -> None:
    """Push the same commit again where it is not live, else the next; it is deployed."""
    row = store.project("hello")
    assert row is not None
    ref = "HEAD" if row.code == made.old and not made.fails else "next"
    pushed = made.box.work().push(f"+{ref}:master")
    assert pushed.code == 0, pushed.text
    assert made.box.ref() == made.box.work().git("rev-parse", ref).text


__all__ = ["Scenario", "moments", "recorded", "replay"]
