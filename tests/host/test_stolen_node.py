"""What can be done with all that lies on a stolen node: nothing on the other nodes, nor on the controller."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from corpushooks.system.process import run
from tests.support.box import Box
from tests.support.fleet import FleetBox, NodeBox, fleet_box
from tests.support.sshd import Server, serving

SECRET = "b0b7-only-for-the-other-node"
STOLEN, OTHER = "n1", "n2"


@dataclass
class Scene:
    """A controller behind sshd, a project on both nodes, and one with a secret only on the node that is not stolen."""

    fleet: FleetBox
    door: Server  # of the controller

    @property
    def loot(self) -> Path:
        """The folder with all of the stolen node."""
        return self.fleet.nodes[STOLEN].box.root

    @property
    def doors(self) -> dict[str, NodeBox]:
        """What else can be reached by ssh."""
        return {OTHER: self.fleet.nodes[OTHER], "controller": NodeBox("controller", self.fleet.box, self.door)}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("stolen")
    with fleet_box(folder, STOLEN, OTHER) as fleet:
        fleet.box.init("other", env="prod")
        fleet.know()
        fleet.link("hello")
        fleet.link("other", OTHER)
        assert fleet.box.app("one").push().code == 0
        assert fleet.box.app("one", "other").push().code == 0
        pillar = fleet.box.work("other", "pillar")
        pillar.commit({"init.sls": f"password: {SECRET}\n"})
        assert pillar.push().code == 0
        assert fleet.box.work("other").push("HEAD:refs/deploy/now").code == 0
        (folder / "door").mkdir()
        with serving(folder / "door", fleet.box.host.root) as door:
            yield Scene(fleet, door)


def private_keys(folder: Path) -> list[Path]:
    """Return the private keys in a folder, as copies that ssh takes."""
    found = []
    for path in files(folder):
        if b"PRIVATE KEY" in path.read_bytes():
            copy = folder.parent / f"loot{len(found)}.{os.getpid()}"
            shutil.copyfile(path, copy)
            copy.chmod(0o600)
            found.append(copy)
    return found


def files(folder: Path) -> Iterator[Path]:
    for top, _, names in os.walk(folder):
        yield from (path for name in names if (path := Path(top, name)).is_file() and not path.is_symlink())


def test_no_key_that_lies_on_it_opens_another_host(scene: Scene) -> None:
    loot = private_keys(scene.loot)
    assert loot, "the host key at least"
    for name, door in scene.doors.items():
        for key in loot:
            done = door.ssh(key, "node serve")
            assert done.code == 255 and b"Permission denied" in done.stderr, (name, key.name, done)
    asked = b'{"op": "ping"}\n'
    assert scene.doors[OTHER].ssh(scene.fleet.key, "node serve", stdin=asked).code != 255  # the one that is let in


def test_the_key_of_the_controller_does_not_lie_on_it(scene: Scene) -> None:
    lines = scene.fleet.key.read_text().splitlines()
    mine = "\n".join(lines[2:-1]).encode()  # without what all keys of a kind have in common
    assert mine in scene.fleet.key.read_bytes()
    assert not [path for path in files(scene.loot) if mine in path.read_bytes()]


def holds(box: Box, text: str) -> list[str]:
    """Return where a host has a text: in a file, or in an object of git."""
    found = [str(path) for path in files(box.root) if text.encode() in path.read_bytes()]
    for repo in sorted({path.parent for path in box.host.root.rglob("HEAD") if (path.parent / "objects").is_dir()}):
        git = ["git", "--git-dir", repo]
        listed = run([*git, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)"], check=False).text
        if text.encode() in run([*git, "cat-file", "--batch"], stdin=listed.encode(), check=False).stdout:
            found.append(str(repo))
    return found


def test_it_has_nothing_of_a_project_that_is_not_on_it(scene: Scene) -> None:
    assert holds(scene.fleet.nodes[OTHER].box, SECRET), "else this would find nothing anywhere"
    assert holds(scene.fleet.nodes[STOLEN].box, SECRET) == []
    with closing(scene.fleet.nodes[STOLEN].box.history) as history:
        assert history.project("other") is None


@contextmanager
def impostor(scene: Scene) -> Iterator[None]:
    """Let the stolen node answer at the address of the other one, with the keys and the daemon that it has."""
    stolen, other = scene.fleet.nodes[STOLEN], scene.fleet.nodes[OTHER]
    folder = scene.loot / "impostor"
    shutil.copytree(stolen.server.folder, folder, ignore=shutil.ignore_patterns("log", "pid"))
    config = (folder / "config").read_text()
    ours = config.replace(f"Port {stolen.server.port}", f"Port {other.server.port}")
    (folder / "config").write_text(ours.replace(str(stolen.server.folder), str(folder)))
    other.server.kill()
    posing = Server(folder, other.server.port, other.server.process)
    posing.revive()
    try:
        yield
    finally:
        posing.kill()
        other.server.revive()
        shutil.rmtree(folder)


def test_it_cannot_pose_as_another_node(scene: Scene) -> None:
    before = scene.fleet.nodes[OTHER].box.row("other").code
    with impostor(scene):
        pushed = scene.fleet.box.app("two", "other").push()
        assert pushed.code == 1
        assert pushed.rejected.startswith(f"{OTHER} does not answer")
        assert "Host key verification failed" in pushed.text
        assert "Accepted" not in (scene.loot / "impostor/log").read_text()
    assert holds(scene.fleet.nodes[STOLEN].box, SECRET) == []
    assert scene.fleet.nodes[OTHER].box.row("other").code == before
    assert scene.fleet.box.work("other").push("HEAD:refs/deploy/now").code == 0  # now it is the right one again
