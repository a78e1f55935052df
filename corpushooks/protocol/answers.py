"""The answers of the daemon, and the version of the protocol, for callers. Values only."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

VERSION = 1
ANSWERS = {  # the fields of an answer, and their types
    "v": int,  # in the first line
    "say": str,  # lines to show
    "end": str,  # "\\r": the next line replaces them
    "note": str,  # a remark beside the result
    "event": dict,  # of a log, with its fields
    "number": int,  # of the deployment, which another connection can follow
    "offset": int,  # how far its log was sent
    "ready": bool,  # the daemon expects the streams of a command
    "report": list,  # to git
    "result": dict,  # the end: the result of the operation,
    "error": str,  # or an error,
    "hint": str,  # its hint,
    "code": int,  # its exit code,
    "denied": bool,  # whether rights are missing,
    "kind": str,  # and the kind of the error, for callers that distinguish it
}


def request(name: str, asked: Any) -> dict[str, Any]:
    """Return the request for an operation from its fields: a dataclass of `protocol.asks`, or an equal mapping."""
    return {"v": VERSION, "op": name, **(asked if isinstance(asked, dict) else asdict(asked))}


def understood(said: object) -> bool:
    """Return whether a line is a valid answer: a mapping whose known fields have the right types."""
    return isinstance(said, dict) and all(type(said[key]) is kind for key, kind in ANSWERS.items() if key in said)
