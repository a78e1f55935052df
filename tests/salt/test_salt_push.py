"""Real pushes with real Salt, by both engines."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from corpushooks.system.process import run
from tests.support.box import Box, tree_of, until

INSTALL = """\
{% set cfg = opts.ms_project %}
{% set data = cfg.data %}
config:
  file.managed:
    - name: {{ cfg.data_root }}/app.conf
    - source: salt://makina-projects/{{ cfg.name }}/files/app.conf
    - template: jinja
    - defaults:
        project: {{ cfg.name }}
"""
TEMPLATE = "{% set c = salt['hello_greet.word']() %}{{ c }} {{ cfg.data.who }} on {{ project }}\n"
SAMPLE = "makina-projects.projectname:\n  data:\n    who: '{name}'\n"
MODULE = "def word():\n    return 'WORD'\n"
BROKEN = """\
service:
  cmd.run:
    - name: "echo 'unknown directive \\"lissen\\"' >&2; exit 1"
    - require:
      - test: first
first:
  test.nop: []
after:
  test.nop:
    - require:
      - cmd: service
"""


@pytest.fixture(params=["warm", "salt-call"])
def salted(request: pytest.FixtureRequest, new_box: Callable[..., Box]) -> Box:
    box = new_box(salt=True)
    box.settings(f"engine: {request.param}\n")
    box.init()
    return box


def test_a_project_deploys_fails_and_is_mended(salted: Box) -> None:
    files = {".salt/10_app.sls": INSTALL, ".salt/files/app.conf": TEMPLATE, ".salt/PILLAR.sample": SAMPLE,
             ".salt/_modules/greet.py": MODULE.replace("WORD", "hello")}  # fmt: skip
    work = salted.work()
    work.commit({"index.html": "one", **files})
    pushed = work.push()  # no daemon runs: the hook starts one
    assert (pushed.code, pushed.rejected) == (0, ""), pushed.text
    conf = salted.project().data / "app.conf"
    assert conf.read_text() == "hello hello on hello\n"
    good = work.head
    salted.ended(1)
    before = tree_of(salted.project().tree)

    work.commit({".salt/_modules/greet.py": MODULE.replace("WORD", "bye"), ".salt/20_service.sls": BROKEN})
    pushed = work.push()
    assert (pushed.code, pushed.rejected) == (1, "install 20_service failed; rolled back")
    text = "\n".join(pushed.lines)
    assert "FAILED   service      cmd.run (20_service.sls line 1)" in text
    assert 'unknown directive "lissen"' in text
    assert "not run  after" in text
    assert conf.read_text() == "hello hello on hello\n", "the install SLS of the old release ran again"
    assert tree_of(salted.project().tree) == before
    assert salted.ref() == good

    pillar = salted.work(repo="pillar")
    pillar.commit({"init.sls": "makina-projects.hello:\n  data:\n    who: {{ grains['kernel'] }}\n"})
    assert pillar.push(options=("deploy",)).code == 0
    assert conf.read_text() == "hello Linux on hello\n"
    pillar.commit({"init.sls": "a:\n  - b\n c: d\n"})
    pushed = pillar.push()
    assert pushed.code == 1
    assert "init.sls line 3" in pushed.rejected

    work.git("reset", "--hard", "--quiet", good)
    work.commit({".salt/30_late.sls": "late:\n  cmd.run:\n    - name: {{ cfg.data.nothing.at_all }}\n"})
    pushed = work.push(flags=("--force",))
    assert pushed.code == 1
    assert "30_late.sls line 3" in "\n".join(pushed.lines)


def test_each_release_is_archived_and_installed_with_its_own_cfg(salted: Box) -> None:
    """One session sees both, archive.sls of the old one and then the new one's install SLS."""
    archive = (
        "old:\n  file.managed:\n    - name: {{ cfg.current_archive_dir }}/said\n    - contents: {{ cfg.data.who }}\n"
    )
    install = (
        "new:\n  file.managed:\n    - name: {{ cfg.data_root }}/said\n    - contents: {{ salt['greet.word']() }}\n"
    )
    module = "def word(): return __opts__['ms_project']['data']['who'] + ' {}'\n"
    work = salted.work()
    for number, who in enumerate(("one", "two"), 1):
        files = {".salt/archive.sls": archive, ".salt/10_say.sls": install, ".salt/_modules/greet.py": module}
        sample = {".salt/PILLAR.sample": SAMPLE.replace("{name}", who)}
        work.commit({**files, **sample, ".salt/_modules/greet.py": module.format(number)})
        assert work.push().code == 0
        salted.ended(number)
        assert (salted.project().data / "said").read_text() == f"{who} {number}\n"
    kept = salted.project().archives / (salted.deployment(2).archive or "")
    assert (kept / "said").read_text() == "one\n"


def test_salt_leaves_when_nobody_needs_it_and_comes_again(new_box: Callable[..., Box]) -> None:
    box = new_box(salt=True)
    box.settings("worker_idle_timeout: 0.2\n")
    box.init()
    box.start()
    assert box.app().push().code == 0
    box.ended(1)
    until(lambda: not any(children(box)))
    assert box.app("two").push().code == 0
    assert box.row().live == 2


def children(box: Box) -> Iterator[str]:
    """Yield the processes that the daemon has."""
    assert box.daemon
    for path in Path(f"/proc/{box.daemon.pid}/task").glob("*/children"):
        yield from path.read_text().split()


def test_plan_tells_states_and_changes_nothing(salted: Box) -> None:
    page = "page:\n  file.managed:\n    - name: {{ cfg.data_root }}/page\n    - contents: PAGE\n"
    work = salted.work()
    work.commit({".salt/10_page.sls": page})
    assert work.push().code == 0
    salted.ended(1)
    before = kept(salted)
    work.commit({"new.txt": "x", ".salt/10_page.sls": page.replace("PAGE", "CHANGED")}, "a subject")
    pushed = work.push("HEAD:refs/deploy/plan")
    assert pushed.code == 0, pushed.text
    text = "\n".join(pushed.lines)
    assert "A new.txt  +1 -0" in text
    assert re.search(r"^      [0-9a-f]{7,} a subject$", text, re.MULTILINE)
    assert "would    page" in text
    assert "+CHANGED" in text
    salted.ended(2)
    after = kept(salted)
    assert [path for path in {*before, *after} if before.get(path) != after.get(path)] == []
    assert salted.row().live == 1


def kept(box: Box) -> dict[str, object]:
    """Return all below the root of a host that a plan may not touch: type, mode, owner, time and content.

    What it may: the store, the logs, the socket's folder, Salt's cache and configuration, and in the repository the
    objects that git received, with a pin of them while it runs and the reflog of that: these folders are newer then.
    """
    refs = ("refs", "logs/refs/corpus")
    folders = [f"srv/projects/hello/git/{repo}.git/{name}" for repo in ("project", "pillar") for name in refs]
    state = [f"var/lib/corpushooks/{name}" for name in ("store", "logs", "daemon.log", "salt")]
    names = ("objects", "refs/corpus", "packed-refs")
    mine = (*state, "run", *(f"srv/projects/hello/git/project.git/{name}" for name in names))
    return {
        path: what for path, what in tree_of(box.host.root).items() if path not in folders and not path.startswith(mine)
    }


COUNT = """\
count:
  file.managed:
    - name: {{ cfg.data_root }}/count
    - contents: {{ salt['cmd.run']('ls ' ~ cfg.project_root)|replace('\\n', ' ')|yaml_dquote }}
link:
  file.symlink:
    - name: {{ cfg.project_root }}/current
    - target: new.txt
"""


def test_plan_sees_the_new_files_as_root_and_says_so_where_it_cannot(salted: Box) -> None:
    work = salted.work()
    work.commit({".salt/10_count.sls": COUNT, "gone.txt": "x"})
    assert work.push().code == 0
    salted.ended(1)
    work.commit({"gone.txt": None, "new.txt": "x", "lib/deep.txt": "x"})
    (salted.project().tree / "current").unlink()
    pushed = work.push("HEAD:refs/deploy/plan")
    text = "\n".join(pushed.lines)
    assert pushed.code == 0, pushed.text
    if os.geteuid() == 0 and "warm" in salted.host.config_file.read_text():
        assert "+lib new.txt" in text
        assert "not sure" not in text
    else:
        assert "+lib" not in text
        assert "(unsure: tested with the old files in project/)" in text
    assert not (salted.project().tree / "new.txt").exists()
    assert (salted.project().tree / "gone.txt").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_plan_on_an_overlay_marks_what_it_cannot_see(tmp_path: Path, new_box: Callable[..., Box]) -> None:
    box = new_box(salt=True)
    for level in ("one", "two"):  # the kernel lays no third one over them
        lower, upper, scratch = (tmp_path / level / name for name in ("lower", "upper", "scratch"))
        for folder in (lower, upper, scratch):
            folder.mkdir(parents=True)
        lowers = f"lowerdir={lower if level == 'one' else box.root}"
        run(["mount", "-t", "overlay", "-o", f"{lowers},upperdir={upper},workdir={scratch}", "overlay", box.root])
    try:
        box.init()
        work = box.work()
        work.commit({".salt/10_count.sls": COUNT})
        assert work.push().code == 0
        work.commit({"new.txt": "x"})
        (box.project().tree / "current").unlink()
        pushed = work.push("HEAD:refs/deploy/plan")
        assert pushed.code == 0, pushed.text
        assert "(unsure: tested with the old files in project/)" in pushed.text, pushed.text
        box.stop()
    finally:
        for _ in range(2):
            run(["umount", "--lazy", box.root])


def test_a_plan_can_be_cancelled(salted: Box) -> None:
    mark = salted.root / "mark"
    work = salted.work()
    slow = "{{ salt['cmd.shell']('touch MARK; sleep 600') }}\n".replace("MARK", str(mark))
    work.commit({".salt/10_slow.sls": slow})
    push = work.start_push("HEAD:refs/deploy/plan")
    until(mark.exists, 60)
    assert salted.ask(op="cancel", project="hello")["number"] == 1
    assert push.wait(60) == 1
    done = salted.ended(1)
    assert (done.state, done.reason.startswith("cancelled by ")) == ("failed", True)


FIRST = """\
made:
  file.managed:
    - name: {{ cfg.project_root }}/../.salt/made.jinja
    - contents: "{{ '{% set word = 1 %}' }}"
"""
LATER = """\
{% from "makina-projects/hello/made.jinja" import word with context %}
later:
  test.nop: []
"""


def test_what_salt_has_against_later_files_is_said_before_the_first_runs(new_box: Callable[..., Box]) -> None:
    """And is no failure: an earlier file may yet help."""
    box = new_box(salt=True)
    box.init()
    box.start()
    work = box.work()
    work.commit(
        {".salt/00_first.sls": FIRST, ".salt/10_later.sls": LATER, ".salt/20_unknown.sls": "a:\n  no.such: []\n"}
    )
    push = work.push()
    warned, ran = (
        next(i for i, line in enumerate(push.lines) if text in line) for text in ("warning: 10_later", "00_first")
    )
    assert warned < ran, push.text
    assert push.lines[warned + 1].startswith("warning: 20_unknown.sls")
    assert push.rejected == "install 20_unknown failed; rolled back"
    work.commit({".salt/20_unknown.sls": None})
    push = work.push()
    assert push.code == 0
    assert any("warning: 10_later" in line for line in push.lines)
    work.commit({"page": "new"})
    assert "warning" not in work.push().text  # what was checked is not checked again


def test_what_is_set_is_in_salts_own_pillar_and_never_rendered(salted: Box) -> None:
    shown = """\
{% set own = pillar['makina-projects.hello']['data'] %}
shown:
  file.managed:
    - name: {{ cfg.data_root }}/shown
    - contents: {{ (own.odd ~ '|' ~ own.kept ~ '|' ~ cfg.data.odd ~ '|' ~ cfg.data.kept) | tojson }}
"""
    work = salted.work()
    work.commit({".salt/10_shown.sls": shown, ".salt/PILLAR.sample": SAMPLE})
    pillar = salted.work(repo="pillar")
    pillar.commit({"init.sls": "makina-projects.hello:\n  data:\n    odd: pillar\n    kept: {{ 6 * 7 }}\n"})
    salted.start()
    assert pillar.push().code == 0
    assert work.push().code == 0
    odd = "{{ 7 * 7 }} {name} {% if x %}"
    assert salted.ask("set", project="hello", pairs=[["odd", odd, ""]], token="t")["state"] == "deployed"
    assert (salted.project().data / "shown").read_text() == f"{odd}|42|{odd}|42\n"
