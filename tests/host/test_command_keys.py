"""The commands that say who may, as processes: key, freeze, thaw."""

from __future__ import annotations

import json
import os
import pty
import sys
from pathlib import Path

import pytest

from corpushooks.access import authorized_keys, keys
from corpushooks.access.keyring import Keyring
from corpushooks.access.keys import Key
from corpushooks.core.errors import RefusedError
from corpushooks.system.process import run, spawn
from tests.support.box import Box, until
from tests.support.command import ME, asked, corpus
from tests.support.ssh_keys import ED25519, OTHER

LINE = f"ssh-ed25519 {ED25519} alice@example"


@pytest.fixture
def pub(tmp_path: Path) -> Path:
    path = tmp_path / "alice.pub"
    path.write_text(LINE + "\n")
    return path


def test_keys_are_added_listed_tried_and_removed(box: Box, pub: Path) -> None:
    made = asked(box, "key", "add", "alice", str(pub), "--read", "--project", "hello", "--expires", "30d")
    assert (made["right"], made["projects"], made["by"]) == ("read", ["hello"], ME)
    assert asked(box, "key", "list") == [{key: value for key, value in made.items() if key != "before"}]
    assert asked(box, "key", "test", "alice", "hello") == {
        "read": True, "push": False, "admin": False, "host": False,
    }  # fmt: skip
    listed = corpus(box, "key", "list").text
    assert listed.startswith("alice            read   hello, until ") and made["fingerprint"] in listed
    assert (
        corpus(box, "key", "test", "alice", "hello").text.splitlines()[1]
        == "push   no: it has the right read, not push"
    )
    assert corpus(box, "key", "remove", "alice").text == "revoked alice: read hello"
    none = f"no keys: corpus --root {box.host.root} key add NAME FILE"
    assert corpus(box, "key", "list").text == none


def test_who_types_a_key_in_is_asked_for_it(box: Box) -> None:
    words = [sys.executable, "-m", "corpushooks", "--root", str(box.host.root), "key", "add", "alice", "-"]
    ours, theirs = pty.openpty()
    child = spawn(words, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while b"Ctrl-D." not in shown:
        shown += os.read(ours, 65536)
    os.write(ours, f"{LINE}\n\x04".encode())
    assert child.wait(20) == 0
    os.close(ours)
    assert [key["name"] for key in asked(box, "key", "list")] == ["alice"]
    piped = run([*words[:-2], "bob", "-"], stdin=f"ssh-ed25519 {OTHER}\n".encode())
    assert b"Ctrl-D" not in piped.stdout + piped.stderr


WRONG = {
    "add alice /nonexistent": "No such file",
    "add -- -x PUB": "invalid key name",
    "add alice PUB --project UP": "invalid project name",
    "add alice PUB --expires yesterday": "invalid expiry",
    "add alice PUB --principal x": "--principal needs --authority",
    "remove bob": "unknown key 'bob'",
    "test bob hello": "unknown key 'bob'",
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_words_about_keys_are_told_in_one_line(box: Box, pub: Path, words: str) -> None:
    output = corpus(box, "key", *words.replace("PUB", str(pub)).split())
    assert (output.code, output.stdout) == (2, b"")
    assert WRONG[words] in output.stderr.decode() and "Traceback" not in output.stderr.decode()
    assert asked(box, "key", "list") == []


# a key that is here

READ, PUSH, ADMIN = "--read", "--push", "--admin"
H, S, EVERY = ("--project", "hello"), ("--project", "site"), ("--every-project",)
GAINED: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {  # what it has, what is added, what it has then
    "another project": ((PUSH, *H), (PUSH, *S), "push hello site"),
    "the same": ((PUSH, *H), (PUSH, *H), "push hello"),
    "less": ((PUSH, *H, *S), (PUSH, *H), "push hello site"),
    "a lower right": ((PUSH, *H), (READ, *H), "push hello"),
    "a lower right elsewhere": ((PUSH, *H), (READ, *S), "read site; push hello"),
    "a higher right": ((READ, *H), (PUSH, *H), "push hello"),
    "a higher right for one of two": ((READ, *H, *S), (PUSH, *H), "read site; push hello"),
    "one project, for a key for all": ((PUSH,), (ADMIN, *H), "push every project; admin hello"),
    "one project, for a key that has it": ((PUSH,), (PUSH, *H), "push every project"),
    "more, for a key for all": ((READ,), (PUSH,), "push every project"),
}  # fmt: skip


def may(box: Box) -> str:
    """Return what the only key may, as `key list` says it."""
    words = corpus(box, "key", "list").text.split("  SHA256:")[0].split()
    return " ".join(words[1:])


@pytest.mark.parametrize("what", GAINED)
def test_adding_a_key_again_takes_nothing_away(box: Box, pub: Path, what: str) -> None:
    has, more, then = GAINED[what]
    corpus(box, "key", "add", "alice", str(pub), *has)
    before = may(box)
    told = corpus(box, "key", "add", "alice", str(pub), *more)
    assert (told.code, may(box)) == (0, then)
    if before == then:
        assert told.text.startswith("unchanged: alice ")
    else:
        assert told.text.splitlines() == ["changed alice", f"rights: {before} -> {then}"]


LOST = {  # what it has, what is added: the command that does what was meant
    "no project named": ((PUSH, *H), (PUSH,), "key set alice --push --every-project"),
    "an end": ((PUSH, *H), (PUSH, *H, "--expires", "2100-01-02"), "key set alice --expires 2100-01-02"),
    "an earlier end": (
        (PUSH, "--expires", "2100-01-02"), (PUSH, "--expires", "2100-01-01"), "key set alice --expires 2100-01-01",
    ),
    "an authority's": ((PUSH,), (PUSH, "--authority"), "key remove alice, then add it again"),
    "principals": (
        (PUSH, "--authority"), (PUSH, "--authority", "--principal", "ops"), "key set alice --principal ops",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", LOST)
def test_adding_what_would_take_something_away_is_refused_with_the_command_for_it(
    box: Box, pub: Path, what: str
) -> None:
    has, more, command = LOST[what]
    corpus(box, "key", "add", "alice", str(pub), *has)
    before = asked(box, "key", "list")
    told = corpus(box, "key", "add", "alice", str(pub), *more)
    assert (told.code, told.stdout, asked(box, "key", "list")) == (3, b"", before)
    hint = told.stderr.decode().splitlines()[1]
    assert hint.endswith(f" {command}") and hint.startswith("hint: corpus ")
    if "then" not in command:
        done = corpus(box, *command.split())
        assert done.code == 0 and done.text.startswith("changed alice\n"), done.stderr


def test_a_later_end_is_given_and_none_leaves_it(box: Box, pub: Path) -> None:
    corpus(box, "key", "add", "alice", str(pub), *H, "--expires", "2100-01-01")
    assert "expiry" not in corpus(box, "key", "add", "alice", str(pub), *S).text
    assert corpus(box, "key", "add", "alice", str(pub), *S, "--expires", "2100-12-31").text.splitlines() == [
        "changed alice", "expiry: 2100-01-02 00:00 UTC -> 2101-01-01 00:00 UTC",
    ]  # fmt: skip


SET = {
    "--read": "rights: push hello -> read hello",
    "--project site": "rights: push hello -> push site",
    "--admin --every-project": "rights: push hello -> admin every project",
    "--expires 2100-01-01": "expiry: 2101-01-01 00:00 UTC -> 2100-01-02 00:00 UTC",
    "--expires never": "expiry: 2101-01-01 00:00 UTC -> none",
}


@pytest.mark.parametrize("words", SET)
def test_what_is_set_changes_and_nothing_else(box: Box, pub: Path, words: str) -> None:
    corpus(box, "key", "add", "alice", str(pub), *H, "--expires", "2100-12-31")
    assert corpus(box, "key", "set", "alice", *words.split()).text.splitlines() == ["changed alice", SET[words]]
    assert corpus(box, "key", "set", "alice", *words.split()).text.startswith("unchanged: alice")


def test_what_is_set_of_several_rights_is_said_whole(box: Box, pub: Path) -> None:
    corpus(box, "key", "add", "alice", str(pub), PUSH, *H)
    corpus(box, "key", "add", "alice", str(pub), READ, *S)
    told = corpus(box, "key", "set", "alice", READ)
    assert (told.code, "give a right and projects" in told.stderr.decode()) == (2, True)
    assert corpus(box, "key", "set", "alice", PUSH, *EVERY).code == 0 and may(box) == "push every project"
    for wrong in (("bob",), ("alice", *EVERY, *H), ("alice", "--principal", "x")):
        assert corpus(box, "key", "set", *wrong).code == 2


def test_a_directorys_key_is_not_made_less_by_adding_it(box: Box, pub: Path) -> None:
    kind, blob, _ = keys.parse(LINE)
    history = box.history
    ring = Keyring(history)
    ring.remember(Key("al", kind, blob, "push", ("hello", "other"), source="ldap", seen=1.0, person="al"))
    history.close()
    told = corpus(box, "key", "add", "jo", str(pub), PUSH, *S)
    assert (told.code, told.stderr.decode().splitlines()) == (3, [
        "error: the key al has more rights from the directory: push hello other",
        f"hint: corpus --root {box.host.root} key set al --push --project site",
    ])  # fmt: skip
    told = corpus(box, "key", "add", "jo", str(pub), PUSH, *H, "--project", "other", *S)
    assert told.text.splitlines() == [
        "changed jo", "name: al -> jo", "rights: push hello other -> push hello other site",
        "source: ldap -> added by hand",
    ]  # fmt: skip


# a file that sshd reads


def test_keys_stand_in_the_file_that_the_host_names(box: Box, pub: Path, tmp_path: Path) -> None:
    path = tmp_path / "authorized_keys"
    path.write_text("# mine\nssh-rsa AAAA someone\n")
    path.chmod(0o640)
    box.settings(f"authorized_keys: {path}\n")
    asked(box, "key", "add", "alice", str(pub))
    lines = path.read_text().splitlines()
    assert lines[:2] == ["# mine", "ssh-rsa AAAA someone"]
    assert lines[2::2] == [authorized_keys.BEGIN, authorized_keys.END]
    assert lines[3].startswith("restrict,pty,command=")
    assert lines[3].endswith(f' alice" {LINE.rpartition(" ")[0]} alice')
    asked(box, "key", "remove", "alice")
    assert path.read_text() == "# mine\nssh-rsa AAAA someone\n"
    path.write_text(f"{LINE}\n")
    output = corpus(box, "key", "add", "alice", str(pub))
    assert (output.code, "line 1: this key is also listed outside the managed block" in output.stderr.decode()) == (
        3,
        True,
    )
    assert asked(box, "key", "list") == [] and path.read_text() == f"{LINE}\n"


@pytest.mark.parametrize("text", [f"{authorized_keys.BEGIN}\nx\n", f"x\n{authorized_keys.END}\n"])
def test_a_block_that_is_torn_is_left_to_a_person(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(RefusedError):
        authorized_keys.write(path, [Key("a", "ssh-ed25519", OTHER).line(["x"], "corpus")])
    assert path.read_text() == text


# what is frozen


def test_what_is_frozen_is_not_deployed_until_it_thaws(box: Box) -> None:
    work = box.app()
    assert work.push().code == 0
    assert corpus(box, "freeze", "hello", "migrating the database").text == (
        f"hello is frozen by {ME}: migrating the database"
    )
    work.commit({"index.html": "two"})
    pushed = work.push()
    assert (pushed.code, pushed.rejected) == (1, f"hello is frozen by {ME}: migrating the database")
    assert "hint: wait for: corpus thaw hello" in pushed.lines
    assert (box.row().live, box.exists(2)) == (1, False)
    for words in (("deploy", "hello"), ("rollback", "hello", "1"), ("task", "hello", "x")):
        output = corpus(box, *words)
        assert (output.code, "is frozen by" in output.stderr.decode()) == (3, True)
    assert corpus(box, "deploy", "hello", "--dry-run").code == 0
    assert corpus(box, "freeze", "hello", "still").text.splitlines() == [
        f"hello is frozen by {ME}: still", f"before: hello is frozen by {ME}: migrating the database",
    ]  # fmt: skip
    assert work.push(options=("force",)).code == 0  # whoever may everything can insist
    assert corpus(box, "thaw", "hello").text == "hello is no longer frozen"
    work.commit({"index.html": "three"})
    assert work.push().code == 0
    assert corpus(box, "thaw", "hello").code == 3


def test_all_of_a_host_is_frozen_at_once(box: Box) -> None:
    box.app().push()
    asked(box, "freeze", "hello", "one")
    assert json.loads(corpus(box, "freeze", "--all", "moving house", "--json").stdout)["project"] == ""
    assert "this host is frozen by" in corpus(box, "deploy", "hello").stderr.decode()
    assert "warning: this host is frozen" in corpus(box, "thaw", "hello").text
    assert corpus(box, "thaw", "--all").code == 0
    assert corpus(box, "deploy", "hello").code == 0
    for words in (("freeze", "hello"), ("freeze",), ("freeze", "nothing", "x"), ("thaw",), ("freeze", "hello", "a\nb")):
        assert corpus(box, *words).code == 2


def test_what_waits_when_a_project_is_frozen_is_refused_in_its_turn(box: Box) -> None:
    gate = f"gate:\n  cmd.run:\n    - name: while ! test -e {box.root}/gate; do sleep 0.05; done\n"
    work = box.app(files={".salt/10_gate.sls": gate})
    first = work.start_push()
    until(lambda: box.exists(1) and "install 00_page" in box.log(1))
    run(["git", "-C", work.path, "push", "--quiet", "-o", "nowait", work.remote, "HEAD:refs/deploy/now"])
    asked(box, "freeze", "hello", "why")
    (box.root / "gate").touch()
    assert first.wait(30) == 0
    assert (box.ended(2).state, box.ended(2).reason) == ("refused", f"hello is frozen by {ME}: why")
