"""Makes a bare Debian a node of this controller, over ssh as root. Each step looks first: all can be done again.

It uses the caller's own ssh keys and agent, because the key of the controller is not accepted there yet.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpushooks.access.keys import fingerprint, parse
from corpushooks.core.errors import CorpusError, ProcessError, RefusedError, UnreachableError
from corpushooks.core.hints import Advice, Hint, command
from corpushooks.core.text import clean, one_line, shown
from corpushooks.fleet.address import Address
from corpushooks.system.process import run

SHORT, LONG = 60.0, 1800.0  # seconds for a look, and for an installation
PACKAGE_LIMIT = 512 << 20  # bytes
OPTIONS = ("BatchMode=yes", "StrictHostKeyChecking=accept-new", "ConnectTimeout=10", "LogLevel=ERROR")
CORPUS = ("corpus",)  # our command there
SSH_ERROR = 255  # the exit code of ssh itself
HOST_KEYS = "/etc/ssh/ssh_host_{}_key.pub"

VERSION = "command -v corpus >/dev/null || exit 0; corpus --version"
INSTALL = """\
umask 077; place=$(mktemp -d); trap 'rm -rf "$place"' EXIT; chmod 755 "$place"
cat >"$place/corpushooks.deb"; chmod 644 "$place/corpushooks.deb"; export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet >&2 || true; apt-get install --yes --quiet "$place/corpushooks.deb" >&2; corpus --version
"""
SETTINGS = """\
file="${{CORPUS_ROOT:-}}/etc/corpushooks/config.yaml"; test ! -e "$file" || exit 0
mkdir -p "${{file%/*}}"; echo 'environment: {}' >"$file"
"""


@dataclass
class Machine:
    """The machine that becomes a node."""

    name: str  # of the node
    address: Address  # of root there
    key: str  # the public key of the controller
    called: str  # its name on the node
    environment: str
    package: Path | None = None
    said: dict[str, str] = field(default_factory=dict)

    def run(self, step: str, script: str, limit: float = SHORT, stdin: bytes = b"") -> str:
        """Run a script as root there, and return what it says; raise UnreachableError or RefusedError."""
        words = ["ssh", "-T", *(f"-o{each}" for each in OPTIONS), *self.address.words]
        try:
            done = run([*words, f"sh -ec {shlex.quote(script)}"], check=False, stdin=stdin, timeout=limit)
        except ProcessError as exc:
            raise UnreachableError(f"{self.name}: {step}: {exc.message}") from exc
        why = one_line(clean(done.complaint))[:300]
        if done.code == SSH_ERROR:
            raise UnreachableError(f"cannot reach {self.address} over ssh: {why}", hint=self.by_hand(""))
        if done.code:
            raise RefusedError(f"{self.name}: {step} failed: {why.removeprefix('error: ')}", hint=self.by_hand(step))
        return "\n".join(map(clean, done.text.splitlines()))

    def by_hand(self, step: str) -> Advice:
        """Return the command that shows what is wrong."""
        port = f"-p {self.address.port} " if self.address.port != 22 else ""
        words = {"setup": (*CORPUS, "setup"), "check": (*CORPUS, "doctor")}.get(step, ())
        what = f" {shlex.join(words)}" if words else ""
        return f"try it by hand: ssh {port}{shlex.quote(f'{self.address.account}@{self.address.host}')}{what}"


def reach(there: Machine) -> str:
    """See that root can be reached, on a Debian."""
    found = there.run("ssh", "id -u; . /etc/os-release; echo $ID $VERSION_ID")
    uid, _, system = found.partition("\n")
    if uid != "0":
        raise RefusedError(f"{there.address.account} is not root on {there.address.host}", hint="use root@HOST")
    return f"root on {shown(one_line(system), 60)}"


def package(there: Machine) -> str:
    """See that our package is installed; install the given one."""
    version = there.run("package", VERSION)
    if there.package is None:
        if not version:
            again = command("node", "init", there.name, str(there.address), "--package", "FILE.deb")
            raise RefusedError(
                f"corpushooks is not installed on {there.address.host}",
                hint=Hint("build it (make deb RELEASE=12, or 13), then: ", again),
            )
        return f"kept {_version(version)}"
    with there.package.open("rb") as file:
        content = file.read(PACKAGE_LIMIT)
    after = there.run("package", INSTALL, LONG, content)
    return f"{'kept' if after == version else 'installed'} {_version(after)}"


def _version(said: str) -> str:
    return shown(one_line(said).rpartition(" ")[2], 40)


def setup(there: Machine) -> str:
    """Set up the host, in the environment of the controller where it has no settings yet."""
    there.run("setup", SETTINGS.format(there.environment))
    said = there.run("setup", shlex.join([*CORPUS, "setup"]), LONG)
    lines = [line for line in said.splitlines() if line.strip()]
    return shown(one_line(lines[-1]), 80) if lines else "ok"


def key(there: Machine) -> str:
    """Let the controller in, for its orders alone."""
    words = shlex.join([*CORPUS, "key", "add", there.called, "-", "--node"])
    there.run("key", words, stdin=f"{there.key}\n".encode())
    return f"{there.called} {fingerprint(parse(there.key)[1])}"


def host_key(there: Machine) -> str:
    """Read the host key there, so that the right one is pinned here."""
    script = "; ".join(f"cat {HOST_KEYS.format(kind)} 2>/dev/null" for kind in ("ed25519", "ecdsa", "rsa"))
    lines = there.run("host key", f"({script}) || true").splitlines()
    try:
        found = fingerprint(parse(lines[0])[1])
    except (IndexError, CorpusError):
        raise RefusedError(f"{there.name}: no host key in /etc/ssh", hint=there.by_hand("")) from None
    there.said["host key"] = found
    return found


def check(there: Machine, told: Mapping[str, Any]) -> None:
    """See that the node answers this controller, and is of its environment; raise UnreachableError or RefusedError."""
    if told["wrong"]:
        raise UnreachableError(f"{there.name} does not answer: {told['wrong']}", hint=there.by_hand("check"))
    if told["environment"] != there.environment:
        raise RefusedError(
            f"{there.name} is {told['environment']}, not {there.environment} like this controller",
            hint="change environment in /etc/corpushooks/config.yaml there, restart corpushooks, and do this again",
        )


STEPS: Mapping[str, Callable[[Machine], str]] = {
    "ssh": reach, "package": package, "setup": setup, "key": key, "host key": host_key,
}  # fmt: skip


def steps(there: Machine) -> Iterator[str]:
    """Do all that is to be done there; yield a line for each step."""
    for name, act in STEPS.items():
        yield f"{name:<10} {act(there)}"
