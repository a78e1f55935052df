"""Ask minions over the bus of a Salt master, for the owner at the other end of descriptor 0.

    {"ask": {question}, "again": seconds}    -> {"once": text, "said": {answer of the node}}
    {"drop": once}                              nobody waits for it any more
                                             -> {"once": text, "note": why there is no answer yet}

A question is published until its answer is there: what was published while a minion was away is lost. An answer counts
if it has the signature of the key that was accepted for the node; the master accepts a return from any minion in the
name of any other. What Salt itself says (a return code, a missing return) is a note, for people.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from .processes import take_stdin
from .wire import encode, lines

FUNCTION = "corpus_node.ask"
RETURNS = "salt/job/"
SIGNED = "PKCS1v15-SHA224"
PUBLISHERS = 2
PUBLISH = 4.0  # seconds for the master to take a question
PAUSE = 0.5  # seconds after a failure


@dataclass
class Asked:
    """A question that waits for its answer."""

    question: dict[str, Any]
    again: float
    due: float = 0.0


@dataclass
class Bus:
    """The questions that wait."""

    sock: socket.socket
    opts: dict[str, Any]
    waiting: dict[str, Asked] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    telling: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, message: dict[str, Any]) -> None:
        with self.telling, contextlib.suppress(OSError):
            self.sock.sendall(encode(message))

    def take(self, message: dict[str, Any]) -> None:
        """Take a message of our owner."""
        with self.changed:
            if "drop" in message:
                self.waiting.pop(message["drop"], None)
                return
            question = message["ask"]
            self.waiting[question["once"]] = Asked(question, message["again"])
            self.changed.notify()

    # to the minions

    def publish(self) -> None:
        """Publish what is due, for ever."""
        client = None
        while True:
            asked = self._next()
            try:
                client = client or local_client(self.opts)
                self._publish(client, asked)
            except Exception as exc:  # the edge of a thread: whatever Salt raises, it is asked again
                asked.due = time.monotonic() + PAUSE
                self.tell({"once": asked.question["once"], "note": f"the Salt master: {_why(exc)}"})
                client = None

    def _next(self) -> Asked:
        """Wait for a question that is due, and return it; it is due again later."""
        with self.changed:
            while True:
                now = time.monotonic()
                first = min(self.waiting.values(), key=lambda each: each.due, default=None)
                if first and first.due <= now:
                    first.due = now + first.again
                    return first
                self.changed.wait(first.due - now if first else None)

    def _publish(self, client: Any, asked: Asked) -> None:
        node = asked.question["node"]
        given = client.pub([node], FUNCTION, [asked.question], tgt_type="list", timeout=PUBLISH)
        if not given or not given.get("minions"):
            self.tell({"once": asked.question["once"], "note": "its key is not accepted", "over": True})

    # from the minions

    def listen(self) -> None:
        """Pass on the answers, for ever."""
        bus, mark = None, None
        while True:
            try:
                if bus is None or mark != _mark(self.opts):
                    mark = _mark(self.opts)
                    bus = events(self.opts)
                found = bus.get_event(wait=PAUSE, tag=RETURNS, match_type="startswith", full=True)
                if found and found["tag"].split("/")[3:4] == ["ret"]:
                    self._hear(found["data"])
            except Exception as exc:  # the edge of a thread: whatever Salt raises, the bus is joined anew
                bus = None
                for once in list(self.waiting):
                    self.tell({"once": once, "note": f"the Salt master: {_why(exc)}"})
                time.sleep(PAUSE)

    def _hear(self, data: dict[str, Any]) -> None:
        if data.get("fun") != FUNCTION:
            return
        given = data.get("return")
        if not isinstance(given, dict) or not isinstance(given.get("body"), str):
            self._remark(data, given)
            return
        answer = json.loads(given["body"])
        asked = self.waiting.get(str(answer.get("once", "")))
        if asked is None or answer.get("node") != asked.question["node"]:
            return
        if not genuine(os.path.join(self.opts["pki_dir"], "minions", answer["node"]), given):
            self.tell({"once": answer["once"], "note": "an answer in its name was not signed with its key"})
            return
        self.take({"drop": answer["once"]})
        self.tell({"once": answer["once"], "said": answer["said"]})

    def _remark(self, data: dict[str, Any], given: Any) -> None:
        """Note what Salt says in the place of an answer."""
        for argument in data.get("fun_args") or ():
            once = argument.get("once") if isinstance(argument, dict) else None
            if once in self.waiting:
                self.tell({"once": once, "note": f"its minion: {str(given)[:200]}"})


def _why(exc: Exception) -> str:
    """Return an exception of Salt in a few words."""
    return " ".join(f"{type(exc).__name__} {exc}".split())[:200]


def _mark(opts: dict[str, Any]) -> Any:
    """Return what changes when another master has begun to listen."""
    with contextlib.suppress(OSError):
        found = os.stat(os.path.join(opts["sock_dir"], "master_event_pub.ipc"))
        return found.st_ino, found.st_ctime_ns
    return None


def genuine(path: str, given: dict[str, Any]) -> bool:
    """Return whether an answer has the signature of a key."""
    import salt.crypt

    if not os.path.isfile(path):
        return False
    try:
        sign = base64.b64decode(given["sign"], validate=True)
        key = getattr(salt.crypt.PublicKey, "from_file", salt.crypt.PublicKey)(path)
        return bool(key.verify(given["body"].encode(), sign, SIGNED))
    except (KeyError, TypeError, ValueError):
        return False


def local_client(opts: dict[str, Any]) -> Any:
    import salt.client

    return salt.client.LocalClient(mopts=dict(opts))


def events(opts: dict[str, Any]) -> Any:
    import salt.utils.event

    return salt.utils.event.get_event("master", opts["sock_dir"], opts=dict(opts), listen=True)


def serve(configuration: str) -> None:
    """Ask and answer until our owner closes the socket."""
    sock = take_stdin()
    try:
        import salt.client  # now, not in several threads at once
        import salt.config
        import salt.crypt
        import salt.utils.event
    except ImportError as exc:
        sock.sendall(encode({"error": f"Salt is not installed: {exc}"}))
        return
    bus = Bus(sock, salt.config.client_config(configuration))
    for act in (bus.listen, *[bus.publish] * PUBLISHERS):
        threading.Thread(target=act, daemon=True).start()
    for message in lines(sock):
        bus.take(message)
    os._exit(0)  # Salt's threads and loops have nothing that must be kept
