"""docs/operating.md: its backup is made and brought back as it stands there."""

from __future__ import annotations

import re
import shlex
import shutil

import pytest

from corpushooks.reports.statistics import METRICS
from corpushooks.system.process import run
from tests.support.box import FAILING, Box, DaemonDiedError, tree_of
from tests.support.command import quick_words
from tests.support.places import TOP

PAGE = (TOP / "docs/operating.md").read_text()
BLOCKS = re.findall(r"^<!-- tried by tests/docs/test_docs_operating\.py -->\n\n```sh\n(.*?)^```", PAGE, re.M | re.S)


def follow(box: Box, block: str) -> str:
    """Do what a block of the page says, on a host in a folder; return what was printed."""
    said, mask = "", ""
    for line in block.splitlines():
        if line.startswith("systemctl"):
            (box.stop if " stop " in line else box.start)()
        elif line.startswith("umask"):
            mask = f"{line}; "
        else:
            line = line.replace("/backup", str(box.root)).replace("-C /", f"-C {box.host.root}")
            line = line.replace(" /var/lib", f" {box.host.root}/var/lib")
            line = re.sub(
                r"(?:^|(?<=&& ))corpus(?= )",
                shlex.join(quick_words(box)),
                line,
            )
            said += run(["sh", "-euc", mask + line], timeout=60).text + "\n"
    return said


def lost(box: Box) -> None:
    """Lose the whole host."""
    box.stop()
    shutil.rmtree(box.host.root)
    box.host.root.mkdir()


@pytest.fixture
def saved(box: Box) -> Box:
    """Return a host with two releases, a failure, data and a key, of which there is a backup."""
    box.settings("keep_archives: 5\n")
    for page in ("one", "two"):
        assert box.app(page).push().code == 0
    box.work().commit({".salt/20_broken.sls": FAILING})
    assert box.work().push().code == 1
    box.ended(3)
    (box.project().data / "upload").write_text("of the application")
    follow(box, BLOCKS[0])
    return box


def test_a_host_comes_back_from_its_backup(saved: Box) -> None:
    box, (_, back, _) = saved, BLOCKS
    assert (box.root / "corpushooks.tar").stat().st_mode & 0o777 == 0o600
    before = {path: tree_of(path) for path in (box.project().tree, box.project().archives, box.project().data)}
    lost(box)
    said = follow(box, back.partition("corpus deploy")[0])
    assert "wrong" not in said
    assert {path: tree_of(path) for path in before} == before
    kept = [path / "project/index.html" for path in box.project().archives.iterdir()]
    assert sorted(path.stat().st_nlink for path in kept if path.exists()) == [1, 2]  # archives share files again
    assert (box.row().live, box.deployment(3).reason) == (2, "install 20_broken failed: broken")
    (box.project().tree / "index.html").write_text("drift")
    assert "success: hello is live" in follow(box, "corpus deploy hello")
    assert (box.project().tree / "index.html").read_text() == "two"
    box.ended(4)
    assert "success" in follow(box, "corpus rollback hello 1")
    assert (box.project().tree / "index.html").read_text() == "one"


def test_prometheus_gets_a_whole_file(box: Box) -> None:
    line = re.search(r"^\*/5 \* \* \* \* root (.*)$", PAGE, re.M)
    assert line
    folder = box.root / "textfile"
    folder.mkdir()
    follow(box, f"{line[1].replace('/var/lib/prometheus/node-exporter', str(folder))}")
    assert [path.name for path in folder.iterdir()] == ["corpushooks.prom"]
    text = (folder / "corpushooks.prom").read_text()
    assert 'corpushooks_open{project="hello"} 0' in text


def test_a_host_comes_back_with_an_older_store_and_with_none(saved: Box) -> None:
    box, tar = saved, saved.root / "corpushooks.tar"
    older = tar.rename(box.root / "older.tar")
    box.work().git("reset", "--quiet", "--hard", "HEAD~")
    assert box.app("three").push().code == 0
    box.ended(4)
    follow(box, BLOCKS[0])
    for store, reason in (
        ("is missing, but", "see its log for the reason"),
        ("is missing deployments", "install 20_broken failed: broken"),
    ):
        lost(box)
        run(["tar", "-C", box.host.root, "-xpf", tar, "--exclude=store.sqlite*"])
        if store == "is missing deployments":
            run(["tar", "-C", box.host.root, "-xpf", older, "--wildcards", "var/lib/corpushooks/store.sqlite*"])
        with pytest.raises(DaemonDiedError, match=store):
            box.start()
        assert "live is deployment 4" in follow(box, BLOCKS[2])
        assert (box.row().live, box.row().code) == (4, box.ref())
        assert box.deployment(3).reason == reason


def test_every_metric_is_told() -> None:
    assert set(re.findall(r"^\| `corpushooks_(\w+)`", PAGE, re.M)) == set(METRICS)
