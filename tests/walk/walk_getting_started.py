"""docs/getting-started.md, followed literally on bare servers of Debian 12 and 13 with systemd and real sshd.

At the end it says how long the commands took, without the downloads.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import nspawn
from tests.support.deb import FETCHED, NEEDS, RELEASES, Built
from tests.support.newcomer import NEWCOMER, PACKAGE, Block, Walk, blocks, masked
from tests.support.nspawn import Server

FIRST_PUSH = "$ git push prod"
LEFT = """\
cat /srv/projects/hello/project/page.html
id corpus 2>&1 || true
ls /etc/ssh/sshd_config.d /etc/systemd/system | grep corpushooks || true
systemctl is-active corpushooks.socket corpushooks.service ssh.service || true
"""
pytestmark = pytest.mark.timeout(1800)


class Unasked:
    """A server whose scripts can fail: the page shows some that do."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def run(self, script: str, *, user: str = "root", cwd: str = "", stdin: bytes = b""):  # type: ignore[no-untyped-def]
        return self.server.run(script, user=user, cwd=cwd, stdin=stdin, timeout=900, check=False)


@pytest.fixture(scope="module", params=RELEASES)
def walk(request: pytest.FixtureRequest, built: Built) -> Iterator[Walk]:
    """Return the walk of somebody who has followed the whole page; ssh asks for no host key."""
    root = nspawn.bare(RELEASES[request.param]).fetched(*NEEDS).installed("openssh-server")
    with nspawn.memory() as folder, nspawn.booted(root, folder) as server:
        package = built(request.param)
        server.put(package, f"/root/{package.name}")
        walk = Walk(Unasked(server), PACKAGE, "/root")
        server.run(f"{nspawn.INSTALL} git")  # on the developer's machine, which is the same one here
        server.run(NEWCOMER)
        for block in blocks():
            walk.follow(block)
        yield walk


def test_no_block_fails_that_is_not_shown_to(walk: Walk) -> None:
    failed = [name for name, said in walk.said.items() if said.endswith("(failed)")]
    assert failed == ["$ git add .salt"]


@pytest.mark.parametrize("block", [block for block in blocks() if block.commands], ids=lambda block: block.name)
def test_what_the_page_shows_is_what_comes(block: Block, walk: Walk) -> None:
    assert masked(walk.said[block.name]) == masked(block.text)


def test_nothing_was_downloaded_and_nothing_is_wrong(walk: Walk) -> None:
    assert FETCHED in walk.said["apt-get update"]
    assert "ok     daemon" in walk.said["corpus setup"] and "\nwrong" not in walk.said["corpus setup"]


def test_what_is_taken_back_is_what_setup_made(walk: Walk) -> None:
    left = walk.there.run(LEFT).text.splitlines()
    assert left == ["Hello from hello", "id: 'corpus': no such user", "inactive", "inactive", "active"]


def test_it_says_how_long_it_took(walk: Walk, capsys: pytest.CaptureFixture[str]) -> None:
    names = list(walk.took)
    first = sum(walk.took[name] for name in names[: names.index(FIRST_PUSH) + 1])
    with capsys.disabled():
        print(f"\nfrom a bare server to the first deployed push: {first:.0f} s")
        for name, seconds in walk.took.items():
            print(f"  {seconds:6.1f} s  {name}")
