"""What the Salt worker knows of the host's programs, and when it asks them again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from corpushooks.salt_worker import known
from corpushooks.salt_worker.known import Answers
from tests.support.places import TOP


class Tool:
    """A program, and the file that it answers from."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.source, self.log = folder / "tool", folder / "source", folder / "log"
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.setattr(known, "PROGRAMS", {"tool -a": str(self.source)})
        monkeypatch.setattr(known, "TICK_NS", 0)
        monkeypatch.setattr(known.Network, "listen", lambda network: None)
        self.write("one")

    def write(self, said: str, code: int = 0, complaint: str = "") -> None:
        """Take the place of the program that was there."""
        aside = self.path.with_suffix(".new")
        aside.write_text(f"#!/bin/sh\necho asked >> {self.log}\necho {said}\nprintf '{complaint}' >&2\nexit {code}\n")
        aside.chmod(0o755)
        aside.rename(self.path)

    @property
    def asked(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    return Tool(tmp_path, monkeypatch)


def told(answers: Answers) -> str:
    with answers.given():
        return subprocess.run(["tool", "-a"], capture_output=True, text=True, check=False).stdout.strip()


def test_a_program_is_asked_again_once_it_or_what_it_reads_changed(tool: Tool) -> None:
    answers = Answers()
    answers.learn()
    assert [told(answers), told(answers)] == ["one", "one"]
    assert (tool.asked, answers.hits, answers.unknown()) == (1, 2, [])
    for number, change in enumerate((lambda: tool.write("two"), lambda: tool.source.write_text("new")), 2):
        change()
        assert answers.unknown() == ["tool -a"]
        assert (told(answers), tool.asked) == ("two", 2 * number - 2)
        answers.learn()
        assert (told(answers), tool.asked) == ("two", 2 * number - 1)


def test_another_program_of_that_name_is_another_one(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = Answers()
    answers.learn()
    (tmp_path / "first").mkdir()
    (tmp_path / "first/tool").write_text("#!/bin/sh\necho first\n")
    (tmp_path / "first/tool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/first:{os.environ['PATH']}")
    assert told(answers) == "first"


def test_what_changed_just_now_is_not_believed(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "TICK_NS", 60_000_000_000)
    answers = Answers()
    answers.learn()
    assert (told(answers), answers.hits) == ("one", 0)


def test_an_answer_is_given_as_the_program_gives_it(tool: Tool) -> None:
    tool.write("said", 3, "complained")
    answers = Answers()
    answers.learn()
    asked: list[dict[str, object]] = [
        {"stdout": subprocess.PIPE},
        {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE},
        {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT},  # how the two mix only the program says
        {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True},
        {"stdout": subprocess.PIPE, "encoding": "utf-8"},
        {"stdout": subprocess.DEVNULL},
    ]
    for given in asked:
        done = [subprocess.run(["tool", "-a"], check=False, **given)]  # type: ignore[call-overload]
        with answers.given():
            done.append(subprocess.run(["tool", "-a"], check=False, **given))  # type: ignore[call-overload]
        assert vars(done[0]) == vars(done[1])
    assert answers.hits == 4
    assert subprocess.Popen.__name__ == "Popen"


def test_which_is_answered_as_it_answers_itself() -> None:
    answers = Answers()
    with answers.given():
        found = [subprocess.run(["which", name], capture_output=True, check=False) for name in ("sh", "no_such_one")]
    assert answers.hits == 2
    asked = [subprocess.run(["which", name], capture_output=True, check=False) for name in ("sh", "no_such_one")]
    assert list(map(vars, found)) == list(map(vars, asked))


NETWORK = """
import subprocess
from corpushooks.salt_worker.known import Answers
from salt.utils import network
answers = Answers()
answers.learn()
def up():
    with answers.given():
        return network.interfaces()["lo"]["up"], answers.hits
assert up() == (False, 2), up()
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
assert up() == (True, 2), up()
answers.learn()
assert up() == (True, 4), up()
"""


def test_the_network_is_asked_again_once_it_changed() -> None:
    words = ["unshare", "--map-root-user", "--net", sys.executable, "-c", NETWORK]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=TOP)
    if done.stderr.startswith("unshare"):
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
