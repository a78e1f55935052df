"""Hard links to root's files that an application planted in its tree: neither given away, nor kept, nor shown.

Where fs.protected_hardlinks is 0 it can make them itself. Here root does.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from corpushooks import tree
from corpushooks.core.project import Host
from corpushooks.makina import resetperms
from corpushooks.release import edits
from corpushooks.tree.manifest import manifest_path
from tests.support.box import tree_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
APP = 12345
SECRET = "the-secret-of-the-host"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Return a folder of root's with a secret, and something that all may read."""
    folder = tmp_path / "victim"
    folder.mkdir()
    for name, mode in (("secret", 0o600), ("public", 0o644)):
        (folder / name).write_text(SECRET if name == "secret" else name)
        (folder / name).chmod(mode)
    return folder


@pytest.fixture
def project(tmp_path: Path, victim: Path) -> Path:
    """Return the application's tree, with links to these files, and to one of its own elsewhere."""
    folder = tmp_path / "project"
    (folder / "app").mkdir(parents=True)
    (tmp_path / "own").write_text("own")
    (tmp_path / "own").chmod(0o600)
    for path in (folder, folder / "app", tmp_path / "own"):
        os.chown(path, APP, APP)
    for name in ("secret", "public"):
        os.link(victim / name, folder / "app" / name)
    os.link(tmp_path / "own", folder / "app/own")
    return folder


def spilled(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and SECRET in path.read_text()]


def test_an_archive_has_no_secret_and_brings_none_back(project: Path, victim: Path, tmp_path: Path) -> None:
    before = tree_of(victim)
    report = tree.snapshot(tree.scan(project), tmp_path / "a/project", None)
    assert [line for line in report.warnings if "hard link" in line] == [
        "app/secret: skipped, a hard link to a file of another owner that others cannot read"
    ]
    assert spilled(tmp_path / "a") == []
    for name in ("secret", "public", "own"):
        (project / "app" / name).unlink()
    tree.restore(tmp_path / "a/project", project)
    assert sorted(os.listdir(project / "app")) == ["own", "public"]  # what the application could read comes back
    tree.fix(project, uid=APP, gid=APP)
    assert spilled(project) == []
    assert tree_of(victim) == before


def test_a_planted_link_that_is_still_there_stays_as_it_is(project: Path, victim: Path, tmp_path: Path) -> None:
    before = tree_of(victim)
    tree.snapshot(tree.scan(project), tmp_path / "a/project", None)
    tree.restore(tmp_path / "a/project", project)
    tree.fix(project, uid=APP, gid=APP)
    assert (project / "app/secret").samefile(victim / "secret")
    assert tree_of(victim) == before


def test_an_unchanged_link_is_not_shared_with_an_archive_that_has_it(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Archives that were made before links were looked at have the secret; nothing comes of that."""
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["corpushooks.tree.snapshot"], "is_planted", lambda *_: False)
        settled(project)
        tree.snapshot(tree.scan(project), tmp_path / "a/project", None)
    assert len(spilled(tmp_path / "a")) == 1
    tree.snapshot(tree.scan(project), tmp_path / "b/project", tmp_path / "a/project")
    assert spilled(tmp_path / "b") == []
    (project / "app/secret").unlink()
    report = tree.restore(tmp_path / "a/project", project)
    assert [line for line in report.warnings if "hard link" in line] != []
    assert spilled(project) == []


def settled(project: Path) -> None:
    """Await that the stamps of a tree prove something."""
    while not all(entry.settled for _, entry in tree.scan(project).entries):
        pass


def wanted(uid: int | None) -> resetperms.Wanted:
    return resetperms.Wanted(uid, APP, 0o777, 0o666, None, recursive=True)


@pytest.mark.parametrize("uid", [APP, 0, None])
def test_resetperms_gives_no_link_away(uid: int | None, project: Path, victim: Path) -> None:
    """Also where it is told that root owns the files, and only their group and mode would change."""
    before = tree_of(victim)
    settled(project)
    left, _ = resetperms.reset(project, wanted(uid))
    assert "left alone" in " ".join(left)
    resetperms.reset(project / "app/secret", wanted(uid))
    assert tree_of(victim) == before


def test_a_name_that_moves_while_we_walk_is_not_counted_twice(
    project: Path, victim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(project)
    walk: Any = sys.modules["corpushooks.tree.scan"]._Walk  # type: ignore[attr-defined]
    real = walk._list

    def moving(self: Any, folder: str) -> Any:
        found = real(self, folder)
        if folder == "app":
            (project / "app/more").mkdir()
            (project / "app/secret").rename(project / "app/more/secret")
            found = real(self, folder) | found
        return found

    monkeypatch.setattr(walk, "_list", moving)
    found = tree.scan(project)
    assert found.folders["app"]["secret"].group == found.folders["app/more"]["secret"].group != 0
    tree.snapshot(found, tmp_path / "a/project", None)
    assert spilled(tmp_path / "a") == []


def test_a_link_that_comes_after_the_walk_is_seen(project: Path, victim: Path, tmp_path: Path) -> None:
    found = tree.scan(project)
    (project / "app/own").unlink()
    os.link(victim / "secret", project / "app/own")
    tree.snapshot(found, tmp_path / "a/project", None)
    assert spilled(tmp_path / "a") == []


def test_the_copies_that_salt_reads_in_dev_have_no_secret(tmp_path: Path, victim: Path) -> None:
    project = Host(tmp_path / "host").project("hello")
    for folder in (project.tree / ".salt", project.pillar):
        folder.mkdir(parents=True)
        (folder / "init.sls").write_text("a: b\n")
        os.link(victim / "secret", folder / "secret.sls")
    edits.edited_salt(project, tmp_path / "edited")
    edits.edited_pillar(project, tmp_path / "edited")
    copies = list((tmp_path / "edited").rglob("*.sls"))
    assert [path.name for path in copies] == ["init.sls", "init.sls"]
    assert spilled(tmp_path / "edited") == []


def test_links_within_the_tree_are_kept(project: Path, tmp_path: Path) -> None:
    (project / "app/one").write_text("one")
    (project / "app/one").chmod(0o600)
    os.link(project / "app/one", project / "two")
    settled(project)
    tree.snapshot(tree.scan(project), tmp_path / "a/project", None)
    for name in ("app/one", "two"):
        (project / name).unlink()
    tree.restore(tmp_path / "a/project", project)
    assert (project / "app/one").samefile(project / "two")
    assert stat.S_IMODE((project / "two").stat().st_mode) == 0o600
    assert manifest_path(tmp_path / "a/project").exists()
