"""A machine of our own: namespaces of mounts, processes, network and name, in which root changes nothing of this one.

What is written to it is in memory, and away with its first process. Its sshd is the real one, and the real useradd
makes its accounts. systemd does not run in it: of `systemctl` there is a stand-in, which starts what the unit says.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import socket
import struct
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from corpushooks.system.process import Child, Output, run, spawn
from tests.support.box import until
from tests.support.places import TOP

NAME = "server.example.org"
SPACES = ("--mount", "--net", "--uts", "--pid")
CHANGED = ("etc", "home", "opt", "usr/local", "usr/sbin", "var")
PACKAGES = Path("/opt/packages")  # all that corpushooks needs, as the tests have it
CHECKOUT = Path("/opt/checkout")
PYTHON = Path("/opt/python")  # the Python of the tests, where all may run it
PATH = f"/usr/local/sbin:/usr/local/bin:{PYTHON}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PIP = {  # finds what corpushooks needs where PYTHONPATH says, and fetches nothing
    "PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_CACHE_DIR": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}  # fmt: skip
UP = 0x8914, 0x41  # SIOCSIFFLAGS; IFF_UP | IFF_RUNNING. Source: linux/sockios.h, linux/if.h
SYSTEMCTL = """\
#!/bin/sh
set -eu
unit=/etc/systemd/system/corpushooks.service pid=/run/daemon.pid socket=/run/corpushooks/corpushooks.sock
for last; do :; done
alive() { test -s "$1" && kill -0 "$(cat "$1")" 2>/dev/null; }
start() {
    alive $pid && return
    setsid $(sed -n 's/^ExecStart=//p' $unit) >>/var/log/daemon.log 2>&1 &
    echo $! >$pid
    until test -S $socket; do alive $pid && sleep 0.05; done
}
stop() {
    if alive $pid; then kill "$(cat $pid)"; while alive $pid; do sleep 0.05; done; fi
    rm -f $socket
}
case "$1 $last" in
show\\ ssh*) alive /run/sshd.pid && echo ActiveState=active ;;
show*) alive $pid && echo ActiveState=active; test -e /run/enabled && echo UnitFileState=enabled ;;
enable*) >/run/enabled; start ;;
disable*) rm -f /run/enabled; stop ;;
start*) start ;;
stop*) stop ;;
restart*) stop; start ;;
reload\\ ssh*) kill -HUP "$(cat /run/sshd.pid)" ;;
daemon-reload*) ;;
*) echo "nobody has said what systemctl $* does" >&2; exit 1 ;;
esac
"""


@dataclass
class Machine:
    """A machine that runs; `folder` holds what goes into it."""

    folder: Path
    first: Child[bytes]

    def run(self, script: str, *, user: str = "root", cwd: str = "/", stdin: bytes = b"", group: str = "") -> Output:
        """Run a script as that user would paste it, but end at the first line that fails."""
        (pid,) = Path(f"/proc/{self.first.pid}/task/{self.first.pid}/children").read_text().split()
        enter = ["nsenter", "--target", pid, *SPACES]
        become = ["setpriv", f"--reuid={user}", f"--regid={group or user}", "--init-groups"]
        given = {"PATH": PATH, "HOME": f"/home/{user}", "LC_ALL": "C.UTF-8", "TMPDIR": "/var/tmp", **PIP}
        return run(
            [*enter, *become, "env", "-i", *(f"{key}={value}" for key, value in given.items()),
             "sh", "-euc", f"cd {shlex.quote(cwd)}\n{script}"],
            stdin=stdin, timeout=120, check=False,
        )  # fmt: skip


def possible() -> bool:
    """Say whether such machines can be made here."""
    return os.geteuid() == 0 and not run(["unshare", *SPACES, "--fork", "true"], check=False).code


@contextmanager
def running(folder: Path) -> Iterator[Machine]:
    """Run a machine; `folder` has a checkout."""
    log = os.open(folder / "machine.log", os.O_WRONLY | os.O_CREAT, 0o600)
    words = [
        "unshare",
        *SPACES,
        "--fork",
        "--kill-child",
        "--mount-proc",
        sys.executable,
        "-m",
        "tests.support.machine",
        folder,
    ]
    machine = Machine(folder, spawn(words, cwd=TOP, stdout=log, stderr=log))
    os.close(log)
    try:
        until(lambda: (folder / "ready").exists() or machine.first.poll() is not None)
        assert machine.first.poll() is None, (folder / "machine.log").read_text()
        yield machine
    finally:
        machine.first.send_signal(signal.SIGKILL)  # its first process dies with it, and all others with that
        machine.first.wait(10)


# inside


def over(lower: Path, upper: Path, at: Path) -> None:
    """Have what is written at a place written elsewhere."""
    for name in ("up", "work"):
        (upper / name).mkdir(parents=True)
    upper.joinpath("up").chmod(lower.stat().st_mode & 0o7777)
    words = f"lowerdir={lower},upperdir={upper}/up,workdir={upper}/work"
    run(["mount", "-t", "overlay", "-o", words, "none", at])


def furnish(folder: Path) -> None:
    """Make this process the first of a machine."""
    layers = folder / "layers"
    layers.mkdir()
    for place in (layers, Path("/srv"), Path("/run")):
        run(["mount", "-t", "tmpfs", "-o", "mode=0755", "none", place])
    for name in CHANGED:
        over(Path("/", name), layers / name.replace("/", "-"), Path("/", name))
    for place in (PACKAGES, CHECKOUT, PYTHON, Path("/run/sshd"), Path("/run/systemd/system"), Path("/home/root")):
        place.mkdir(parents=True)
    over(Path(sysconfig.get_path("purelib")), layers / "packages", PACKAGES)
    for ours in (*PACKAGES.glob("corpushooks*"), *PACKAGES.glob("__editable__*")):
        run(["rm", "-rf", ours])
    run(["mount", "--bind", folder / "checkout", CHECKOUT])
    run(["mount", "--bind", sys.base_prefix, PYTHON])
    for program, text in (("/usr/local/bin/systemctl", SYSTEMCTL), ("/usr/sbin/logrotate", "#!/bin/sh\n")):
        Path(program).write_text(text)
        Path(program).chmod(0o755)
    Path("/etc/ld.so.conf.d/000-python.conf").write_text(f"{PYTHON}/lib\n")  # else who may not enter its real place
    run(["/sbin/ldconfig"])  # has the libpython of the system, which may be another
    connect()


def connect() -> None:
    """Give it a name, a network of its own, and an sshd."""
    socket.sethostname(NAME)
    Path("/etc/hosts").write_text(f"127.0.0.1 localhost {NAME}\n")
    with socket.socket() as link:
        fcntl.ioctl(link, UP[0], struct.pack("16sh", b"lo", UP[1]))
    run(["ssh-keygen", "-A"])
    run(["/usr/sbin/sshd"])


if __name__ == "__main__":
    furnish(Path(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those whose parent is gone are not kept
    Path(sys.argv[1], "ready").touch()
    while True:
        signal.pause()
