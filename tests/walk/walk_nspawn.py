"""The servers that tests boot: each release of Debian, without a network, and nothing left of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpushooks.system.process import spawn
from tests.support import nspawn
from tests.support.box import until
from tests.support.nspawn import Server
from tests.support.places import TOP

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with nspawn.booted(nspawn.bare(request.param), tmp_path_factory.mktemp("server")) as there:
        yield there


def test_it_is_a_whole_server(server: Server) -> None:
    assert server.run("systemctl is-system-running; hostname").text.split() == ["running", nspawn.NAME]
    assert [line.split(":")[0].strip() for line in server.run("tail -n +3 /proc/net/dev").text.splitlines()] == ["lo"]


def test_scripts_have_a_user_a_place_and_an_input(server: Server, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("given\n")
    server.run("useradd --create-home jo")
    server.put(tmp_path / "given", "/home/jo/there/given")
    said = server.run("pwd; id -un; cat given -", user="jo", cwd="/home/jo/there", stdin=b"piped\n").text.split()
    assert said == ["/home/jo/there", "jo", "given", "piped"]
    assert (server.root / "home/jo/there/given").stat().st_uid == 0
    assert server.run("exit 7", check=False).code == 7
    with pytest.raises(AssertionError, match="the last"):
        server.run("! true; true")
    with pytest.raises(AssertionError, match="No such file"):
        server.run("cat /nothing; echo reached")


@pytest.mark.parametrize("hard", [False, True], ids=["reboot", "power fails"])
def test_a_reboot_keeps_what_is_on_the_disk(server: Server, hard: bool) -> None:
    before = server.leader
    server.run("touch /kept /srv/kept /run/lost")
    server.reboot(hard=hard)
    assert server.leader != before
    assert server.run("ls /kept /srv/kept /run/lost", check=False).text.split() == ["/kept", "/srv/kept"]
    assert server.run("systemctl is-system-running").text == "running"


def test_nobody_has_to_hear_what_its_systemd_says(server: Server) -> None:
    """Of each reload it tells who started it; it would wait for that one, and do nothing else meanwhile."""
    server.run("for each in $(seq 30); do systemctl daemon-reload; done; systemctl is-system-running")


def test_two_run_at_once_and_nothing_is_left(tmp_path: Path) -> None:
    root = nspawn.bare()
    mounts = Path("/proc/self/mounts").read_text()
    with nspawn.booted(root, tmp_path / "a", name="a") as a, nspawn.booted(root, tmp_path / "b", name="b") as b:
        assert [each.run("echo >/mine; hostname; systemctl is-system-running").text for each in (a, b)] == [
            "a\nrunning",
            "b\nrunning",
        ]
        leaders = a.leader, b.leader
    until(lambda: not any(os.path.exists(f"/proc/{leader}") for leader in leaders))
    assert Path("/proc/self/mounts").read_text() == mounts
    assert not (root.layers[-1] / "mine").exists()


BOOTS = """\
import signal, sys
from pathlib import Path
from tests.support import nspawn
with nspawn.booted(nspawn.bare(), Path(sys.argv[1])) as server:
    print(server.leader, *server.groups, flush=True)
    signal.pause()
"""


def test_a_server_ends_with_the_process_that_booted_it_however_that_ends(tmp_path: Path) -> None:
    read, write = os.pipe()
    booting = spawn([sys.executable, "-c", BOOTS, tmp_path / "server"], cwd=TOP, stdout=write)
    os.close(write)
    with open(read) as said:
        leader, *groups = said.readline().split()
    assert Path(f"/proc/{leader}/comm").read_text() == "systemd\n"
    booting.kill()
    booting.wait(20)
    until(lambda: not os.path.exists(f"/proc/{leader}") and not any(map(os.path.exists, groups)), 60)
