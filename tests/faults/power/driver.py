"""python -m tests.faults.power.driver BOX WORK REFSPEC [hold]: one deployment, from the daemon's start to its end.

To be traced. With `hold` it is held, and confirmed by somebody else.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from corpushooks.core.deployment import HELD
from corpushooks.core.errors import NoDaemonError
from corpushooks.core.project import Host
from corpushooks.protocol import asks, client
from corpushooks.store.history import History
from tests.support.box import until


def reachable(host: Host) -> bool:
    try:
        client.connect(host).close()
    except NoDaemonError:
        return False
    return True


def confirm(host: Host) -> None:
    """Confirm the deployment once it is held."""
    with closing(History(host.store)) as store:
        until(lambda: any(each.state == HELD for each in store.deployments("hello")), 60)
    client.ask(host, "confirm", asks.Confirm(project="hello", number=2), lambda line: None)


def main(box: Path, work: Path, refspec: str, *, holds: bool) -> int:
    """Start the daemon, push, stop the daemon when all is done."""
    host = Host(box / "host")
    daemon = subprocess.Popen([sys.executable, "-m", "tests.faults.power.daemon", host.root])
    try:
        until(lambda: reachable(host))
        options = ["--push-option=confirm=600"] if holds else []
        words = ["git", "-C", work, "push", *options, host.project("hello").code_git, refspec]
        with subprocess.Popen(words) as push:
            if holds:
                confirm(host)
        return push.returncode
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], holds="hold" in sys.argv[4:]))
