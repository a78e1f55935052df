"""A daemon with the fake engine, for the tests whose subject is not Salt; it can fail or die at any labelled effect.

    python -m tests.support.fake_daemon ROOT [--embedded]

The file `faults` in ROOT has what happens, each once and in this order: [LABEL, WHEN, ACTION]. LABEL is that of an
effect ("2 sync", "move ref", "undo restore", …), WHEN is before or after, ACTION is kill, wait (for the file `gate`),
bug, or an errno's name. `fault.done` has a line for each that happened: the next daemon goes on from there.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
from pathlib import Path

from corpushooks.cli.base import starting
from corpushooks.core.project import Host
from corpushooks.core.settings import load
from corpushooks.daemon import server
from corpushooks.host.site import Probe, Site
from corpushooks.operations.ssh_commands import can_ask
from corpushooks.store.history import open_store
from tests.support.box import until
from tests.support.engines import FakeEngine


def probe_of(root: Path) -> Probe:
    """Return a probe that does what the faults of a host say."""
    faults, done = root / "faults", root / "fault.done"

    def probe(at: str, now: str) -> None:
        waiting = []
        with contextlib.suppress(FileNotFoundError):
            waiting = json.loads(faults.read_text())[len(done.read_text().splitlines()) :]
        if waiting and waiting[0][:2] == [at, now]:
            with done.open("a") as file:
                file.write(f"{at} {now}\n")
            act(root, waiting[0][2])

    return probe


def act(root: Path, action: str) -> None:
    """Do what a fault says."""
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "wait":
        return until((root / "gate").exists, 60)
    if action == "bug":
        raise RuntimeError("a fault of our own")
    raise OSError(getattr(errno, action), os.strerror(getattr(errno, action)))


def main(root: Path, *, embedded: bool) -> None:
    """Serve until stopped."""
    host = Host(root)
    sys.executable = str(root.parent / "python")  # what a repair writes into the hooks
    with starting(host, embedded=embedded):
        site = Site(host, load(host.config_file), open_store(host), FakeEngine(), probe_of(root), by_ssh=can_ask)
        server.run(lambda: site, embedded=embedded)
        site.history.close()  # as the end of Python does, which what is forked does not reach


if __name__ == "__main__":
    main(Path(sys.argv[1]), embedded="--embedded" in sys.argv)
