"""What was pushed to the wrong one of a project's two repositories, and includes of a pillar that lead nowhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.box import Box

INIT = "makina-projects.hello: {data: {z: 1}}\n"
SLS = "page:\n  test.nop: []\n"


def test_code_that_was_pushed_to_the_pillar_is_sent_where_it_belongs(box: Box) -> None:
    work = box.work(repo="pillar")
    work.commit({".salt/00_page.sls": SLS})
    pushed = work.push()
    assert pushed.rejected == "the pillar has no init.sls"
    assert pushed.lines[-1] == "hint: this looks like the project's code: push it to project.git (over ssh: hello)"
    work.commit({".salt/00_page.sls": None, "other.sls": INIT})
    assert work.push().lines[-1].endswith("help first-project")


def test_a_pillar_that_was_pushed_to_the_code_is_sent_where_it_belongs(box: Box) -> None:
    work = box.work()
    work.commit({"init.sls": INIT})
    pushed = work.push()
    assert pushed.rejected.endswith("has no .salt folder")
    assert pushed.lines[-1] == "hint: this looks like a pillar: push it to pillar.git (over ssh: hello.pillar)"
    work.commit({"init.sls": None, "README": "x"})
    assert work.push().lines[-1].endswith("help first-project")


INCLUDES = {
    "include: [other]\n": "init.sls line 1: include: 'other' not found: write .other for the file beside this one",
    "include:\n  - .gone\n": (
        "init.sls line 2: include: 'makina-projects.hello.gone' not found: expected gone.sls in the pillar"
    ),
    "include:\n  - .other\n  - sub.gone\n": (
        "init.sls line 3: include: 'sub.gone' not found: expected sub/gone.sls in the pillar"
    ),
}


@pytest.mark.parametrize("text", INCLUDES)
def test_an_include_that_leads_nowhere_is_named_in_the_file_that_has_it(new_box: Callable[..., Box], text: str) -> None:
    box = new_box(salt=True)
    box.init()
    work = box.work(repo="pillar")
    work.commit({"init.sls": text, "other.sls": INIT})
    pushed = work.push()
    assert pushed.code == 1
    told = " ".join(" ".join(line.removeprefix("error: ").split()) for line in pushed.lines[:-1])
    assert told == INCLUDES[text]
