"""The syntax of operations over ssh and in the command: their arguments and flags. Values only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from corpushooks.core.project import NAME

JSON = "--json"
SHORT = 32  # characters of a usage in a list
ALL = "--all"  # instead of a project

TOPIC = re.compile(r"[a-z][a-z-]{0,30}")
REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./~^-]*")
NUMBER = re.compile(r"[0-9]{1,9}")
TASK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
REASON = re.compile(r".*\S.*")
PAIR = re.compile(r"[^-].*", re.DOTALL)  # the command checks the rest
KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
CALLED = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*")
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,5}d|never")
WHO = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@+/:-]*")
DATABASE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.$-]{0,62}")
FOLDER = re.compile(r"/[A-Za-z0-9_][A-Za-z0-9_./@+-]*")
STDIN = re.compile("-")
ADDRESS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:\[\]-]*")
LABEL = re.compile(r"[a-z][a-z0-9_-]*")
MINION = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){31}")
NODE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True)
class Word:
    """The syntax of an operation: its arguments and flags."""

    takes: tuple[tuple[str, re.Pattern[str]], ...] = ()  # arguments: name (the field, in capitals) and pattern
    needs: int = 0  # how many of these are required
    flags: frozenset[str] = frozenset()
    more: tuple[str, ...] = ()  # the command, if it is not the name
    rest: str = ""  # name of the rest of the line, which is passed on unchecked
    many: bool = False  # the last argument is repeatable, and hidden from other users
    again: bool = False  # the last argument is repeatable
    text: bool = False  # the last argument is the rest of the line: ssh does not preserve quotes
    values: Mapping[str, tuple[str, re.Pattern[str]]] = field(default_factory=dict)  # flags with a value

    @property
    def short(self) -> str:
        """The usage, for a list of all."""
        return self.usage if len(self.usage) <= SHORT else f"{' '.join(name for name, _ in self.takes)} [OPTION...]"

    @property
    def usage(self) -> str:
        names = [name if place < self.needs else f"[{name}]" for place, (name, _) in enumerate(self.takes)]
        if ALL in self.flags:
            names[0] = f"{names[0]}|{ALL}"
        names[-1:] = [f"{name}..." if self.many or self.again else name for name in names[-1:]]
        given = [f"[{flag} {value}]" for flag, (value, _) in self.values.items() if flag not in self.flags]
        rest = [self.rest] if self.rest else []
        flags = (f"[{flag}]" for flag in sorted(self.flags - {JSON, "--no-deploy", ALL, *self.values}))
        return " ".join([*names, *flags, *given, *rest])


A_PROJECT = ("PROJECT", NAME)
OF_PROJECT = Word((A_PROJECT,), 1, frozenset({JSON}))
OF_KEY = {"--project": ("P", NAME), "--expires": ("DAY", DAY), "--principal": ("PRINCIPAL", CALLED)}
ON_NODE = {"--node": ("NODE", NODE)}
HELD = {"--confirm": ("SECONDS", NUMBER)}
NOTHING = Word((), 0, frozenset({JSON}))
NAMED = Word((("NAME", CALLED),), 1, frozenset({JSON}))
GRANTED = Word(
    (("NAME", CALLED),), 1, frozenset({JSON, "--read", "--push", "--admin", "--host"}),
    values={flag: OF_KEY[flag] for flag in ("--project", "--expires")},
)  # fmt: skip
OF_PROJECTS = Word((A_PROJECT,), 0, frozenset({JSON}))
