"""corpus rename-branch: the branch that deploys gets another name, under all that was deployed from it."""

from __future__ import annotations

import pytest

from corpushooks import git
from corpushooks.admin import projects
from corpushooks.system.process import run
from tests.support.box import Box, until
from tests.support.command import corpus, said


def test_a_project_goes_on_from_a_renamed_branch(box: Box) -> None:
    work = box.app()
    assert work.push().code == 0
    pillar = box.work(repo="pillar")
    pillar.commit({"init.sls": "{}\n"})
    assert pillar.push().code == 0
    box.ended(1)
    work.git("remote", "add", "prod", work.remote)
    work.git("fetch", "--quiet", "prod")
    told = said(corpus(box, "rename-branch", "hello", "main")).splitlines()
    assert told[:2] == ["branch: master -> main", "In each working copy:"]
    run(["sh", "-euc", "\n".join(told[2:])], cwd=work.path)
    assert work.git("branch", "--all", "--format=%(refname)").text.split() == [
        "refs/heads/main", "refs/remotes/prod/main",
    ]  # fmt: skip
    for repo in ("project", "pillar"):
        assert box.ref(repo=repo, ref="refs/heads/main") and box.ref(repo=repo) is None
        assert git.head_branch(box.project().git_dir / f"{repo}.git") == "main"
    assert (box.row().branch, box.row().live) == ("main", 1)
    two = work.commit({"index.html": "two"})
    assert work.push("HEAD:main").code == 0 and (box.row().code, box.ref(ref="refs/heads/main")) == (two, two)
    assert work.push("HEAD:refs/deploy/now").code == 0
    assert any("only main deploys" in line for line in work.push("HEAD:master").lines)
    assert corpus(box, "rollback", "hello", "1").code == 0 and box.row().branch == "main"


def test_a_branch_of_the_new_name_elsewhere_is_left_alone(box: Box) -> None:
    work = box.app()
    work.push()
    work.commit({"index.html": "other"})
    assert work.push("HEAD:main").code == 0
    box.ended(1)
    told = corpus(box, "rename-branch", "hello", "main")
    assert told.code == 3 and b"already has a branch main" in told.stderr
    assert (box.row().branch, box.ref()) == ("master", box.row().code)
    run(["sh", "-c", told.stderr.decode().splitlines()[1].removeprefix("hint: ")])
    assert corpus(box, "rename-branch", "hello", "main").code == 0


def test_asked_for_again_after_an_interruption_it_comes_to_its_end(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    box.app().push()
    box.ended(1)
    history, project = box.history, box.project()
    for place, name in ((type(history), "add_project"), (projects.layout, "make")):
        with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
            broken.setattr(place, name, interrupted)
            projects.rename_branch(project, history, box.row(), "main")
        assert box.ref(ref="refs/heads/main") == box.row().code
    projects.rename_branch(project, history, box.row(), "main")
    history.close()
    assert git.head_branch(project.code_git) == "main" and box.work().push("HEAD:refs/deploy/now").code == 0


def test_bad_names_and_what_runs_are_refused(box: Box) -> None:
    assert corpus(box, "rename-branch", "hello", "a..b").code == 2
    assert said(corpus(box, "rename-branch", "hello", "master")).startswith("branch: master -> master")
    gate = f"gate:\n  cmd.run:\n    - name: while ! test -e {box.root}/gate; do sleep 0.05; done\n"
    box.app(files={".salt/10_gate.sls": gate})
    pushing = box.work().start_push()
    until(lambda: box.exists(1) and "install 00_page" in box.log(1))
    told = corpus(box, "rename-branch", "hello", "main")
    (box.root / "gate").touch()
    assert (told.code, box.row().branch) == (3, "master")
    assert pushing.wait(60) == 0
