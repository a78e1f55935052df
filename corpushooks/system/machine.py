"""The door to the machine: its accounts, systemd units, and sshd."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from corpushooks.system.process import Output, run

T = TypeVar("T")

NOBODY = "65534"  # the group of nobody, whatever it is called
WRITABLE = 0o022  # by group or others
SSHD_FOLDER = Path("/run/sshd")  # for privilege separation; sshd tests no configuration without it
SSH_UNITS = ("ssh.service", "sshd.service")  # on Debian and elsewhere


@dataclass(frozen=True)
class Unit:
    """The state of a unit."""

    active: bool
    enabled: bool


class Machine:
    """This machine. Changes need root, and raise ProcessError if they fail."""

    # accounts

    def user(self, name: str) -> pwd.struct_passwd | None:
        return _or_none(lambda: pwd.getpwnam(name))

    def group(self, name: str) -> grp.struct_group | None:
        return _or_none(lambda: grp.getgrnam(name))

    def add_group(self, name: str) -> None:
        self.do("groupadd", "--system", name)

    def add_user(self, name: str) -> None:
        """Create a system user with a group of the same name and without a password.

        Its home is accessible, since sshd would otherwise print a complaint at each push, but not writable. Its shell
        is a real one, which sshd needs to run forced commands. `*` is a password that never matches; `!` would lock
        the account, and sshd without PAM accepts no key for a locked account.
        """
        self.do(
            "useradd", "--system", "--gid", name, "--home-dir", "/", "--no-create-home", "--shell", "/bin/sh",
            "--password", "*", name,
        )  # fmt: skip

    def drop_user(self, name: str) -> None:
        """Remove a user but not the group of the same name, which userdel would also remove."""
        self.do("usermod", "--gid", NOBODY, name)
        self.do("userdel", name)

    def add_member(self, user: str, group: str) -> None:
        self.do("usermod", "--append", "--groups", group, user)

    def drop_member(self, user: str, group: str) -> None:
        self.do("gpasswd", "--delete", user, group)

    def drop_group(self, name: str) -> None:
        self.do("groupdel", name)

    # units

    def supervised(self) -> bool:
        """Return whether systemd runs here."""
        return Path("/run/systemd/system").is_dir()

    def systemd_version(self) -> int:
        """Return the version of systemd; 0 if unknown."""
        found = re.match(r"systemd (\d+)", self.ask("systemctl", "--version").text) if self.supervised() else None
        return int(found[1]) if found else 0

    def unit(self, name: str) -> Unit:
        said = self.ask("systemctl", "show", "--property=ActiveState,UnitFileState", name).text.splitlines()
        return Unit(active="ActiveState=active" in said, enabled="UnitFileState=enabled" in said)

    def read_units(self) -> None:
        """Reload the unit files of systemd."""
        self.do("systemctl", "daemon-reload")

    def start_units(self, *names: str) -> None:
        """Start units, now and at each boot; systemd starts no socket of a service that runs without it already."""
        for socket in (name for name in names if name.endswith(".socket") and not self.unit(name).active):
            service = f"{socket.removesuffix('socket')}service"
            if service in names and self.unit(service).active:
                self.do("systemctl", "stop", service)
        self.do("systemctl", "enable", "--now", *names)

    def stop_units(self, *names: str) -> None:
        self.do("systemctl", "disable", "--now", *names)

    # sshd

    def sshd(self) -> str | None:
        """Return the path of sshd, or None if it is not installed."""
        return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")

    def sshd_version(self) -> tuple[int, ...]:
        """Return the version of sshd; nothing if unknown."""
        asked = self.ask(self.sshd() or "sshd", "-V")  # older ones lack -V, but print it with the error
        found = re.search(rb"OpenSSH_(\d+)\.(\d+)", asked.stdout + asked.stderr)
        return tuple(map(int, found.groups())) if found else ()

    def sshd_complaint(self) -> str:
        """Return the error of sshd in its configuration; nothing if it is valid."""
        SSHD_FOLDER.mkdir(mode=0o755, exist_ok=True)
        done = self.ask(self.sshd() or "sshd", "-t")
        return done.complaint if done.code else ""

    def sshd_for(self, user: str) -> dict[str, str]:
        """Return the effective configuration of sshd for a user, by lower-case keys; repeated keys are joined."""
        SSHD_FOLDER.mkdir(mode=0o755, exist_ok=True)
        told: dict[str, str] = {}
        done = self.do(self.sshd() or "sshd", "-T", "-C", f"user={user},host=localhost,addr=127.0.0.1")
        for line in done.text.split("\n"):
            key, _, value = line.partition(" ")
            told[key] = f"{told[key]} {value}" if key in told else value
        return told

    def reload_sshd(self) -> None:
        """Reload the configuration of sshd, if it runs as a unit."""
        for name in SSH_UNITS if self.supervised() else ():
            if self.unit(name).active:
                self.do("systemctl", "reload", name)
                return

    # how commands run

    def do(self, *words: str) -> Output:
        return run(words)

    def ask(self, *words: str) -> Output:
        return run(words, check=False)


def _or_none(look: Callable[[], T]) -> T | None:
    try:
        return look()
    except KeyError:
        return None


def weak(program: Path) -> str:
    """Return why sshd would not run a program as root (others can change it); nothing if it would."""
    real = program.resolve()
    for part in (real, *real.parents):
        found = part.stat()
        if found.st_uid:
            return f"{part} belongs to uid {found.st_uid}"
        if found.st_mode & WRITABLE:
            return f"others can write to {part} (mode {found.st_mode & 0o7777:04o})"
    return ""


def hidden(program: Path) -> str:
    """Return why users other than root cannot run a program; nothing if they can."""
    real = program.resolve()
    for part in (*reversed(real.parents), real):
        if not part.stat().st_mode & 0o001:
            return f"others cannot enter {part} (mode {part.stat().st_mode & 0o7777:04o})"
    return ""
