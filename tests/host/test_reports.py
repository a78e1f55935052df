"""The JUnit files that a task leaves in $CORPUS_REPORTS: in its log, by the command, in the API, on its page."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corpushooks.core.events import SuiteEnded, Warned
from corpushooks.deploy import testing
from corpushooks.store import log
from tests.support.box import Box
from tests.support.browsing import Browser
from tests.support.command import asked, corpus
from tests.support.shared_box import shared_box
from tests.support.web import Web, serving

SECRET = "s3cret-value"
FILE = (
    '<testsuite name="unit" time="1.5"><testcase name="good"/><testcase classname="Shop" name="bad">'
    f'<failure message="5 &lt; 4 and {SECRET}">line one</failure></testcase></testsuite>'
)
PILLAR = f"makina-projects.hello:\n  data:\n    db_password: {SECRET}\n"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with shared_box(tmp_path_factory.mktemp("reports"), page="one") as box, serving(box) as found:
        pillar = box.work(repo="pillar")
        pillar.commit({"init.sls": PILLAR})
        assert pillar.push().code == 0
        assert box.app("two").push().code == 0
        yield found


def ran(box: Box, *commands: str) -> int:
    """Run a task of these commands; return its number."""
    work = box.work()
    script = "".join(f"run{n}:\n  cmd.run:\n    - name: {json.dumps(text)}\n" for n, text in enumerate(commands))
    work.commit({".salt/task_try.sls": script}, "task")
    assert work.push().code == 0
    corpus(box, "task", "hello", "try")
    return int(asked(box, "history", "hello")[0]["number"])


def told(box: Box, number: int) -> tuple[list[SuiteEnded], list[str]]:
    """Return the suites and the warnings in the log of a task."""
    events = [record.event for record in log.read(box.project().log_file(number))]
    suites = [one for one in events if isinstance(one, SuiteEnded)]
    return suites, [one.text for one in events if isinstance(one, Warned)]


def placed(box: Box, name: str, text: str) -> str:
    """Return a command that leaves a file."""
    (box.root / name).write_text(text)
    return f"cp {box.root / name} $CORPUS_REPORTS/{name}"


def test_results_are_in_the_log_the_command_the_api_and_the_page(web: Web) -> None:
    box = web.box
    number = ran(box, placed(box, "unit.xml", FILE), "exit 3")
    (suite,), _ = told(box, number)
    assert (suite.file, suite.suite, suite.tests, suite.failed) == ("unit.xml", "unit", 2, 1)
    assert SECRET not in suite.cases[0].message and suite.cases[0].message.startswith("5 < 4")
    found: list[dict[str, Any]] = asked(box, "tests", "hello")
    assert found == web.api("GET", f"/projects/hello/deployments/{number}/tests").json
    assert [case["name"] for case in found[0]["cases"]] == ["bad", "good"]
    lines = corpus(box, "tests", "hello", str(number)).stdout.decode()
    assert "2 tests, 1 failed" in lines and "FAILED   Shop.bad: 5 < 4" in lines and SECRET not in lines
    page = Browser(web).sign_in().get(f"/projects/hello/deployments/{number}").text
    assert page.index("Shop.bad") < page.index("5 &lt; 4") < page.index("good") < page.index("<h2>Log</h2>")
    assert SECRET not in page
    assert not box.project().reports.exists()


def test_what_is_not_a_file_of_tests_is_a_warning(web: Web) -> None:
    box = web.box
    (box.root / "outside.xml").write_text(FILE)
    number = ran(
        box, placed(box, "bomb.xml", '<!DOCTYPE a [<!ENTITY a "b">]><testsuite/>'), placed(box, "no.txt", FILE),
        f"ln -s {box.root}/outside.xml $CORPUS_REPORTS/link.xml", "mkfifo $CORPUS_REPORTS/pipe.xml",
        "mkdir $CORPUS_REPORTS/folder.xml", f"truncate -s {testing.SIZE + 1} $CORPUS_REPORTS/large.xml",
        placed(box, "z.xml", FILE),
    )  # fmt: skip
    suites, warnings = told(box, number)
    assert [one.file for one in suites] == ["z.xml"]
    for name in ("bomb.xml", "link.xml", "pipe.xml", "folder.xml", "large.xml"):
        assert [text for text in warnings if f"/{name} " in text], name
    assert box.ended(number).state == "done"


def test_a_hard_link_to_a_file_of_root_is_not_read(web: Web) -> None:
    if os.geteuid():
        pytest.skip("only root has files that others cannot read")
    box = web.box
    (box.root / "root.xml").write_text(FILE)
    uid = 65534
    number = ran(box, f"ln {box.root}/root.xml $CORPUS_REPORTS/hard.xml", f"chown {uid} $CORPUS_REPORTS")
    suites, warnings = told(box, number)
    assert suites == [] and [text for text in warnings if "hard.xml" in text]


def test_many_files_are_bounded(web: Web) -> None:
    box = web.box
    many = f"for n in $(seq 1000 {1000 + testing.FILES}); do cp {box.root}/unit.xml $CORPUS_REPORTS/$n.xml; done"
    (box.root / "unit.xml").write_text(FILE)
    suites, warnings = told(box, ran(box, many))
    assert len(suites) == testing.FILES and [text for text in warnings if "files of tests" in text]


def test_what_an_earlier_task_left_is_gone(web: Web) -> None:
    box = web.box
    folder: Path = box.project().reports
    folder.mkdir(exist_ok=True)
    (folder / "old.xml").write_text(FILE)
    number = ran(box, "true")
    assert told(box, number) == ([], [])
    assert "no results of tests" in corpus(box, "tests", "hello", str(number)).stdout.decode()


def test_a_folder_that_became_a_link_is_not_followed(web: Web) -> None:
    box = web.box
    aside = box.root / "aside"
    aside.mkdir()
    (aside / "kept.xml").write_text(FILE)
    number = ran(box, f"rmdir $CORPUS_REPORTS; ln -s {aside} $CORPUS_REPORTS")
    suites, warnings = told(box, number)
    assert suites == [] and warnings and (aside / "kept.xml").exists()
