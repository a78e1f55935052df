"""Keys and groups of a directory: a real slapd says whose a key is and what that person may."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from corpushooks import shell
from corpushooks.access import ldap, lookup
from corpushooks.access.keyring import Keyring
from corpushooks.access.keys import Key
from corpushooks.access.principal import Principal
from corpushooks.core.directory import Directory, Granted
from corpushooks.core.errors import ConfigError, DoorError, RefusedError
from corpushooks.core.project import Host
from corpushooks.core.rights import Accounts, Caller, Grant, Rights
from corpushooks.core.schema import keys_of
from corpushooks.core.settings import load, parse
from corpushooks.store.history import open_store
from corpushooks.system import distribution
from corpushooks.system.process import run
from tests.support import sshd
from tests.support.box import Box
from tests.support.command import asked, corpus
from tests.support.places import TOP
from tests.support.slapd import BASE, READER, Slapd, new_blob, serving

PAGE = TOP / "docs/ldap.md"
KIND = "ssh-ed25519"
DAY = 86400.0


@pytest.fixture(scope="module")
def slapd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with serving(tmp_path_factory.mktemp("slapd")) as found:
        yield found


@pytest.fixture
def slapd(slapd_server: Slapd) -> Iterator[Slapd]:
    """Return the directory, which is up and empty for every test."""
    yield slapd_server
    if not slapd_server.process:
        slapd_server.start()
    slapd_server.clear()


def said(slapd: Slapd, **other: object) -> dict[str, object]:
    """Return what the settings say of the directory."""
    return {
        "uri": slapd.uri, "base": f"ou=people,{BASE}", "group_base": f"ou=groups,{BASE}", "bind_dn": READER,
        "bind_password_file": str(slapd.folder / "reader"), "ca_file": str(slapd.folder / "tls.crt"),
        "groups": {"devs": {"right": "push", "projects": ["hello"]}, "ops": {"right": "admin", "projects": ["shop"]}},
        **other,
    }  # fmt: skip


def where(slapd: Slapd, **other: object) -> Directory:
    found = parse(json.dumps({"ldap": said(slapd, **other)}), "F").ldap
    assert found
    return found


@dataclass
class Desk:
    """A host that asks the directory, as sshd asks the host."""

    host: Host
    ring: Keyring

    def settings(self, slapd: Slapd, **other: object) -> None:
        self.host.config_file.parent.mkdir(parents=True, exist_ok=True)
        self.host.config_file.write_text(json.dumps({"auth": "ldap", "ldap": said(slapd, **other)}))

    def opens(self, blob: str) -> bool:
        return bool(shell.known(self.host, KIND, blob, "corpus"))

    def make_old(self, seconds: float) -> None:
        with self.ring.store.change() as db:
            db.execute("UPDATE key SET seen = seen - ?", (seconds,))


@pytest.fixture
def desk(tmp_path: Path, slapd: Slapd) -> Iterator[Desk]:
    host = Host(tmp_path / "host")
    history = open_store(host)
    found = Desk(host, Keyring(history))
    found.settings(slapd)
    yield found
    history.close()


# who is let in


def test_a_key_opens_with_the_right_of_its_groups(desk: Desk, slapd: Slapd) -> None:
    mine, second, others = new_blob(), new_blob(), new_blob()
    slapd.person("alice", f"{KIND} {mine} alice@home", f"{KIND} {second}")
    slapd.person("bob", f"{KIND} {others}")
    slapd.group("devs", ["alice"])
    (line,) = shell.known(desk.host, KIND, mine, "corpus")
    found = desk.ring.holding(mine)
    assert found and line == found.line(shell.forced(desk.host, found), "corpus")
    assert (found.who, found.may, found.source) == ("alice", "push hello", "ldap")
    assert re.fullmatch(r"alice\+[0-9a-f]{8}", found.name)
    assert desk.opens(second) and len(desk.ring.all()) == 2
    assert not desk.opens(others) and not desk.opens(new_blob())  # in no group; in no entry
    assert desk.ring.holding(others) is None


def test_both_kinds_of_groups_count_and_all_of_them(desk: Desk, slapd: Slapd) -> None:
    blob = new_blob()
    name = slapd.person("alice", f"{KIND} {blob}", cn="Al * (Ops)\\, x#")  # what a filter must not read
    slapd.person("bob", f"{KIND} {new_blob()}", cn="Al Bob (Ops)\\, x#")
    slapd.group("DEVS", ["alice", "bob"])
    slapd.group("ops", names=[name])
    assert desk.opens(blob)
    found = desk.ring.holding(blob)
    assert found and found.grants == (Grant("admin", ("shop",)), Grant("push", ("hello",)))
    assert [found.refusal("admin", name) for name in ("shop", "hello", "other")] == [
        "", "it has the right push, not admin", "it is limited to shop hello"
    ]  # fmt: skip


def test_a_session_for_one_project_has_no_right_of_another() -> None:
    """Who may insist on what is frozen in one project may not in the next, where another group lets him in."""
    key = Key("x", KIND, "x", "admin", ("shop",), more=(Grant("push", ("hello",)),))
    rights = Rights(0, "corpus", Accounts(lambda _: None, lambda _: None, lambda _: None))
    for project, admin in (("shop", True), ("hello", False)):
        visitor = Principal("x", rights, Caller(1000, "corpus", frozenset()), key, project)
        assert (visitor.admin(project), visitor.may(project, "push")) == (admin, True)
    of_all = Principal("x", rights, Caller(1000, "corpus", frozenset()), key)
    assert (of_all.admin("shop"), of_all.admin("hello")) == (True, False)


@pytest.mark.parametrize("key", ["sshPublicKey", "sshKeyText"])
def test_a_key_is_found_whatever_the_directory_can_compare(slapd: Slapd, key: str) -> None:
    """The schema that most have knows no part of a key: one with a comment is then found by reading all."""
    plain, noted, optional = new_blob(), new_blob(), new_blob()
    slapd.person("alice", f"{KIND} {plain}", f"{KIND} {noted} a comment", f"no-pty {KIND} {optional}", key=key)
    asked = where(slapd, key=key)
    assert ldap.find(asked, KIND, plain) == ldap.find(asked, KIND, noted) == ldap.Person("alice", ())
    assert ldap.find(asked, KIND, optional) is None  # we cannot keep what it says
    assert ldap.find(asked, KIND, noted[:-8]) is None


def test_more_entries_than_one_page_are_read(slapd: Slapd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ldap, "PAGE", 2)
    blobs = [new_blob() for _ in range(5)]
    for number, blob in enumerate(blobs):
        slapd.person(f"p{number}", f"{KIND} {blob} x")
    found = [ldap.find(where(slapd), KIND, blob) for blob in blobs]
    assert [person and person.uid for person in found] == ["p0", "p1", "p2", "p3", "p4"]


def test_a_key_of_two_people_is_nobodys(desk: Desk, slapd: Slapd, capsys: pytest.CaptureFixture[str]) -> None:
    blob = new_blob()
    slapd.person("alice", f"{KIND} {blob}")
    slapd.group("devs", ["alice"])
    assert desk.opens(blob)
    slapd.person("mallory", f"{KIND} {blob}")
    assert not desk.opens(blob) and desk.ring.all() == []
    assert (
        f"error: the ssh key is in 2 entries, expected one: cn=alice,ou=people,{BASE}; cn=mallory"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "words", [("ssh-ed25519", "*)(uid=*"), ("ssh-ed25519", "AAAA*"), ("*", new_blob()), ("ssh-dss", new_blob())]
)
def test_what_is_no_key_is_not_asked_for(
    desk: Desk, slapd: Slapd, words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    slapd.stop()
    assert shell.known(desk.host, *words, "corpus") == []
    assert capsys.readouterr().err == ""  # who asked would have complained


@pytest.mark.parametrize("blob", ["*", "AAAA*", "x)(uid=*", "\\2a", "\0"])
def test_a_filter_takes_a_key_as_it_is(slapd: Slapd, blob: str) -> None:
    slapd.person("alice", f"{KIND} {new_blob()}")
    assert ldap.find(where(slapd), KIND, blob) is None


def test_a_name_that_could_be_more_than_a_name_is_refused(
    desk: Desk, slapd: Slapd, capsys: pytest.CaptureFixture[str]
) -> None:
    blob = new_blob()
    slapd.person('a" b', f"{KIND} {blob}", cn="x")
    slapd.group("devs", ['a" b'])
    assert not desk.opens(blob)
    assert ": use letters, digits and . _ @ + -, at most 55" in capsys.readouterr().err


# what is taken back, and a directory that is down


@pytest.mark.parametrize("what", ["key", "group", "entry", "filter"])
def test_what_the_directory_takes_back_opens_nothing_from_then_on(desk: Desk, slapd: Slapd, what: str) -> None:
    blob = new_blob()
    name = slapd.person("alice", f"{KIND} {blob} x")
    group = slapd.group("devs", ["alice"])
    assert desk.opens(blob)
    if what == "key":
        slapd.take_out(name, "sshPublicKey", f"{KIND} {blob} x")
    elif what == "filter":
        desk.settings(slapd, filter="(&(objectClass=posixAccount)(!(uid=alice)))")
    else:
        slapd.take_out(group if what == "group" else name)
    assert not desk.opens(blob)
    assert desk.ring.all() == []
    slapd.stop()
    assert not desk.opens(blob)


def test_a_session_over_an_old_connection_is_asked_for(desk: Desk, slapd: Slapd, box: Box) -> None:
    """ssh keeps connections open (ControlMaster): a session over one may come long after sshd asked for the key."""
    blob = new_blob()
    slapd.person("alice", f"{KIND} {blob}")
    group = slapd.group("devs", ["alice"])
    box.settings(json.dumps({"auth": "ldap", "ldap": said(slapd)}))
    box.stop()
    box.start()
    history = box.history
    there = Desk(box.host, Keyring(history))
    assert there.opens(blob)
    (key,) = there.ring.all()
    asked = {"op": "admit", "key": key.name, "mark": key.mark, "certificate": "", "right": "read", "project": "hello"}
    there.make_old(lookup.FRESH)
    assert box.ask(**asked, repo="project")["who"] == "alice"
    assert corpus(box, "key", "test", key.name, "hello").code == 0
    slapd.take_out(group)
    assert box.ask(**asked, repo="project")["who"] == "alice"  # it was asked for a moment ago
    there.make_old(lookup.FRESH)
    with pytest.raises(RefusedError, match="session expired or key revoked"):
        box.ask(**asked, repo="project")
    assert there.ring.all() == []
    history.close()


def test_the_test_of_a_key_asks_the_directory(slapd: Slapd, box: Box) -> None:
    blob = new_blob()
    slapd.person("alice", f"{KIND} {blob}")
    group = slapd.group("devs", ["alice"])
    box.settings(json.dumps({"auth": "ldap", "ldap": said(slapd)}))
    history = box.history
    there = Desk(box.host, Keyring(history))
    assert there.opens(blob)
    (key,) = there.ring.all()
    there.make_old(lookup.FRESH)
    slapd.take_out(group)
    told = corpus(box, "key", "test", key.name, "hello")
    assert (told.code, told.stderr.decode().splitlines()[0]) == (3, f"error: the directory no longer admits {key.name}")
    history.close()


def test_a_directory_that_is_down_locks_nobody_out_for_a_time(
    desk: Desk, slapd: Slapd, capsys: pytest.CaptureFixture[str]
) -> None:
    blob, unseen = new_blob(), new_blob()
    slapd.person("alice", f"{KIND} {blob}", f"{KIND} {unseen}")
    slapd.group("devs", ["alice"])
    assert desk.opens(blob)
    slapd.stop()
    assert desk.opens(blob) and not desk.opens(unseen)
    told = capsys.readouterr()
    assert f"error: the directory {slapd.uri}: " in told.err and "Traceback" not in told.err and not told.out
    desk.make_old(DAY - 60)
    assert desk.opens(blob)
    desk.make_old(60)
    assert not desk.opens(blob)
    slapd.start()
    assert desk.opens(blob)  # it was seen again
    slapd.stop()
    assert desk.opens(blob)
    desk.make_old(-DAY)  # a clock that was wrong
    assert not desk.opens(blob)


def test_a_directory_that_says_nothing_is_down(slapd: Slapd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        deaf = where(slapd, uri=f"ldap://127.0.0.1:{silent.getsockname()[1]}", timeout=0.1)
        with pytest.raises(DoorError, match=r"did not answer within 0\.1 s"):
            ldap.find(deaf, KIND, new_blob())


def test_keys_of_a_directory_that_is_no_longer_asked_open_nothing(desk: Desk, slapd: Slapd) -> None:
    blob = new_blob()
    slapd.person("alice", f"{KIND} {blob}")
    slapd.group("devs", ["alice"])
    assert desk.opens(blob)
    desk.host.config_file.write_text("auth: keys\n")
    assert not desk.opens(blob)


def test_a_key_that_was_added_by_hand_wins_and_needs_no_directory(desk: Desk, slapd: Slapd) -> None:
    blob = new_blob()
    slapd.person("alice", f"{KIND} {blob}")
    slapd.group("devs", ["alice"])
    assert desk.opens(blob)
    given = desk.ring.add(Key("al", KIND, blob, "read"))
    assert desk.ring.remember(dataclasses.replace(given, name="alice+1", right="admin", source="ldap")) == given
    desk.ring.forget(blob)
    assert desk.ring.all() == [given]
    slapd.stop()
    desk.host.config_file.write_text("no settings: [\n")
    assert desk.opens(blob)


# how it is asked


WRONG = {
    "password": ({"bind_dn": f"cn=nobody,{BASE}"}, "invalidCredentials"),
    "nobody": ({"bind_dn": None, "bind_password_file": None}, "insufficientAccessRights"),
    "base": ({"base": "dc=elsewhere"}, "noSuchObject"),
    "authority": ({"ca_file": None}, "certificate verify failed: self-signed certificate"),
    "no file": ({"ca_file": "/nonexistent"}, "ldap.ca_file: cannot read /nonexistent"),
    "name": ({"uri": "ldap://localhost:PORT"}, "certificate verify failed: Hostname mismatch"),
    "plain": ({"uri": "ldaps://127.0.0.1:PORT", "timeout": 2}, "the directory ldaps://127.0.0.1:PORT"),
    "attribute": ({"key": "sshKeyText"}, "has no entry with sshKeyText and (objectClass=posixAccount)"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_a_directory_is_said_in_one_line(slapd: Slapd, what: str) -> None:
    given, words = WRONG[what]
    slapd.person("alice", f"{KIND} {new_blob()}")
    other = {key: value.replace("PORT", str(slapd.port)) if isinstance(value, str) else value
             for key, value in given.items()}  # fmt: skip
    wrong = ldap.check(where(slapd, **other))
    assert words.replace("PORT", str(slapd.port)) in wrong and "\n" not in wrong
    assert ldap.check(where(slapd)) == ""


@pytest.mark.parametrize("socket_file", [True, False])
def test_a_directory_can_be_asked_without_a_network_or_tls(slapd: Slapd, socket_file: bool) -> None:
    blob = new_blob()
    slapd.person("alice", f"{KIND} {blob}")
    other = {"uri": f"ldapi://{slapd.socket}"} if socket_file else {"starttls": False}
    found = ldap.find(where(slapd, **other, ca_file=None), KIND, blob)
    assert found and found.uid == "alice"


def test_a_password_that_others_can_read_is_not_used(
    desk: Desk, slapd: Slapd, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "password"
    for text, mode, words in (
        ("x", 0o640, "the password is readable by others"),
        ("\n", 0o600, "the file has no password"),
    ):
        path.write_text(text)
        path.chmod(mode)
        desk.settings(slapd, bind_password_file=str(path))
        assert not desk.opens(new_blob())
        assert f"error: {path}: {words}" in capsys.readouterr().err
    assert "cannot read the password" in ldap.check(where(slapd, bind_password_file=str(tmp_path / "absent")))


def test_a_host_without_the_library_is_told_what_to_install(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from corpushooks import access

    monkeypatch.setitem(sys.modules, "ldap3", None)
    monkeypatch.delitem(sys.modules, "corpushooks.access.ldap")
    monkeypatch.delattr(access, "ldap")
    assert not desk.opens(new_blob())
    assert capsys.readouterr().err.splitlines() == [
        "error: auth: ldap requires the library ldap3", f"hint: {distribution.completing()}"
    ]  # fmt: skip


BAD = [
    ({"uri": "http://x"}, 'ldap.uri: expected ldaps://HOST, ldap://HOST or ldapi://SOCKET (its slashes'),
    ({"uir": "x"}, 'ldap: unknown key "uir"; did you mean "uri"?'),
    ({"uri": None}, "ldap.uri: expected ldaps://HOST"),
    ({"key": "a)(b"}, "ldap.key: expected the name of an attribute, got"),
    ({"filter": "(a)(b)"}, 'ldap.filter: expected a filter in parentheses, got "(a)(b)"'),
    ({"timeout": 0}, "ldap.timeout: expected a positive number of seconds, got 0"),
    ({"cache": -1}, "ldap.cache: expected a number of seconds, got -1"),
    ({"starttls": "no"}, 'ldap.starttls: expected true or false, got "no"'),
    ({"bind_dn": None}, "ldap: bind_dn and bind_password_file must be set together"),
    ({"groups": {}}, "ldap.groups: expected a mapping of groups, got a mapping"),
    ({"groups": {"a": "push"}}, 'ldap.groups.a: expected a mapping, got "push"'),
    ({"groups": {"a": {}}}, "ldap.groups.a: right is missing"),
    ({"groups": {"a": {"right": "all"}}}, 'ldap.groups.a.right: expected read or push or admin or host, got "all"'),
    (
        {"groups": {"a": {"right": "host", "projects": ["x"]}}},
        "ldap.groups.a.projects: the right host applies to the whole host, not to projects",
    ),
    (
        {"groups": {"a": {"right": "push", "projects": []}}},
        "ldap.groups.a.projects: expected a non-empty list of names, got a list",
    ),
    ({"groups": {"a": {"right": "push", "project": ["x"]}}}, 'unknown key "project"; did you mean "projects"?'),
    (
        {"groups": {"a": {"right": "push", "projects": ["UP"]}}},
        "ldap.groups.a.projects: invalid project name 'UP': use a-z, 0-9, - and _, starting with a letter or digit",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("other", "words"), BAD, ids=[words[:40] for _, words in BAD])
def test_wrong_settings_are_said_with_file_and_key(slapd: Slapd, other: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        where(slapd, **other)
    assert caught.value.message.startswith("F: ldap") and words in caught.value.message


def test_what_is_needed_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r'^F: auth: "ldap" requires the key ldap with the address of the directory$'):
        parse("auth: ldap\nldap:\n", "F")
    with pytest.raises(ConfigError, match=r"^F: ldap: groups is missing"):
        parse("ldap: {uri: 'ldap://x', base: x}", "F")


# the whole of it


def test_who_comes_through_sshd_deploys_as_the_person_of_the_directory(box: Box, slapd: Slapd, tmp_path: Path) -> None:
    box.settings(json.dumps({"auth": "ldap", "ldap": said(slapd)}))
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a comment", "-f", tmp_path / "mine"])
    name = slapd.person("alice", (tmp_path / "mine.pub").read_text().strip())
    slapd.group("devs", ["alice"])
    folder = tmp_path / "sshd"
    folder.mkdir()
    box.app()
    with sshd.serving(folder, box.host.root) as server:
        work = box.work()
        work.git("config", "core.sshCommand", server.command_with(tmp_path / "mine"))
        work.remote = server.url("/hello")
        pushed = work.push()
        assert pushed.code == 0 and pushed.lines[0].endswith(", by alice"), pushed.text
        (found,) = _keys(box)
        assert (box.deployment(1).request.who, box.deployment(1).request.key) == ("alice", found.name)
        _commands_know_it(box, found.name)
        slapd.take_out(name)
        assert "Permission denied" in work.push("HEAD:refs/deploy/now").text
    assert _keys(box) == []


def _keys(box: Box) -> list[Key]:
    history = box.history
    try:
        return Keyring(history).all()
    finally:
        history.close()


def _commands_know_it(box: Box, name: str) -> None:
    listed = corpus(box, "key", "list").text
    assert re.search(r"push   hello  SHA256:\S+ \(ssh-ed25519, of ldap, seen \S+ \S+ UTC\)", listed)
    assert asked(box, "key", "test", name, "hello") == {
        "read": True, "push": True, "admin": False, "host": False,
    }  # fmt: skip
    refused = corpus(box, "key", "remove", name)
    assert (refused.code, f"error: {name} is managed by the directory" in refused.stderr.decode()) == (3, True)


# the page


def test_the_example_of_the_page_is_read(tmp_path: Path) -> None:
    (shown,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "config.yaml").write_text(shown)
    found = load(tmp_path / "config.yaml")
    assert found.auth == "ldap" and found.ldap
    assert found.ldap.grants(["deployers", "operators"]) == (Grant("admin"), Grant("push", ("hello", "shop")))


def test_the_page_names_every_key() -> None:
    rows = []
    for key in keys_of(Directory).values():
        default = "" if key.name in ("uri", "base", "groups") else f"`{json.dumps(key.default)}`"
        rows.append(f"| `{key.name}` | {key.kind.words} | {default} | {key.doc} |".replace("  ", " "))
    page = re.sub(" +", " ", PAGE.read_text()).replace("\\|", "|")
    assert [row for row in rows if row not in page] == []
    assert set(keys_of(Granted)) == {"right", "projects"} and yaml.safe_load("`right`: 1".strip("`: 1")) == "right"
