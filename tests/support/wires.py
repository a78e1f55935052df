"""A network namespace for each node, and the wire to it, which can be cut, made bad, and healed.

What is dropped is dropped in silence, as by a dead router: nobody is told that a connection has ended. Only root can
make one.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from corpushooks.system.process import run

NUMBERS = itertools.count()
BASE = 10 << 24 | 201 << 16  # 10.201.0.0, and four addresses for each wire
PLACES = 40 << 14  # up to 10.240.255.255
TABLE = "corpushooks_fault"
CHAIN = "chain {hook} {{\ntype filter hook {hook} priority 0;\n{rule}\n}}\n"


@dataclass(frozen=True)
class Wire:
    """A namespace, and the address that what listens in it has."""

    name: str
    address: str

    @property
    def inside(self) -> Sequence[str]:
        """The words before a command that runs in the namespace."""
        return ("ip", "netns", "exec", self.name)

    def cut(self) -> None:
        """Drop all."""
        self._filter("drop")

    def lose(self, share: int) -> None:
        """Drop a share of all, in percent, so that it comes late."""
        self._filter(f"numgen random mod 100 < {share} drop")

    def _filter(self, rule: str) -> None:
        self.heal()
        chains = "".join(CHAIN.format(hook=hook, rule=rule) for hook in ("input", "output"))
        run([*self.inside, "nft", "-f", "-"], stdin=f"table inet {TABLE} {{\n{chains}}}\n".encode())

    def heal(self) -> None:
        """Let all through again."""
        run([*self.inside, "nft", "delete", "table", "inet", TABLE], check=False)


def _dotted(number: int) -> str:
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def _place() -> int:
    """Return a number that no other process uses now: pids differ, and each uses few."""
    return (os.getpid() * 16 + next(NUMBERS) % 16) % PLACES


@contextlib.contextmanager
def wire() -> Iterator[Wire]:
    """Make a namespace with a wire to it; both end with it."""
    place = _place()
    name, ours, theirs = f"corpus{place}", _dotted(BASE + 4 * place + 1), _dotted(BASE + 4 * place + 2)
    end = f"cw{place}"
    run(["ip", "netns", "add", name])
    try:
        run(["ip", "link", "add", end, "type", "veth", "peer", "name", "wire", "netns", name])
        run(["ip", "address", "add", f"{ours}/30", "dev", end])
        run(["ip", "link", "set", end, "up"])
        run(["ip", "-n", name, "address", "add", f"{theirs}/30", "dev", "wire"])
        for each in ("wire", "lo"):
            run(["ip", "-n", name, "link", "set", each, "up"])
        yield Wire(name, theirs)
    finally:
        run(["ip", "netns", "delete", name])
        run(["ip", "link", "delete", end], check=False)  # it goes with the namespace, if that has no process left
