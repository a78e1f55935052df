"""The documentation, where the command is."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpushooks.cli import pages
from corpushooks.cli.commands import whole
from corpushooks.cli.main import corpus
from corpushooks.core.errors import UsageError
from corpushooks.core.project import Host
from corpushooks.shell import serve
from corpushooks.system.process import Output
from tests.support.command import ran
from tests.support.places import TOP

DOCS = TOP / "docs"


def asked(*words: str) -> Output:
    return ran("help", *words)


def test_every_page_is_there_and_has_a_title() -> None:
    found = pages.topics()
    assert set(found) == {path.stem for path in DOCS.glob("*.md")}
    assert all(found.values()) and found["first-project"] == "Your first project"


def test_a_page_is_shown_as_it_is() -> None:
    assert asked("settings").text == (DOCS / "settings.md").read_text().rstrip()


def test_the_help_of_a_command_is_found_there_too() -> None:
    assert asked("deploy").text == ran("deploy", "--help").text


def test_without_a_topic_both_are_listed() -> None:
    text = asked().text
    assert all(f"  {name} " in text for name in [*whole(corpus), *pages.topics()])


@pytest.mark.parametrize(("topic", "hint"), [("setings", "help settings"), ("x" * 20, "help"), ("../x", "help")])
def test_what_is_not_there_is_one_line_and_a_hint(topic: str, hint: str) -> None:
    told = asked(topic)
    error, told_hint = told.stderr.decode().splitlines()
    assert (told.code, error, told_hint[:13]) == (2, f"error: unknown topic {topic!r}", "hint: corpus ")
    assert told_hint.endswith(f" {hint}")
    with pytest.raises(UsageError):
        pages.page(topic)


def test_a_page_is_shown_over_ssh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = Host(tmp_path)
    assert serve(host, "jo", "", {"SSH_ORIGINAL_COMMAND": "help security"}) == 0
    assert capsys.readouterr().out.rstrip() == (DOCS / "security.md").read_text().rstrip()
    assert serve(host, "jo", "", {"SSH_ORIGINAL_COMMAND": "help"}) == 0
    assert "first-project " in capsys.readouterr().out
    assert serve(host, "jo", "", {"SSH_ORIGINAL_COMMAND": "help nothing"}) == 2
