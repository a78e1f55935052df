"""The gate, for real: the account of ssh may nothing but what a key lets its process do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpushooks.access.keyring import Keyring
from corpushooks.access.keys import Key
from corpushooks.core.deployment import Request
from corpushooks.daemon import server
from corpushooks.system.process import ancestors, run
from tests.support.box import until
from tests.support.callers import GIDS, NOT_ALLOWED, UIDS, everything_about, needs_root
from tests.support.gate import SSH, admit, ask
from tests.support.ssh_keys import ED25519

NOT_ALLOWED_TO_FREEZE = {**NOT_ALLOWED, "hint": "allowed: root, the group corpus, and admin keys over ssh"}
KEY = Key("alice", "ssh-ed25519", ED25519, "read", ("hello",))
ENDED = "session expired or key revoked"
FOLLOW = {"v": 1, "op": "log", "project": "hello", "number": 0}
HISTORY = {"v": 1, "op": "history", "project": "hello"}


@pytest.fixture
def gate(serving: server.Daemon) -> Iterator[server.Daemon]:
    Keyring(serving.site.history).add(KEY)
    serving.site.history.add_project("third", "prod", "master")
    yield serving


@needs_root
def test_the_account_may_nothing_without_a_key(gate: server.Daemon) -> None:
    asked = [{**json.loads(text), "shows": False} for text in everything_about("hello")]
    told = ask(gate, *asked, {**HISTORY, "shows": False}, groups=list(GIDS.values()))[:-1]
    assert told == [NOT_ALLOWED] * len(told)
    told = ask(gate, *asked, token="x" * 32)[:-1]
    assert all(one == NOT_ALLOWED for one in told)
    told = ask(gate, FOLLOW, token="x" * 32)[:-1]
    assert [one["error"] for one in told] == [ENDED]


@needs_root
def test_a_session_may_what_its_key_may_with_its_project(gate: server.Daemon) -> None:
    *told, token = ask(
        gate, admit(), FOLLOW, {**FOLLOW, "project": "other"}, {"op": "cancel", "project": "hello"},
        {"op": "config", "project": "hello"}, HISTORY,
    )  # fmt: skip
    assert told[0]["result"]["who"] == "alice" and len(token) == 32
    assert told[1]["error"] == "hello was never deployed"  # it was asked, and answered
    assert told[2:5] == [NOT_ALLOWED] * 3
    assert (told[5]["result"]["value"], told[5]["result"]["lines"]) == ([], ["hello was never deployed"])
    assert ask(gate, FOLLOW, token=token)[0]["error"] == ENDED  # of another process
    ask(gate, admit())
    assert [each.token for each in Keyring(gate.site.history).admissions()] != [token]  # who has ended is forgotten


@needs_root
def test_only_admin_keys_freeze_and_only_those_of_every_project_all_of_it(gate: server.Daemon) -> None:
    why, ring = {"op": "freeze", "reason": "moving"}, Keyring(gate.site.history)
    hello, other, every = ({**why, "project": project} for project in ("hello", "other", ""))
    thaw = {"op": "thaw", "project": ""}

    def told(right: str, *projects: str) -> list[Any]:
        ring.add(replace(KEY, right=right, projects=projects))
        (_, *of_hello, _), (_, *of_all, _) = (
            ask(gate, admit(project=project, right=right), hello, other, every, thaw) for project in ("hello", "")
        )
        return [None if one == NOT_ALLOWED_TO_FREEZE else one["result"]["lines"][0] for one in (*of_hello, *of_all)]

    assert told("push") == [None] * 8
    assert told("admin", "hello") == ["hello is frozen by alice: moving", None, None, None] * 2
    host = "this host is frozen by alice: moving"
    assert told("admin")[4:] == ["hello is frozen by alice: moving", "other is frozen by alice: moving", host,
                                 "this host is no longer frozen"]  # fmt: skip
    assert (gate.site.history.frozen("third"), len(told("read"))) == (None, 8)
    (refused, _) = ask(gate, {**hello, "shows": False}, uid=UIDS["anna"], groups=[GIDS["hello-deploy"]])
    assert refused == NOT_ALLOWED_TO_FREEZE
    (done, _) = ask(gate, {**hello, "shows": False}, uid=UIDS["anna"], groups=[GIDS["corpus"]])
    assert done["result"]["value"]["who"] == str(UIDS["anna"])


@needs_root
def test_who_is_let_in(gate: server.Daemon) -> None:
    unknown = {"unknown project 'other' for the key alice", "unknown project 'nowhere' for the key alice"}
    told = ask(gate, *(admit(project=name) for name in ("other", "nowhere")), admit(key="bob"), admit(right="push"),
               admit(right="root"), admit(project="../x"), admit(project="", right=""))[:-1]  # fmt: skip
    assert {one["error"] for one in told[:2]} == unknown
    assert [one["error"] for one in told[2:4]] == [ENDED, "the key alice: it has the right read, not push"]
    assert (told[4]["code"], told[5]["error"]) == (2, "unknown project '../x' for the key alice")
    assert told[6]["result"]["may"] == "read hello"
    for groups in ([GIDS["corpus"]], [GIDS["hello-deploy"]]):
        (refused, _) = ask(gate, admit(), uid=UIDS["anna"], groups=groups)
        assert refused["error"] == "only the account of ssh can log in with a key"
    who = ask(gate, admit(certificate='a b/"c'))[0]["result"]["who"]
    assert who == "alice/a_b__c"


MANY = """\
import json, os, socket, sys
uid, path, admit, follow, times = json.loads(sys.argv[1])
os.setgroups([]), os.setgid(uid), os.setuid(uid)
def ask(asked):
    link = socket.socket(socket.AF_UNIX)
    link.connect(path)
    link.sendall(json.dumps(asked).encode() + b"\\n")
    return link.makefile(), link
token = json.loads(ask(admit)[0].readline())["result"]["admission"]
asked = {**follow, "admission": token}
links = [ask(asked) for _ in range(times)]
told = [json.loads(file.readline()) for file, _ in links]
print(json.dumps([*told, json.loads(ask(asked)[0].readline())]))
"""


@needs_root
def test_one_key_leaves_room_for_others(gate: server.Daemon) -> None:
    history = gate.site.history
    ask(gate, admit())  # it serves: its lanes were woken
    until(lambda: not gate.lanes.busy())
    history.enqueue("hello", Request())  # and nobody wakes one now: it never ends
    follow = {"op": "log", "project": "hello", "number": 1, "progress": True}
    given = json.dumps([SSH, str(gate.site.host.socket), admit(), follow, gate.semaphores.key])
    *told, last = json.loads(run([sys.executable, "-ISc", MANY, given]).text)
    assert all("say" in one for one in told)
    assert last["error"] == "too many connections at once with the key alice"
    until(lambda: not gate.semaphores._keys)


@needs_root
def test_a_key_that_is_gone_or_less_ends_its_sessions(gate: server.Daemon) -> None:
    ring = Keyring(gate.site.history)
    token = ask(gate, admit())[-1]
    mine = ring.admission(token)
    assert mine
    ring.dismiss(mine)
    here = next(iter(ancestors(gate_pid())))
    left = ring.admit(KEY, "alice", "read", "hello", here)
    assert ask(gate, FOLLOW, token=left.token)[0]["error"] == "hello was never deployed"  # it descends from us
    ring.add(replace(KEY, expires=1.0))
    assert ask(gate, FOLLOW, token=left.token)[0]["error"] == ENDED
    ring.add(KEY)
    assert ask(gate, FOLLOW, token=left.token)[0]["error"] == "hello was never deployed"
    ring.remove("alice")
    assert ask(gate, FOLLOW, token=left.token)[0]["error"] == ENDED


def gate_pid() -> int:
    """Return the process that the askers descend from: this one."""
    return int(Path("/proc/self").readlink().name)
