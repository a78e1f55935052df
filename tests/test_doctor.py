"""The command `corpus doctor`: what it finds wrong, the command that repairs it, and that a new host is right."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import pytest

from corpushooks import doctor
from corpushooks.history import History
from corpushooks.run import Output, run
from corpushooks.settings import load
from tests.host import Box

SECRET_SETTINGS = "minion:\n  ext_pillar:\n    - vault: {token: hunter2-secret}\n"


def corpus(box: Box, *words: str) -> Output:
    return run([sys.executable, "-m", "corpushooks", "--root", box.host.root, *words], check=False)


@pytest.fixture
def live(box: Box) -> Box:
    """Return a host on which something was deployed, with a pillar."""
    pillar = box.work(repo="pillar")
    pillar.commit({"init.sls": "makina-projects.hello: {data: {password: hunter2-secret}}\n"})
    assert pillar.push().code == 0
    assert box.app().push().code == 0
    box.ended(1)
    for name in ("daemon.log", "store.sqlite.v1"):
        (box.host.state_dir / name).touch(0o600)
    return box


def faults(box: Box) -> dict[str, list[doctor.Fault]]:
    found = doctor.examine(doctor.Patient(box.host, load(box.host.config_file), (box.project(),)))
    return {name: each for name, each in found if each}


def guarded(box: Box) -> list[Path]:
    """Return what must be kept from others."""
    project, state = box.project(), box.host.state_dir
    return [
        state, state / "store.sqlite", state / "store.sqlite-wal", state / "store.sqlite-shm",
        state / "store.sqlite.v1", state / "daemon.log",
        project.logs, project.logs / "1.log", project.pillar, project.pillar_git, project.archives, project.stage,
        project.work_git, project.minion_dir, project.minion_dir / "minion", project.minion_dir / "log",
        project.minion_dir / "secrets.json", box.host.locks_dir,
    ]  # fmt: skip


def test_what_we_make_is_right(live: Box) -> None:
    assert all(path.exists() for path in guarded(live)), [path for path in guarded(live) if not path.exists()]
    done = corpus(live, "doctor")
    assert (done.code, done.text.splitlines()) == (0, [f"ok     {check.name}" for check in doctor.CHECKS])


def test_each_mode_is_looked_at_and_the_command_repairs_it(live: Box) -> None:
    assert faults(live) == {}
    for path in guarded(live):
        before = path.stat().st_mode
        path.chmod(before | 0o044)
        ((fault,),) = faults(live).values()
        assert str(path) in fault.what
        run(shlex.split(fault.repair))
        assert path.stat().st_mode == before, path
    assert faults(live) == {}


def test_a_fault_is_a_line_and_an_exit_code(live: Box) -> None:
    pillar = live.project().pillar
    pillar.chmod(0o755)
    done = corpus(live, "doctor")
    assert done.code == 1
    assert f"wrong  pillars              {pillar} has mode 0755: others may use it; chmod go= {pillar}" in done.text
    told = {each["check"]: each["faults"] for each in json.loads(corpus(live, "doctor", "--json").text)}
    assert told["store"] == []
    assert told["pillars"] == [
        {"what": f"{pillar} has mode 0755: others may use it", "repair": f"chmod go= {pillar}"},
    ]


def test_a_link_in_the_place_of_a_folder(live: Box, tmp_path: Path) -> None:
    pillar = live.project().pillar
    pillar.rename(tmp_path / "elsewhere")
    pillar.symlink_to(tmp_path / "elsewhere")
    assert faults(live) == {"pillars": [doctor.Fault(f"{pillar} is a symbolic link", f"rm {pillar}")]}


@pytest.mark.skipif("os.geteuid() != 0", reason="only root can give files away")
def test_an_owner_that_is_not_ours(live: Box) -> None:
    log = live.project().logs / "1.log"

    os.chown(log, 12345, -1)
    assert faults(live) == {"logs": [doctor.Fault(f"{log} belongs to uid 12345", f"chown 0 {log}")]}


def test_settings_matter_only_with_secrets_in_them(live: Box) -> None:
    live.settings("minion: {hash_type: sha256}\n")
    live.host.config_file.chmod(0o644)
    assert faults(live) == {}
    live.settings(SECRET_SETTINGS)
    assert list(faults(live)) == ["settings"]
    live.host.config_file.chmod(0o600)
    assert faults(live) == {}


def test_the_store_is_private_from_its_first_moment(tmp_path: Path) -> None:
    History(tmp_path / "state/store.sqlite").close()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_host_without_projects(tmp_path: Path) -> None:
    done = run([sys.executable, "-m", "corpushooks", "--root", tmp_path / "nowhere", "doctor"], check=False)
    assert done.code == 2
    assert b"no project was ever made" in done.stderr
