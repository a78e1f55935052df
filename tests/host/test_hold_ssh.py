"""What is held is confirmed over a new connection of ssh, by whoever may push, and by nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpushooks.system.process import came_by, run
from tests.support.box import until
from tests.support.door import Door, said


@pytest.fixture
def live(door: Door) -> Door:
    door.add("alice", "push", "hello")
    door.box.app()
    assert door.work("alice").push().code == 0
    door.box.ended(1)
    return door


def held(door: Door, number: int = 2) -> None:
    until(lambda: door.box.exists(number) and door.box.deployment(number).state == "held", 60)


def test_who_pushed_confirms_over_a_new_connection(live: Door) -> None:
    work = live.work("alice")
    work.commit({"index.html": "two"})
    push = work.start_push("--push-option=confirm=600", "HEAD:master")
    held(live)
    told = work.path / ".git/push.log"
    hint = f"then it is rolled back; to confirm it: ssh {live.address} confirm hello 2"
    until(lambda: hint in told.read_text(), 60)
    status = said(live.ssh("alice", "status", "hello"))
    assert "held: deployment 2 by alice until " in status and f"ssh {live.address} confirm hello 2" in status
    done = live.ssh("alice", "confirm", "hello", "2")
    assert (done.code, said(done)) == (0, "deployment 2 of hello: deployed\ndeployment 2 of hello is confirmed\n")
    assert push.wait(60) == 0
    assert live.box.ended(2).confirmed == "alice"


def test_others_do_not(live: Door) -> None:
    live.add("reader", "read", "hello")
    live.add("other", "push", "other")
    with live.started("alice", "deploy hello --confirm=600"):
        held(live)
        for name in ("reader", "other"):
            assert live.ssh(name, "confirm", "hello", "2").code == 3
        for words in ("confirm hello", "confirm hello two", "confirm hello 2 3", "confirm hello -1"):
            assert live.ssh("alice", words).code == 2
        assert live.box.deployment(2).state == "held"
        live.add("bob", "push", "hello")
        assert live.ssh("bob", "confirm", "hello", "2").code == 0
    assert live.box.ended(2).confirmed == "bob"


def test_a_connection_that_is_shared_proves_no_way_in(live: Door, tmp_path: Path) -> None:
    """ssh's ControlMaster: a session more over the connection of the push, which needs no way in."""
    socket = tmp_path / "s"
    user, _, address = live.server.url("").removeprefix("ssh://").partition("@")
    host, _, port = address.partition(":")
    command = [*live.server.command_with(live.folder / "alice").split(), "-p", port, "-S", str(socket)]
    run([*command, "-M", "-N", "-f", f"{user}@{host}"])
    try:
        work = live.work("alice")
        work.git("config", "core.sshCommand", f"{live.server.command_with(live.folder / 'alice')} -S {socket}")
        work.commit({"index.html": "two"})
        push = work.start_push("--push-option=confirm=600", "HEAD:master")
        held(live)
        refused = run([*command, f"{user}@{host}", "confirm hello 2"], check=False)
        assert refused.code == 3
        assert "not confirmed: this connection also asked for the deployment" in said(refused)
        assert live.box.deployment(2).state == "held"
        fresh = run([*command[:-2], f"{user}@{host}", "confirm hello 2"], check=False)
        assert fresh.code == 0, said(fresh)
        assert push.wait(60) == 0
    finally:
        run([*command, "-O", "exit", f"{user}@{host}"], check=False)


def test_who_came_by_no_ssh_has_no_connection() -> None:
    assert came_by(1) == ""
