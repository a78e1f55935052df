"""python -m tests.faults.fleet [ROUNDS [SEED]] [--nodes N]: random faults during rollouts, and what became of them.

A controller and its nodes are hosts in folders with real daemons, the nodes each behind a real sshd in a network
namespace of its own if root runs this. Each round pushes
under a policy of its own, while daemons are killed and frozen and lines are cut; then all is healed, and what the
controller recorded, what the nodes run and what git said are compared. A seed gives the same choices again.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.fleet.nemesis import KINDS, Plan
from tests.faults.fleet.rounds import Fate, Scene
from tests.support.fleet import fleet_box

WIRED = os.geteuid() == 0  # nobody else can make a network namespace


def rounds(count: int, seed: int, nodes: int, folder: Path) -> list[Fate]:
    """Do so many rounds; return what became of each, up to the first that is wrong."""
    dice, fates = random.Random(seed), list[Fate]()
    names = [f"n{number}" for number in range(1, nodes + 1)]
    with fleet_box(folder, *names, wired=WIRED) as fleet:
        scene = Scene(fleet)
        scene.prepare()
        print(f"{nodes} nodes; an undisturbed push takes {scene.took:.1f} s", flush=True)
        while len(fates) < count and not (fates and fates[-1].wrong):
            fates.append(scene.play(Plan.roll(dice, len(fates) + 1, names, wired=WIRED)))
            print(fates[-1], flush=True)
            for line in fates[-1].wrong:
                print(f"    WRONG: {line}", flush=True)
    return fates


def summary(fates: list[Fate]) -> str:
    """Return how many faults of each kind happened, what became of the rollouts, and how many were wrong."""
    hits, ends = Counter(kind for fate in fates for kind in fate.hit), Counter(fate.state for fate in fates)
    lines = [f"{kind:18} {hits[kind]:4}" for kind in KINDS]
    lines.append(f"{'all':18} {sum(hits.values()):4}")
    lines.append(", ".join(f"{count} {state}" for state, count in sorted(ends.items())))
    behind, wrong = sum(fate.behind for fate in fates), sum(bool(fate.wrong) for fate in fates)
    lines.append(f"{behind} nodes were behind a decision, as the policy says, and were brought up")
    lines.append(f"{len(fates)} rounds, {wrong} wrong")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fleet")
    parser.add_argument("rounds", type=int, nargs="?", default=20)
    parser.add_argument("seed", type=int, nargs="?", default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--nodes", type=int, choices=range(1, 9), default=4)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave no daemon behind
    print(f"seed {given.seed}", flush=True)
    folder, start = Path(tempfile.mkdtemp(prefix="fleet-")), time.monotonic()
    fates = rounds(given.rounds, given.seed, given.nodes, folder)
    print(summary(fates))
    print(f"seed {given.seed}; {time.monotonic() - start:.0f} s")
    if any(fate.wrong for fate in fates):
        print(f"what is wrong is kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
