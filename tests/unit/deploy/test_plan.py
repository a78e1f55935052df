"""How a plan shows new files over those that run, where the two do not fit."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from corpushooks.deploy import plan

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="makes a device")


def is_white_out(path: Path) -> bool:
    st = path.lstat()
    return stat.S_ISCHR(st.st_mode) and st.st_rdev == 0


@ROOT
def test_a_file_that_goes_disappears(tmp_path: Path) -> None:
    plan._hide_in_overlay(tmp_path / "a/b")
    assert is_white_out(tmp_path / "a/b")


@ROOT
@pytest.mark.parametrize("way", ["a file", "a link"])
def test_what_goes_below_a_folder_that_becomes_something_else_is_hidden_by_that(tmp_path: Path, way: str) -> None:
    upper = tmp_path / "upper"
    upper.mkdir()
    (upper / "a").write_text("new") if way == "a file" else (upper / "a").symlink_to("elsewhere")
    plan._hide_in_overlay(upper / "a/b")
    assert [path.name for path in upper.iterdir()] == ["a"] and not is_white_out(upper / "a")


@ROOT
def test_a_file_that_becomes_a_folder_is_hidden_by_that(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/new").write_text("new")
    plan._hide_in_overlay(tmp_path / "a")
    assert (tmp_path / "a/new").read_text() == "new"


def test_a_folder_looks_like_the_one_that_it_covers_and_no_link_is_followed(tmp_path: Path) -> None:
    covered, aside = tmp_path / "covered", tmp_path / "aside"
    for path, mode in ((covered, 0o750), (aside, 0o700)):
        path.mkdir()
        path.chmod(mode)
    (tmp_path / "link").symlink_to(aside)
    for live, mode in ((covered, 0o750), (tmp_path / "link", 0o711), (tmp_path / "nothing", 0o711)):
        folder = tmp_path / f"over {live.name}"
        folder.mkdir()
        folder.chmod(0o711)
        plan._copy_owner_and_mode(folder, live)
        assert stat.S_IMODE(folder.stat().st_mode) == mode


@pytest.mark.parametrize("name", ["a:b", "a,b"])
def test_a_path_that_mount_would_take_apart_is_not_covered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(plan.os, "geteuid", lambda: 0)
    monkeypatch.setattr(plan, "run_program", lambda *words, **_: asked.append(words))
    assert not plan._can_overlay(tmp_path / name, tmp_path / "upper", tmp_path / "work")
    assert asked == []
