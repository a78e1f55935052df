"""A real sshd on loopback that lets one key in, or asks a host which."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from corpushooks.system.process import Child, ancestors, run, spawn
from tests.support.box import Work, until
from tests.support.wires import Wire

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
HERE = "127.0.0.1"
CONFIG = """\
Port {port}
ListenAddress {address}
HostKey {folder}/host
PidFile {folder}/pid
{keys}
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
AcceptEnv *
SetEnv SHLVL=1
AllowTcpForwarding yes
Subsystem sftp internal-sftp
"""
# SHLVL: bash reads ~/.bashrc of whoever runs the tests in each session, unless it is started by another shell
ONE_KEY = "AuthorizedKeysFile {folder}/key.pub"
# sshd wants a program that only root can change: env is one
ASK = """\
AuthorizedKeysFile none
AuthorizedKeysCommand /usr/bin/env {shell} --root {root} keys %u %t %k
AuthorizedKeysCommandUser {user}"""


@dataclass
class Server:
    """An sshd of our own that lets one key in, as whoever runs the tests."""

    folder: Path
    port: int
    process: Child[bytes]
    wire: Wire | None = None  # to the namespace that it is in

    @property
    def address(self) -> str:
        return self.wire.address if self.wire else HERE

    def url(self, path: str) -> str:
        return f"ssh://{getpass.getuser()}@{self.address}:{self.port}{path}"

    def own(self) -> list[int]:
        """Return the processes of this sshd and of its sessions, also those that sshd started."""
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [pid for pid in pids if any(self.process.pid == each for each, _ in ancestors(pid))]

    def signal(self, number: int) -> None:
        """Send a signal to all of it."""
        for pid in self.own():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Kill all of it, as the end of a machine would; what is stopped first starts nothing that would survive."""
        stopped: set[int] = set()
        while new := set(self.own()) - stopped:
            stopped |= new
            for pid in new:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)

    def revive(self) -> None:
        """Start it again, at the same port."""
        self.process = begin(self.folder, self.wire)
        until(lambda: listens(self.process, self.port, self.address))

    @property
    def command(self) -> str:
        return self.command_with(self.folder / "key")

    def command_with(self, key: Path) -> str:
        """Return the ssh command that reads nobody's configuration and knows no keys but one."""
        given = {
            "IdentityFile": key, "IdentitiesOnly": "yes", "BatchMode": "yes", "LogLevel": "ERROR",
            "StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null",
        }  # fmt: skip
        return " ".join(["ssh", "-F", "none", *(f"-o {key}={value}" for key, value in given.items())])


def begin(folder: Path, wire: Wire | None = None) -> Child[bytes]:
    """Start sshd with the configuration in a folder."""
    assert SSHD is not None
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    inside = wire.inside if wire else ()
    process = spawn([*inside, SSHD, "-D", "-e", "-f", folder / "config"], stderr=log)
    os.close(log)
    return process


def listens(process: Child[bytes], port: int, address: str = HERE) -> bool:
    """Say whether sshd listens; its end means that somebody else took the port."""
    if process.poll() is not None:
        return True
    with socket.socket() as link:
        return link.connect_ex((address, port)) == 0


def start(folder: Path, keys: str, wire: Wire | None = None) -> Server:
    """Start sshd on a free port; in a namespace on its own."""
    with socket.create_server((HERE, 0)) as free:
        port = 22 if wire else free.getsockname()[1]
    address = wire.address if wire else HERE
    (folder / "config").write_text(CONFIG.format(port=port, address=address, folder=folder, keys=keys))
    process = begin(folder, wire)
    until(lambda: listens(process, port, address))
    return Server(folder, port, process, wire)


@contextlib.contextmanager
def serving(folder: Path, root: Path | None = None, wire: Wire | None = None) -> Iterator[Server]:
    """Run an sshd whose keys and log lie in `folder`; with `root` it asks that host which keys open."""
    shell = Path(sys.executable).with_name("corpus-shell")
    asking = ASK.format(shell=shell, root=root, user=getpass.getuser())
    keys = asking if root else ONE_KEY.format(folder=folder)
    assert SSHD, "sshd is missing: sh tests/need_system.sh"
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd insists on it for root
    for name in ("host", "key"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name])
    tries = (start(folder, keys, wire) for _ in range(5))
    found = next((server for server in tries if server.process.poll() is None), None)
    assert found, (folder / "log").read_text()
    try:
        yield found
    finally:
        found.process.terminate()
        found.process.wait(10)


def over_ssh(work: Work, server: Server) -> Work:
    """Let a working copy reach its repository over ssh."""
    work.git("config", "core.sshCommand", server.command)
    work.remote = server.url(work.remote)
    return work
