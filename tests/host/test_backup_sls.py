"""What a project has its backups do: dump.sls, quiesce.sls, resume.sls, folders outside data/, its own battletest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from corpushooks.core import backups
from corpushooks.core.errors import ConfigError
from corpushooks.system.process import run
from tests.support.backups import NEWEST, rows
from tests.support.box import Box, until
from tests.support.command import corpus

SAMPLE = ".salt/PILLAR.sample"
SAY = "{0}:\n  cmd.run:\n    - name: echo {0} >>{1}/said\n"
FAILS = "broken:\n  test.fail_without_changes: []\n"
GATE = "gate:\n  cmd.run:\n    - name: touch {0}/begun; while ! test -e {0}/go; do sleep 0.05; done\n"
DUMP = "ldif:\n  cmd.run:\n    - name: echo entries >{{{{ cfg.dump_root }}}}/base.ldif; echo dump >>{0}/said\n"


def brings(box: Box, files: dict[str, str | None]) -> None:
    work = box.work()
    work.commit(files)
    pushed = work.push()
    assert pushed.code == 0, pushed.text


def sample(text: str) -> dict[str, str | None]:
    return {SAMPLE: f"makina-projects.hello:\n  backup: {text}\n"}


def pauses(box: Box, **more: str) -> dict[str, str | None]:
    """Return SLS files that say what they do."""
    files = {stem: SAY.format(stem, box.root) for stem in ("quiesce", "resume")}
    return {f".salt/{stem}.sls": text for stem, text in {**files, "dump": DUMP.format(box.root), **more}.items()}


def said(box: Box) -> list[str]:
    path = box.root / "said"
    return path.read_text().split() if path.exists() else []


# dump.sls


def test_what_dump_sls_writes_is_kept_and_comes_back(kept: Box) -> None:
    brings(kept, pauses(kept))
    assert said(kept) == []  # none of them is installed
    done = corpus(kept, "backup", "hello")
    assert done.code == 0, done.text
    assert said(kept) == ["quiesce", "dump", "resume"]
    assert not kept.project().dumps.exists()
    assert corpus(kept, "drill", "hello").code == 0
    back = kept.root / "back"
    assert corpus(kept, "restore", "hello", "--to", str(back)).code == 0
    assert (back / "made/base.ldif").read_text() == "entries\n"


@pytest.mark.parametrize(
    ("sls", "reason"),
    [
        (FAILS, "dump.sls failed: broken"),
        (SAY.format("nothing", "/tmp/no-such-folder"), "dump.sls failed: nothing"),
        ("{}", "dump.sls wrote nothing to"),
    ],
)
def test_a_dump_sls_that_gives_nothing_is_a_failure(kept: Box, sls: str, reason: str) -> None:
    brings(kept, pauses(kept, dump=sls))
    done = corpus(kept, "backup", "hello")
    assert done.code == 1 and reason in done.text
    assert rows(kept) == [] and said(kept) == ["quiesce", "resume"]


# quiesce.sls, resume.sls


def test_a_pause_that_nothing_would_end_is_none(kept: Box) -> None:
    brings(kept, {name: text for name, text in pauses(kept).items() if name != ".salt/resume.sls"})
    done = corpus(kept, "backup", "hello")
    assert done.code == 1 and "quiesce.sls has no resume.sls" in done.text
    assert said(kept) == []


@pytest.mark.parametrize("stem", ["quiesce", "dump"])
def test_an_application_runs_again_after_a_failure(kept: Box, stem: str) -> None:
    brings(kept, pauses(kept, **{stem: FAILS}))
    assert corpus(kept, "backup", "hello").code == 1
    assert said(kept)[-1] == "resume"


def test_an_application_runs_again_after_a_cancellation(kept: Box) -> None:
    brings(kept, pauses(kept, dump=GATE.format(kept.root)))
    assert corpus(kept, "backup", "hello", "--nowait").code == 0
    until((kept.root / "begun").exists)
    assert corpus(kept, "cancel", "hello").code == 0
    assert kept.ended(3).reason.startswith("cancelled by")
    assert said(kept) == ["quiesce", "resume"]


def test_an_application_runs_again_after_a_daemon_that_stops(kept: Box) -> None:
    kept.stop()
    config = kept.host.config_file
    config.write_text(f"{config.read_text()}stop_timeout: 0.1\n")
    kept.start()
    brings(kept, pauses(kept, dump=GATE.format(kept.root)))
    assert corpus(kept, "backup", "hello", "--nowait").code == 0
    until((kept.root / "begun").exists)
    kept.stop()
    kept.start()
    assert kept.ended(3).state == "failed"
    assert said(kept) == ["quiesce", "resume"]


@pytest.mark.parametrize("label", ["backup quiesce", "backup dump", "backup keep"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_application_runs_again_after_a_daemon_that_was_killed(kept: Box, label: str, when: str) -> None:
    brings(kept, pauses(kept))
    kept.stop()
    kept.start(label, when, "kill")
    corpus(kept, "backup", "hello")
    until(lambda: kept.happened() == [f"{label} {when}"])
    kept.revive()
    assert kept.ended(3).reason.startswith("interrupted")
    begun = (label, when) != ("backup quiesce", "before")
    assert said(kept)[-1:] == (["resume"] if begun else [])
    assert rows(kept) == []


def test_one_that_does_not_run_again_is_told(kept: Box) -> None:
    brings(kept, pauses(kept, resume=SAY.format("resume", kept.root) + FAILS))
    done = corpus(kept, "backup", "hello")
    assert done.code == 1
    assert "the application may still be paused: resume.sls failed: broken" in done.text
    assert said(kept)[-2:] == ["resume", "resume"]  # it is tried again
    assert rows(kept) == []


# folders


def test_folders_outside_data_are_kept_and_come_back(kept: Box) -> None:
    one, other = kept.root / "var/one", kept.root / "var/other"
    (one / "cache").mkdir(parents=True)
    other.mkdir()
    (one / "page").write_text("one")
    (one / "cache/page").write_text("cached")
    (other / "page").write_text("other")
    brings(kept, sample(f"{{folders: [{one}, {other}], exclude: [uploads, {one}/cache]}}"))
    assert corpus(kept, "backup", "hello").code == 0
    (row,) = rows(kept)
    assert row.files == 4  # a page and a link of data/, and two pages
    done = corpus(kept, "drill", "hello")
    assert done.code == 0 and "4 files" in done.text
    back = kept.root / "back"
    assert corpus(kept, "restore", "hello", "--to", str(back)).code == 0
    there = back / "folders" / str(one.relative_to("/"))
    assert (there / "page").read_text() == "one" and not (there / "cache").exists()
    assert (there.parent / "other/page").read_text() == "other"
    only = kept.root / "only"
    assert corpus(kept, "restore", "hello", "--data", "--to", str(only)).code == 0
    assert not (only / "folders").exists()


def test_a_folder_that_cannot_be_kept_is_a_failure(kept: Box) -> None:
    brings(kept, sample(f"{{folders: [{kept.root}/nowhere]}}"))
    assert corpus(kept, "backup", "hello").code == 1
    assert "/nowhere is not a folder" in kept.deployment(3).reason
    brings(kept, sample(f"{{folders: [{kept.root}/repository]}}"))
    assert corpus(kept, "backup", "hello").code == 1
    assert "has the backups themselves" in kept.deployment(5).reason
    assert rows(kept) == []


def test_the_parts_of_a_removed_backup_go_with_it(kept: Box) -> None:
    """Its folders too, and those of one that failed."""
    kept.stop()
    config = kept.host.config_file
    config.write_text(config.read_text().replace("prune: false", f"prune: true, {NEWEST}"))
    kept.start()
    (kept.root / "var").mkdir()
    (kept.root / "var/page").write_text("one")
    brings(kept, sample(f"{{folders: [{kept.root}/var]}}"))
    assert corpus(kept, "backup", "hello").code == 0
    assert corpus(kept, "backup", "hello").code == 0
    (row,) = rows(kept)
    listed = run(["borg", "list", "--short", kept.root / "repository"], env=key(kept)).text.splitlines()
    found = [backups.Name.read(line) for line in listed]
    assert {name.number for name, _ in filter(None, found)} == {row.number} and len(listed) == 3


def key(box: Box) -> dict[str, str]:
    return {"BORG_PASSCOMMAND": f"cat {box.host.config_file.with_name('backup.passphrase')}"}


@pytest.mark.parametrize(
    "body",
    [
        {"folders": ["/d"]}, {"folders": ["/d/x"]}, {"folders": ["/"]}, {"folders": ["x"]}, {"folders": ["/x/../y"]},
        {"folders": ["/x", "/x/y"]}, {"folders": ["/x", "/x"]}, {"folders": "/x"}, {"exclude": ["/x/y"]},
        {"folders": ["/x"], "exclude": ["/xy/z"]}, {"before": "push"}, {"before": True},
    ],
)  # fmt: skip
def test_what_no_cfg_can_say(body: Any) -> None:
    with pytest.raises(ConfigError, match="cfg: backup"):
        backups.of({"data_root": "/d", "backup": body})


def test_a_deployment_with_a_wrong_backup_is_not_live(kept: Box) -> None:
    kept.work().commit(sample("{excluded: [x]}"))
    pushed = kept.work().push()
    assert pushed.code == 1 and "excluded" in pushed.text
    assert kept.row().live == 1


# before: deploy


def test_a_deployment_has_a_backup_before_it(kept: Box) -> None:
    brings(kept, sample("{before: deploy}") | pauses(kept))
    assert rows(kept) == []  # it counts from the next deployment on
    old = kept.row().code
    pushed = kept.app("two").push()
    assert pushed.code == 0, pushed.text
    (row,) = rows(kept)
    assert (row.number, row.code) == (3, old)
    assert kept.deployment(3).backup == row.name
    assert json.loads(corpus(kept, "history", "hello", "--json").text)[0]["backup"] == row.name
    assert "[1/9] backup" in pushed.text and row.name in pushed.text
    assert said(kept) == ["quiesce", "dump", "resume"]
    assert corpus(kept, "rollback", "hello").code == 0
    assert len(rows(kept)) == 1
    assert corpus(kept, "drill", "hello").code == 0


def test_without_that_backup_nothing_is_touched(kept: Box) -> None:
    brings(kept, sample("{before: deploy}") | pauses(kept, dump=FAILS))
    live = kept.row()
    pushed = kept.app("two").push()
    assert pushed.code == 1
    done = kept.ended(3)
    assert (done.state, done.backup) == ("refused", None)
    assert "dump.sls failed: broken" in done.reason
    assert kept.row() == live and said(kept) == ["quiesce", "resume"]
    assert not list(kept.project().archives.glob("*_3"))
    assert "sync" not in kept.steps(3)
    pushed = kept.work().push(options=("skip=backup",))
    assert pushed.code == 0, pushed.text
    assert "no backup was made before this deployment, as requested" in pushed.text


@pytest.mark.parametrize("way", ["damaged", "missing", "wrong"])
def test_a_cfg_that_cannot_be_read_leaves_no_backup_out(kept: Box, way: str) -> None:
    brings(kept, sample("{before: deploy}"))
    live, folder = kept.row(), kept.project().minion_dir
    wrong = json.dumps({"data_root": "/d", "backup": {"before": "deploy", "folder": "/x"}})
    for file in (folder / "cfg.json", folder / "minion"):
        file.unlink() if way == "missing" else file.write_text(wrong if way == "wrong" else "{")
    pushed = kept.app("two").push()
    done = kept.ended(3)
    assert (pushed.code, done.state, done.reason.count("\n")) == (1, "refused", 0)
    assert "cannot tell whether a backup must be made first" in pushed.text
    assert "folder" in done.reason if way == "wrong" else f"{folder}/cfg.json" in done.reason
    assert kept.row() == live and kept.steps(3) == []
    assert corpus(kept, "backup", "hello").code == 1
    assert rows(kept) == []
    assert corpus(kept, "deploy", "hello", "--skip", "backup").code == 0
    assert kept.work().push("HEAD:refs/deploy/now").code == 0

    assert [row.number for row in rows(kept)] == [6]


def test_on_a_host_that_keeps_no_backups_that_stops_no_deployment(kept: Box) -> None:
    brings(kept, sample("{before: deploy}"))
    folder = kept.project().minion_dir
    for file in (folder / "cfg.json", folder / "minion"):
        file.unlink()
    kept.stop()
    kept.settings("{}\n")
    kept.start()
    pushed = kept.app("two").push()
    assert pushed.code == 0, pushed.text
    assert "and this host keeps no backups" in pushed.text


def test_a_backup_of_an_older_version_that_names_no_moment_comes_first_nowhere(kept: Box) -> None:
    (kept.project().minion_dir / "cfg.json").write_text(json.dumps({"data_root": "/d", "backup": {"kind": "nightly"}}))
    assert kept.app("two").push().code == 0


@pytest.mark.parametrize("label", ["backup keep", "backup record", "1 backup"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_daemon_that_is_killed_in_that_backup_has_touched_nothing(kept: Box, label: str, when: str) -> None:
    brings(kept, sample("{before: deploy}") | pauses(kept))
    live = kept.row()
    kept.stop()
    kept.start(label, when, "kill")
    kept.app("two").push()
    until(lambda: kept.happened() == [f"{label} {when}"])
    kept.revive()
    done = kept.ended(3)
    assert done.state == "refused" and "nothing was changed" in done.reason
    assert not (kept.project().backups / "work").exists()
    assert kept.row() == live
    assert said(kept).count("quiesce") <= said(kept).count("resume")
    kept.work().push("HEAD:refs/deploy/now")
    assert kept.ended(4).state == "deployed"
    assert kept.deployment(4).backup in [row.name for row in rows(kept)]


# battletest


def test_a_drill_runs_the_battletest_of_the_project(kept: Box) -> None:
    test = "same:\n  cmd.run:\n    - name: cp {{{{ cfg.data_root }}}}/uploads/photo {0}/tested\n"
    brings(kept, {".salt/task_battletest.sls": test.format(kept.root), **pauses(kept)})
    assert corpus(kept, "backup", "hello").code == 0
    (kept.project().data / "uploads/photo").write_text("by now another")
    done = corpus(kept, "drill", "hello")
    assert done.code == 0, done.text
    assert "; the battletest has passed" in done.text
    assert (kept.root / "tested").read_text() == "precious"  # what was restored, not what is there


def test_a_battletest_that_fails_is_a_failed_drill(kept: Box) -> None:
    brings(kept, {".salt/task_battletest.sls": FAILS})
    assert corpus(kept, "backup", "hello").code == 0
    done = corpus(kept, "drill", "hello")
    assert done.code == 1
    (row,) = rows(kept)
    assert "task battletest failed: broken" in row.wrong
    assert Path(kept.project().backups / "work").exists() is False
