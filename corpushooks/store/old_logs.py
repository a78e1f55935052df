"""Parse logs of older versions, which are lines of text: start and end of deployments, and durations of SLS files.

Values only. The wording is that of those versions, so it must not change when our messages do.
"""

from __future__ import annotations

import re

from corpushooks.core.deployment import BROKEN, CANCELLED, DEPLOYED, DONE, FAILED, REFUSED, ROLLED_BACK

OPENING = re.compile(r"\S+ \(([a-z][a-z0-9_-]*)\) (deployment|rollback|task|plan|repair) \d+: ")
ENDINGS = (  # the beginning of the last line, another part of it, and the state: the first match counts
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
    """Return environment and kind of a deployment from the first line of its log, or None."""
    found = OPENING.match(line)
    return (found[1], {"deployment": "deploy"}.get(found[2], found[2])) if found else None


def ending(line: str) -> str:
    """Return the state from the last line of a log; nothing for other lines."""
    return next((state for begin, within, state in ENDINGS if line.startswith(begin) and within in line), "")


def install_time(line: str) -> tuple[str, float] | None:
    """Return stem and seconds of an install SLS from the line of its end, or None."""
    found = TOOK.search(line)
    return (found[1], float(found[2])) if found else None
