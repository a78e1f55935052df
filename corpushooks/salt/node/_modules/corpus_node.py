# ruff: noqa: F821  (Salt fills in the names with underscores)
"""What a Salt master can ask of this node: the orders of its controller, which the node's own daemon judges.

A question is a mapping: {"node": id, "once": text, "until": time, "op": name, "fields": {...}}. The answer is signed
with the key of this minion, since the master accepts a return from any minion in the name of another. It says what the
daemon said; nothing is concluded from the fact that there is an answer, or none.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

__virtualname__ = "corpus_node"
__load__ = ["ask"]  # nothing else of this file can be called
__opts__: dict[str, Any]  # Salt's loader fills it in

VERSION = 1  # of the daemon's protocol
ORDERS = frozenset({
    "node hello", "node adopt", "node prepare", "node switch", "node confirm", "node revoke", "node outcome",
    "node meet", "node fetch", "node log", "node request",
})  # fmt: skip
TIMELESS = frozenset({"node hello", "node outcome", "node log"})  # these only look, and show how clocks differ
TOLERANCE = 5.0  # seconds that the clocks of controller and node can differ
CONNECT = 5.0  # seconds for the daemon to accept a connection
LONGEST = 900.0  # seconds for an answer of the daemon
LIMIT = 1 << 20  # bytes of an answer
KEPT = 64  # answers that are given again, where one was lost
SIGNED = "PKCS1v15-SHA224"

_lock = threading.Lock()
_answers: dict[str, _Answer] = {}  # by what the question has once, the oldest first
_admission = ""  # of this process


class _Answer:
    """The answer to one question, which can arrive several times."""

    def __init__(self) -> None:
        self.there = threading.Event()
        self.said: dict[str, Any] = {}


class _Wrong(Exception):
    """A question that is not passed on."""


def ask(question: Any) -> dict[str, str]:
    """Hand a question to the daemon of this node, and return its answer, signed."""
    once = question.get("once") if isinstance(question, dict) else None
    if not isinstance(once, str) or not 16 <= len(once) <= 64:
        return {"error": "invalid question"}
    mine, first = _of(once)
    if first:
        try:
            mine.said = _answered(question)
        except _Wrong as exc:
            mine.said = {"error": str(exc), "code": 3}
        except (OSError, ValueError, RecursionError) as exc:
            mine.said = {"error": f"the daemon of the node does not answer: {exc}", "kind": "unreachable"}
            _forget(once)  # asked again, it perhaps does
        finally:
            mine.there.set()
    elif not mine.there.wait(LONGEST):
        return {"error": "no answer yet"}
    return _signed({"node": __opts__["id"], "once": once, "said": mine.said})


def _of(once: str) -> tuple[_Answer, bool]:
    """Return the answer to a question, and whether it must be found."""
    with _lock:
        if once in _answers:
            return _answers[once], False
        for old in [each for each, answer in _answers.items() if answer.there.is_set()][: max(0, len(_answers) - KEPT)]:
            del _answers[old]
        _answers[once] = made = _Answer()
        return made, True


def _forget(once: str) -> None:
    with _lock:
        _answers.pop(once, None)


def _signed(answer: dict[str, Any]) -> dict[str, str]:
    body = json.dumps(answer)
    if len(body) > LIMIT:
        body = json.dumps({**answer, "said": {"error": f"its answer is longer than {LIMIT} bytes", "code": 1}})
    import salt.crypt

    path = os.path.join(__opts__["pki_dir"], "minion.pem")
    key = getattr(salt.crypt.PrivateKey, "from_file", salt.crypt.PrivateKey)(path)
    return {"body": body, "sign": base64.b64encode(key.sign(body.encode(), SIGNED)).decode()}


def _answered(question: dict[str, Any]) -> dict[str, Any]:
    name, fields = _checked(question)
    said = _asked(name, fields)
    if said.get("error") == "session expired or key revoked":  # the daemon knows this process no longer
        said = _asked(name, fields, again=True)
    return {key: said[key] for key in ("result", "error", "hint", "code", "denied", "kind") if key in said}


def _checked(question: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the operation and its fields; raise _Wrong for anything that is no order for this node, now."""
    name, fields, until = question.get("op"), question.get("fields"), question.get("until")
    if question.get("node") != __opts__["id"]:
        raise _Wrong("the order is for another node")
    if not isinstance(name, str) or name not in ORDERS or not isinstance(fields, dict):
        raise _Wrong("invalid request: op")
    if not isinstance(until, (int, float)) or isinstance(until, bool):
        raise _Wrong("invalid request: until")
    late = time.time() - until
    if not late <= TOLERANCE and name not in TIMELESS:  # true for NaN, too
        raise _Wrong(f"the order is {late:.0f} s late; nothing was changed")
    plain = {key: value for key, value in fields.items() if key not in ("v", "op", "admission", "bearer")}
    return name, plain


def _asked(name: str, fields: dict[str, Any], *, again: bool = False) -> dict[str, Any]:
    """Ask the daemon with the rights of the controller; return the line with a result or an error."""
    global _admission
    with _lock:
        token = "" if again else _admission
    if not token:
        mine = __opts__["corpushooks"]
        admitted = _talk("admit", {"key": mine["controller"], "mark": mine["mark"], "certificate": "",
                                   "right": "node", "project": "", "repo": "project"})  # fmt: skip
        if "result" not in admitted:
            return admitted
        token = str(admitted["result"]["admission"])
        with _lock:
            _admission = token
    return _talk(name, {**fields, "admission": token})


def _talk(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(CONNECT)
        link.connect(__opts__["corpushooks"]["socket"])
        link.settimeout(LONGEST)
        with contextlib.suppress(OSError):  # a refusal can come before the end of the request
            link.sendall(json.dumps({**fields, "v": VERSION, "op": name}).encode() + b"\n")
        for line in _lines(link):
            said = json.loads(line)
            if isinstance(said, dict) and ("result" in said or "error" in said):
                return said
    raise OSError("the connection ended")


def _lines(link: socket.socket) -> Iterator[bytes]:
    with link.makefile("rb") as file:
        while (line := file.readline(LIMIT)).endswith(b"\n"):
            yield line
