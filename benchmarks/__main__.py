"""Measure all, or what is named; print the table. A whole run is written as JSON.

python -m benchmarks [ROW...] [--rounds N] [--show]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Row, load, save, table
from benchmarks.rows import ROWS
from tests.shared import world

NEWEST = Path(__file__).with_name("newest.json")


def main() -> int:
    """Return 1 where something is not as it is wanted."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="which; all where none is named")
    parser.add_argument("--rounds", type=int, default=10, help="how often each side is measured, at least")
    parser.add_argument("--show", action="store_true", help="print the newest whole run again")
    given = parser.parse_args()
    if given.show:
        print(table(load(NEWEST)), end="")
        return 0
    rows: list[Row] = []
    for name in given.rows or ROWS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="corpushooks-bench-") as folder, world(Path(folder) / "home"):
            rows += ROWS[name](_empty(Path(folder) / "work"), given.rounds)
    print(table(rows), end="")
    if not given.rows:
        save(NEWEST, rows)
    return 0 if all(row.met for row in rows) else 1


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    sys.exit(main())
