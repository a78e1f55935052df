"""What logs of older versions tell, whose lines are text: how deployments began and ended, and how long SLS took.

Values only. The wording is that of the versions that wrote it, so nothing here changes when we say things otherwise.
"""

from __future__ import annotations

import re

from corpushooks.core.deployment import BROKEN, CANCELLED, DEPLOYED, DONE, FAILED, REFUSED, ROLLED_BACK

OPENING = re.compile(r"\S+ \(([a-z][a-z0-9_-]*)\) (deployment|rollback|task|plan|repair) \d+: ")
ENDINGS = (  # how the last lines of a log begin, and what else is in them: the first that fits
    ("success: ", " is live at ", DEPLOYED),
    ("success: ", "", DONE),
    ("rolled back to ", "", ROLLED_BACK),
    ("hint: ", "repair ", BROKEN),
    ("error: cancelled by ", " before it ran", CANCELLED),
    ("dev: the tree of deployment ", "", FAILED),
    ("error: ", "", REFUSED),
)
TOOK = re.compile(r"(?:^\[\d+/\d+\] |^ +)install (\S+)\s.*?(\d+\.\d) s$")


def opening(line: str) -> tuple[str, str] | None:
    """Return environment and kind of a deployment where a line is its first."""
    found = OPENING.match(line)
    return (found[1], {"deployment": "deploy"}.get(found[2], found[2])) if found else None


def ending(line: str) -> str:
    """Return the state that a line tells of; nothing if it tells of none."""
    return next((state for begin, within, state in ENDINGS if line.startswith(begin) and within in line), "")


def install_time(line: str) -> tuple[str, float] | None:
    """Return stem and seconds of an install SLS where a line is its end."""
    found = TOOK.search(line)
    return (found[1], float(found[2])) if found else None
