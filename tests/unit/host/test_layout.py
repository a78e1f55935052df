"""The layout of a project: what init makes and repairs."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from corpushooks.core.errors import RefusedError
from corpushooks.core.project import Host, Project
from corpushooks.host import accounts, layout
from corpushooks.system.process import run
from tests.support.box import Box


@pytest.mark.parametrize("folder", ["with space", "l" * 120, "it's"])
def test_hook_starts_whatever_the_path_of_its_interpreter(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / folder / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    hook = tmp_path / "proc-receive"
    hook.write_text(layout.hook_text(Host(tmp_path).project("hello"), "project"))
    hook.chmod(0o755)
    assert run([hook], stdin=b"000eversion=1\n0000", check=False).stdout.startswith(b"000dversion=1")


def looks(project: Project) -> dict[Path, tuple[int, ...]]:
    """Return everything of each file but when it was last read."""
    stats = {path: path.lstat() for path in project.dir.rglob("*")}
    return {path: (st.st_ino, st.st_mode, st.st_size, st.st_mtime_ns, st.st_ctime_ns) for path, st in stats.items()}


def test_what_is_right_is_left_alone(box: Box) -> None:
    project = box.project()
    with box.interpreter():
        layout.make(project, "master")
        before = looks(project)
        layout.make(project, "master")
    assert looks(project) == before


def test_what_is_gone_is_made_again(box: Box) -> None:
    project = box.project()
    shutil.rmtree(project.archives)
    (project.code_git / "hooks/proc-receive").unlink()
    project.stage.chmod(0o777)
    with box.interpreter():
        layout.make(project, "master")
    assert project.archives.stat().st_mode & 0o7777 == project.stage.stat().st_mode & 0o7777 == 0o700
    assert box.app().push().code == 0


def test_folders_that_others_may_not_read(box: Box) -> None:
    project = box.project()
    for folder in (project.pillar, project.stage, project.archives, project.logs, project.minion_dir, project.work_git):
        assert folder.stat().st_mode & 0o077 == 0, folder
    assert box.host.store.stat().st_mode & 0o077 == 0


def test_a_project_gets_a_key_of_its_own_where_it_asks_for_one(box: Box) -> None:
    home = box.project().dir / ".ssh"
    box.init()
    assert not home.exists()
    public = accounts.make_key(box.project(), "host.example.org")
    assert public.startswith("ssh-ed25519 ") and public.endswith(" hello-user@host.example.org")
    assert run(["ssh-keygen", "-y", "-f", home / "id_ed25519"]).text.split()[1] == public.split()[1]
    home.chmod(0o755)
    (home / "id_ed25519").chmod(0o644)
    box.init()  # repairs it
    assert [stat.S_IMODE(path.stat().st_mode) for path in (home, home / "id_ed25519")] == [0o700, 0o600]
    assert accounts.make_key(box.project(), "other") == public


def test_a_link_in_the_place_of_a_key_is_not_followed(box: Box, tmp_path: Path) -> None:
    accounts.make_key(box.project(), "host.example.org")
    target, key = tmp_path / "target", box.project().dir / ".ssh/id_ed25519"
    target.write_text("x")
    target.chmod(0o644)
    for plant in (os.symlink, os.link):
        key.unlink()
        plant(target, key)
        with pytest.raises(RefusedError, match="has no valid key pair"):
            accounts.make_key(box.project(), "host.example.org")
        assert stat.S_IMODE(target.stat().st_mode) == 0o644
