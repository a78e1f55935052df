"""The table of operations: every row, at every door, for every right; and callers of other versions."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import click
import pytest

import corpushooks.cli.main
from corpushooks import operations
from corpushooks.access.keyring import Keyring
from corpushooks.access.keys import ANY, Key, check_grants, check_within, levels
from corpushooks.access.principal import Principal
from corpushooks.core.deployment import FAILED, RUNNING, Request
from corpushooks.core.errors import CorpusError, NotAllowedError, RefusedError, UsageError
from corpushooks.core.project import Host
from corpushooks.core.rights import ADMIN, GRANTED, HOST, NODE, PUSH, READ, Grant, Rights, includes
from corpushooks.core.settings import Settings
from corpushooks.daemon import server as daemon
from corpushooks.host.site import Site
from corpushooks.operations import does, hosting, looks, serving
from corpushooks.operations.call import Call
from corpushooks.operations.ssh_commands import OWN, WORDS, parse
from corpushooks.operations.table import (
    CALLER,
    COMMAND,
    HOST_ITSELF,
    OPERATIONS,
    PROJECT,
    PROJECT_OR_HOST,
    PROJECTS,
    SSH,
    Operation,
    by_door,
)
from corpushooks.protocol import answers, asks, client, connection
from corpushooks.protocol.messages import Asked
from corpushooks.reports.report import Report
from corpushooks.store.history import History
from corpushooks.system.locks import locked
from corpushooks.system.process import run
from tests.support.callers import ACCOUNTS, caller
from tests.support.engines import FakeEngine
from tests.support.hook_peers import daemon_of, plain, says
from tests.support.places import TOP
from tests.support.ssh_keys import ED25519

HOOK = TOP / "hooks/proc-receive"
JUDGED = [name for name, row in OPERATIONS.items() if row.about != CALLER]


@contextmanager
def serving_in(folder: Path) -> Iterator[daemon.Daemon]:
    """Be a daemon with two projects that does nothing by itself."""
    host = Host(folder)
    host.socket.parent.mkdir(parents=True)
    history = History(host.store)
    for name in ("hello", "other"):
        history.add_project(name, "prod", "master")
    with connection.listen(host.socket) as listener:
        yield daemon.Daemon(Site(host, Settings(), history, FakeEngine()), listener)
    history.close()


@pytest.fixture
def serving_here(tmp_path: Path) -> Iterator[daemon.Daemon]:
    with serving_in(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def judging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[daemon.Daemon]:
    """Return one for all tests that ask it only who may what."""
    with serving_in(tmp_path_factory.mktemp("judging")) as found:
        yield found


def principal(rights: Rights, right: str, *projects: str, who: str = "") -> Principal:
    """Return who asks: with a key of a right, or an account of the table of rights."""
    key = Key("k", "ssh-ed25519", ED25519, right, projects) if right else None
    return Principal("k", rights, caller(who or "ssh"), key)


# who may what


@pytest.mark.parametrize("name", JUDGED)
@pytest.mark.parametrize("right", GRANTED)
def test_a_key_may_what_its_right_says_and_nothing_more(judging: daemon.Daemon, name: str, right: str) -> None:
    row, server = OPERATIONS[name], serving.Server(judging.site, judging.rights, None)  # type: ignore[arg-type]
    may = includes(right, row.right) or (right == NODE and row.node)
    for project in ("hello", ""):
        if project == "" and row.about == PROJECT:
            continue
        asking = principal(judging.rights, right)
        if may or (row.about == PROJECTS and not project):
            found = [each.name for each in server._judged(row, asking, project)]
            some = {PROJECT: ["hello"], PROJECTS: ["hello"], PROJECT_OR_HOST: ["hello"], HOST_ITSELF: []}[row.about]
            every = ["hello", "other"] if may and row.about == PROJECTS else []
            assert found == (some if project else every)
        else:
            with pytest.raises(NotAllowedError):
                server._judged(row, asking, project)


@pytest.mark.parametrize("name", JUDGED)
def test_a_key_of_one_project_may_nothing_with_others_nor_with_the_host(judging: daemon.Daemon, name: str) -> None:
    row, server = OPERATIONS[name], serving.Server(judging.site, judging.rights, None)  # type: ignore[arg-type]
    asking = principal(judging.rights, ADMIN, "hello")
    for project in ("other", "nowhere", "../x"):
        if row.about == HOST_ITSELF:
            break
        with pytest.raises(NotAllowedError):
            server._judged(row, asking, project)
    if row.about == PROJECTS:
        assert [each.name for each in server._judged(row, asking, "")] == ["hello"]
    elif row.about != PROJECT:
        with pytest.raises(NotAllowedError):
            server._judged(row, asking, "")


@pytest.mark.parametrize("name", JUDGED)
@pytest.mark.parametrize(
    ("who", "groups", "most"),
    [("root", (), HOST), ("anna", ("corpus",), HOST), ("anna", ("hello-deploy",), PUSH),
     ("anna", ("other-deploy",), ""),
     ("anna", ("users",), ""), ("hello-user", ("hello-deploy",), ""), ("ssh", ("corpus", "hello-deploy"), "")],
)  # fmt: skip
def test_an_account_may_what_its_groups_say(
    judging: daemon.Daemon, name: str, who: str, groups: tuple[str, ...], most: str
) -> None:
    row = OPERATIONS[name]
    rights = Rights(61009, "corpus", ACCOUNTS, "ssh")
    server = serving.Server(judging.site, rights, None)  # type: ignore[arg-type]
    asking = Principal(who, rights, caller(who, *groups))
    project = "" if row.about == HOST_ITSELF else "hello"
    if most == HOST or (most and includes(most, row.right)):  # what only a key can do is refused by the act
        server._judged(row, asking, project)
    else:
        with pytest.raises(NotAllowedError):
            server._judged(row, asking, project)


# the doors


def example(kind: type[Any]) -> Any:
    """Return something that can be asked."""
    needed = [each for each in fields(kind) if each.default is MISSING]
    some = {each.name: {"int": 1, "float": 1.5}.get(str(each.type), "hello") for each in needed}
    return kind(**some)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_row_is_done_somewhere_once(name: str) -> None:
    places = [name in table for table in (looks.LOOKS, does.DOES, serving.TALKS)]
    assert places.count(True) == (OPERATIONS[name].about != CALLER)


def test_nothing_is_done_that_has_no_row() -> None:
    assert {*looks.LOOKS, *does.DOES, *serving.TALKS} == set(JUDGED)


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_asked_passes_the_wire_as_it_is(name: str) -> None:
    kind = OPERATIONS[name].asks
    asked = example(kind)
    sent = json.loads(json.dumps(answers.request(name, asked)))
    assert Asked(sent).name == name and Asked(sent).typed(kind) == asked
    for each in fields(kind):
        for wrong in (object, {}, float("nan") if each.type == "float" else 5.5):
            with pytest.raises(UsageError, match=f"^invalid request: {each.name}$"):
                Asked({**sent, each.name: str(wrong) if wrong is object and each.type == "int" else wrong}).typed(kind)


def test_who_reads_the_table_loads_no_more() -> None:
    """What sshd starts does, each time that somebody comes."""
    loaded = run(
        [sys.executable, "-c", "import sys, corpushooks.shell, corpushooks.protocol.client; print(*sys.modules)"]
    ).text
    assert "corpushooks.operations.table" in loaded.split()
    heavy = {"asks", "gives", "serving"} & {name.rpartition(".")[2] for name in loaded.split()}
    assert not heavy and not {"msgspec", "yaml", "dulwich", "click"} & set(loaded.split())


def test_a_row_names_what_is_asked_and_what_it_is_about() -> None:
    for row in OPERATIONS.values():
        names = {each.name for each in fields(row.asks)}
        required = {each.name for each in fields(row.asks) if each.default is MISSING}
        assert ("project" in names) or row.about in (HOST_ITSELF, CALLER), row.name
        said = row.about in (PROJECT, PROJECT_OR_HOST)  # what is about all of the host is never meant by leaving it out
        assert ("project" in required) == said or row.about in (HOST_ITSELF, CALLER), row.name
        assert (row.right in GRANTED) == (row.about != CALLER), row.name


def test_only_the_socket_leads_to_a_row_that_names_no_door() -> None:
    assert Operation("x", READ, "Nothing", "Nothing", "x").doors == frozenset()
    assert not set(by_door(SSH)) & {"push", "watch", "ping", "admit", "variables", "commands"}
    for name in ("push", "watch hello", "ping", "admit", "variables hello", "commands hello"):
        with pytest.raises(UsageError):
            parse(name)


@pytest.mark.parametrize("name", by_door(SSH))
def test_every_row_of_the_ssh_door_is_a_word_that_needs_its_right(name: str) -> None:
    word = WORDS[name]
    some = {"PROJECT": "hello", "KEY=VALUE": "a=b", "FILE": "-"}
    given = [some.get(called, "3") for called, _ in word.takes]
    found = parse(" ".join([name, *given, *(["ls"] if word.rest else [])]))
    assert found.right == OPERATIONS[name].right
    named = [called for called, _ in word.takes[:1]] == ["PROJECT"] and OPERATIONS[name].about != HOST_ITSELF
    assert found.project == ("hello" if named else "")
    assert set(WORDS) == {*by_door(SSH), *OWN}


@pytest.mark.parametrize("name", by_door(COMMAND))
def test_every_row_of_the_command_door_has_a_command(name: str) -> None:
    found: Any = corpushooks.cli.main.corpus
    for word in (OPERATIONS[name].part_of or name).split():
        found = found.get_command(click.Context(found), word)
    assert any("--json" in option.opts for option in found.params) or name in ("run", "watch")


def test_a_row_that_is_added_has_all_doors_at_once(monkeypatch: pytest.MonkeyPatch, box: Any, capsys: Any) -> None:
    """What docs/contributing.md says a stranger does: a row, and what is done."""
    from corpushooks.cli.base import Context
    from corpushooks.cli.commands import Commands

    row = Operation("size", READ, "OfProject", "Metrics", "how large a project is", doors=frozenset({SSH, COMMAND}))
    monkeypatch.setitem(OPERATIONS, "size", row)  # type: ignore[arg-type]
    tell = {"size": lambda call: Report({"project": call.row.name, "bytes": 5}, ["5 bytes"])}
    monkeypatch.setattr(looks, "LOOKS", {**looks.LOOKS, **tell})
    group = Commands()
    group.main(["size", "hello"], standalone_mode=False, obj=Context(box.host))
    group.main(["size", "hello", "--json"], standalone_mode=False, obj=Context(box.host))
    lines, shown = capsys.readouterr().out.split("\n", 1)
    assert (lines, json.loads(shown)) == ("5 bytes", {"project": "hello", "bytes": 5})
    assert by_door(SSH)["size"].word.usage == "PROJECT"


# nobody gives more than they have

MINE = Key("me", "ssh-ed25519", ED25519, HOST, expires=4e9)
GIVEN = {  # what a key gives -> why it cannot
    "less": (replace(MINE, right=READ, projects=("hello",)), ""),
    "the same": (MINE, ""),
    "more time": (replace(MINE, expires=4e9 + 1), "a key cannot outlast yours"),
    "all time": (replace(MINE, right=READ, expires=None), "a key cannot outlast yours"),
}


@pytest.mark.parametrize("name", GIVEN)
def test_a_key_gives_no_more_time_than_it_has(name: str) -> None:
    given, why = GIVEN[name]
    with pytest.raises(RefusedError, match=why) if why else nullcontext():
        check_within(MINE, given)


@pytest.mark.parametrize(
    ("own", "given", "fits"),
    [((PUSH, ("a", "b")), (PUSH, ("a",)), True), ((PUSH, ("a",)), (PUSH, ("a", "b")), False),
     ((PUSH, ("a",)), (PUSH, ()), False), ((PUSH, ("a",)), (ADMIN, ("a",)), False), ((ADMIN, ()), (PUSH, ("x",)), True),
     ((ADMIN, ()), (HOST, ()), False)],
)  # fmt: skip
def test_a_key_gives_no_right_and_no_project_that_it_has_not(own: Any, given: Any, fits: bool) -> None:
    mine, theirs = (replace(MINE, right=right, projects=names) for right, names in (own, given))
    with nullcontext() if fits else pytest.raises(RefusedError, match=r"you cannot grant|a key cannot outlast"):
        check_within(mine, theirs)


def test_the_right_host_is_on_no_project_alone() -> None:
    for key in (replace(MINE, projects=("a",)), replace(MINE, right=READ, more=(Grant(HOST, ("a",)),))):
        with pytest.raises(UsageError, match="the right host applies to the whole host"):
            check_grants(key)
    check_grants(MINE)


def test_a_key_of_the_host_adds_keys_and_is_named_as_who_did(serving_here: daemon.Daemon) -> None:
    site, ring = serving_here.site, Keyring(serving_here.site.history)
    mine = Principal("boss", serving_here.rights, caller("ssh"), replace(MINE, name="boss"))
    for expires, fits in (("2030-01-01", True), ("", False)):
        asked = asks.KeyAdd(name="new", key=f"ssh-ed25519 {ED25519}", expires=expires)
        call = Call(site=site, principal=mine, asked=asked)
        if fits:
            assert looks.told("key add", call).plain["by"] == "boss"
        else:
            ring.remove("new")
            with pytest.raises(RefusedError, match="a key cannot outlast yours"):
                looks.told("key add", call)
            assert ring.key("new") is None
    for folder in ("/etc/x", ".", "..", "x/"):
        with pytest.raises(UsageError, match="your own installer"):
            looks.told("init", Call(site=site, principal=mine, asked=asks.Init(project="x", installer=folder)))


@pytest.mark.parametrize("name", ["init", "link", "unlink", "remove-archive"])
def test_what_needs_a_project_alone_gives_up_where_that_is_long_busy(
    serving_here: daemon.Daemon, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = serving_here.site
    mine = Principal("boss", serving_here.rights, caller("ssh"), replace(MINE, name="boss"))
    asked = example(OPERATIONS[name].asks)
    call = Call(site=site, principal=mine, asked=replace(asked, project="hello"), rows=(site.known("hello"),))
    monkeypatch.setattr(hosting, "ALONE", 0)
    running = site.history.move(site.history.enqueue("hello", Request(kind="deploy")), RUNNING)
    with locked(site.host.project("hello")):
        with pytest.raises(RefusedError, match=rf"^deployment {running.number} of hello is running$") as caught:
            looks.told(name, call)
        assert f" log hello {running.number} -f" in site.spell(caught.value.hint)
        site.history.end(site.history.move(running, FAILED))
        with pytest.raises(RefusedError, match=r"^something else runs in hello$"):
            looks.told(name, call)


def test_levels_know_the_fourth_right() -> None:
    assert levels(MINE) == {ANY: 3}


# versions


def answer(made: daemon.Daemon, **asked: Any) -> list[dict[str, Any]]:
    """Have a daemon answer a request as it is."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(json.dumps(asked).encode() + b"\n")
        made._answer(connection.Connection(ours))
        ours.shutdown(socket.SHUT_RDWR)
        return plain([json.loads(line) for line in theirs.makefile("rb")])


def test_hook_client_and_daemon_speak_one_version(serving_here: daemon.Daemon) -> None:
    (spoken,) = re.findall(r'"v": (\d+), "op": "push"', HOOK.read_text())
    assert int(spoken) == answers.request("ping", asks.Nothing())["v"] == answers.VERSION
    assert answer(serving_here, **answers.request("ping", asks.Nothing()))[0]["result"]["busy"] is False


def test_a_caller_from_before_versions_is_served_where_it_is_understood(serving_here: daemon.Daemon) -> None:
    assert answer(serving_here, op="ping")[0]["result"]
    (told,) = answer(serving_here, op="request", project="hello", request={})
    assert (told["error"], told["code"]) == (
        "the caller is older than the daemon: it uses version 0 of the protocol, not 1", 2,
    )  # fmt: skip


@pytest.mark.parametrize("op", ["ping", "push", "something new"])
def test_a_newer_caller_is_told_so_and_nothing_is_done(serving_here: daemon.Daemon, op: str) -> None:
    (told,) = answer(serving_here, v=answers.VERSION + 1, op=op, project="hello")
    assert told["error"] == "the caller is newer than the daemon: it uses version 2 of the protocol, not 1"
    assert "systemctl restart corpushooks" in told["hint"]


@pytest.mark.parametrize("version", [-1, "1", None, [1], 1.0, True])
def test_a_version_that_is_none_is_not_understood(serving_here: daemon.Daemon, version: Any) -> None:
    told = answer(serving_here, v=version, op="ping")
    assert told[-1].get("error") == "invalid request: v"


@pytest.mark.parametrize(("version", "word"), [(0, "older"), (7, "newer")])
def test_a_command_is_told_that_the_daemon_is_of_another_version(tmp_path: Path, version: int, word: str) -> None:
    said = {"v": version, "error": "invalid request", "hint": "", "code": 2}
    with (
        daemon_of(Host(tmp_path), says(said)),
        pytest.raises(CorpusError, match=f"the daemon is {word} than") as caught,
    ):
        client.ask(Host(tmp_path), "cancel", asks.OfProject(project="hello"), print)
    assert "systemctl restart corpushooks" in str(caught.value.hint)


def test_what_another_version_answers_is_taken_where_it_is_understood(tmp_path: Path) -> None:
    with daemon_of(Host(tmp_path), says({"v": 7, "result": {"a": 1}, "more": "x"})):
        assert client.ask(Host(tmp_path), "cancel", asks.OfProject(project="hello"), print) == {"a": 1}


def test_the_package_of_operations_says_what_is_where() -> None:
    folder = Path(operations.__file__).parent
    assert operations.__doc__
    for path in folder.glob("[a-z]*.py"):
        assert path.stem in operations.__doc__, path
