"""Measure all, or what is named; print the table, and write it as JSON.

python -m benchmarks [ROW...] [--rounds N] [--show]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Row, load, save, table
from benchmarks.rows import ROWS
from tests.support.shared_box import world

NEWEST = Path(__file__).with_name("newest.json")


def main() -> int:
    """Return 1 where something is not as it is wanted."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="which; all where none is named")
    parser.add_argument("--rounds", type=int, default=10, help="how often each side is measured, at least")
    parser.add_argument("--show", action="store_true", help="measure nothing, print the newest again")
    given = parser.parse_args()
    if not given.show:
        for name in given.rows or ROWS:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix="corpushooks-bench-") as folder, world(Path(folder) / "home"):
                save(NEWEST, {name: ROWS[name](_empty(Path(folder) / "work"), given.rounds)})
    rows = newest(given.rows)
    print(table(rows), end="")
    return 0 if all(row.met for row in rows) else 1


def newest(names: Sequence[str] = ()) -> list[Row]:
    """Return the newest rows of all comparisons, or of some."""
    found = load(NEWEST)
    return [row for name in names or ROWS for row in found.get(name, [])]


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    sys.exit(main())
