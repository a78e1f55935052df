"""Who may: the decision as a table, and real processes of made-up accounts that talk to a daemon."""

from __future__ import annotations

import grp
import json
import os
import pwd
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from corpushooks.cli import main
from corpushooks.core.errors import RefusedError, UsageError
from corpushooks.core.rights import Caller, Rights
from corpushooks.daemon import server
from corpushooks.protocol import connection
from corpushooks.store.history import History
from corpushooks.system.process import run, spawn
from tests.support.box import Box, until
from tests.support.callers import ACCOUNTS, GIDS, NOT_ALLOWED, OWNER, caller, everything_about, line, needs_root
from tests.support.places import TOP

RIGHTS = Rights(OWNER, "corpus", ACCOUNTS, "ssh")


# who -> may everything, may hello, may other
TABLE: dict[str, tuple[Caller, bool, bool, bool]] = {
    "root": (caller("root"), True, True, True),
    "whom the daemon runs as": (caller("me"), True, True, True),
    "in the host's group": (caller("anna", "users", "corpus"), True, True, True),
    "in hello's group": (caller("anna", "hello-deploy"), False, True, False),
    "in both": (caller("anna", "other-deploy", "hello-deploy"), False, True, True),
    "in the group of a project that is not": (caller("anna", "nowhere-deploy"), False, False, False),
    "in no group": (caller("anna"), False, False, False),
    "the account of ssh, whatever it is in": (caller("ssh", "corpus", "hello-deploy"), False, False, False),
    "in another group": (caller("anna", "users"), False, False, False),
    "in the application's group": (caller("anna", "hello-grp"), False, False, False),
    "in the application's and in hello's": (caller("anna", "hello-grp", "hello-deploy"), False, True, False),
    "the application": (caller("hello-user", "hello-grp"), False, False, False),
    "the application in its own": (caller("hello-user", "hello-grp", "hello-deploy"), False, False, False),
    "the application in another's": (caller("hello-user", "hello-grp", "other-deploy"), False, False, False),
    "the application in the host's group": (caller("hello-user", "hello-grp", "corpus"), False, False, False),
    "another application in hello's": (caller("other-user", "hello-deploy"), False, False, False),
    "a person whose name is like an application's": (caller("test-user", "corpus"), True, True, True),
    "that person in hello's": (caller("test-user", "hello-deploy"), False, True, False),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_who_may(name: str) -> None:
    who, everything, hello, other = TABLE[name]
    assert RIGHTS.everything(who) is everything
    assert (RIGHTS.may(who, "hello"), RIGHTS.may(who, "other")) == (hello, other)
    assert RIGHTS.anything(who) is (everything or hello or other or GIDS["nowhere-deploy"] in who.groups)


@pytest.mark.parametrize("group", ["hello-grp", "other-grp"])
def test_the_hosts_group_cannot_be_an_applications(group: str) -> None:
    assert not replace(RIGHTS, group=group).anything(caller("anna", group))


def test_a_host_without_its_group_has_no_members() -> None:
    assert not replace(RIGHTS, group="nobody-made-it").anything(caller("anna", "corpus", "users"))


def test_an_application_whose_group_is_gone_has_no_rights_in_its_project() -> None:
    rights = replace(RIGHTS, accounts=replace(ACCOUNTS, group={**GIDS, "hello-grp": None}.get))
    assert not rights.may(caller("hello-user", "hello-deploy"), "hello")


@pytest.mark.parametrize("name", ["", "../hello", "hello\0", "-hello", "Hello", "hello\n", "x" * 10_000, "\ud83d"])
def test_what_is_no_project_is_nobodys(name: str) -> None:
    asked: list[str] = []
    rights = replace(RIGHTS, accounts=replace(ACCOUNTS, group=asked.append))
    assert not rights.may(caller("anna", "hello-deploy"), name)
    assert asked == ["corpus"]  # no such name reaches whatever answers for the accounts


def test_the_accounts_of_this_machine() -> None:
    here = connection.accounts()
    me, mine = pwd.getpwuid(os.geteuid()), grp.getgrgid(os.getegid())
    assert (here.user(me.pw_name), here.group(mine.gr_name)) == (me.pw_uid, mine.gr_gid)
    assert here.group_name(mine.gr_gid) == mine.gr_name
    for name in ("no such account", "a\0b", "\ud83d", "x" * 100_000):
        assert (here.user(name), here.group(name)) == (None, None)
    assert here.group_name(2**31 + 7) is None


def test_places_are_counted() -> None:
    places = connection.Semaphores(own=3, each=2, others=3)
    assert [places.take(0, own=True) for _ in range(4)] == [True] * 3 + [False]
    assert [places.take(7, own=False) for _ in range(3)] == [True, True, False]
    assert [places.take(8, own=False) for _ in range(2)] == [True, False]  # all the others together
    places.leave(7, own=False)
    assert places.take(8, own=False)
    assert not places.take(9, own=False)
    for uid, own in ((0, True), (0, True), (0, True), (7, False), (8, False), (8, False)):
        places.leave(uid, own=own)
    assert not places.busy()
    assert not places._taken  # who was here once is not remembered


# for real

# Becomes somebody else when all is loaded: the interpreter may lie where only root can read.
SOMEBODY = """\
import json, os, socket, sys
uid, gid, groups, path, lines, wait = json.loads(sys.argv[1])
os.setgroups(groups), os.setgid(gid), os.setuid(uid)
links = []
for line in lines:
    links.append(socket.socket(socket.AF_UNIX))
    links[-1].connect(path)
    try:
        links[-1].sendall(line.encode())
    except OSError:
        pass
if wait:
    print("connected", flush=True)
    sys.stdin.read()
for link in links if not wait else ():
    said = b""
    try:
        while chunk := link.recv(65536):
            said += chunk
    except ConnectionResetError:
        pass
    print(json.dumps(said.decode()))
"""


def somebody(uid: int, gid: int, groups: Sequence[int], path: Path, lines: Sequence[str]) -> list[str]:
    """Ask as somebody else, over one connection for each line; return what each was told, byte for byte."""
    given = json.dumps([uid, gid, list(groups), str(path), list(lines), False])
    return [json.loads(line) for line in run([sys.executable, "-ISc", SOMEBODY, given]).text.splitlines()]


@needs_root
def test_strangers_learn_nothing(serving: server.Daemon) -> None:
    asked = [*everything_about("hello"), *everything_about("nowhere"), *everything_about("../x"), *everything_about(5),
             line(op="ping"), line(op="x"), "garbage\n", "half", "x" * 100_000]  # fmt: skip
    told = somebody(61001, 61001, [GIDS["users"], GIDS["hello-grp"]], serving.site.host.socket, asked)
    assert {json.dumps(json.loads(one)) for one in told} == {json.dumps(json.loads(told[0]))}
    assert len(set(told)) == 1 and len(told) == len(asked)
    assert json.loads(told[0]) == NOT_ALLOWED
    assert serving.site.history.deployments("hello") == []


@needs_root
def test_members_of_one_project_learn_nothing_of_others(serving: server.Daemon) -> None:
    asked = [*everything_about("other"), *everything_about("nowhere"), *everything_about("../x")]
    told = somebody(61001, 61001, [GIDS["hello-deploy"]], serving.site.host.socket, asked)
    of_other, of_none, of_nonsense = (
        told[start : start + len(told) // 3] for start in range(0, len(told), len(told) // 3)
    )
    assert of_other == of_none == of_nonsense, "not even whether a project exists"
    assert {json.loads(one)["error"] for one in told} == {"not allowed"}
    assert len(told) == len(asked)
    assert serving.site.history.deployments("other") == []


@needs_root
@pytest.mark.parametrize(
    ("gid", "groups"),
    [("hello-deploy", []), ("users", ["hello-deploy"]), ("corpus", []), ("users", ["users", "corpus"])],
)
def test_members_may_whatever_their_group_came_by(serving: server.Daemon, gid: str, groups: list[str]) -> None:
    asked = [*everything_about("hello"), line(op="ping")]
    freezing = [each for each in asked if json.loads(each)["op"] in ("freeze", "thaw")]
    asked = [*(each for each in asked if each not in freezing), *freezing]
    path, names = serving.site.host.socket, [GIDS[name] for name in groups]
    told = somebody(61001, GIDS[gid], names, path, asked[: -len(freezing)])  # all at once: what is frozen would race
    told += somebody(61001, GIDS[gid], names, path, freezing)
    of_the_host = "corpus" in (gid, *groups)
    answers = dict(zip([*(json.loads(each)["op"] for each in asked)], told, strict=True))
    refused = {name for name, answer in answers.items() if "not allowed" in answer}
    assert refused == (set() if of_the_host else {"freeze", "thaw"}), "which need more than a project's group"
    assert '"result"' in answers["task"] and '"result"' in answers["ping"] and "only in dev" in answers["watch"]
    found = serving.site.history.deployment("hello", 1)
    assert (found.request.who, found.request.via) == ("61001", "command")  # there is no such account


@needs_root
def test_who_has_more_groups_than_can_be_asked_for_has_those_of_the_account(serving: server.Daemon) -> None:
    many = [*range(70_000, 70_400), GIDS["corpus"]]
    assert json.loads(somebody(61001, 61001, many, serving.site.host.socket, [line(op="ping")])[0]) == NOT_ALLOWED
    primary = somebody(61001, GIDS["corpus"], many, serving.site.host.socket, [line(op="ping")])
    assert '"result"' in primary[0]


@needs_root
def test_one_caller_keeps_no_other_out(serving: server.Daemon) -> None:
    serving.semaphores = connection.Semaphores(own=4, each=3, others=5)
    path = serving.site.host.socket
    with ExitStack() as stack:
        for uid, count in ((61001, 10), (0, 10)):
            given = json.dumps([uid, 61001, [GIDS["corpus"]], str(path), [""] * count, True])
            holder = stack.enter_context(spawn([sys.executable, "-ISc", SOMEBODY, given], stdin=-1, stdout=-1))
            assert holder.stdout and holder.stdout.readline() == b"connected\n"
        until(lambda: serving.semaphores._taken == {61001: 3, 0: 4, -1: 3})
        full = somebody(61001, 61001, [GIDS["corpus"]], path, [line(op="ping")])
        assert json.loads(full[0])["error"] == "too many connections at once"
        assert '"result"' in somebody(61002, 61002, [GIDS["corpus"]], path, [line(op="ping")])[0]
        assert json.loads(somebody(61002, 61002, [], path, [line(op="ping")])[0]) == NOT_ALLOWED


@needs_root
def test_a_thousand_strangers_do_not_keep_root_waiting(serving: server.Daemon) -> None:
    told = somebody(61001, 61001, [], serving.site.host.socket, [line(op="ping")] * 900)
    errors = {json.loads(one)["error"] for one in told}
    assert errors <= {"not allowed", "too many connections at once"} and "not allowed" in errors
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(serving.site.host.socket))
        link.sendall(line(op="ping").encode())
        assert b'"result"' in link.recv(1000)


@needs_root
def test_the_setting_names_a_group_of_the_machine(open_folder: Path) -> None:
    group = next(one for one in grp.getgrall() if one.gr_gid and not one.gr_name.endswith(("-grp", "-deploy")))
    box = Box(open_folder)
    box.settings(f"group: {group.gr_name}\n")
    box.init()
    box.start()
    try:
        ping, path = [line(op="ping")], box.host.socket
        assert '"pid"' in somebody(61001, 61001, [group.gr_gid], path, ping)[0]
        assert '"pid"' in somebody(61001, group.gr_gid, [], path, ping)[0]
        assert json.loads(somebody(61001, 61001, [], path, ping)[0])["error"] == "not allowed"
    finally:
        box.stop()


NAMESPACE = 'mount --bind "$1/group" /etc/group && mount --bind "$1/passwd" /etc/passwd && shift && exec "$@"'


@needs_root
def test_groups_that_are_made_while_the_daemon_runs_count(open_folder: Path) -> None:
    """A real daemon, in a mount namespace with accounts of its own, that are changed while it runs."""
    if run(["unshare", "--mount", "true"], check=False).code:
        pytest.skip("no mount namespaces here")
    for name in ("group", "passwd"):
        (open_folder / name).write_bytes(Path("/etc", name).read_bytes())
    box = Box(open_folder)
    box.init()
    words: list[str | Path] = ["unshare", "--mount", "sh", "-c", NAMESPACE, "sh", open_folder,
                               sys.executable, "-m", "tests.support.fake_daemon", box.host.root]  # fmt: skip
    box.daemon = spawn(words, cwd=TOP)
    until(box.reachable)
    try:
        asked, path = everything_about("hello")[1:2], box.host.socket
        assert json.loads(somebody(61001, 61001, [62002], path, asked)[0]) == NOT_ALLOWED
        with (open_folder / "group").open("a") as file:
            file.write("hello-deploy:x:62002:\nhello-grp:x:62004:\n")
        with (open_folder / "passwd").open("a") as file:
            file.write("anna:x:61001:61001::/:/bin/sh\nhello-user:x:61003:62004::/:/bin/sh\n")
        assert json.loads(somebody(61003, 62004, [62002], path, asked)[0]) == NOT_ALLOWED
        assert '"result"' in somebody(61001, 61001, [62002], path, asked)[0]
        assert box.deployment(1).request.who == "anna"
    finally:
        box.daemon.send_signal(signal.SIGTERM)
        box.daemon.wait(30)
        box.daemon = None


# the command of somebody who may not read the store


def test_who_may_not_read_the_store_is_answered_by_the_daemon(
    box: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreadable(self: main.Context) -> History:
        raise RefusedError("the store is not yours to read")

    monkeypatch.setattr(main.Context, "history", unreadable)
    monkeypatch.setattr(main.Context, "far", True)
    root = ["--root", str(box.host.root)]
    with pytest.raises(RefusedError, match="nothing is running or waiting in hello"):
        main.corpus.main([*root, "cancel", "hello"], standalone_mode=False)
    with pytest.raises(SystemExit) as left:
        main.corpus.main([*root, "task", "hello", "x"], standalone_mode=False)
    assert left.value.code == 3
    assert "error: nothing is deployed yet" in capsys.readouterr().out
    for words, wanted in (
        ("status", "nothing is live yet"),
        ("history hello", "refused"),
        ("log hello", "error: nothing"),
    ):
        main.corpus.main([*root, *words.split()], standalone_mode=False)
        assert wanted in capsys.readouterr().out
    with pytest.raises(UsageError, match="unknown project 'nothing'"):
        main.corpus.main([*root, "status", "nothing"], standalone_mode=False)
