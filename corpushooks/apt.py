"""The door to apt: which packages this host could install, as its lists have them now."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection

from corpushooks.errors import ProcessError
from corpushooks.run import run

PROGRAM = "apt-cache"
MANY = 400  # names in one question
LIMIT = 30.0  # seconds that an answer may take


def candidates(names: Collection[str]) -> set[str] | None:
    """Return those of `names` that can be installed, or are provided by another; None where there are no lists."""
    asked = sorted(name for name in names if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9+._-]*", name))
    try:
        if not any("_Packages" in name for name in os.listdir(_lists())):
            return None
        found: set[str] = set()
        for start in range(0, len(asked), MANY):
            found |= _policy(asked[start : start + MANY])
        missing = [name for name in asked if name not in found]
        return found | (_provided(missing) if missing else set())
    except (OSError, ProcessError):
        return None


def _lists() -> str:
    """Return the folder of apt's lists. Source: apt-config(8), shell."""
    words = shlex.split(run(["apt-config", "shell", "LISTS", "Dir::State::lists/d"], timeout=LIMIT).text)
    return words[0].removeprefix("LISTS=") if words else ""


def _policy(names: list[str]) -> set[str]:
    """Return the names with a candidate. Source: apt-cache(8), policy."""
    said = run([PROGRAM, "policy", *names], timeout=LIMIT).text
    blocks = re.findall(r"^(\S+):\n(?:  .*\n)*?  Candidate: (.+)$", said, re.MULTILINE)
    return {name for name, version in blocks if version != "(none)"}


def _provided(names: list[str]) -> set[str]:
    """Return the names that apt-get takes for another's: one package provides them, or one that is installed.

    Source: apt-cache(8), showpkg.
    """
    said = run([PROGRAM, "showpkg", *names], check=False, timeout=LIMIT).text
    providers: dict[str, set[str]] = {}
    for block in re.split(r"^Package: ", said, flags=re.MULTILINE)[1:]:
        listed = block.partition("Reverse Provides:")[2].splitlines()
        providers[block.partition("\n")[0].strip()] = {line.split()[0] for line in listed if line.strip()}
    several = {each for names in providers.values() if len(names) > 1 for each in names}
    there = _installed(several) if several else set()
    return {name for name, found in providers.items() if len(found) == 1 or found & there}


def _installed(names: Collection[str]) -> set[str]:
    said = run(
        ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Abbrev}\\n", *sorted(names)],
        check=False,
        timeout=LIMIT,
    )
    return {line.split()[0] for line in said.text.splitlines() if line.endswith("ii ") or line.split()[-1] == "ii"}
