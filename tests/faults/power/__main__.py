"""python -m tests.faults.power [SEED]: cut the power at every moment of a deployment.

One succeeds, one fails, and one is held and confirmed.

Prints what was violated where, and how many disks were looked at.
"""

from __future__ import annotations

import random
import sys
import time
import traceback
from collections import Counter

from tests.faults.power import model
from tests.faults.power.scenario import Scenario, moments, recorded, replay


def cut_everywhere(made: Scenario, seed: int) -> int:
    """Cut the power everywhere; return how many promises were broken."""
    counts, broken = Counter[str](), 0
    throw = random.Random(seed)
    for end in moments(made.disk):
        ways = {way.__name__: way for way in (model.lost, model.kept, model.names, model.zeros)}
        ways["remembered"] = model.remembered(made.disk)
        ways |= {f"dice {number}": model.dice(number) for number in (throw.getrandbits(32), throw.getrandbits(32))}
        for name, way in ways.items():
            try:
                counts[name.partition(" ")[0]] += replay(made, end, way)
            except Exception as exc:
                broken += 1
                print(f"BROKEN: cut after {end}, {name}: {type(exc).__name__}: {exc}", flush=True)
                if "-v" in sys.argv:
                    traceback.print_exc()
    print(f"{counts.total()} disks: {dict(counts)}; {broken} broken")
    return broken


def main(seed: int) -> int:
    """Do each kind of deployment."""
    print(f"seed {seed}")
    broken = 0
    ways = {
        "a deployment": {},
        "one that fails and is rolled back": {"fails": True},
        "one that is confirmed": {"holds": True},
    }
    for name, how in ways.items():
        begun = time.monotonic()
        print(f"{name}:", flush=True)
        with recorded(**how) as made:
            broken += cut_everywhere(made, seed)
        print(f"{time.monotonic() - begun:.0f} s", flush=True)
    return broken


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:] if word.isdigit()]
    sys.exit(main(given[0] if given else random.SystemRandom().randrange(1 << 32)) > 0)
