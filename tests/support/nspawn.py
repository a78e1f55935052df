"""A Debian server of our own: a bare root with its real systemd, booted by systemd-nspawn in a few seconds.

    root = nspawn.bare("bookworm").installed("git", "openssh-server")  # made once, then cached
    with nspawn.booted(root, tmp_path / "server") as server:
        server.put(wheel, "/root/a.whl")
        server.run("pip install /root/a.whl")  # as root; the test fails where the script does
        code = server.run("git push prod", user="jo", cwd="/home/jo/app", check=False).code
        (server.root / "etc/passwd").read_text()  # its files, seen from here; mind absolute links
        server.reboot()

A root is made of layers: what debootstrap makes, and above that what scripts add. `plus` runs its script in a root that
is not booted, with the network of this machine, and only where it has not run before: layers are kept in CACHE. Remove
that folder to begin with newer packages. `fetched` leaves packages where apt keeps its downloads: a server without a
network can then install them.

What a server changes lies in the folder that `booted` is given (`memory()` makes one); the layers stay as they are.
/srv is a folder of its own there, everything else an overlay. Its network is loopback alone, and its name is
server.example.org. With `network=True` it has the network of this machine, with its ports (22 too), and its
certificates: for what pip or npm fetch while it deploys. Several can run at once. A server ends with its test, and when
the process that booted it dies.

Needs root, debootstrap and systemd-container: `sh tests/need_system.sh debootstrap systemd-nspawn`. The first time it
takes minutes: pytest.mark.timeout(1800). Tests that boot servers are in tests/walk, which are run where they are
named: `make walk`, or `pytest tests/walk/walk_nspawn.py`.

Look into one by hand with `nsenter`, but not while it reboots: its systemd stops all that runs in it before it kills
that, a stopped nsenter reaps no child, and the server never ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import re
import shlex
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from corpushooks.system.process import Child, Output, run, spawn
from tests.support.box import until

NAME = "server.example.org"
CACHE = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache/corpushooks/roots"
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_SECONDS = 90.0
IGNORED = re.compile(r"(?:^|[;\n])\s*! [^;\n]*[;\n]\s*[^;\s]")  # `set -e` looks at no command after !
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
TRUST = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")  # variables that name them
CONTROL_GROUPS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup")  # that this machine may have
NSPAWN = ("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe")
# In mounts of its own and in its control groups: lay the layers over each other, and become what runs on them.
ENTER = """\
mount -t overlay -o "$1" none "$2"
shift 2
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done
shift
exec "$@"
"""
PRIVATE = (
    "setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "sh", "-euc", ENTER, "enter",
)  # fmt: skip


# Waits until the other end of its stdin is closed, as whoever holds that ends, however they end; then ends what is left
# in control groups, and removes these. Killing nspawn is not enough: its server would live on.
GUARD = """\
read -r _ || :
for group; do test ! -e "$group/cgroup.kill" || echo 1 >"$group/cgroup.kill"; done
for group; do
    tries=600
    until test ! -e "$group" || find "$group" -depth -type d -exec rmdir {} +; do
        test $((tries -= 1)) -gt 0
        sleep 0.1
    done
done
"""


# roots


@dataclass(frozen=True)
class Root:
    """A root that is not booted; its layers, the newest first."""

    layers: tuple[Path, ...]

    def plus(self, script: str) -> Root:
        """Return this root after root has run a script in it."""
        said = f"{self.layers[0].parent.name}\0{script}"
        name = hashlib.sha256(said.encode()).hexdigest()[:16]
        return Root((_cached(name, lambda folder: self._run(script, folder)), *self.layers))

    def installed(self, *packages: str) -> Root:
        """Return this root with packages of Debian."""
        return self.plus(f"apt-get update --quiet\n{INSTALL} {shlex.join(packages)}")

    def fetched(self, *packages: str) -> Root:
        """Return this root with packages, and all that they need or recommend, downloaded and not installed."""
        return self.plus(f"apt-get update --quiet\napt-get install --yes --download-only {shlex.join(packages)}")

    def _run(self, script: str, folder: Path) -> None:
        _trust(folder / "changed")
        words = [*NSPAWN, "--as-pid2", "--resolv-conf=copy-host", f"--directory={folder / 'root'}"]
        run([*self.over(folder), *words, "sh", "-euc", _exports() + script], timeout=1700)

    def over(self, folder: Path, groups: Sequence[Path] = ()) -> list[str]:
        """Return the words before a program that is to find this root at `folder`/root, and change it in `folder`."""
        for name in ("changed", "work", "root"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        below = ":".join(map(str, self.layers))
        options = f"lowerdir={below},upperdir={folder / 'changed'},workdir={folder / 'work'}"
        return [*PRIVATE, options, str(folder / "root"), *map(str, groups), "--"]


def bare(release: str = "bookworm") -> Root:
    """Return a bare root of a release of Debian: what debootstrap makes, with systemd."""
    words = ["debootstrap", "--variant=minbase", "--include=systemd-sysv,dbus", release]
    return Root((_cached(release, lambda folder: run([*words, folder / "changed"], timeout=1700)),))


def _cached(name: str, make: Callable[[Path], object]) -> Path:
    """Return a layer, made where there is none yet: aside, one at a time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    place, aside = CACHE / name, CACHE / f"{name}.part"
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            run(["rm", "-rf", aside])
            aside.mkdir()
            make(aside)
            aside.rename(place)
    return place / "changed"


def _trust(changed: Path) -> None:
    """Put the certificates of this machine where Debian has its own, and name them to what systemd starts."""
    if CERTIFICATES.exists():
        place, conf = (changed / name for name in (str(CERTIFICATES)[1:], "etc/systemd/system.conf.d/trust.conf"))
        for path in (place, conf):
            path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CERTIFICATES, place)
        conf.write_text(f"[Manager]\nDefaultEnvironment={' '.join(f'{name}={CERTIFICATES}' for name in TRUST)}\n")


def _exports() -> str:
    return "".join(f"export {name}={CERTIFICATES}\n" for name in TRUST)


# servers


@dataclass
class Server:
    """A server; `leader` is its systemd, as this machine counts."""

    base: Root
    folder: Path
    groups: Sequence[Path]
    network: bool
    first: Child[bytes] | None = None
    leader: int = 0

    @property
    def root(self) -> Path:
        """Return its files, as they are seen from here. An absolute link in them leads to this machine."""
        return Path(f"/proc/{self.leader}/root")

    def run(
        self, script: str, *, user: str = "root", cwd: str = "", stdin: bytes = b"", timeout: float = 100,
        check: bool = True,
    ) -> Output:  # fmt: skip
        """Run a script of sh in a login of a user, up to the first line that fails; with `check` fail the test then."""
        assert not IGNORED.search(script), f"sh goes on where a command after ! is not the last: {script}"
        text = f"set -eu\n{_exports() if self.network else ''}{f'cd {shlex.quote(cwd)}' if cwd else ''}\n{script}"
        enter = ["nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        words = [*enter, "env", "-i", f"PATH={PATH}", "runuser", "-l", user, "-s", "/bin/sh", "-c", text]
        done = run(words, stdin=stdin, timeout=timeout, check=False)
        assert not check or done.code == 0, f"{script}\n{done.text}\n{done.stderr.decode('utf-8', 'replace')}"
        return done

    def put(self, source: Path, target: str) -> None:
        """Copy a file or a folder to that path; root owns it."""
        place = self.root / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        run(["cp", "-RT", "--preserve=mode,timestamps,links", source, place])

    def reboot(self, *, hard: bool = False) -> None:
        """Restart it, properly or as when the power fails; await that all is started again."""
        if hard:
            self.kill()
        elif self.first:
            self.run("systemctl --no-block reboot", check=False)  # it may end what asks before that has its answer
            self.first.wait(BOOT_SECONDS)
        self.start()

    def start(self) -> None:
        """Start it, and await that its systemd has started all that it starts."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:  # closed then: nobody may wait for us to hear him
            ear.bind("")  # to a name that the kernel picks
            ear.settimeout(1)
            self._spawn(ear.getsockname()[1:].decode())
            ready, self.leader = False, 0
            while not (self.leader and ready):
                said = until(lambda: self._said(ear), BOOT_SECONDS)
                ready = ready or "READY=1" in said
                found = [line.partition("=")[2] for line in said if line.startswith("X_NSPAWN_LEADER_PID=")]
                self.leader = int(found[0]) if found else self.leader

    def _spawn(self, ear: str) -> None:
        """Start it; how that goes it says to an abstract socket."""
        net = ["--resolv-conf=copy-host"] if self.network else ["--private-network", "--resolv-conf=off"]
        place = [f"--directory={self.folder / 'root'}", f"--bind={self.folder / 'srv'}:/srv"]
        boot = [*NSPAWN, *place, *net, f"--machine=corpushooks-{ear}", "--notify-ready=yes", "--boot"]
        env = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "NOTIFY_SOCKET": f"@{ear}"}
        with (self.folder / "console.log").open("ab") as log:
            words = [*self.base.over(self.folder, self.groups), *boot]
            self.first = spawn(words, env=env, stdout=log.fileno(), stderr=log.fileno())

    def kill(self) -> None:
        """End it as when the power fails."""
        for switch in (group / "cgroup.kill" for group in self.groups):
            if switch.exists():
                switch.write_text("1")
        if self.first:
            self.first.kill()
            self.first.wait(20)
        until(lambda: all(map(_emptied, self.groups)), 60)

    def _said(self, ear: socket.socket) -> list[str]:
        """Return the next that nspawn says, nothing where it says nothing."""
        assert self.first and self.first.poll() is None, f"it does not run:\n{self.console()}"
        try:
            return ear.recv(4096).decode().splitlines()
        except TimeoutError:
            return []

    def console(self) -> str:
        """Return what it has written to its console."""
        return (self.folder / "console.log").read_text(errors="replace")


@contextmanager
def memory() -> Iterator[Path]:
    """Make a folder in memory, for a server that installs much: no disk slows it down."""
    with tempfile.TemporaryDirectory(prefix="corpushooks-", dir="/dev/shm") as folder:
        yield Path(folder)


@contextmanager
def booted(root: Root, folder: Path, *, name: str = NAME, network: bool = False) -> Iterator[Server]:
    """Boot a server from a root; what it changes lies in a folder."""
    (folder / "srv").mkdir(parents=True)
    (folder / "changed/etc").mkdir(parents=True)
    (folder / "changed/etc/hostname").write_text(f"{name}\n")
    (folder / "changed/etc/hosts").write_text(f"127.0.0.1 localhost {name} {name.partition('.')[0]}\n")
    if network:
        _trust(folder / "changed")
    with ExitStack() as stack:
        groups = stack.enter_context(_control_groups())
        server = Server(root, folder, groups, network)
        stack.callback(server.kill)
        server.start()
        yield server


@contextmanager
def _control_groups() -> Iterator[list[Path]]:
    """Make control groups of its own for a server; a guard takes them away again, also where we are killed."""
    found = [Path(place) for place in CONTROL_GROUPS if Path(place, "cgroup.procs").exists()]
    made = [Path(tempfile.mkdtemp(prefix="corpushooks-", dir=place)) for place in found]
    mirrors = [place / group.name for place in found for group in made if group.parent != place]  # nspawn makes them
    held, ours = os.pipe()
    try:
        guard = spawn(["sh", "-euc", GUARD, "guard", *made, *mirrors], stdin=held)
    finally:
        os.close(held)
    try:
        yield made
    finally:
        os.close(ours)
        assert guard.wait(80) == 0, f"there is something left in {made}"


def _emptied(group: Path) -> bool:
    """Remove what is below a control group; say whether that could be done."""
    try:
        for folder, _, _ in os.walk(group, topdown=False):
            if folder != str(group):
                os.rmdir(folder)
    except OSError:  # something still ends in it
        return False
    return not (group / "cgroup.procs").read_text()
