"""A daemon with the fake engine, for the tests whose subject is not Salt; it can fail or die at any labelled effect.

    python -m tests.fake_daemon ROOT [LABEL WHEN ACTION]

LABEL is that of an effect ("2 sync", "undo restore", …; "*" is any), WHEN is before or after, ACTION is kill or an
errno's name. It happens once: a file `fault.done` in ROOT remembers.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

from corpushooks import daemon
from corpushooks.history import History
from corpushooks.project import Host
from corpushooks.settings import load
from corpushooks.site import Probe, Site, no_probe
from tests.engines import FakeEngine


def probe_of(root: Path, label: str, when: str, action: str) -> Probe:
    """Return a probe that does `action` at one effect, once."""
    done = root / "fault.done"

    def probe(at: str, now: str) -> None:
        if (at, now) != (label, when) or done.exists():
            return
        done.touch()
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(getattr(errno, action), os.strerror(getattr(errno, action)))

    return probe


def main(root: Path, fault: list[str]) -> None:
    """Serve until stopped."""
    host, embedded = Host(root), fault == ["--embedded"]
    sys.executable = str(root.parent / "python")  # what a repair writes into the hooks
    probe = probe_of(root, *fault) if fault and not embedded else no_probe
    daemon.run(Site(host, load(host.config_file), History(host.store), FakeEngine(), probe), embedded=embedded)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
