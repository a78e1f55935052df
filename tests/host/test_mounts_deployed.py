"""Deployments whose SLS files mount something in project/, or put something else in its place, and then fail."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from corpushooks.admin import projects
from corpushooks.system.process import run
from tests.support.box import FAILING, Box, Push, tree_of
from tests.support.misbehaving import command
from tests.support.mounts import Mount, mount_dead, mounting, mounts_below, unmount_below

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
LEFT = "left alone, a filesystem is mounted there"


@pytest.fixture
def share(tmp_path: Path) -> Path:
    folder = tmp_path / "share"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/precious").write_text("p")
    return folder


@pytest.fixture
def site(live: Box) -> Iterator[Box]:
    """Return a host with a live release that has media/.gitkeep; what is mounted in it ends with the test."""
    live.work().commit({"media/.gitkeep": ""})
    assert live.work().push().code == 0
    live.ended(2)
    try:
        yield live
    finally:
        unmount_below(live.root)


@pytest.fixture
def mount() -> Iterator[Mount]:
    with mounting() as found:
        yield found


def bad(box: Box, script: str) -> Push:
    """Push a release whose SLS runs a script as its last act; return what was said."""
    box.work().commit({"index.html": "two", "media/.gitkeep": "two", ".salt/10_bad.sls": command(script)})
    return box.work().push()


def good(box: Box) -> Push:
    (box.work().path / ".salt/10_bad.sls").unlink(missing_ok=True)
    box.work().commit({"index.html": "three"})
    return box.work().push()


def repair(box: Box) -> str:
    return str(box.ask(op="repair", project="hello", token=uuid4().hex)["state"])


@as_root
@pytest.mark.parametrize("kind", ["bind", "tmpfs", "file"])
def test_a_share_mounted_by_a_release_that_fails_stays(site: Box, share: Path, kind: str) -> None:
    before = tree_of(site.project().tree)
    script = {
        "bind": f"mount --bind {share} media; exit 1",
        "tmpfs": "mount -t tmpfs none media; mkdir media/deep; echo p > media/deep/precious; exit 1",
        "file": f"mount --bind {share}/deep/precious media/.gitkeep; exit 1",
    }[kind]
    pushed = bad(site, script)
    assert pushed.rejected == "install 10_bad failed; rolled back", pushed.text
    named = "media/.gitkeep" if kind == "file" else "media"
    assert f"{named}: {LEFT}; not written: media/.gitkeep" in pushed.text.replace("\nremote:         ", " ")
    kept = site.project().tree / ("media/.gitkeep" if kind == "file" else "media/deep/precious")
    assert kept.read_text().strip() == "p"
    again = good(site)
    assert (again.code, again.text.count(f"{named}: {LEFT}")) == (0, 2), "the archive and the sync say it, once"
    site.ended(4)
    assert kept.read_text().strip() == "p"
    run(["umount", mounts_below(site.root)[-1]])
    after = tree_of(site.project().tree)
    assert {name: row for name, row in after.items() if name.startswith("uploads")} == {
        name: row for name, row in before.items() if name.startswith("uploads")
    }


MOUNTED = """\
share:
  mount.mounted:
    - name: {{ cfg.project_root }}/media
    - device: SHARE
    - fstype: none
    - opts: bind
    - persist: false
"""


@as_root
def test_salt_mounts_a_share_and_fails(new_box: Callable[..., Box], share: Path) -> None:
    box = new_box(salt=True)
    try:
        box.init()
        box.start()
        box.app(files={"media/.gitkeep": ""}).push()
        box.ended(1)
        before = tree_of(box.project().tree)
        box.work().commit({".salt/10_share.sls": MOUNTED.replace("SHARE", str(share)), ".salt/20_broken.sls": FAILING})
        pushed = box.work().push()
        assert pushed.rejected == "install 20_broken failed; rolled back", pushed.text
        assert f"media: {LEFT}; not written: media/.gitkeep" in " ".join(" ".join(pushed.lines).split())
        assert (box.project().tree / "media/deep/precious").read_text() == "p"
        run(["umount", box.project().tree / "media"])
        assert tree_of(box.project().tree) == before
    finally:
        unmount_below(box.root)


@as_root
def test_the_data_is_a_mount_for_which_nobody_answers(site: Box) -> None:
    mount_dead(site.project().data)
    pushed = good(site)
    assert "Transport endpoint is not connected" in pushed.rejected, pushed.text
    assert "Traceback" not in site.log(3)
    run(["umount", site.project().data])
    assert good(site).code == 0


@as_root
def test_the_daemon_is_killed_behind_a_mount(site: Box, share: Path) -> None:
    site.stop()
    site.start("undo restore", "before", "kill")
    site.work().commit({"index.html": "two", ".salt/10_bad.sls": command(f"mount --bind {share} media; exit 1")})
    push = site.work().start_push()
    site.daemon and site.daemon.wait(30)
    site.revive()
    assert push.wait(60) == 1
    assert site.ended(3).state == "rolled_back"
    assert (share / "deep/precious").read_text() == "p"
    assert (site.project().tree / "index.html").read_text() == "one"


@as_root
@pytest.mark.parametrize(("kind", "end"), [("bind", "true"), ("tmpfs", "exit 1")])
def test_a_release_mounts_something_on_the_project_itself(site: Box, share: Path, kind: str, end: str) -> None:
    tree, before = site.project().tree, tree_of(site.project().tree)
    what = f"--bind {share}" if kind == "bind" else "-t tmpfs none"
    pushed = bad(site, f"mount {what} {tree}; mkdir -p {tree}/deep; echo p > {tree}/deep/precious; {end}")
    assert pushed.rejected.endswith("THE ROLLBACK FAILED"), pushed.text
    assert f"a filesystem was mounted on {tree} since it was archived; nothing in it was changed" in site.log(3)
    assert f"hint: umount {tree}, then corpus" in site.log(3)
    assert list(tree_of(tree)) == [".", "deep", "deep/precious"]
    assert repair(site) == "failed"
    assert f"hint: umount {tree}, then corpus" in site.log(4)
    assert list(tree_of(tree)) == [".", "deep", "deep/precious"]
    run(["umount", tree])
    assert repair(site) == "done"
    assert tree_of(tree) == before
    assert good(site).code == 0


@as_root
def test_a_project_that_was_a_mount_before_is_rolled_back(site: Box, mount: Mount, tmp_path: Path) -> None:
    tree = site.project().tree
    disk = tmp_path / "disk"
    run(["cp", "-a", tree, disk])
    mount(tree, disk)
    assert good(site).code == 0
    site.ended(3)
    before = tree_of(tree)
    pushed = bad(site, "rm -rf lib; echo x > new; exit 1")
    assert pushed.rejected == "install 10_bad failed; rolled back"
    assert tree_of(tree) == before
    pushed = bad(site, f"cd /; umount -l {tree}; exit 1")
    assert pushed.rejected.endswith("THE ROLLBACK FAILED")
    assert f"{tree} was a mount when it was archived, and nothing is mounted there now" in site.log(5)
    mount(tree, disk)
    assert repair(site) == "done"
    assert tree_of(tree) == before


@as_root
def test_the_project_was_moved_with_a_share_in_it(site: Box, share: Path) -> None:
    before = tree_of(site.project().tree)
    pushed = bad(site, f"mount --bind {share} media; mv ../project ../elsewhere; exit 1")
    assert pushed.rejected.endswith("; rolled back"), pushed.text
    assert tree_of(site.project().tree) == before
    assert (site.project().dir / "elsewhere/media/deep/precious").read_text() == "p"


@as_root
@pytest.mark.parametrize("folder", ["pillar", "pillar/a b", "git/stage/.salt"])
def test_git_empties_no_mount(site: Box, share: Path, folder: str) -> None:
    at, before = site.project().dir / folder, tree_of(site.project().tree)
    pushed = bad(site, f"mkdir -p '{at}'; mount --bind {share} '{at}'; exit 1")
    assert pushed.rejected.endswith("THE ROLLBACK FAILED"), pushed.text
    assert (share / "deep/precious").read_text() == "p"
    assert f"hint: umount {shlex.quote(str(at))}, then corpus" in site.log(3)
    assert repair(site) == "failed"
    assert (share / "deep/precious").read_text() == "p"
    run(["umount", at])
    assert repair(site) == "done"
    assert tree_of(site.project().tree) == before


@as_root
def test_a_purge_leaves_what_is_mounted(site: Box, share: Path, mount: Mount) -> None:
    project = site.project()
    site.stop()
    mount(project.tree / "media", share)
    mount(project.archives, share)
    store = site.history
    left = projects.remove(project, store, purge=True)
    store.close()
    assert left[0] == str(project.data)
    assert [line.partition(" ")[0] for line in left[1:]] in (
        [str(project.tree), str(project.archives)], [str(project.archives), str(project.tree)],
    )  # fmt: skip
    assert f"a filesystem is mounted on {project.tree}/media" in " ".join(left)
    assert sorted(path.name for path in project.dir.iterdir()) == ["archives", "data", "project"]
    assert (share / "deep/precious").read_text() == "p"


# something else in the place of project/

SWAPS = {
    "a file": "rm -rf ../project; echo precious > ../project",
    "a link": "mv ../project ../aside; ln -s aside ../project",
    "a link to nothing": "rm -rf ../project; ln -s nowhere ../project",
    "a fifo": "rm -rf ../project; mkfifo ../project",
    "a socket": "rm -rf ../project; python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('../project')\"",
    "nothing": "rm -rf ../project",
}


@pytest.mark.parametrize(("what", "end"), [("a file", "true"), *((what, "exit 1") for what in SWAPS)])
def test_something_else_is_put_in_the_place_of_the_project(site: Box, what: str, end: str) -> None:
    before = tree_of(site.project().tree)
    site.work().commit({"index.html": "two", ".salt/10_bad.sls": command(f"cd ../data; {SWAPS[what]}; {end}")})
    site.work().commit({".salt/20_broken.sls": FAILING})
    pushed = site.work().push()
    assert pushed.rejected.endswith("; rolled back"), pushed.text
    assert tree_of(site.project().tree) == before
    archive = next(site.project().archives.glob("*_3"))
    kept = [path for path in archive.iterdir() if ".replaced" in path.name]
    assert len(kept) == (what != "nothing")
    if what == "a file":
        assert kept[0].read_text() == "precious\n"
    if what == "a link":
        assert (os.readlink(kept[0]), (site.project().dir / "aside/index.html").read_text()) == ("aside", "two")
    site.work().commit({".salt/20_broken.sls": None})
    assert good(site).code == 0


@pytest.mark.parametrize("what", ["a file", "a link", "nothing"])
def test_a_repair_mends_a_project_that_something_else_replaced(site: Box, what: str) -> None:
    project = site.project()
    run(["sh", "-c", SWAPS[what]], cwd=project.data)
    if what != "nothing":
        pushed = good(site)
        assert "is no longer a folder" in pushed.rejected, pushed.text
        assert "corpus repair hello" in pushed.text
    assert repair(site) == "done"
    assert (project.tree / "lib/deep/b.txt").read_text() == "b"
    kept = [path for path in project.dir.iterdir() if ".replaced" in path.name]
    assert len(kept) == (what != "nothing")
    if what == "a file":
        assert kept[0].read_text() == "precious\n"
    assert good(site).code == 0


@pytest.mark.parametrize("folder", ["pillar", "git/stage"])
def test_something_else_is_put_in_the_place_of_a_checkout(site: Box, folder: str) -> None:
    before = tree_of(site.project().tree)
    pushed = bad(site, f"rm -rf ../{folder}; echo precious > ../{folder}; exit 1")
    assert pushed.rejected.endswith("; rolled back"), pushed.text
    assert tree_of(site.project().tree) == before
    assert good(site).code == 0
    assert next(site.project().archives.glob(f"*_3/{Path(folder).name}.replaced1")).read_text() == "precious\n"
