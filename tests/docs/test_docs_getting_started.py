"""docs/getting-started.md: a new user follows it from its first block to its last, on a machine of the test's own."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from corpushooks.system.process import Output
from tests.support import machine
from tests.support.machine import PACKAGES, Machine
from tests.support.newcomer import (
    DEVELOPER,
    FILE,
    NEWCOMER,
    PACKAGE,
    PLAIN,
    PRINTED,
    SERVER,
    WHERE,
    Block,
    Walk,
    blocks,
    checkout,
    masked,
)

LEFT = """\
cat /srv/projects/hello/project/page.html
id corpus 2>&1 || true
ls /etc/ssh/sshd_config.d /etc/systemd/system | grep corpushooks || true
"""


class Offline:
    """A machine where pip finds all that is needed where the tests have it."""

    def __init__(self, there: Machine) -> None:
        self.there = there

    def run(self, script: str, *, user: str = "root", cwd: str = "", stdin: bytes = b"") -> Output:
        known = f"export PYTHONPATH={PACKAGES}\n" if "pip install" in script else ""
        done = self.there.run(known + script, user=user, cwd=cwd, stdin=stdin)
        if "-m venv" in script:  # what it needs it would have from elsewhere
            self.there.run(f"echo {PACKAGES} >$(echo /opt/corpushooks/lib/python3*/site-packages)/packages.pth")
        return done


pytestmark = pytest.mark.timeout(300)  # the first test walks the whole page


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """Return the walk of somebody who has followed the whole page."""
    if not machine.possible():
        pytest.skip("no machine of our own can be made here: not root, or no namespaces")
    with checkout(tmp_path_factory.mktemp("new")) as folder, machine.running(folder) as there:
        walk = Walk(Offline(there))
        walk.root(NEWCOMER)
        for block in blocks():
            walk.follow(block)
        yield walk


def test_each_block_of_the_page_is_followed_or_has_its_reason() -> None:
    assert [block.name for block in blocks()] == list(WHERE)
    reasons = set(WHERE.values()) - {SERVER, PACKAGE, PLAIN, DEVELOPER, FILE, PRINTED}
    assert all(reason.startswith("not run: ") for reason in reasons)


@pytest.mark.parametrize("block", [block for block in blocks() if block.commands], ids=lambda block: block.name)
def test_what_the_page_shows_is_what_comes(block: Block, walk: Walk) -> None:
    assert masked(walk.said[block.name]) == masked(block.text)
    assert walk.said[block.name].endswith("(failed)") is ("[remote rejected]" in block.text)


def test_what_init_prints_is_what_the_page_does(walk: Walk) -> None:
    (shown,) = [block.text for block in blocks() if WHERE[block.name] == PRINTED]
    assert shown in walk.said["corpus init hello"]
    (done,) = [block.text for block in blocks() if block.name == "git add .salt"]
    assert {line.strip() for line in shown.splitlines()[1:3]} < set(done.splitlines())


def test_setup_finds_nothing_wrong_and_does_what_it_said(walk: Walk) -> None:
    setup = "corpus setup"
    told = re.findall(r"^would (?:create|change) (.*)$", walk.said[f"{setup} --dry-run"], re.MULTILINE)
    assert told and told == re.findall(r"^(?:created|changed) +(.*)$", walk.said[setup], re.MULTILINE)
    assert "ok     daemon" in walk.said[setup] and "\nwrong" not in walk.said[setup]


def test_the_failure_can_be_looked_at_and_mended(walk: Walk) -> None:
    looked = walk.said["ssh corpus@server.example.org log hello 2"]
    assert "grep Helo page.html" in looked
    assert "    last: deployment 2 rolled back: install 10_check failed: check" in looked
    assert "success: hello is live" in walk.said["sed -i s/Helo/Hello/ .salt/10_check.sls"]


def test_what_is_taken_back_is_what_setup_made(walk: Walk) -> None:
    left = walk.there.run(LEFT).text.splitlines()
    assert left == ["Hello from hello", "id: ‘corpus’: no such user"]
