"""python -m tests.power.driver BOX WORK REFSPEC: one deployment, from the daemon's start to its end; to be traced."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from corpushooks import client
from corpushooks.errors import NoDaemonError
from corpushooks.project import Host
from tests.host import until


def reachable(host: Host) -> bool:
    try:
        client.connect(host).close()
    except NoDaemonError:
        return False
    return True


def main(box: Path, work: Path, refspec: str) -> int:
    """Start the daemon, push, stop the daemon when all is done."""
    host = Host(box / "host")
    daemon = subprocess.Popen([sys.executable, "-m", "tests.power.daemon", host.root])
    try:
        until(lambda: reachable(host))
        return subprocess.call(["git", "-C", work, "push", host.project("hello").code_git, refspec])
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
