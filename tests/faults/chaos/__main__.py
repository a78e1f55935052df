"""python -m tests.faults.chaos [KILLS [SEED]] [--fake] [--backups] [--kill NAME ...]: random kills, and what they hit.

Each round pushes a release (over a path or over ssh, one that works or one that fails, code or pillar), kills -9 one
process that works on it at a random moment of 1.1 times what a deployment takes, starts the daemon again as an init
system would, and compares what is with what was promised. A seed gives the same choices again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.faults.chaos.acts import Keeper
from tests.faults.chaos.drip import dripping
from tests.faults.chaos.processes import BOX, ENGINE, VICTIMS
from tests.faults.chaos.releases import Releases, share_of, soften
from tests.faults.chaos.rounds import MOMENTS, Fate, Plan, Scene
from tests.support.box import Box
from tests.support.command import corpus
from tests.support.mounts import unmount_below
from tests.support.shared_box import world
from tests.support.sshd import Server, serving

PARTS = (*VICTIMS, ENGINE)
ROUNDS = 25  # rounds until a new host is made


@contextlib.contextmanager
def scene(
    folder: Path, server: Server, drip: str, took: dict[bool, float], environment: str, *, own: bool, salt: bool,
    backups: bool = False,
) -> Iterator[Scene]:  # fmt: skip
    """Make a host with a project that has nothing deployed yet; with `own` it has its own fixperms.sls."""
    folder.mkdir()
    os.environ[BOX] = str(folder)
    box = Box(folder, salt=salt, forks=False)  # who plays which part is known by its words
    share_of(box).mkdir()
    (share_of(box) / "precious").write_text("precious")
    (share_of(box) / "precious").chmod(0o600)
    try:
        if backups:
            box.settings(f"backup: {{repository: {folder / 'repository'}, prune: false, lock_wait: 60}}\n")
        box.init(env=environment)
        if backups:
            corpus(box, "setup", "--backup")
        box.start()
        releases = Releases(box, own, drip, backups=backups, writes=environment != "dev")
        yield Scene(box, server, releases, environment, took)
    finally:
        box.stop()
        unmount_below(folder)
        soften(folder)
        del os.environ[BOX]


def chaos(
    kills: int, seed: int, *, salt: bool, folder: Path, victims: Sequence[str] = VICTIMS, backups: bool = False
) -> list[Fate]:  # fmt: skip
    """Do so many rounds; return what became of each.

    With `backups` each deployment begins with one, and half of the rounds ask for a backup, a drill or a restore.
    """
    dice, fates, acts = random.Random(seed), list[Fate](), dict[str, float]()
    (folder / "sshd").mkdir()
    with world(folder / "home"), serving(folder / "sshd") as server, dripping() as drip:
        took = measure(folder / "measured", server, drip, salt=salt, backups=backups)
        while len(fates) < kills:
            environment, own = dice.choices(("prod", "dev"), (4, 1))[0], dice.random() < 0.5
            print(f"a new host: {environment}, {'its own' if own else 'the built-in'} fixperms", flush=True)
            place = folder / f"host{len(fates):04}"
            with scene(place, server, drip, took, environment, own=own, salt=salt, backups=backups) as host:
                keeper = Keeper(host, acts)
                for _ in range(min(ROUNDS, kills - len(fates))):
                    fates.append(_round(keeper, dice, Plan.roll(dice, len(fates) + 1, victims), backups=backups))
                    print(fates[-1], flush=True)
                    if _tell(fates[-1].wrong):
                        break
                else:
                    host.once(fails=False)
                    fates[-1].wrong += keeper.prove()
                    _tell(fates[-1].wrong)
            if not fates[-1].wrong:
                shutil.rmtree(host.box.root)
    return fates


def _round(keeper: Keeper, dice: random.Random, plan: Plan, *, backups: bool) -> Fate:
    """Do a round: push, or ask for backups once there is a release."""
    if backups and dice.random() < 0.5 and keeper.box.row().code:
        return keeper.play(keeper.asks(dice, plan))
    return keeper.host.play(plan)


def _tell(wrong: Sequence[str]) -> bool:
    """Print what is wrong; return whether anything is."""
    for line in wrong:
        print(f"    VIOLATION: {line}", flush=True)
    return bool(wrong)


def measure(folder: Path, server: Server, drip: str, *, salt: bool, backups: bool = False) -> dict[bool, float]:
    """Return how long a deployment takes, by whether it fails."""
    with scene(folder, server, drip, {}, "prod", own=False, salt=salt, backups=backups) as host:
        host.once(fails=False)  # Salt is cold
        took = {fails: host.once(fails=fails) for fails in (False, True)}
    print(f"a deployment takes {took[False]:.2f} s, one that fails {took[True]:.2f} s", flush=True)
    return took


def table(fates: list[Fate]) -> str:
    """Return how many kills hit, by victim and step."""
    hits = Counter((fate.victim, fate.moment) for fate in fates if fate.victim)
    moments = [moment for moment in MOMENTS if any(moment == known for _, known in hits)]
    lines = [" ".join(f"{word:>12}" for word in ("", *PARTS, "all"))]
    for moment in moments:
        counts = [hits[victim, moment] for victim in PARTS]
        lines.append(" ".join(f"{word:>12}" for word in (moment[:12], *counts, sum(counts))))
    counts = [sum(count for (victim, _), count in hits.items() if victim == name) for name in PARTS]
    lines.append(" ".join(f"{word:>12}" for word in ("all", *counts, sum(counts))))
    return "\n".join(lines)


def verdict(fates: list[Fate]) -> str:
    """Return the last line."""
    hit = sum(bool(fate.victim) for fate in fates)
    again, wrong = sum(fate.again for fate in fates), sum(bool(fate.wrong) for fate in fates)
    return f"{hit} of {len(fates)} kills hit ({again} of them twice), {len(fates) - hit} missed; {wrong} violations"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos")
    parser.add_argument("kills", type=int, nargs="?", default=50)
    parser.add_argument("seed", type=int, nargs="?", default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--fake", action="store_true", help="the fake engine instead of Salt: faster")
    parser.add_argument("--backups", action="store_true", help="with backups, drills and restores")
    parser.add_argument("--kill", nargs="+", choices=PARTS, help="only these")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave no host behind
    print(f"seed {given.seed}", flush=True)
    folder, start = Path(tempfile.mkdtemp(prefix="chaos-")), time.monotonic()
    victims = given.kill or (PARTS if given.backups else VICTIMS)
    fates = chaos(
        given.kills, given.seed, salt=not given.fake, folder=folder, victims=victims, backups=given.backups
    )  # fmt: skip
    print(table(fates))
    print(f"seed {given.seed}: {verdict(fates)}; {time.monotonic() - start:.0f} s")
    if any(fate.wrong for fate in fates):
        print(f"what is wrong is kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
