"""Pushes over ssh, through a real sshd on loopback: what breaks there must not break a deployment."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpushooks.system.process import Child, run
from tests.support.box import FAILING, Box, Work, until
from tests.support.sshd import Server, over_ssh

GATE = "gate:\n  cmd.run:\n    - name: while ! test -e {0}/gate; do sleep 0.05; done\n"


@pytest.fixture
def far(box: Box, server: Server) -> Work:
    """Return a working copy that reaches its project over ssh."""
    work = box.app()
    return over_ssh(work, server)


def test_a_push_over_ssh_reads_like_one_over_a_path(box: Box, far: Work) -> None:
    box.init("near")
    near = box.app(name="near").push()
    pushed = far.push()
    assert pushed.transcript == near.transcript.replace("near", "hello")
    assert (pushed.code, near.code) == (0, 0)
    assert box.ref() == box.row().code == far.head


def test_a_failure_over_ssh_is_seen_by_the_client(box: Box, far: Work) -> None:
    far.push()
    good = far.head
    far.commit({"index.html": "two", ".salt/10_broken.sls": FAILING})
    pushed = far.push("HEAD:refs/deploy/now", options=("force",))
    assert (pushed.code, pushed.rejected) == (1, "install 10_broken failed; rolled back")
    assert f"rolled back to {good[:7]}; the failed tree is kept: archive 2" in pushed.lines
    assert box.ref() == box.row().code == good
    assert (box.project().tree / "index.html").read_text() == "one"


def test_a_shallow_or_wrong_key_push_deploys_nothing(box: Box, far: Work, server: Server, tmp_path: Path) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"])
    far.git("config", "core.sshCommand", server.command.replace(str(server.folder / "key"), str(tmp_path / "other")))
    pushed = far.push()
    assert pushed.code == 128
    assert "Permission denied (publickey)" in pushed.text
    assert not box.exists(1)


def children(pid: int) -> list[int]:
    """Return the processes that a process started and that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != b"Z":
                found.append(int(entry.name))
    return found


def descendants(pid: int) -> list[int]:
    return [each for child in children(pid) for each in (child, *descendants(child))]


def named(pids: list[int], name: str) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == name]


@pytest.fixture
def gated(box: Box, far: Work) -> Iterator[Child[bytes]]:
    """Return a push over ssh whose deployment runs, and waits for the gate to open."""
    far.commit({".salt/10_gate.sls": GATE.format(box.root)})
    pushing = far.start_push()
    until(lambda: box.exists(1) and "install 00_page" in box.log(1))
    yield pushing
    (box.root / "gate").touch()
    pushing.wait(30)


def completes(box: Box, work: Work) -> bool:
    """Open the gate and say whether the deployment came to its end, with all that belongs to it."""
    (box.root / "gate").touch()
    assert box.ended(1).state == "deployed"
    return box.ref() == box.row().code == work.head


def test_a_client_whose_ssh_is_killed_leaves_a_whole_deployment(box: Box, far: Work, gated: Child[bytes]) -> None:
    (ssh,) = named(descendants(gated.pid), "ssh")
    os.kill(ssh, signal.SIGKILL)
    assert gated.wait(30) == 128
    assert box.deployment(1).state == "running"
    assert completes(box, far)


def test_a_client_that_is_killed_leaves_a_whole_deployment(box: Box, far: Work, gated: Child[bytes]) -> None:
    os.killpg(gated.pid, signal.SIGKILL)
    gated.wait(30)
    assert box.deployment(1).state == "running"
    assert completes(box, far)


def test_an_sshd_session_that_is_killed_leaves_a_whole_deployment(
    box: Box, far: Work, gated: Child[bytes], server: Server
) -> None:
    for session in named(descendants(server.process.pid), "sshd"):
        os.kill(session, signal.SIGKILL)
    assert gated.wait(30) == 128
    assert box.deployment(1).state == "running"
    assert completes(box, far)


def test_a_killed_receive_pack_leaves_a_whole_deployment(
    box: Box, far: Work, gated: Child[bytes], server: Server
) -> None:
    for receiver in named(descendants(server.process.pid), "git-receive-pac"):
        os.kill(receiver, signal.SIGKILL)
    assert gated.wait(30) == 128
    assert completes(box, far)


def test_a_stopped_client_gets_its_result_when_it_goes_on(box: Box, far: Work, gated: Child[bytes]) -> None:
    os.killpg(gated.pid, signal.SIGSTOP)
    try:
        assert completes(box, far)
    finally:
        os.killpg(gated.pid, signal.SIGCONT)
    assert gated.wait(30) == 0
    assert "success: hello is live" in (far.path / ".git/push.log").read_text()
