"""The power goes: each row of the store is written after what it says is on the disk, and recovery finds old or new.

A real push is traced by its system calls. What must be on the disk before what is asserted on their order; then disks
as a cut would have left them are built, the daemon starts on them, and the promise is asserted. `make power` does
that for every moment; here are some.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.power import model
from tests.faults.power.model import Change, Choice, Data, Disk, Mark, Meta, Names, Size, Sync, load
from tests.faults.power.scenario import Scenario, moments, recorded, replay

PROJECT = "srv/projects/hello"
CHECKOUTS = rf"{PROJECT}/(git/(stage|work\.git)|pillar)\b"
TREES = rf"{CHECKOUTS}|{PROJECT}/(project/|project$|\.salt)|srv/(salt|pillar)/|salt/hello/modules\b"
ARCHIVES = rf"{PROJECT}/archives\b"
PACKS = r"/objects/pack/.*\.(pack|idx)\b"
LOG = r"logs/hello/2\.log"
RULES = {  # what is about to be written -> the paths that must be on the disk then
    "deployed": {
        "enqueue": PACKS,
        "begin sync": rf"{ARCHIVES}|\.git/refs/corpus\b|{PACKS}",
        "begin publish": rf"{TREES}|{ARCHIVES}",
        "publish$": r"project\.git/(refs/heads\b|packed-refs)",
        "end$": LOG,
    },
    "confirmed": {
        "hold$": rf"{TREES}|{ARCHIVES}",
        "confirm": rf"{TREES}|{ARCHIVES}",
        "publish$": r"project\.git/(refs/heads\b|packed-refs)",
        "end$": LOG,
    },
    "rolled back": {
        "begin sync": ARCHIVES,
        "move rolled_back": rf"{TREES}|{ARCHIVES}",
        "end$": LOG,
    },
}


@pytest.fixture(scope="module", params=list(RULES))
def made(request: pytest.FixtureRequest) -> Iterator[Scenario]:
    with recorded(fails=request.param == "rolled back", holds=request.param == "confirmed") as scenario:
        yield scenario


def rules(made: Scenario) -> dict[str, str]:
    return RULES["rolled back" if made.fails else "confirmed" if made.holds else "deployed"]


def mark(made: Scenario, text: str) -> int:
    """Return when a row was about to be written."""
    texts = [done.change.text if isinstance(done.change, Mark) else "" for done in made.disk.done]
    return next(index for index, each in enumerate(texts) if re.match(text, each))


def given(made: Scenario, name: str) -> int:
    """Return when a name was given, as the last thing of its kind."""
    changes = [done.change for done in made.disk.done]
    return max(i for i, c in enumerate(changes) if isinstance(c, Names) and any(n == name and f for _, n, f in c.names))


def test_what_a_row_says_is_on_the_disk_before_it(made: Scenario) -> None:
    for row, paths in rules(made).items():
        wanted = re.compile(paths)
        touched = [path for path, _ in made.disk.moment(mark(made, row)).paths() if wanted.search(path)]
        assert touched, f"nothing is called {paths}"
        missing = made.disk.unsettled(mark(made, row), lambda path: wanted.search(path) is not None)  # noqa: B023
        assert not missing, f"the row {row!r} is written before these are on the disk: {missing}"


def test_what_is_said_was_written(made: Scenario) -> None:
    """A number is told, and an outcome, when its row is on the disk."""
    outcome = "move rolled_back" if made.fails else "publish$"
    confirmed = [("confirm", "said.*is confirmed")] if made.holds else []
    for row, said in (("enqueue", 'said {("v": 1, )?"number": 2'), *confirmed, (outcome, 'said {"report"')):
        between = [done.change for done in made.disk.done[mark(made, row) : mark(made, said)]]
        synced = [i for i, c in enumerate(between) if isinstance(c, Sync) and c.path.endswith("/store.sqlite-wal")]
        assert synced and any(isinstance(c, Data) for c in between[: synced[0]]), f"{said} before the row {row!r}"


def test_a_manifest_is_given_its_name_when_all_that_it_lists_is_on_the_disk(made: Scenario) -> None:
    saved = re.compile(rf"{ARCHIVES}/[^/]*_2(/project(/.*)?)?$")
    now = given(made, "project.manifest")
    missing = made.disk.unsettled(now, lambda path: saved.search(path) is not None)
    assert not missing, f"the manifest has its name before these are on the disk: {missing}"


def some(made: Scenario) -> list[tuple[int, str, Callable[[Change], Choice]]]:
    """Return cuts, spread over the deployment, each with what it leaves of what was not brought to the disk."""
    remembered = model.remembered(made.disk)
    ways = [("lost", model.lost), ("zeros", model.zeros), ("kept", model.kept), ("names", model.names)]
    all_of_them = moments(made.disk)
    few = {*all_of_them[:: max(1, len(all_of_them) // 7)], *(mark(made, row) for row in rules(made))}
    cuts = [(end, *ways[index % len(ways)]) for index, end in enumerate(sorted(few))]
    if made.fails:  # the checkout of the old release, which recovery must do once more
        cuts.append((mark(made, "begin undo rollback"), "remembered", remembered))
    return cuts


@pytest.mark.slow
def test_after_a_cut_all_is_old_or_new(made: Scenario) -> None:
    for end, name, way in some(made):
        try:
            replay(made, end, way)
        except AssertionError as exc:
            raise AssertionError(f"cut after {end} changes, the rest {name}: {exc}") from exc


# the model itself


def disk_of(tmp_path: Path, *changes: model.Change) -> Disk:
    """Return a disk with the file `old` (2, in the folder 1) on which changes were made, one after the other."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "old").write_text("old")
    disk = Disk(load(root, root))
    disk.new("file", 0o600)  # 3
    disk.new("folder", 0o700)  # 4
    for index, change in enumerate(changes):
        disk.do(change, index)
    return disk


def left(disk: Disk, end: int, way: object = model.lost) -> dict[str, bytes]:
    image, _ = disk.after_cut(end, way)  # type: ignore[arg-type]
    return {path: bytes(image.inodes[n].content()) for path, n in image.paths() if image.inodes[n].kind == "file"}


def test_the_fsync_of_a_file_brings_it_but_not_its_name(tmp_path: Path) -> None:
    disk = disk_of(tmp_path, Names(((1, "new", 3),)), Data(3, 0, b"data"), Sync(3, ""), Sync(1, ""))
    assert left(disk, 3) == {"old": b"old"}
    assert left(disk, 3, model.names) == {"old": b"old", "new": b"data"}
    assert left(disk, 2, model.names) == {"old": b"old", "new": b""}
    assert left(disk, 2, model.zeros) == {"old": b"old", "new": bytes(4)}
    assert left(disk, 4) == left(disk, 2, model.kept) == {"old": b"old", "new": b"data"}
    assert disk.unsettled(3, lambda path: True) == ["./new (its name)"]
    assert disk.unsettled(4, lambda path: True) == []


def test_names_of_a_folder_stay_in_order_and_a_rename_is_whole(tmp_path: Path) -> None:
    moved = Names(((1, "old", None), (4, "old", 2)))
    disk = disk_of(tmp_path, Names(((1, "in", 4),)), moved, Sync(4, ""))
    assert left(disk, 2) == {"old": b"old"}
    assert left(disk, 3) == {"in/old": b"old"}  # with the folder, whose name came first
    wanted = iter([False, True])
    assert left(disk, 2, lambda change: next(wanted)) == {"old": b"old"}


def test_an_fsync_brings_what_was_done_before_it_began(tmp_path: Path) -> None:
    disk = disk_of(tmp_path, Data(2, 0, b"n"))
    disk.do(Size(2, 1), 1)
    disk.do(Meta(2, 0o400, None), 2)
    disk.do(Sync(2, ""), 1)  # it began before the second, and ended after the third
    assert left(disk, 4) == {"old": b"nld"}
    disk.do(Sync(None, ""), 4)
    assert left(disk, 5) == {"old": b"n"}
