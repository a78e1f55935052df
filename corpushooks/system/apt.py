"""The door to apt: which packages this host can install, by its current lists."""

from __future__ import annotations

import os
import re
import shlex
import threading
from collections.abc import Collection

from corpushooks.core.errors import ProcessError
from corpushooks.system.process import run

PROGRAM = "apt-cache"
MANY = 400  # names in one question
LIMIT = 30.0  # seconds to wait for an answer
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*")


class Lists:
    """A cache of the packages that can be installed here; names can be looked up in advance."""

    def __init__(self) -> None:
        self._asked: set[str] = set()
        self._found: set[str] = set()
        self._none = False  # apt has no lists
        self._ahead: threading.Thread | None = None

    def ask_ahead(self, names: Collection[str]) -> None:
        """Start to look up names without waiting for the answer."""
        self._end()
        self._ahead = threading.Thread(target=self._ask, args=(names,), daemon=True)
        self._ahead.start()

    def candidates(self, names: Collection[str]) -> set[str] | None:
        """Return those of `names` that can be installed; None if apt has no lists."""
        self._end()
        self._ask(names)
        return None if self._none else self._found & set(names)

    def _end(self) -> None:
        if self._ahead:
            self._ahead.join()
        self._ahead = None

    def _ask(self, names: Collection[str]) -> None:
        fresh = set(names) - self._asked
        if fresh and not self._none:
            found = candidates(fresh)
            self._none = found is None
            self._asked |= fresh
            self._found |= found or set()


def candidates(names: Collection[str]) -> set[str] | None:
    """Return those of `names` that can be installed or are provided by another; None if apt has no lists."""
    asked = sorted(name for name in names if _NAME.fullmatch(name))
    try:
        if not any("_Packages" in name for name in os.listdir(_lists())):
            return None
        found: set[str] = set()
        for start in range(0, len(asked), MANY):
            found |= _installable(asked[start : start + MANY])
        return found
    except (OSError, ProcessError):
        return None


def _lists() -> str:
    """Return the folder of apt's lists. Source: apt-config(8), shell."""
    words = shlex.split(run(["apt-config", "shell", "LISTS", "Dir::State::lists/d"], timeout=LIMIT).text)
    return words[0].removeprefix("LISTS=") if words else ""


def _installable(names: list[str]) -> set[str]:
    """Return the names that are in the lists or installed, or that apt-get resolves to another package.

    It does if exactly one package provides the name, or an installed one. Source: apt-cache(8), showpkg.
    """
    said = run([PROGRAM, "showpkg", *names], check=False, timeout=LIMIT).text
    found, doubtful = set[str](), dict[str, set[str]]()
    for block in re.split(r"^Package: ", said, flags=re.MULTILINE)[1:]:
        name, versions = block.partition("\n")[0].strip(), block.partition("\n\n")[0]
        listed = block.partition("Reverse Provides:")[2].splitlines()
        providers = {line.split()[0] for line in listed if line.strip()}
        if "_Packages" in versions or len(providers) == 1:
            found.add(name)
        else:
            doubtful[name] = {name, *providers}
    there = _installed({each for names_ in doubtful.values() for each in names_}) if doubtful else set()
    return found | {name for name, any_of in doubtful.items() if any_of & there}


def _installed(names: Collection[str]) -> set[str]:
    words = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Abbrev}\\n", *sorted(names)]
    said = run(words, check=False, timeout=LIMIT)
    return {line.split()[0] for line in said.text.splitlines() if line.split()[-1] == "ii"}
