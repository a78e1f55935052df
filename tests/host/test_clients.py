"""Clients that are killed, interrupted or stopped in the middle: a deployment ends in its time, and frees its lock."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from corpushooks.system.locks import locked
from corpushooks.system.process import Child
from tests.support.box import Box, Work, until
from tests.support.sshd import Server, over_ssh

GATE = "gate:\n  cmd.run:\n    - name: while ! test -e {0}; do sleep 0.05; done\n"
LOUD = """\
{{% for n in range({states}) %}}
loud{{{{ n }}}}:
  fake.loud:
    - lines: 12
    - width: {width}
{{% endfor %}}
"""
SIZES = {"100 bytes": (1, 8), "100 KB": (4, 2000), "10 MB": (240, 3500)}


def gone(child: Child[bytes]) -> None:
    """Kill a client and what it started, as a lost machine does."""
    os.killpg(child.pid, signal.SIGKILL)


def interrupted(child: Child[bytes]) -> None:
    """Interrupt a client as Ctrl-C does."""
    os.killpg(child.pid, signal.SIGINT)


def stopped(child: Child[bytes]) -> None:
    """Stop a client that goes on later."""
    child.send_signal(signal.SIGSTOP)


def push_into_a_gate(box: Box, work: Work, states: int, width: int) -> tuple[Child[bytes], Path]:
    """Push a release that waits at a gate and then fails loudly; return the client and the gate."""
    gate = box.root / "gate"
    sls = {".salt/10_gate.sls": GATE.format(gate), ".salt/20_loud.sls": LOUD.format(states=states, width=width)}
    work.commit({"index.html": "two", **sls})
    child = work.start_push()
    until(lambda: "install 10_gate" in box.steps(2) if box.exists(2) else None)
    return child, gate


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("event", [gone, interrupted, stopped])
@pytest.mark.parametrize("way", ["path", "ssh"])
def test_a_deployment_ends_whatever_its_client_does(
    box: Box, server: Server, way: str, event: Callable[[Child[bytes]], None], size: str
) -> None:
    work = box.app()
    work.push()
    if way == "ssh":
        over_ssh(work, server)
    child, gate = push_into_a_gate(box, work, *SIZES[size])
    event(child)
    gate.touch()
    assert box.ended(2).state == "rolled_back"
    shown = sum(len(line) for line in box.log(2).splitlines())
    states, width = SIZES[size]
    assert shown > states * 12 * width
    with locked(box.project()):
        assert box.ref() == box.row().code
    if event is stopped:
        child.send_signal(signal.SIGCONT)
        assert child.wait(30) == 1
        assert "(install 20_loud failed; rolled back)" in (work.path / ".git/push.log").read_text()
    else:
        child.wait(30)
    work.commit({".salt/20_loud.sls": None})
    assert work.push().code == 0
