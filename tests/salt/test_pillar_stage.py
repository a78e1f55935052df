"""What Salt reads of a pillar only root can write, whoever pillar/ was given to."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable

import pytest

from corpushooks.git import checkouts
from tests.support.box import FAILING, Box, Work, tree_of
from tests.support.command import corpus

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
APP = 12345
GIVEN = """\
{% set cfg = opts.ms_project %}
{% set locs = salt['mc_locations.settings']() %}
perms:
  cmd.run:
    - name: {{ locs.resetperms }} -q --user root --group daemon --dmode 0770 --fmode 0770
        --paths {{ cfg.pillar_root }} --paths {{ cfg.project_root }}
"""
EVIL = "{% do salt['file.touch']('MARK') %}\nmakina-projects.hello: {data: {v: evil}}\n"
GOOD = "makina-projects.hello: {data: {v: good}}\n"


def pushed(box: Box, files: dict[str, str]) -> Work:
    pillar = box.work(repo="pillar")
    pillar.commit(files)
    assert pillar.push().code == 0
    return pillar


def value(box: Box) -> str:
    return str(json.loads(corpus(box, "config", "hello", "--json").stdout)["data"]["v"])


def application_writes(box: Box, text: str) -> None:
    """Write the pillar's files as whoever was given them."""
    for path in (box.project().pillar, *box.project().pillar.rglob("*")):
        os.lchown(path, APP, APP)
    init = box.project().pillar / "init.sls"
    init.unlink()
    init.write_text(text)
    (init.parent / "more.sls").write_text(text)


@as_root
def test_a_fixperms_that_gives_the_pillar_away_gives_nobody_root(new_box: Callable[..., Box]) -> None:
    """With real Salt, and the fixperms.sls that projects of makina-states have."""
    box = new_box(salt=True)
    box.init()
    mark = box.root / "mark"
    pushed(box, {"init.sls": GOOD})
    work = box.work()
    work.commit({".salt/00_nothing.sls": "x:\n  test.nop: []\n", ".salt/fixperms.sls": GIVEN})
    assert work.push().code == 0
    project = box.project()
    assert stat.S_IMODE((project.pillar / "init.sls").stat().st_mode) == 0o770  # people can read and write it
    application_writes(box, EVIL.replace("MARK", str(mark)))
    assert value(box) == "good"
    assert work.push("HEAD:refs/deploy/now").code == 0
    assert value(box) == "good"
    assert (project.pillar / "init.sls").read_text() == GOOD
    assert os.listdir(project.pillar) == ["init.sls"]
    application_writes(box, EVIL.replace("MARK", str(mark)))
    assert work.push("HEAD:refs/deploy/plan").code == 0
    work.commit({".salt/99_bad.sls": FAILING})
    assert work.push().code == 1
    assert (project.pillar / "init.sls").read_text() == GOOD
    assert not mark.exists()


@as_root
def test_links_in_pillar_lead_nowhere(box: Box) -> None:
    victim = box.root / "victim"
    victim.mkdir(mode=0o700)
    (victim / "word.sls").write_text("secret")
    before = tree_of(victim)
    pillar = pushed(box, {"init.sls": GOOD, "in/word.sls": "a: 1\n"})
    work = box.app()
    assert work.push().code == 0
    place = box.project().pillar
    (place / "in/word.sls").unlink()
    (place / "in").rmdir()
    (place / "in").symlink_to(victim)
    (place / "other").symlink_to(victim)
    (place / "empty/er").mkdir(parents=True)
    pillar.commit({"in/word.sls": "a: 2\n", "in/more.sls": "b: 1\n"})
    assert pillar.push(options=("deploy",)).code == 0
    assert tree_of(victim) == before
    assert sorted(str(p.relative_to(place)) for p in place.rglob("*")) == [
        "in",
        "in/more.sls",
        "in/word.sls",
        "init.sls",
    ]
    assert (place / "in/word.sls").read_text() == "a: 2\n"


def test_salt_sees_what_only_root_can_write(box: Box) -> None:
    pushed(box, {"init.sls": GOOD})
    assert box.app().push().code == 0
    project = box.project()
    assert project.wired_pillar.resolve() == project.pillar_stage
    assert stat.S_IMODE(project.pillar_stage.stat().st_mode) == 0o700
    assert (project.pillar_stage / "init.sls").read_text() == (project.pillar / "init.sls").read_text() == GOOD


def test_a_pillar_that_an_older_version_deployed_is_seen_at_once(box: Box) -> None:
    pushed(box, {"init.sls": GOOD})
    assert box.app().push().code == 0
    box.stop()
    project = box.project()
    (project.pillar_stage / "init.sls").unlink()
    project.pillar_stage.rmdir()
    (project.work_git / "pillar-stage.index").unlink()
    project.wired_pillar.unlink()
    project.wired_pillar.symlink_to(project.pillar)
    assert value(box) == "good"
    box.start()
    assert corpus(box, "deploy", "hello", "--only", "notify").code == 0
    assert checkouts.is_checked_out(project.work_git, project.pillar_stage)
    assert (project.pillar_stage / "init.sls").read_text() == GOOD
    assert project.wired_pillar.resolve() == project.pillar_stage
    assert value(box) == "good"
