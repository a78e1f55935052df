"""Tokens of the API: the command that manages them, and who presents one over the socket."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from corpushooks.access.keyring import Keyring
from corpushooks.access.keys import TOKEN, Key
from corpushooks.access.tokens import PREFIX, Tokens, digest
from corpushooks.core.deployment import Request
from corpushooks.core.errors import CredentialError, UsageError
from corpushooks.daemon import server
from corpushooks.protocol import client
from corpushooks.store.history import History
from corpushooks.system.process import run
from tests.support.box import Box, until
from tests.support.callers import GIDS, NOT_ALLOWED, UIDS, everything_about, needs_root
from tests.support.command import ME, asked, complains, corpus
from tests.support.gate import admit, ask
from tests.support.ssh_keys import ED25519

INVALID = "invalid token: unknown, revoked or expired"
# Asks one thing after the other as an account; prints the last line of each answer.
ASK = """\
import json, os, socket, sys
uid, groups, path, asked = json.loads(sys.argv[1])
os.setgroups(groups), os.setgid(uid), os.setuid(uid)
for one in asked:
    link = socket.socket(socket.AF_UNIX)
    link.connect(path)
    if one is not None:
        link.sendall(json.dumps(one).encode() + b"\\n")
    print(link.makefile().read().splitlines()[-1], flush=True)
"""


def relay(
    serving: server.Daemon, *asked: dict[str, Any] | None, uid: int = UIDS["web"], groups: Sequence[int] = ()
) -> list[Any]:
    """Ask as the account of the pages, or as another; return the last line of each answer."""
    given = json.dumps([uid, list(groups), str(serving.site.host.socket), asked])
    return [json.loads(line) for line in run([sys.executable, "-ISc", ASK, given]).text.splitlines()]


def made(history: History, right: str, *projects: str, name: str = "ci", expires: float | None = None) -> str:
    """Make a token; return its text."""
    return Tokens(history).add(Key(name, TOKEN, "", right, projects, expires))[1]


def test_a_token_is_made_listed_and_revoked(box: Box) -> None:
    found = asked(box, "token", "add", "ci", "--push", "--project", "hello", "--expires", "30d")
    text = found.pop("token")
    assert text.startswith(PREFIX) and len(text) == len(PREFIX) + 43
    assert (found["right"], found["projects"], found["by"]) == ("push", ["hello"], ME)
    assert asked(box, "token", "list") == [found]
    assert corpus(box, "token", "list").text.startswith("ci               push hello, until ")
    complains(corpus(box, "token", "add", "ci"), 2, "there is already a token 'ci'",
              "corpus token revoke ci, or choose another name")  # fmt: skip
    complains(corpus(box, "token", "add", "x", "--host", "--project", "hello"), 2,
              "the right host applies to the whole host, not to projects", "omit --project")  # fmt: skip
    assert corpus(box, "token", "revoke", "ci").text == "revoked ci: push hello"
    complains(corpus(box, "token", "revoke", "ci"), 2, "unknown token 'ci'", "corpus token list")
    assert asked(box, "token", "list") == []
    lines = corpus(box, "token", "add", "look").text.splitlines()
    assert (
        lines[0].startswith(PREFIX) and lines[1] == "this is the only time that it is shown; look: read every project"
    )


def test_the_store_has_no_token_that_can_be_read(tmp_path: Any) -> None:
    history = History(tmp_path / "store.sqlite")
    text = made(history, "host")
    (row,) = history.rows("SELECT * FROM token")
    assert row["hash"] == digest(text)
    history.close()
    assert not [path for path in tmp_path.glob("store*") if text.encode() in path.read_bytes()]


@pytest.fixture
def gate(serving: server.Daemon) -> Iterator[server.Daemon]:
    serving.site.history.add_project("third", "prod", "master")
    yield serving


@needs_root
def test_the_account_of_the_pages_has_no_rights_by_itself(gate: server.Daemon) -> None:
    every = [json.loads(text) for text in everything_about("hello")]
    assert relay(gate, *every, groups=list(GIDS.values())) == [NOT_ALLOWED] * len(every)
    for wrong in ("", "x", PREFIX + "x" * 43, "☃"):
        told = relay(gate, *({**one, "bearer": wrong} for one in every), groups=list(GIDS.values()))
        assert {one["error"] for one in told} == {INVALID} and {one["kind"] for one in told} == {"credential"}
    assert relay(gate, admit())[0]["error"] == "only the account of ssh can log in with a key"


@needs_root
def test_who_presents_a_wrong_token_does_not_become_their_account(gate: server.Daemon) -> None:
    status = {"op": "status", "bearer": ""}
    assert relay(gate, status, uid=0)[0]["error"] == INVALID
    read = made(gate.site.history, "read", "hello")
    stop = {"op": "freeze", "project": "hello", "reason": "why", "bearer": read}
    assert relay(gate, stop, uid=0)[0]["error"] == "not allowed"
    assert relay(gate, None, uid=UIDS["bob"]) == [NOT_ALLOWED]  # who relays nobody is not even heard


@needs_root
def test_a_token_has_the_rights_that_it_was_given(gate: server.Daemon) -> None:
    history = gate.site.history
    push = made(history, "push", "hello")
    config = {"op": "history", "bearer": push}
    hello, other, nowhere = relay(gate, *({**config, "project": name} for name in ("hello", "other", "nowhere")))
    assert hello["result"]["value"] == []
    assert other == nowhere == NOT_ALLOWED
    (who,) = relay(gate, {"op": "whoami", "bearer": push})
    assert (who["result"]["who"], who["result"]["may"]) == ("token ci", "push hello")
    freeze = {"op": "freeze", "project": "hello", "reason": "moving", "bearer": push}
    assert relay(gate, freeze)[0]["error"] == "not allowed"
    admin = made(history, "admin", name="boss")
    assert relay(gate, {**freeze, "bearer": admin})[0]["result"]["value"]["who"] == "token boss"
    (status,) = relay(gate, {"op": "status", "bearer": push})
    assert "other" not in json.dumps(status) and "third" not in json.dumps(status)


@needs_root
def test_a_token_makes_no_tokens_and_a_key_none_that_outlive_it(gate: server.Daemon) -> None:
    history, add = gate.site.history, {"op": "token add", "name": "more"}
    boss = made(history, "host")
    assert relay(gate, {**add, "bearer": boss})[0]["error"] == "a token cannot create tokens"
    (added,) = relay(gate, {"op": "key add", "name": "jo", "key": f"ssh-ed25519 {ED25519}", "bearer": boss})
    assert added["result"]["value"]["by"] == "token ci"
    Keyring(history).add(replace(Keyring(history).all()[0], right="host", expires=4e9))
    told = ask(gate, admit("jo", "", "host"), {**add, "v": 1}, {**add, "v": 1, "expires": "30d"})
    assert "expires on 2096-10-02" in told[1]["error"]
    assert told[2]["result"]["value"]["right"] == "read"
    assert [each.name for each in Tokens(history).all()] == ["ci", "more"]


@needs_root
def test_a_token_that_is_revoked_or_expired_is_refused_at_once(gate: server.Daemon) -> None:
    history, now = gate.site.history, {"op": "history", "project": "hello"}
    text = made(history, "read")
    assert "result" in relay(gate, {**now, "bearer": text})[0]
    Tokens(history).revoke("ci")
    old = made(history, "read", expires=1.0)
    assert [one["error"] for one in relay(gate, *({**now, "bearer": each} for each in (text, old)))] == [INVALID] * 2


def test_who_follows_a_log_is_cut_off_when_their_token_is_revoked(
    gate: server.Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corpushooks.operations.follower.AGAIN", 0.0)
    history, host = gate.site.history, gate.site.host
    client.ping(host)  # it serves: its lanes were woken
    until(lambda: not gate.lanes.busy())
    history.enqueue("hello", Request())  # and nobody wakes one now: it never ends
    asked = {"project": "hello", "number": 1, "progress": True, "bearer": made(history, "read", "hello")}
    with client.conversation(host, "log", asked) as (_, said):
        assert "say" in next(said)
        Tokens(history).revoke("ci")
        with pytest.raises(CredentialError, match=INVALID):
            list(said)


@needs_root
def test_only_the_pages_and_root_sign_people_in(gate: server.Daemon) -> None:
    text = made(gate.site.history, "read")
    asked = ({"op": "sign-in", "bearer_token": text}, {"op": "one-time-link", "link": "x"}, {"op": "sign-out"},
             {"op": "set-password", "link": "x", "password": "x"})  # fmt: skip
    for uid, groups in ((UIDS["bob"], [GIDS["hello-deploy"]]), (UIDS["ssh"], []), (UIDS["bob"], [GIDS["corpus"]])):
        assert {one.get("error") for one in relay(gate, *asked, uid=uid, groups=groups)} == {"not allowed"}, uid
    for uid in (UIDS["web"], 0):
        (found,) = relay(gate, asked[0], uid=uid)
        (who,) = relay(gate, {"op": "whoami", "bearer": found["result"]["session"]}, uid=uid)
        assert who["result"]["may"] == "read every project"


@needs_root
def test_what_the_pages_say_of_an_address_gives_no_rights(gate: server.Daemon) -> None:
    told = relay(gate, {"op": "status", "came_from": "127.0.0.1"}, {"op": "whoami", "came_from": "127.0.0.1"})
    assert told[0] == NOT_ALLOWED and told[1]["result"]["rights"] == []


def test_a_token_that_is_no_text_is_refused(gate: server.Daemon) -> None:
    for wrong in (None, 1, ["x"], "\ud800"):
        with pytest.raises(UsageError, match="invalid request: bearer"):
            client.ask(gate.site.host, "status", {"bearer": wrong}, lambda line: None)
