"""docs/special-files.md: all its examples deploy, together and as they stand, and each does what the page says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import yaml

from corpushooks.core.notification import Template, render
from corpushooks.core.project import MODULE_KINDS, PROCEDURES
from corpushooks.system import health
from corpushooks.system.process import run
from tests.support.box import Box, Push
from tests.support.command import quick_words
from tests.support.places import TOP
from tests.support.receiver import FAILURE

PAGE = (TOP / "docs/special-files.md").read_text()
BREAKS = """\
makes:
  file.managed:
    - name: {{ cfg.data_root }}/cache
fails:
  test.fail_without_changes: []
"""


def files() -> dict[str, str]:
    """Return the files of the page: what the text before a block names last is in it."""
    blocks = list(re.finditer(r"^```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    named = [re.findall(r"`(\.salt/[\w./]+)`", PAGE[: block.start()])[-1] for block in blocks]
    assert len(set(named)) == len(blocks)
    return dict(zip(named, (block[1] for block in blocks), strict=True))


class Follower:
    """Somebody who commits all of the page to a host."""

    def __init__(self, box: Box, env: str = "prod") -> None:
        self.box = box
        box.init(env=env)
        box.start()
        self.work = box.work()
        self.work.commit(files())
        self.corpus = quick_words(box)

    def push(self, number: int) -> Push:
        """Push, and await the very end."""
        pushed = self.work.push("HEAD:refs/deploy/now")
        self.box.ended(number)
        return pushed

    def kept(self, number: int) -> Path:
        (found,) = self.box.project().archives.glob(f"*_{number}")
        return found


def greeting(text: str) -> dict[str, str]:
    """Return the page's PILLAR.sample with another greeting."""
    name = ".salt/PILLAR.sample"
    return {name: files()[name].replace("greeting: Hello", f"greeting: {text}")}


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_the_examples_deploy_and_do_what_they_say(new_box: Callable[..., Box]) -> None:
    one = Follower(new_box(salt=True))
    tree, data = one.box.project().tree, one.box.project().data
    checked = run([*one.corpus, "check", "."], cwd=one.work.path).text.splitlines()
    elsewhere = [line for line in checked if line.startswith("warning: staging: nothing reads the SLS files")]
    checked = [line for line in checked if line not in elsewhere]
    assert len(elsewhere) == 1  # they are for another host
    assert {line.partition(": ")[2] for line in checked} == {"fine"}
    assert {Path(name).name for name in files() if "/_" not in name and not name.startswith(".salt/staging")} >= {
        line.partition(":")[0] for line in checked
    }

    first = one.push(1)
    assert first.code == 0, first.text
    assert (tree / "page.html").read_text() == "Hello from 4 workers\n"
    assert (tree / "shout.txt").read_text() == "HELLO"
    assert [(tree / name).stat().st_mode & 0o777 for name in (".", "page.html")] == [0o775, 0o664]
    assert not list(one.kept(1).glob("data.tar.gz"))  # archive.sls and post_archive.sls are the live release's

    second = one.push(2)
    assert second.code == 0
    (shout,) = [line for line in second.lines if "20_shout" in line]
    assert "1 state " in shout and "changed" not in shout
    assert "./maintenance" in run(["tar", "-tzf", one.kept(2) / "data.tar.gz"]).text.splitlines()
    assert not (data / "maintenance").exists()

    one.work.commit({".salt/95_breaks.sls": BREAKS})
    failed = one.push(3)
    assert (failed.code, failed.rejected) == (1, "install 95_breaks failed; rolled back")
    assert not (data / "cache").exists() and not (data / "maintenance").exists()
    assert [line[-2:] for line in lines_of(data / "deployments.txt")] == ["_1", "_2", "_3"]

    run([*one.corpus, "task", "hello", "count"])
    assert "3" in one.box.log(4).split()

    one.work.commit({".salt/95_breaks.sls": None, **greeting("Good day")})
    sick = one.push(5)
    assert (sick.code, sick.rejected) == (1, "health check failed; rolled back"), sick.text


def test_hosts_of_another_environment_take_their_folder(new_box: Callable[..., Box]) -> None:
    one = Follower(new_box(salt=True), env="staging")
    pushed = one.push(1)
    assert pushed.code == 0, pushed.text
    assert (one.box.project().tree / "page.html").read_text() == "Hello, staging with 1 worker\n"
    assert not (one.box.project().tree / "shout.txt").exists()


def test_notifications_are_in_the_words_of_the_project() -> None:
    said = render(FAILURE, Template(".salt/notify.jinja", files()[".salt/notify.jinja"]))
    assert said.subject == f"[host] {FAILURE.subject}"


def test_every_special_file_is_told() -> None:
    told = set(re.findall(r"^\| \[`([\w./]+)`", PAGE, re.MULTILINE))
    special = {f"{name}.sls" for name in PROCEDURES}
    assert told == special | {
        "PILLAR.sample", "NN_NAME.sls", "task_NAME.sls", "notify.jinja", "_modules/", "ENVIRONMENT/",
    }  # fmt: skip
    shown = {Path(name).name for name in files()}
    assert special < shown and {"PILLAR.sample", "notify.jinja"} < shown
    assert set(re.findall(r"`(_\w+)`", PAGE)) <= set(MODULE_KINDS)


def test_the_health_checks_of_the_procedure_are_read() -> None:
    page = (TOP / "docs/procedure.md").read_text()
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(health.checks(yaml.safe_load(example)["makina-projects.projectname"]["health"])) == 3
