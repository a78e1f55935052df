"""The address of the project, and the files that belong to it."""

from __future__ import annotations

import re

from tests.support.places import TOP

ROOT = TOP


HOME = str(re.findall(r"^ +Homepage = (\S+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)[0])


SOURCES = (
    "corpushooks",
    "docs",
    "hooks",
    "requirements.txt",
    "setup.cfg",
    "setup.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
