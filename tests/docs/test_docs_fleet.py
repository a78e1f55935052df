"""docs/fleet.md: its blocks in their order, from one server to three, each host in a folder behind its own sshd."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from corpushooks.core.policy import Policy
from corpushooks.core.settings import parse
from corpushooks.system.process import Output, run
from tests.support.box import Push
from tests.support.fleet import FleetBox, fleet_box
from tests.support.places import TOP

pytestmark = pytest.mark.timeout(300)  # the first test walks half of the page

PAGE = TOP / "docs/fleet.md"
TRIED = "<!-- tried by tests/docs/test_docs_fleet.py -->\n\n"
BLOCK = re.compile(rf"^({re.escape(TRIED)})?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# The programs of the page's reader: root on the controller, who has ssh as root on the nodes.
CORPUS = """\
#!/bin/sh
exec {python} -m corpushooks "$@"
"""
SSH = """\
#!/bin/sh
case "$1" in
{nodes}
*) exec {ssh} "$@" ;;
esac
shift
export CORPUS_ROOT
exec sh -c "$*"
"""


def blocks(language: str) -> list[str]:
    """Return the blocks of the page in a language."""
    return [text for _, kind, text in BLOCK.findall(PAGE.read_text()) if kind == language]


@dataclass
class Reader:
    """Somebody who follows the page on the controller."""

    fleet: FleetBox
    programs: Path
    said: dict[str, Output] = field(default_factory=dict)

    def __post_init__(self) -> None:
        nodes = "\n".join(
            f"root@{name}.example.org) CORPUS_ROOT={each.box.host.root} ;;" for name, each in self.fleet.nodes.items()
        )
        given = {"python": sys.executable, "ssh": shutil.which("ssh"), "nodes": nodes}
        self.programs.mkdir()
        for name, text in (("corpus", CORPUS), ("ssh", SSH)):
            (self.programs / name).write_text(text.format(**given))
            (self.programs / name).chmod(0o755)

    def run(self, script: str) -> Output:
        """Run lines of a shell as they are, but for the addresses of the nodes."""
        for name, each in self.fleet.nodes.items():
            script = script.replace(f"corpus@{name}.example.org", each.address)
        env = {
            "PATH": f"{self.programs}:{os.environ['PATH']}", "CORPUS_ROOT": str(self.fleet.box.host.root),
            "PYTHONPATH": str(TOP),
        }  # fmt: skip
        return run(["sh", "-ec", script], env={**os.environ, **env}, check=False, timeout=120)

    def follow(self, script: str) -> None:
        done = self.said[script] = self.run(script)
        assert done.code == 0, script + (done.stdout + done.stderr).decode()

    def page_of(self, name: str) -> str:
        place = self.fleet.nodes[name].box.project().tree / "index.html"
        return place.read_text() if place.exists() else ""


SLS = "key:\n  cmd.run:\n    - name: test -e key\n    - cwd: {{ cfg.data_root }}\n"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Return a reader who has followed the page up to three servers; the first one deployed hello before."""
    folder = tmp_path_factory.mktemp("fleet")
    with fleet_box(folder, "web1", "web2") as fleet:
        assert fleet.box.app("one").push().code == 0
        reader = Reader(fleet, folder / "programs")
        for script in blocks("sh")[:UP]:
            reader.follow(script)
        yield reader


ALL, UP = 8, 4  # blocks for a shell; up to three servers


def masked(text: str) -> list[str]:
    """Return lines without what differs from run to run, in an order of their own."""
    for mark, what in (
        (r"\b[0-9a-f]{7}\b", "COMMIT"), (r"\d+\.\d s", "TIME"), (r"(rollout|deployment|log hello) \d+", r"\1 N"),
        (r"\S+@\S+", "ADDRESS"), (r"\b\d+\.\d+\.\d+\b", "VERSION"), (r" +", " "),
        (r"\d+ of \d+ places, memory .*", "WHAT IS FREE"),
    ):  # fmt: skip
        text = re.sub(mark, what, text)
    return sorted(line.strip() for line in text.splitlines())


def test_every_block_for_a_shell_is_tried() -> None:
    tried = [bool(mark) for mark, language, _ in BLOCK.findall(PAGE.read_text()) if language == "sh"]
    assert tried == [True] * ALL


def test_the_list_is_what_comes(reader: Reader) -> None:
    listing, *_ = blocks("text")
    said = reader.said[blocks("sh")[UP - 1]].stdout.decode().splitlines()
    assert masked("\n".join(said[-4:])) == masked(listing)
    assert [reader.page_of(name) for name in ("web1", "web2")] == ["one", "one"]


def seen(push: Push) -> list[str]:
    """Return what somebody who pushes sees, but for where to."""
    lines = [line for line in push.text.splitlines() if line.startswith(("remote: ", " ! "))]
    return masked("\n".join(["$ git push prod HEAD:master", *lines]))


def test_a_push_goes_to_both_and_a_failure_on_one_takes_both_back(reader: Reader) -> None:
    _, good, failing = blocks("text")
    fleet = reader.fleet
    assert seen(fleet.box.app("two").push()) == masked(good)
    assert [reader.page_of(name) for name in fleet.nodes] == ["two", "two"]
    (fleet.nodes["web1"].box.project().data / "key").touch()
    failed = seen(fleet.box.app("three", files={".salt/10_app.sls": SLS}).push())
    early = "remote: web1 healthy TIME"  # or it was told to go back before
    assert [line for line in failed if line != early] == [line for line in masked(failing) if line != early]
    assert [reader.page_of(name) for name in fleet.nodes] == ["two", "two"]
    look = blocks("sh")[UP]
    reader.follow(look)
    said = reader.said[look].stdout.decode()
    assert (
        "exit code 1, no output" in said
        and "on the nodes web1, web2: " in said
        and "        web2         current " in said
    )


def test_maintenance(reader: Reader) -> None:
    drain, drift, leave = blocks("sh")[UP + 1 :]
    node, states = reader.fleet.nodes["web2"].box, "corpus node list"
    reader.follow(drain)
    assert b"drift" not in reader.run(states).stdout
    assert node.ask("node release", project="hello")
    assert node.app("its own").push(flags=("--force",)).code == 0
    assert reader.run("corpus node link web2 hello").code == 0
    assert b"hello        drift" in reader.run(states).stdout
    reader.follow(drift)
    assert reader.page_of("web2") == reader.page_of("web1") != "its own"
    reader.follow(leave)
    assert b"web2" not in reader.run(states).stdout
    refused = node.app("again").push(flags=("--force",))
    assert refused.code == 1 and "is deployed by the controller main" in refused.transcript
    assert reader.run("ssh root@web2.example.org corpus node release hello").code == 0
    assert node.work().push(flags=("--force",)).code == 0
    assert reader.page_of("web2") == "again" != reader.page_of("web1")


def test_the_settings_are_read() -> None:
    (shown,) = [each for each in blocks("yaml") if "rollout:" in each]
    found = parse(shown, "F").for_project("hello").rollout
    assert found == Policy(canary=1, batch="50%", nodes=("web1", "label:eu"), run_once="web1")  # the others: defaults
