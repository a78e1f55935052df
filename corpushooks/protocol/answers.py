"""The lines with which the daemon answers, and the version of the protocol: what a caller has to know. Values only."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

VERSION = 1
ANSWERS = {  # the fields of an answer, and their types
    "v": int,  # in the first line
    "say": str,  # lines to show
    "end": str,  # "\\r": the next line takes their place
    "note": str,  # what is not part of what was asked for
    "event": dict,  # of a log, with its fields
    "number": int,  # of the deployment: with a new connection it can be followed from here on
    "offset": int,  # how far that was
    "ready": bool,  # the streams of a command can come
    "report": list,  # to git
    "result": dict,  # the end: what the operation gives,
    "error": str,  # or what went wrong,
    "hint": str,  # what helps,
    "code": int,  # the exit code,
    "denied": bool,  # whether it is for want of rights,
    "kind": str,  # and which error it is, where callers need to know more
}


def request(name: str, asked: Any) -> dict[str, Any]:
    """Return the request for an operation with what it asks: a dataclass of `operations.asks`, or a mapping like it."""
    return {"v": VERSION, "op": name, **(asked if isinstance(asked, dict) else asdict(asked))}


def understood(said: object) -> bool:
    """Return whether a line is an answer: a mapping whose known fields are of their types."""
    return isinstance(said, dict) and all(type(said[key]) is kind for key, kind in ANSWERS.items() if key in said)
