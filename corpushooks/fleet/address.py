"""The address of a node: ACCOUNT@HOST[:PORT]. Values only."""

from __future__ import annotations

import re
from dataclasses import dataclass

from corpushooks.core.errors import UsageError
from corpushooks.core.text import shown

ADDRESS = re.compile(
    r"(?P<account>[a-z_][a-z0-9_.-]{0,31})@"
    r"(?P<host>[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
)
SSH_PORT = 22


@dataclass(frozen=True)
class Address:
    """Where the sshd of a node listens, and the account of its keys."""

    account: str
    host: str  # an IPv6 address without its brackets
    port: int = SSH_PORT

    @property
    def url(self) -> str:
        """The beginning of git's URLs."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh://{self.account}@{host}:{self.port}"

    @property
    def words(self) -> list[str]:
        """The arguments for ssh, after its options."""
        return ["-p", str(self.port), "-l", self.account, "--", self.host]

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.account}@{host}" + (f":{self.port}" if self.port != SSH_PORT else "")


def parse(text: str) -> Address:
    """Return an address; raise UsageError."""
    found = ADDRESS.fullmatch(text)
    port = int(found["port"] or SSH_PORT) if found else 0
    if not found or not 0 < port < 1 << 16:
        raise UsageError(f"invalid address of a node: {shown(text, 80)}", hint="use ACCOUNT@HOST or ACCOUNT@HOST:PORT")
    return Address(found["account"], found["host"].strip("[]"), port)
