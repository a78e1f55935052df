"""Installers: the first commit of a project, which deploys as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from corpushooks import git
from corpushooks.admin import installer, projects
from corpushooks.cli.projects import init_
from corpushooks.core.errors import ProcessError, UsageError
from corpushooks.core.settings import load
from corpushooks.git import checkouts
from corpushooks.host.site import open_site
from corpushooks.protocol.gives import Made
from corpushooks.reports import checkup
from corpushooks.store.history import open_store
from corpushooks.system.process import run
from tests.support.box import Box
from tests.support.command import asked, complains, corpus, said

SERVER = "minion:\n  grains: {uid: 0}\n" + "".join(
    f"  makina-projects.{name}.projects_dir: /srv/projects\n" for name in installer.known()
)
LESS = """\
minion:
  makina-projects.python.data:
    venv_options: --without-pip  # ensurepip takes seconds
    domain: www.example.org
"""
OWN = {
    ".salt/300_app.sls": "{{ cfg.name }}-nothing:\n  test.nop: []\n",
    "deep/about.txt.jinja": "{{ name }} {{ environment }} {{ branch }} {{ installer }} {{ project_root }}\n",
    "deep/run": "#!/bin/sh\n",
    ".git/config": "not ours",
}


def subjects(box: Box) -> list[str]:
    return run(["git", "--git-dir", box.project().code_git, "log", "--format=%s", "master"]).text.splitlines()


def own(folder: Path, **files: str) -> Path:
    """Make an installer of one's own, other than OWN where files say so."""
    for name, text in {**OWN, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "deep/run").chmod(0o755)
    return folder


def init_hello(box: Box, installed_by: str, name: str = "hello") -> Made:
    store = open_store(box.host)
    try:
        return projects.init(box.host, load(box.host.config_file), store, name, None, None, installed_by)
    finally:
        store.close()


def test_each_is_for_people_who_read_it() -> None:
    assert installer.known() == ["generic", "node", "php", "python", "static"]
    assert ", ".join(installer.known()) in next(p.help for p in init_.params if p.name == "installer")
    for name in installer.known():
        sample = (installer.find(name) / ".salt/PILLAR.sample.jinja").read_text()
        assert "installer: {{ installer }}" in sample and sample.startswith("# ")


def test_the_first_commit_deploys_as_it_is(new_box: Callable[..., Box]) -> None:
    box = new_box(salt=True)
    box.settings(LESS)
    box.start()
    for name in ("generic", "static", "python"):
        lines = said(corpus(box, "init", name, "--installer", name)).splitlines()
        commit = str(box.ref(name))
        assert f"Its first commit, {commit[:7]}, can be deployed as it is:" in lines
        assert f"    git clone --origin prod {box.project(name).code_git} {name}" in lines
        assert asked(box, "deploy", name)["new_code"] == commit
    site = box.project("static")
    assert json.loads(corpus(box, "config", "static", "--json").stdout)["installer"] == "static"
    assert f"root {site.tree}/public;" in (site.data / "nginx.conf").read_text()
    assert (box.project("generic").data / "generic.conf").read_text().startswith("# generic (prod): ")
    work = box.root / "clone"  # what a developer does then is what init said
    run(["git", "clone", "--quiet", "--origin", "prod", site.code_git, work])
    run(["git", "config", "remote.prod.push", "HEAD:refs/deploy/now"], cwd=work)
    (work / "public/more.html").write_text("more")
    run(["git", "add", "public"], cwd=work)
    run(["git", "commit", "--quiet", "-m", "more"], cwd=work)
    assert run(["git", "push", "prod"], cwd=work).code == 0
    assert (site.tree / "public/more.html").read_text() == "more"


def test_what_a_server_would_run_compiles(new_box: Callable[..., Box], tmp_path: Path) -> None:
    box = new_box()
    box.settings(SERVER)
    for name in ("node", "php", "python"):  # what the others have, these have too
        init_hello(box, name, name)
        site = open_site(box.host)
        checked = checkup.check_project(site, box.row(name), tmp_path / name)
        assert not checked.wrong() and len(checked.files) >= 3


def test_a_second_init_commits_nothing(new_box: Callable[..., Box]) -> None:
    box = new_box()
    first = init_hello(box, "static")
    assert first.commit == box.ref()
    note = "note: project.git already has commits; the installer was not used"
    assert note in said(corpus(box, "init", "hello", "--installer", "python")).splitlines()
    corpus(box, "init", "hello")
    assert subjects(box) == ["Add the files of an installer"]


def test_what_was_pushed_stays_alone(new_box: Callable[..., Box]) -> None:
    box = new_box()
    box.init()
    work = box.app()
    run(["git", "--git-dir", box.project().code_git, "fetch", "--quiet", work.path, "+HEAD:refs/heads/topic"])
    assert init_hello(box, "static").commit == ""
    assert box.ref() is None


def test_a_commit_that_was_not_finished_is_made_by_the_next_init(
    new_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    box = new_box()
    with monkeypatch.context() as patch:

        def dies(*given: object) -> None:
            raise ProcessError("killed")

        patch.setattr(checkouts, "move_ref", dies)  # all of the commit is there, and no branch names it
        with pytest.raises(ProcessError):
            init_hello(box, "static")
    assert git.is_empty(box.project().code_git)
    assert init_hello(box, "static").commit == box.ref()
    assert subjects(box) == ["Add the files of an installer"]


def test_a_folder_of_ones_own(new_box: Callable[..., Box], tmp_path: Path) -> None:
    box = new_box()
    made = init_hello(box, str(own(tmp_path / "mine")))
    listed = run(["git", "--git-dir", box.project().code_git, "ls-tree", "-r", made.commit]).text
    files = {line.partition("\t")[2]: line.split()[0] for line in listed.splitlines()}
    assert files == {
        ".salt/300_app.sls": "100644", ".salt/PILLAR.sample": "100644", "deep/about.txt": "100644",
        "deep/run": "100755",
    }  # fmt: skip
    repo = box.project().code_git
    assert git.content(repo, made.commit, ".salt/300_app.sls") == OWN[".salt/300_app.sls"].encode()
    about = git.content(repo, made.commit, "deep/about.txt")
    assert about == f"hello prod master mine {box.project().tree}\n".encode()
    sample = git.content(repo, made.commit, ".salt/PILLAR.sample")
    assert sample == b"makina-projects.hello:\n  installer: mine\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("unknown", "unknown installer 'unknown'"),
        ("./nowhere", "the installer ./nowhere is not a folder"),
    ],
)
def test_an_unknown_installer_makes_nothing(new_box: Callable[..., Box], given: str, message: str) -> None:
    box = new_box()
    output = corpus(box, "init", "hello", "--installer", given)
    complains(output, 2, message, output.stderr.decode().partition("hint: ")[2].strip())
    assert "generic node php python static" in output.stderr.decode()
    assert not box.project().dir.exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.txt.jinja": "one\n{{ nothing }}\n"}, "the installer's a.txt.jinja line 2: 'nothing' is undefined"),
        ({"a.txt.jinja": "one\n{% if %}\n"}, "the installer's a.txt.jinja line 2: Expected an expression, .*"),
        ({"a.txt.jinja": "", "a.txt": ""}, "the installer has both a.txt.jinja and a.txt"),
        ({"a.txt.jinja": "{{ ''.__class__.mro() }}"}, "the installer's a.txt.jinja line 1: access to attribute .*"),
    ],
)
def test_a_wrong_template_is_named_with_its_line(tmp_path: Path, files: dict[str, str], message: str) -> None:
    folder = own(tmp_path / "mine", **files)
    (tmp_path / "tree").mkdir()
    about = dict.fromkeys(("name", "environment", "branch", "installer", "project_root"), "x")
    with pytest.raises(UsageError, match=message):
        installer.render(folder, tmp_path / "tree", about)


def test_an_installer_without_install_sls_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine/.salt").mkdir(parents=True)
    (tmp_path / "mine/.salt/task_x.sls").write_text("")
    with pytest.raises(UsageError, match="the installer mine has no install SLS"):
        installer.render(tmp_path / "mine", tmp_path / "tree", {})


def test_a_link_in_an_installer_is_refused(new_box: Callable[..., Box], tmp_path: Path) -> None:
    box = new_box()
    folder = own(tmp_path / "mine")
    (folder / "secret").symlink_to("/etc/passwd")
    output = corpus(box, "init", "hello", "--installer", f"{folder}/")
    complains(output, 2, f"{folder}/secret in the installer is not a regular file", "use a regular file")
    assert not box.project().dir.exists()


RUNS = re.compile(r"npm install|\bvenv/bin|\.venv/bin|data\.venv|-m venv")  # what the application can write, or reads


def test_no_installer_runs_as_root_what_the_application_can_write() -> None:
    """On a server; and what is written where it can write is a state that follows no link."""
    for name in installer.known():
        for path in (installer.find(name) / ".salt").glob("*.sls"):
            text = re.sub(r"{#.*?#}", "", path.read_text(), flags=re.DOTALL)
            for state in re.split(r"\n(?=\{\{ cfg\.name \}\}-)", text)[1:]:
                if "cmd.run" in state and RUNS.search(state):
                    assert "runas" in state, (path, state)
                if re.search(r"data_root|data\.config|project_root", state):
                    assert "file.managed" not in state, (path, state)
