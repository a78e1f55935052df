"""What doctor and the metrics say of backups."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from corpushooks.admin.doctor.backups import of_project
from corpushooks.core.backups import Backup
from corpushooks.core.errors import Fault
from corpushooks.reports import statistics
from corpushooks.store.kept import Kept
from tests.support.backups import corpus
from tests.support.box import Box

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


def test_each_gauge_is_explained() -> None:
    assert {"backup_age_seconds", "backup_size_bytes", "drill_age_seconds"} <= set(statistics.METRICS)
