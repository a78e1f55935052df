"""Measure two sides in turn, and say what came of it."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

Act = Callable[[], object]
HEAD = ("what", "ours", "against", "theirs", "ratio", "wanted", "")


@dataclass(frozen=True)
class Row:
    """One comparison. `ratio` is how often ours goes into theirs where it should be large, else the reverse."""

    what: str
    ours: str
    against: str
    theirs: str
    ratio: float
    wanted: str
    met: bool

    def cells(self) -> tuple[str, ...]:
        """Return the row as it is shown."""
        ratio = f"{self.ratio:.1f} x" if self.ratio >= 1.95 else f"{self.ratio:.2f} x"
        return self.what, self.ours, self.against, self.theirs, ratio, self.wanted, "" if self.met else "not met"


def timed(act: Act) -> float:
    """Do something; return how many seconds it took."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def in_turn(rounds: int, *sides: Callable[[], float], sync: bool = False) -> list[float]:
    """Measure each side in every round, another one first each time; return the median of each, in seconds.

    The first round warms up and does not count. With `sync` all that was written is on the disk before each.
    """
    found: list[list[float]] = [[] for _ in sides]
    for turn in range(rounds + 1):
        for offset in range(len(sides)):
            index = (turn + offset) % len(sides)
            if sync:
                os.sync()
            took = sides[index]()
            if turn:
                found[index].append(took)
    return [statistics.median(each) for each in found]


def faster(what: str, ours: float, against: str, theirs: float, at_least: float) -> Row:
    """Return a row whose side shall be faster, so many times."""
    ratio = theirs / ours
    return Row(what, seconds(ours), against, seconds(theirs), ratio, f"at least {at_least:g} x", ratio >= at_least)


def plain(what: str, ours: float, against: str, theirs: float) -> Row:
    """Return a row of which nothing is demanded."""
    return Row(what, seconds(ours), against, seconds(theirs), theirs / ours, "", True)


def beside(what: str, ours: float, against: str, theirs: float) -> Row:
    """Return a row whose side takes so many times as long, of which nothing is demanded."""
    return Row(what, seconds(ours), against, seconds(theirs), ours / theirs, "", True)


def within(what: str, ours: float, against: str, theirs: float, at_most: float) -> Row:
    """Return a row whose side may take so many times as long."""
    ratio = ours / theirs
    return Row(what, seconds(ours), against, seconds(theirs), ratio, f"at most {at_most:g} x", ratio <= at_most)


def smaller(what: str, ours: float, against: str, theirs: float, at_most: float, unit: str = "MiB") -> Row:
    """Return a row of sizes in bytes, of which ours may be such a part of theirs."""
    ratio = ours / theirs
    shown = [f"{size / 2**20:.1f} {unit}" for size in (ours, theirs)]
    return Row(what, shown[0], against, shown[1], ratio, f"at most {at_most:g} x", ratio <= at_most)


def none(what: str, ours: int, against: str, theirs: int) -> Row:
    """Return a row of what must not happen at all."""
    return Row(what, str(ours), against, str(theirs), ours / theirs, "none", ours == 0)


def seconds(value: float) -> str:
    """Return a time as people read it."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms" if value >= 0.1 else f"{value * 1000:.1f} ms"


def table(rows: Sequence[Row]) -> str:
    """Return rows as a table of Markdown."""
    cells = [HEAD, *(row.cells() for row in rows)]
    wide = [max(len(line[at]) for line in cells) for at in range(len(HEAD))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, wide, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in wide) + "|")
    return "\n".join(lines) + "\n"


def save(path: Path, found: Mapping[str, Sequence[Row]]) -> None:
    """Write the rows of each comparison as JSON, beside those that are there of others."""
    known = load(path) if path.exists() else {}
    kept = {name: [asdict(row) for row in rows] for name, rows in {**known, **found}.items()}
    path.write_text(json.dumps(kept, indent=1) + "\n")


def load(path: Path) -> dict[str, list[Row]]:
    """Read rows again."""
    return {name: [Row(**row) for row in rows] for name, rows in json.loads(path.read_text()).items()}
