"""The comparisons. Each function makes what it needs in an empty folder and returns its rows."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks import web
from benchmarks.backups import backups, before, proofs
from benchmarks.fleet import fleets
from benchmarks.hosts import committed, deployed, host, push
from benchmarks.measure import Row, faster, in_turn, plain, smaller, timed, within
from benchmarks.rivals import Rival, emptied, rsync
from corpushooks import tree
from corpushooks.core.deployment import DEPLOYED
from corpushooks.store.history import History
from corpushooks.system.process import DEVNULL, run, spawn
from tests.support.box import Box, until
from tests.support.hook_peers import Hook, accepts, commands, daemon_of, hello

STATE = "nothing{}:\n  test.nop: []\n"
EIGHT = {f".salt/{number:02d}_state.sls": STATE.format(number) for number in range(8)}
ONE = {".salt/00_state.sls": STATE.format("")}
RESTART = {**ONE, ".salt/01_restart.sls": "restart:\n  cmd.run:\n    - name: sleep 0.2\n"}
EMPTY = {".salt/00_state.sls": "{}\n"}
FILES, FOLDERS, CHANGED = 50_000, 500, 100
PROJECTS = 20
MANY = 10_000
ESTATE, EACH = 500, 200


def pushes(folder: Path, rounds: int) -> list[Row]:
    """A push of eight small SLS, against what people have."""
    calls = Rival.make(folder / "calls", EIGHT, "salt-calls")
    original = Rival.make(folder / "original", EIGHT, "original")
    with host(folder / "host") as box:
        work = deployed(box, EIGHT)
        ours, theirs, first = in_turn(
            rounds,
            lambda: committed(work, lambda: push(box)),
            lambda: committed(calls.work, lambda: timed(calls.push)),
            lambda: committed(original.work, lambda: timed(original.push)),
        )
    what = "push with 8 SLS of one state"
    return [
        faster(what, ours, "post-receive: checkout, 8 salt-call", theirs, 15),
        faster(what, ours, "the original: rsync, one process, 8 state.sls", first, 4),
    ]


def nothing_to_do(folder: Path, rounds: int) -> list[Row]:
    """A push with no work, against one to a repository whose hook checks out."""
    bare = Rival.make(folder / "bare", EMPTY, "checkout")
    with host(folder / "host") as box:
        work = deployed(box, EMPTY)
        ours, theirs = in_turn(
            2 * rounds,
            lambda: committed(work, lambda: push(box)),
            lambda: committed(bare.work, lambda: timed(bare.push)),
        )
    return [within("push with one empty SLS", ours, "post-receive: checkout", theirs, 8)]


def hook(folder: Path, rounds: int) -> list[Row]:
    """The hook: start, hand over, answer; against Python's own start."""
    box = Box(folder)
    installed = Hook.make(box.host, folder)
    given = hello("push-options atomic") + commands("refs/heads/master") + b"0000"
    python = [sys.executable, "-I", "-S", "-c", "pass"]

    def relay() -> float:
        with daemon_of(box.host, accepts("refs/heads/master")):
            return timed(lambda: told(installed, given))

    ours, theirs = in_turn(4 * rounds, relay, lambda: timed(lambda: spawn(python, stdin=DEVNULL).wait()))
    return [within("hook: start, hand over, answer", ours, "python3 -I -S -c pass", theirs, 2.5)]


def told(installed: Hook, given: bytes) -> None:
    ended = installed.run(given)
    assert ended.report == ["ok refs/heads/master"], ended


def archives(folder: Path, rounds: int) -> list[Row]:
    """Archives of a large tree, and the way back, against rsync."""
    live, kept, copy = folder / "live", folder / "kept", folder / "copy"
    grow(live)
    tree.snapshot(tree.scan(live), kept / "0", None)
    settle()
    names = iter(range(1, 1_000_000))
    newest = [kept / "0"]

    def archive() -> float:
        target = kept / str(next(names))
        took = timed(lambda: tree.snapshot(tree.scan(live), target, newest[-1]))
        newest.append(target)
        if len(newest) > 2:
            tree.remove(newest.pop(0))
        return took

    def copied() -> float:
        target = emptied(copy)
        return timed(lambda: rsync(live, target))

    def changed(act: Callable[[], float]) -> float:
        change(live)
        return act()

    rows = []
    ours, theirs = in_turn(rounds, archive, copied, sync=True)
    rows.append(faster(f"archive, {FILES} files, none changed", ours, "rsync -Aa to an empty folder", theirs, 5))
    alone = disk(newest[-1], beside=newest[-2])
    rows.append(smaller("the same: disk that it takes", alone, "the same", disk(copy), 0.05))
    ours, theirs = in_turn(rounds, lambda: changed(archive), copied, sync=True)
    rows.append(faster(f"archive, {CHANGED} of {FILES} files changed", ours, "the same", theirs, 4))
    saved = kept / "saved"
    tree.snapshot(tree.scan(live), saved, newest[-1])
    return [*rows, roll_back(live, saved, copy, rounds)]


def roll_back(live: Path, saved: Path, copy: Path, rounds: int) -> Row:
    """Keep a tree that failed and bring back the one that was saved."""
    aside = saved.with_name("aside")

    def back() -> float:
        change(live)
        tree.remove(aside)
        os.sync()
        return timed(lambda: (tree.snapshot(tree.scan(live), aside, saved), tree.restore(saved, live)))

    def both_ways() -> float:
        change(live)
        target = emptied(copy)
        os.sync()
        return timed(lambda: (rsync(live, target), rsync(saved, live)))

    ours, theirs = in_turn(rounds, back, both_ways)
    return faster(f"roll back, {CHANGED} of {FILES} files differ", ours, "rsync -Aa both ways", theirs, 4)


def grow(folder: Path) -> None:
    """Make a large tree: small files in many folders."""
    for number in range(FILES):
        place = folder / f"d{number % FOLDERS}"
        if number < FOLDERS:
            place.mkdir(parents=True)
        (place / f"f{number}").write_text(f"file {number}\n" * 20)


def change(folder: Path) -> None:
    """Change some files of it, all over."""
    for number in range(0, FILES, FILES // CHANGED):
        (folder / f"d{number % FOLDERS}" / f"f{number}").write_text(f"{time.time_ns()}\n" * 20)
    settle()


def settle() -> None:
    """Let a clock tick go by: what was written a moment ago is not trusted to be what it was."""
    time.sleep(0.05)


def disk(folder: Path, beside: Path | None = None) -> int:
    """Return the bytes that a tree takes on the disk, without what it shares with another."""
    shared = {path.lstat().st_ino for path in beside.rglob("*")} if beside else set()
    found = [path.lstat() for path in (folder, *folder.rglob("*"))]
    manifest = folder.with_name(f"{folder.name}.manifest")
    own = sum(st.st_blocks for st in found if st.st_ino not in shared)
    return 512 * (own + (manifest.lstat().st_blocks if beside else 0))


def cold(folder: Path, rounds: int) -> list[Row]:
    """The first push after the daemon was started."""
    call = Rival.make(folder / "call", ONE, "checkout")
    call.push()
    with host(folder / "host") as box:
        work = deployed(box, ONE)

        def first() -> float:
            box.stop()
            box.start()
            return committed(work, lambda: push(box))

        ours, theirs = in_turn(rounds, first, lambda: timed(call.salt_call))
    return [within("first push of a daemon, one SLS", ours, "one salt-call", theirs, 1.5)]


def at_once(folder: Path, rounds: int) -> list[Row]:
    """Many projects pushed at once, against one after the other: as they are, and with nothing to wait for."""
    names = [f"app{number}" for number in range(PROJECTS)]
    with host(folder / "host") as box:
        for name in names:
            box.init(name)
            deployed(box, RESTART, name)
        waiting = in_turn(rounds, lambda: together(box, names), lambda: in_line(box, names))
        for name in names:
            deployed(box, {".salt/01_restart.sls": "{}\n"}, name)
        busy = in_turn(rounds, lambda: together(box, names), lambda: in_line(box, names))
    cores = os.cpu_count()
    against = f"one after the other ({cores} cores)"
    row = faster(f"{PROJECTS} projects at once, each restarts something (0.2 s)", *between(waiting, against), 1.5)
    return [row, plain(f"{PROJECTS} projects at once, nothing to wait for", *between(busy, against))]


def between(found: list[float], against: str) -> tuple[float, str, float]:
    return found[0], against, found[1]


def together(box: Box, names: list[str]) -> float:
    """Push all projects at once; return how long it took until all were live."""
    _commit(box, names)
    threads = [threading.Thread(target=push, args=(box, name)) for name in names]
    return timed(lambda: ([thread.start() for thread in threads], [thread.join() for thread in threads]))


def in_line(box: Box, names: list[str]) -> float:
    """Push all projects, one after the other."""
    _commit(box, names)
    return timed(lambda: [push(box, name) for name in names])


def _commit(box: Box, names: list[str]) -> None:
    for name in names:
        box.work(name).commit({"changed": str(time.time_ns())})


def memory(folder: Path, rounds: int) -> list[Row]:
    """What the daemon and the worker hold when nothing is deployed."""
    with host(folder / "host", settings="worker_idle_timeout: 3\n") as box:
        deployed(box, EIGHT)
        awake = resident(box)
        until(lambda: len(processes(box)) == 1, 60)
        asleep = resident(box)
    return [
        smaller("daemon and idle worker, resident", awake, "", 120 << 20, 1),
        smaller("the same after 10 minutes of nothing", asleep, "", 60 << 20, 1),
    ]


def processes(box: Box) -> list[int]:
    """Return the daemon and all that descends from it."""
    assert box.daemon
    found = [box.daemon.pid]
    for pid in found:
        with suppress(FileNotFoundError, ProcessLookupError):  # it is ending
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def resident(box: Box) -> int:
    """Return the bytes of memory that a daemon and all that descends from it hold."""
    total = 0
    for pid in processes(box):
        with suppress(FileNotFoundError, ProcessLookupError):
            found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            total += int(found[1]) << 10 if found else 0  # one that is ending holds nothing
    return total


def history(folder: Path, rounds: int) -> list[Row]:
    """A deployment where many are recorded, against one where few are."""
    with host(folder / "few") as few, host(folder / "many") as many:
        for box in (few, many):
            deployed(box, ONE)
        for _ in range(9):
            committed(few.work(), lambda: push(few))
        many.stop()
        remember(many, MANY)
        many.start()
        sides = [lambda box=box: committed(box.work(), lambda: push(box)) for box in (many, few)]
        ours, theirs = in_turn(2 * rounds, *sides)
    return [within(f"push, {MANY} deployments recorded", ours, "10 recorded", theirs, 1.1)]


def remember(box: Box, count: int, name: str = "hello") -> None:
    """Record deployments that never were, beside the one that was."""
    store = History(box.host.store)
    code = row.code if (row := store.project(name)) else None
    with store.change() as db:
        db.executemany(
            "INSERT INTO deployment (project, number, token, state, request, old_code, new_code, queued, started,"
            " decided, ended) VALUES (?, ?, ?, ?, ?, ?, ?, 1, 2, 3, 4)",
            [
                (name, number, f"token{number}", DEPLOYED, '{"kind": "deploy"}', code, code)
                for number in range(2, count)
            ],
        )
        db.executemany(
            "INSERT INTO journal VALUES (?, ?, ?, 'archive', 1)",
            [(name, number, seq) for number in range(2, count) for seq in range(1, 9)],
        )
    store.close()


def estates(folder: Path, rounds: int) -> list[Row]:
    """A host of many projects with a long history, against one of a few with a short one."""
    with estate(folder / "few", 5, 10) as few, estate(folder / "many", ESTATE, EACH) as many:
        starts = in_turn(rounds, *(lambda box=box: restarted(box) for box in (many, few)))
        looks = in_turn(rounds, *(lambda box=box: timed(lambda: status(box)) for box in (many, few)))
        sides = [lambda box=box: committed(box.work(), lambda: push(box)) for box in (many, few)]
        pushes = in_turn(4 * rounds, *sides)
    what, against = f"{ESTATE} projects, {ESTATE * EACH} deployments: ", "5 projects, 50"
    return [
        within(f"{what}start", *between(starts, against), 3),
        within(f"{what}status", *between(looks, against), 20),
        within(f"{what}push", *between(pushes, against), 1.1),
    ]


@contextmanager
def estate(folder: Path, projects: int, each: int) -> Iterator[Box]:
    """Be a host with so many projects, of which one is deployed, and so many recorded deployments of each."""
    with host(folder) as box:
        deployed(box, ONE)
        box.stop()
        for number in range(1, projects):
            box.init(f"app{number}")
            remember(box, each, f"app{number}")
        remember(box, each)
        box.start()
        yield box


def restarted(box: Box) -> float:
    """Return how long a daemon takes to listen."""
    box.stop()
    return timed(box.start)


def status(box: Box) -> None:
    assert run([sys.executable, "-m", "corpushooks", "--root", box.host.root, "status"]).stdout


def command(folder: Path, rounds: int) -> list[Row]:
    """The command: its help, and the status of one project; against Python's own start."""
    box = Box(folder)
    box.init()
    corpus = [sys.executable, "-m", "corpushooks", "--root", box.host.root]
    sides = ([*corpus, "--help"], [*corpus, "status", "hello"], [sys.executable, "-c", "pass"])

    def ended(words: list[str | Path]) -> Callable[[], float]:
        return lambda: timed(lambda: run(words))

    shown, looked, begun = in_turn(2 * rounds, *map(ended, sides))
    against = "python3 -c pass"
    return [
        within("corpus --help", shown, against, begun, 12),
        within("corpus status of one project", looked, against, begun, 15),
    ]


def pages(folder: Path, rounds: int) -> list[Row]:
    """The pages of `corpus web`."""
    return web.measure(folder, rounds, estate(folder / "many", ESTATE, 20))


ROWS: dict[str, Callable[[Path, int], list[Row]]] = {
    "pushes": pushes,
    "nothing": nothing_to_do,
    "hook": hook,
    "command": command,
    "archives": archives,
    "cold": cold,
    "at-once": at_once,
    "memory": memory,
    "history": history,
    "estates": estates,
    "backups": backups,
    "before": before,
    "proofs": proofs,
    "pages": pages,
    "fleet": fleets,
}
