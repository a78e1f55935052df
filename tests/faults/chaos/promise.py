"""The promise, as a comparison of what was before a push with what is after it.

After any single fault, at any moment, the project tree is exactly the old or exactly the new release, the ref names
what is deployed, no lock is left, and the record says what happened. (In dev a release that failed may stay: then the
ref is the old one.)
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import sqlite3
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from corpushooks.backup import vault
from corpushooks.core.backups import Name
from corpushooks.core.deployment import DEPLOYED, FAILED, REFUSED, ROLLED_BACK, Deployment, ProjectRow
from corpushooks.core.settings import load
from corpushooks.deploy.drilling import PLACES, prefix
from corpushooks.store import log
from corpushooks.system.process import run
from corpushooks.tree.descriptors import closing
from corpushooks.tree.flags import flags_of
from tests.faults.chaos.releases import ASIDE, MANAGED, paused_of, share_of
from tests.support.box import Box
from tests.support.mounts import mounts_below

LEFT_OVER = re.compile(r".+\.(lock|new|partial)|\.corpushooks\.tmp|\.failed")


class Entry(NamedTuple):
    """All that one entry of a tree is."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    what: bytes | str  # content, or the target of a link
    links: tuple[str, ...]  # all its names in the tree
    flags: int  # immutable, append-only
    mounted: bool  # it is of a filesystem that is mounted in the tree

    @property
    def untouchable(self) -> bool:
        """Whether the built-in fixperms leaves it alone."""
        return bool(self.flags) or self.mounted


class Tracked(NamedTuple):
    """What a commit says of a file."""

    what: bytes | str
    executable: bool


Tree = Mapping[str, Entry]


@dataclass(frozen=True)
class State:
    """What a host is like between two pushes."""

    tree: Tree
    row: ProjectRow
    last: int  # the number of the last deployment
    share: Tree  # what is mounted in the tree, and by releases that fail


@dataclass(frozen=True)
class Wanted:
    """What a push asks for, and what its release makes outside the trees."""

    code: str | None
    pillar: str | None
    fails: bool
    own_fixperms: bool
    conf: bytes


def tree_of(root: Path) -> Tree:
    """Return a tree: content, mode, owner, times, links and flags of everything in it."""
    mounts = mounts_below(root)
    stats = {str(path.relative_to(root)): path.lstat() for path in [root, *sorted(root.rglob("*"))]}
    names: dict[int, tuple[str, ...]] = {}
    for name, st in stats.items():
        names[st.st_ino] = (*names.get(st.st_ino, ()), name)
    return {
        name: Entry(
            st.st_mode,
            st.st_uid,
            st.st_gid,
            st.st_mtime_ns,
            _what(root / name, st),
            names[st.st_ino],
            _flags(root / name, st),
            any((root / name).is_relative_to(at) for at in mounts),
        )
        for name, st in stats.items()
    }


def _what(path: Path, st: os.stat_result) -> bytes | str:
    if stat.S_ISLNK(st.st_mode):
        return os.readlink(path)
    return path.read_bytes() if stat.S_ISREG(st.st_mode) else ""


def _flags(path: Path, st: os.stat_result) -> int:
    if not (stat.S_ISREG(st.st_mode) or stat.S_ISDIR(st.st_mode)):
        return 0
    with closing(os.open(path, os.O_RDONLY)) as fd:
        return flags_of(fd)


@functools.cache
def tracked(repo: Path, commit: str | None) -> Mapping[str, Tracked]:
    """Return the files and links of a commit."""
    if commit is None:
        return {}
    packed = run(["git", "--git-dir", repo, "archive", "--format=tar", commit]).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        return {
            member.name: Tracked(
                member.linkname if member.issym() else (tar.extractfile(member) or io.BytesIO()).read(),
                bool(member.mode & 0o100) and not member.issym(),
            )
            for member in tar
            if not member.isdir()
        }


def state_of(box: Box) -> State:
    """Return what a host is like now."""
    store = box.history
    last = max((one.number for one in store.deployments("hello")), default=0)
    store.close()
    return State(tree_of(box.project().tree), box.row(), last, tree_of(share_of(box)))


def broken_promises(box: Box, before: State, wanted: Wanted) -> Iterator[str]:
    """Yield, a line each, what is not as it must be after a push."""
    store = box.history
    new = [one for one in store.deployments("hello") if one.number > before.last]
    store.close()
    after = state_of(box)
    if len(new) > 1:
        yield f"one push became {len(new)} deployments"
    yield from _differences(before.share, after.share, "what is mounted was touched")
    if after.row.broken:
        yield f"the project is broken: {after.row.broken}"
    for deployment in new:
        yield from _record(box, deployment)
    yield from _refs(box, after.row)
    done = new[0] if new else None
    yield from _outcome(before, after, done, wanted, box.project().code_git)
    yield from _checkouts(box, after.row)
    yield from _elsewhere(box, after)
    yield from _left_over(box)
    yield from _archives(box)


def _record(box: Box, done: Deployment) -> Iterator[str]:
    """What the store and the log say of a deployment."""
    if not (done.final and done.decided and done.ended):
        yield f"deployment {done.number} has no end: {done.state}"
    if done.state not in (DEPLOYED, REFUSED, ROLLED_BACK, FAILED):
        yield f"deployment {done.number} ended {done.state}"
    if done.state != DEPLOYED and not done.reason:
        yield f"deployment {done.number} is {done.state} for no reason"
    ends = [each.event for each in log.read(box.project().log_file(done.number)) if each.end]
    if len(ends) != 1:
        yield f"the log of deployment {done.number} has {len(ends)} ends: {ends}"


def _refs(box: Box, row: ProjectRow) -> Iterator[str]:
    """The refs name what is deployed."""
    if box.ref() != row.code:
        yield f"the branch is at {box.ref()}, deployed is {row.code}"
    if box.ref(repo="pillar") != row.pillar:
        yield f"the pillar's branch is at {box.ref(repo='pillar')}, deployed is {row.pillar}"
    if row.live is not None:
        live = box.deployment(row.live)
        if (live.state, live.new_code, live.new_pillar) != (DEPLOYED, row.code, row.pillar):
            yield f"live is deployment {live.number}, which is {live.state} at {live.new_code}"
    if row.environment != "dev" and (row.tree_code, row.tree_pillar) != (row.code, row.pillar):
        yield f"the tree is at {row.tree_code}, deployed is {row.code}"


def _outcome(
    before: State, after: State, done: Deployment | None, wanted: Wanted, repo: Path
) -> Iterator[str]:  # fmt: skip
    """The tree is the old one, or the new one, as the outcome says."""
    if done is None or done.state in (REFUSED, ROLLED_BACK):
        if (after.row.code, after.row.tree_code) != (before.row.code, before.row.tree_code):
            yield f"the store has moved on to {after.row.code}"
        trees = before.tree, after.tree
        if before.row.tree_code != before.row.code:  # in dev: the SLS of what had failed ran again
            trees = _unmanaged(before.tree), _unmanaged(after.tree)
        yield from _differences(*trees, "the tree is not the old one")
        return
    if wanted.fails and done.state == DEPLOYED:
        yield "a release that fails is deployed"
    if (after.row.tree_code, after.row.tree_pillar) != (done.new_code, done.new_pillar):
        yield f"the tree is that of {after.row.tree_code}, deployed is {done.new_code}"
    if (wanted.code or done.new_code, wanted.pillar or done.new_pillar) != (done.new_code, done.new_pillar):
        yield f"deployed is {done.new_code}, {done.new_pillar}, pushed was {wanted}"
    old, new = tracked(repo, before.row.tree_code), tracked(repo, done.new_code)
    yield from _new_release(before.tree, after.tree, old, new, wanted, left=done.state == FAILED)


def _unmanaged(tree: Tree) -> Tree:
    """Return a tree without what SLS files write and set."""
    return {name: entry._replace(flags=0) for name, entry in tree.items() if name != MANAGED}


def _differences(old: Tree, new: Tree, what: str) -> Iterator[str]:
    wrong = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    for name in wrong[:8]:
        yield f"{what}: {name}: {old.get(name)} -> {new.get(name)}"


def _new_release(
    before: Tree, after: Tree, old: Mapping[str, Tracked], new: Mapping[str, Tracked], wanted: Wanted, *, left: bool
) -> Iterator[str]:
    """Tracked files as in the commit, the application's own as they were, and nothing else."""
    own = before.keys() - _with_folders(old) - {".", MANAGED}
    names = _with_folders(new.keys() | own) | {"."} | ({MANAGED} if not left or MANAGED in after else set())
    for name in sorted(after.keys() ^ names):
        yield f"{'too much' if name in after else 'missing'}: {name}"
    for name in sorted(new.keys() & after.keys()):
        yield from _tracked_file(name, before.get(name), after[name], new[name], wanted, left=left)
    for name in sorted(own & after.keys() - _with_folders(new)):
        was = before[name] if wanted.own_fixperms else _fixed(before[name])
        modes = {was.mode, before[name].mode} if left else {was.mode}
        flags = after[name].flags if left else was.flags  # what stays has the flags that its own SLS set
        if after[name].mode not in modes or after[name]._replace(mode=0) != was._replace(mode=0, flags=flags):
            yield f"the application's {name} was touched: {was} -> {after[name]}"
    if not left and after[MANAGED].what != wanted.conf and wanted.code:
        yield f"{MANAGED} is {after[MANAGED].what!r}, not {wanted.conf!r}"


def _with_folders(names: object) -> set[str]:
    """Return paths with all folders that lead to them."""
    return {
        str(path)
        for name in names  # type: ignore[attr-defined]
        for path in (Path(name), *Path(name).parents)
        if str(path) != "."
    }


def _tracked_file(
    name: str, was: Entry | None, now: Entry, told: Tracked, wanted: Wanted, *, left: bool
) -> Iterator[str]:
    if now.what != told.what:
        yield f"{name} is not as in the commit: {now.what[:80]!r}"
    if stat.S_ISLNK(now.mode):
        return
    if bool(now.mode & 0o100) != told.executable:
        yield f"{name} has mode {now.mode:o}, executable in the commit: {told.executable}"
    if not (wanted.own_fixperms or left) and now.mode != _fixed(now).mode:
        yield f"{name} has mode {now.mode:o}, which fixperms would not leave"
    same = was is not None and was.what == now.what and bool(was.mode & 0o100) == told.executable
    if same and was and was.mtime_ns != now.mtime_ns:
        yield f"{name} was written, though it is as before"


def _fixed(entry: Entry) -> Entry:
    """Return an entry with the mode that the built-in fixperms gives it."""
    if entry.untouchable:
        return entry
    if stat.S_ISDIR(entry.mode):
        return entry._replace(mode=stat.S_IFDIR | 0o770)
    if stat.S_ISREG(entry.mode):
        return entry._replace(mode=stat.S_IFREG | 0o660 | (0o110 if entry.mode & 0o111 else 0))
    return entry


def _checkouts(box: Box, row: ProjectRow) -> Iterator[str]:
    """The stages and pillar/ are exactly their commits."""
    project = box.project()
    for folder, repo, commit in (
        (project.stage, project.code_git, row.tree_code),
        (project.pillar_stage, project.pillar_git, row.tree_pillar),
        (project.pillar, project.pillar_git, row.tree_pillar),
    ):
        found, said = tree_of(folder), tracked(repo, commit)
        for name in sorted(found.keys() ^ (_with_folders(said) | {"."})):
            yield f"{folder.name}: {'too much' if name in found else 'missing'}: {name}"
        for name in said.keys() & found.keys():
            executable = stat.S_ISREG(found[name].mode) and bool(found[name].mode & 0o100)
            if (found[name].what, executable) != said[name]:
                yield f"{folder.name}: {name} is not as in the commit"
    if row.tree_code and project.salt_link.resolve() != project.stage / ".salt":
        yield f".salt leads to {project.salt_link.resolve()}"


def _elsewhere(box: Box, after: State) -> Iterator[str]:
    """What the install SLS make outside the trees is that of the release that is live (in dev: of any)."""
    if after.row.environment == "dev" or after.row.tree_code is None:
        return
    pillar = box.project().pillar / "init.sls"
    word = pillar.read_text().partition("word: ")[2].split()[0] if pillar.exists() else "none"
    page = (box.project().tree / "index.html").read_text()
    wanted, found = f"{page} {word}\n", (box.project().data / "page").read_text()
    if found != wanted:
        yield f"data/page is {found!r}, not {wanted!r}"


def _left_over(box: Box) -> Iterator[str]:
    """No lock and nothing half-written is left."""
    project = box.project()
    for folder in (project.dir, box.host.state_dir, box.host.pillar_dir, box.host.salt_dir):
        for path in folder.rglob("*"):
            planted = path.parent == project.data / "own" and path.name in ASIDE
            if LEFT_OVER.fullmatch(path.name) and path.parent != box.host.locks_dir and not planted:
                yield f"left over: {path}"
    for path in box.host.scratch.glob("*") if box.host.scratch.exists() else ():
        yield f"left over: {path}"


def _archives(box: Box) -> Iterator[str]:
    """Every archive is whole, and of a deployment that needs one."""
    for path in box.project().archives.iterdir():
        number = path.name.rpartition("_")[2]
        done = box.deployment(int(number)) if number.isdigit() else None
        if done is None or done.state == REFUSED:
            yield f"the archive {path.name} belongs to no deployment"
        elif not (path / "project").is_dir():
            yield f"the archive {path.name} has no tree"
        elif (done.state == ROLLED_BACK) != (path / "project.failed").is_dir():
            yield f"the archive {path.name} of what is {done.state}: project.failed"


def backup_faults(box: Box) -> Iterator[str]:
    """Yield what is wrong with what is called a backup, or was left behind; wherever somebody was killed."""
    engine = vault.engine(box.host, load(box.host.config_file), vault.alone)
    there = {copy.name for copy in engine.copies()}
    for (name,) in rows(box.host.store, "SELECT name FROM backup"):
        found = Name.read(name)
        if not found or {name, found[0].files} - there:
            yield f"the backup {name} is not whole"
    if paused_of(box).exists():
        yield "the application is still paused"
    if list((box.root / "repository").glob("lock.*")):
        yield "the repository is left locked"
    project = box.project()
    for path in (project.backups / "work", project.dumps, *PLACES.glob(f"{prefix(project)}*")):
        if path.exists():
            yield f"left over: {path}"


def rows(store: Path, query: str, *values: object) -> list[sqlite3.Row]:
    """Ask the store, writing nothing."""
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30)) as db:
        return db.execute(query, values).fetchall()
