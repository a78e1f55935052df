"""Hints as values: advice with commands of ours, which are spelled where they are shown."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PROGRAM = "corpus"


@dataclass(frozen=True)
class Command:
    """A command of ours: the words after `corpus`."""

    words: tuple[str, ...]


class Hint:
    """Advice: texts and commands, in order. Immutable."""

    def __init__(self, *parts: str | Command | Hint) -> None:
        flat: list[str | Command] = []
        for part in parts:
            flat += part.parts if isinstance(part, Hint) else [part] if part else []
        self.parts: tuple[str | Command, ...] = tuple(flat)

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __str__(self) -> str:
        """Return it as typed on a server; for a host in a folder, or for ssh, use a Spelling."""
        return Spelling()(self)

    def __repr__(self) -> str:
        return f"Hint{self.parts!r}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hint) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)


Advice = str | Hint  # a str contains none of our commands


def command(*words: object) -> Hint:
    """Return one of our commands, from its words: command("log", "hello", 3)."""
    return Hint(Command(tuple(map(str, words))))


def never(words: Sequence[str]) -> bool:
    return False


@dataclass(frozen=True)
class Spelling:
    """How the reader types commands: on a server; with `root` for a host in a folder; with `ssh` from another machine.

    Commands that cannot be `asked` over ssh are spelled as on the host.
    """

    root: str = ""
    ssh: str = ""  # the destination: corpus@example.org
    asked: Callable[[Sequence[str]], bool] = never

    def __call__(self, said: Advice) -> str:
        """Return advice as text."""
        if isinstance(said, str):
            return said
        return "".join(part if isinstance(part, str) else self._as_typed(part.words) for part in said.parts)

    def _as_typed(self, words: Sequence[str]) -> str:
        if self.ssh and self.asked(words):  # quoted twice: for the local shell, and for the remote one
            return f"ssh {self.ssh} {shlex.join(map(shlex.quote, words))}"
        return shlex.join([PROGRAM, *(["--root", self.root] if self.root else []), *words])
