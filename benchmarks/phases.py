"""Where the time of a push goes, phase by phase: python -m benchmarks.phases [SLS] [--pushes N]

The daemon notes when each effect begins and ends; what lies before the first and after the last is git's.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.hosts import pushed
from benchmarks.rows import STATE
from corpushooks.core.project import Host
from corpushooks.core.settings import load
from corpushooks.daemon import server
from corpushooks.host.site import Site, make_engine
from corpushooks.store.history import open_store
from corpushooks.system.process import spawn
from tests.support.box import Box, until
from tests.support.shared_box import world

# Each phase ends where the named effect begins or ends, in the order of the table. Every push has these effects.
PHASES = (
    ("git, the hook, the daemon's first checks", "aim", "before"),
    ("choosing the commits, pinning them", "pin", "after"),
    ("checks of the commit", "1 archive", "before"),
    ("archive", "1 archive", "after"),
    ("stage, project/, wiring", "wire", "after"),
    ("cfg: grains, pillar and sample from Salt", "compute cfg", "after"),
    ("fixperms", "3 fixperms", "after"),
    ("install", "4 install", "after"),
    ("fixperms again", "5 fixperms", "after"),
    ("flush to disk; publish", "record live", "after"),
)
LAST = "the answer to the hook, git, the client"


def serve(root: Path) -> None:
    """Be a daemon that notes its effects."""
    host = Host(root)
    settings = load(host.config_file)
    notes = open(root / "effects", "a", buffering=1, encoding="utf-8")  # noqa: SIM115

    def probe(label: str, when: str) -> None:
        notes.write(f"{time.perf_counter()}\t{label}\t{when}\n")

    server.run(lambda: Site(host, settings, open_store(host), make_engine(host, settings), probe), embedded=False)


def measure(folder: Path, sls: int, pushes: int) -> list[list[float]]:
    """Push to a project of so many SLS files; return for each push how long each phase took, in seconds."""
    box = Box(folder / "box", salt=True)
    box.root.mkdir()
    box.init()
    notes = box.host.root / "effects"
    try:
        _start(box)
        box.work().commit({f".salt/{number:02d}_state.sls": STATE.format(number) for number in range(sls)})
        return [_phases(notes, *_push(box, notes, number)) for number in range(pushes + 2)][2:]  # the first two warm up
    finally:
        box.stop()


def _start(box: Box) -> None:
    with open(box.root / "daemon.log", "ab") as log:
        words = [sys.executable, "-m", "benchmarks.phases", "--serve", box.host.root]
        box.daemon = spawn(words, cwd=Path(__file__).parent.parent, stdout=log.fileno(), stderr=log.fileno())
    until(box.reachable)


def _push(box: Box, notes: Path, number: int) -> tuple[float, float]:
    """Push a change; return when that began and ended."""
    box.work().commit({"changed": str(number)})
    notes.write_text("")  # the daemon appends
    start = time.perf_counter()
    pushed(box.work())
    end = time.perf_counter()
    box.ended(number + 1)
    return start, end


def _phases(notes: Path, start: float, end: float) -> list[float]:
    rows = [line.split("\t") for line in notes.read_text().splitlines()]
    times = {(label, when): float(at) for at, label, when in rows}
    marks = [start, *(times[label, when] for _, label, when in PHASES), end]
    return [after - before for before, after in itertools.pairwise(marks)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.phases", description=__doc__)
    parser.add_argument("sls", nargs="?", type=int, default=8, help="how many SLS files of one state the project has")
    parser.add_argument("--pushes", type=int, default=20)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    with tempfile.TemporaryDirectory(prefix="corpushooks-phases-") as folder, world(Path(folder) / "home"):
        rows = measure(Path(folder), given.sls, given.pushes)
    medians = [statistics.median(column) * 1000 for column in zip(*rows, strict=True)]
    for name, took in zip([*(name for name, *_ in PHASES), LAST], medians, strict=True):
        print(f"| {name} | {took:.1f} |")
    print(f"| push to exit | {statistics.median(map(sum, rows)) * 1000:.0f} |")


if __name__ == "__main__":
    main()
