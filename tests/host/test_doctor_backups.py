"""What doctor and the metrics say of backups."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from corpushooks.admin.doctor import backups
from corpushooks.admin.doctor.backups import _growth, of_project
from corpushooks.admin.doctor.patient import Patient
from corpushooks.core.backups import Backup, Name
from corpushooks.core.errors import Fault
from corpushooks.core.settings import load
from corpushooks.host import parts
from corpushooks.reports import statistics
from corpushooks.store.kept import Kept
from corpushooks.system.machine import Machine
from corpushooks.system.process import run
from tests.support.backups import deployed
from tests.support.box import Box
from tests.support.command import corpus
from tests.support.fleet import fleet_box

NOW, HOUR, DAY = 1e9, 3600.0, 86400.0
ONE = Kept("hello", 7, "hello.7", NOW - HOUR, None, None, 3, 300, 30, 0, 0)


def said(*found: Kept) -> list[str]:
    faults = [each for each in of_project("hello", found, Backup("/r"), NOW) if isinstance(each, Fault)]
    return [f"{each.what}; {each.repair}" for each in faults]


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ([], ["hello has no backup; corpus backup hello"]),
        ([ONE], []),
        ([replace(ONE, at=NOW + HOUR)], []),  # the clock was set back
        ([replace(ONE, at=NOW + 3 * DAY)],
         ["the newest backup of hello is dated in the future: was the clock wrong?; corpus backup hello"]),
        ([replace(ONE, at=NOW - 3 * DAY)], ["the newest backup of hello is 3 d old; corpus backup hello"]),
        ([replace(ONE, drilled=NOW, wrong="it is damaged")],
         ["backup 7 of hello did not come back: it is damaged; corpus drill hello"]),
        ([replace(ONE, drilled=NOW), replace(ONE, number=5, drilled=NOW - DAY, wrong="it is damaged")], []),
        ([replace(ONE, drilled=NOW - 50 * DAY)], ["no backup of hello was brought back for 50 d; corpus drill hello"]),
        ([ONE, replace(ONE, number=5, at=NOW - 60 * DAY)],
         ["no backup of hello was brought back for 60 d; corpus drill hello"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_backups_of_a_project(found: list[Kept], wrong: list[str]) -> None:
    assert said(*found) == wrong


def test_a_repository_from_which_nobody_removes_anything_is_told() -> None:
    names = [Name.new("hello", number, NOW + number * DAY, "a") for number in range(1, 60)]
    found = [replace(ONE, number=name.number, name=str(name)) for name in names]
    patient = cast(Patient, SimpleNamespace(rows=[SimpleNamespace(name="hello")], kept={"hello": found}))
    (told,) = _growth(patient, Backup("ssh://a@b/c"))
    assert isinstance(told, Fault) and "the backup repository grows: " in told.what
    patient.kept["hello"] = found[:10]  # type: ignore[index]
    assert not list(_growth(patient, Backup("ssh://a@b/c")))
    patient.kept["hello"] = found  # type: ignore[index]
    assert not list(_growth(patient, Backup("/r")))


def test_doctor_says_what_is_wrong(kept: Box) -> None:
    def found() -> list[str]:
        told = json.loads(corpus(kept, "doctor", "--json").text)
        return [fault["what"] for each in told if each["check"] == "backups" for fault in each["faults"]]

    assert found() == ["hello has no backup"]
    assert corpus(kept, "backup", "hello").code == 0
    assert found() == []
    metrics = corpus(kept, "metrics").text
    assert 'corpushooks_backup_size_bytes{project="hello"} ' in metrics
    assert 'corpushooks_backup_age_seconds{project="hello"} ' in metrics
    assert 'corpushooks_drill_age_seconds{project="hello"}' not in metrics
    assert corpus(kept, "drill", "hello").code == 0
    assert 'corpushooks_drill_age_seconds{project="hello"} ' in corpus(kept, "metrics").text
    (kept.host.state_dir / "backups/.exported").unlink()
    assert found() == ["without their passphrase nobody can read the backups"]
    kept.host.config_file.with_name("backup.passphrase").chmod(0o644)
    assert "others can read" in found()[0]


@pytest.mark.parametrize("lost", ["cfg", "trees too"])
def test_a_cfg_that_is_gone_is_told_and_the_hints_of_doctor_bring_it_back(kept: Box, lost: str) -> None:
    deployed(kept, "  backup: {before: deploy}\n")
    assert corpus(kept, "backup", "hello").code == 0
    project = kept.project()
    gone = [project.minion_dir, *([project.stage, project.tree] if lost == "trees too" else [])]
    for folder in gone:
        shutil.rmtree(folder)
    tried = set[str]()
    while faults := [one for one in found_by_doctor(kept) if one["repair"] not in tried]:
        tried.add(repair := faults[0]["repair"])
        done = run(["sh", "-c", runnable(kept, repair)], check=False)
        assert done.code == 0, (repair, done.text + done.stderr.decode())
    assert found_by_doctor(kept) == []
    assert any("deploy hello --skip backup" in each for each in tried)
    assert kept.work().push("HEAD:refs/deploy/now").code == 0
    assert corpus(kept, "backup", "hello").code == 0


@pytest.mark.parametrize("text", ["", "{"], ids=["empty", "damaged"])
def test_the_command_that_brings_trees_back_works_without_a_cfg(kept: Box, text: str) -> None:
    project, settings = kept.project(), load(kept.host.config_file)
    state = parts.Examined(project, kept.row(), settings)
    assert str(state.again) == "corpus deploy hello"
    (project.minion_dir / "cfg.json").rename(project.minion_dir / "kept")
    (project.minion_dir / "minion").write_text("ms_project: {name: hello}\n")  # of an older version
    assert str(state.again) == "corpus deploy hello"
    for name in ("cfg.json", "minion"):
        (project.minion_dir / name).write_text(text)
    assert str(state.again) == "corpus deploy hello --skip backup"


def test_a_project_that_is_live_on_nodes_only_is_backed_up_without_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "fleet").mkdir()
    with fleet_box(tmp_path / "fleet", "n1") as fleet:
        box, repository = fleet.box, tmp_path / "repository"
        box.stop()
        box.settings(f"environment: prod\naddress: controller.test\nbackup: {{repository: {repository}}}\n")
        assert corpus(box, "setup", "--backup", "--exported").code == 0
        box.start()
        fleet.know()
        fleet.link()
        assert box.app().push().code == 0
        done = corpus(box, "backup", "--all")
        said = done.text + done.stderr.decode()
        assert done.code == 0, said
        assert "hello is live on nodes only: its data/ and databases are not in this backup" in said
        assert [one["what"] for one in found_by_doctor(box)] == []
        assert corpus(box, "drill", "hello").code == 0


def found_by_doctor(box: Box) -> list[dict[str, str]]:
    """Return what is wrong with backups and projects."""
    told = json.loads(corpus(box, "doctor", "--json").text)
    return [fault for each in told if each["check"] in ("backups", "projects") for fault in each["faults"]]


def runnable(box: Box, repair: str) -> str:
    """Return the command of a hint, as it runs here."""
    _, _, words = repair.rpartition("corpus ")
    return f"{shlex.quote(sys.executable)} -m corpushooks {words}"


def test_the_repository_is_checked_and_doctor_knows(kept: Box) -> None:
    def found() -> list[str]:
        told = json.loads(corpus(kept, "doctor", "--json").text)
        return [fault["what"] for each in told if each["check"] == "backups" for fault in each["faults"]]

    assert corpus(kept, "backup", "hello").code == 0
    done = corpus(kept, "backups", "--check")
    assert (done.code, done.text) == (0, "the backup repository is intact")
    assert found() == []
    assert "repository checked " in corpus(kept, "doctor").text
    mark = kept.host.state_dir / "backups/.checked"
    mark.write_text(json.dumps({"at": time.time() - 16 * DAY}))
    assert found() == ["the repository was not checked for 16 d"]
    segment = max((kept.root / "repository/data/0").iterdir(), key=lambda path: path.stat().st_size)
    with segment.open("r+b") as file:
        file.seek(segment.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    done = corpus(kept, "backups", "--check")
    assert done.code == 1 and done.stderr
    (fault,) = found()
    assert fault.startswith("the last check of the repository failed: ")


def test_a_check_is_of_the_repository_and_not_of_a_project(kept: Box) -> None:
    assert corpus(kept, "backups").code == corpus(kept, "backups", "hello", "--check").code == 2


def test_timers_that_are_missing_are_named(kept: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    monkeypatch.setattr(machine, "supervised", lambda: False)
    patient = Patient(kept.host, load(kept.host.config_file), machine=machine)
    (fault,) = [each for each in backups.backups(patient) if isinstance(each, Fault)]
    path = kept.host.root / "etc/cron.d/corpushooks"
    assert (fault.what, str(fault.repair)) == (f"file {path} is not as setup makes it", "corpus setup --backup")


def test_each_gauge_is_explained() -> None:
    assert {"backup_age_seconds", "backup_size_bytes", "drill_age_seconds"} <= set(statistics.METRICS)
