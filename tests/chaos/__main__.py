"""python -m tests.chaos [KILLS [SEED]]: random kills over a path, with the fake engine; a table of what was hit.

Each round pushes a new release, kills -9 one of the processes that work on it at a random moment of 1.1 times what a
deployment takes, starts the daemon again as an init system would, and asserts the promise: the tree is exactly the
old or exactly the new release, the ref names what is deployed, no lock is left, the record is final, and the next
push needs nobody's help.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from corpushooks import client
from corpushooks.errors import NoDaemonError
from corpushooks.run import run
from tests.host import Box, tree_of, until

VICTIMS = ("client", "receive-pack", "hook", "daemon", "command")
SLOW = "slow:\n  cmd.run:\n    - name: sleep 0.15\n    - cwd: {{ cfg.data_root }}\n"


def processes(box: Box) -> dict[str, list[int]]:
    """Return what works on a push to a host, by its part in it."""
    marks = {
        "client": "git push",
        "receive-pack": "git-receive-pack",
        "hook": "hooks/proc-receive",
        "command": "sleep 0.15",
    }
    found: dict[str, list[int]] = {name: [] for name in VICTIMS}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                here = str(box.root) in words or (entry / "cwd").readlink().is_relative_to(box.root)
                for name, mark in marks.items():
                    if mark in words and here:
                        found[name].append(int(entry.name))
    with contextlib.suppress(NoDaemonError):
        found["daemon"] = [client.ping(box.host)]
    return found


def release(box: Box, page: str) -> str:
    """Commit a release whose every file carries its page."""
    files: dict[str, str | None] = {f"lib/{n}.txt": f"{page} {n}" for n in range(20)}
    return box.work().commit({"index.html": page, ".salt/10_slow.sls": SLOW, **files}, page)


def content(box: Box) -> dict[str, object]:
    """Return the tree that runs, but for what a fresh copy cannot keep: the times."""
    return dict(tree_of(box.project().tree, times=False))


def settle(box: Box) -> None:
    """Bring the host back as an init system would, and await the end of all it had begun."""
    if box.daemon is not None and box.daemon.poll() is not None:
        box.daemon = None
    until(lambda: revived(box), 60)
    store = box.history
    until(lambda: not store.unfinished("hello") and not store.queued("hello"), 60)
    store.close()


def revived(box: Box) -> bool:
    box.revive()
    return True


def check(box: Box, trees: dict[str, dict[str, object]]) -> None:
    """Assert the promise."""
    row, project = box.row(), box.project()
    assert row.broken is None, row.broken
    assert box.ref() == row.code == row.tree_code, (box.ref(), row)
    live = (project.stage / "index.html").read_text()
    assert content(box) == trees.setdefault(live, content(box)), f"the tree is not that of {live}"
    assert {path.read_text().split(" ")[0] for path in (project.tree / "lib").iterdir()} == {live}
    assert (project.tree / "index.html").read_text() == live
    assert not list(project.git_dir.rglob("*.lock"))


def one(box: Box, number: int, took: float, dice: random.Random, hits: Counter[tuple[str, str]]) -> None:
    """Push, kill, settle, check."""
    victim, moment = dice.choice(VICTIMS), dice.uniform(0, 1.1 * took)
    release(box, f"r{number}")
    push = box.work().start_push("+HEAD:master")
    time.sleep(moment)
    store = box.history
    open_ones = store.unfinished("hello")
    steps = store.steps(open_ones[0]) if open_ones else []
    store.close()
    targets = processes(box)[victim]
    for pid in targets:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    hits[victim, (steps[-1] if steps else "no step") if targets else "missed"] += 1
    if victim == "daemon" and box.daemon is not None and targets == [box.daemon.pid]:
        box.daemon.wait(10)
    settle(box)
    push.wait(90)
    settle(box)


def main(kills: int, seed: int) -> None:
    """Do so many rounds and print the table."""
    print(f"seed {seed}")
    dice, hits, trees = random.Random(seed), Counter[tuple[str, str]](), {}
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        box = Box(Path(folder))
        os.environ.update(HOME=folder, GIT_CONFIG_NOSYSTEM="1")
        run(["git", "config", "--global", "user.email", "dev@example.org"])
        run(["git", "config", "--global", "user.name", "Dev"])
        try:
            box.init()
            box.start()
            release(box, "r0")
            start = time.monotonic()
            assert box.work().push().code == 0
            took = time.monotonic() - start
            for number in range(1, kills + 1):
                one(box, number, took, dice, hits)
                check(box, trees)
        finally:
            box.stop()
    for (victim, step), count in sorted(hits.items()):
        print(f"{victim:<14} {step:<22} {count:>4}")
    print(f"{sum(n for (_, step), n in hits.items() if step != 'missed')} of {kills} kills hit; no violation")


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(given[0] if given else 50, given[1] if len(given) > 1 else random.SystemRandom().randrange(1 << 32))
