"""What helps, as a value: advice, and in it commands of ours with their arguments. Whoever shows it spells it."""

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
    """Advice: texts and commands in the order in which they are read. It never changes."""

    def __init__(self, *parts: str | Command | Hint) -> None:
        flat: list[str | Command] = []
        for part in parts:
            flat += part.parts if isinstance(part, Hint) else [part] if part else []
        self.parts: tuple[str | Command, ...] = tuple(flat)

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __str__(self) -> str:
        """Return it as one types it on a server; who knows of a folder or of ssh spells it by a Spelling."""
        return Spelling()(self)

    def __repr__(self) -> str:
        return f"Hint{self.parts!r}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hint) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)


Advice = str | Hint  # a str names no command of ours


def command(*words: object) -> Hint:
    """Return one command of ours, by its words: command("log", "hello", 3)."""
    return Hint(Command(tuple(map(str, words))))


def never(words: Sequence[str]) -> bool:
    return False


@dataclass(frozen=True)
class Spelling:
    """How commands are typed by whoever is told: on a server; with `root` for a host in a folder; with `ssh` from afar.

    What cannot be `asked` over ssh is spelt as one types it on the host.
    """

    root: str = ""
    ssh: str = ""  # how ssh is told where: corpus@example.org
    asked: Callable[[Sequence[str]], bool] = never

    def __call__(self, said: Advice) -> str:
        """Return advice as text."""
        if isinstance(said, str):
            return said
        return "".join(part if isinstance(part, str) else self._typed(part.words) for part in said.parts)

    def _typed(self, words: Sequence[str]) -> str:
        if self.ssh and self.asked(words):  # two shells read it: the one here, and what splits it there
            return f"ssh {self.ssh} {shlex.join(map(shlex.quote, words))}"
        return shlex.join([PROGRAM, *(["--root", self.root] if self.root else []), *words])
