"""The commands that say who may, as processes: key, freeze, thaw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from corpushooks import authorized_keys
from corpushooks.errors import RefusedError
from corpushooks.keys import Key
from corpushooks.run import run
from tests.host import Box, until
from tests.test_command import ME, asked, corpus
from tests.test_keys import ED25519, OTHER

LINE = f"ssh-ed25519 {ED25519} alice@example"


@pytest.fixture
def pub(tmp_path: Path) -> Path:
    path = tmp_path / "alice.pub"
    path.write_text(LINE + "\n")
    return path


def test_keys_are_added_listed_tried_and_removed(box: Box, pub: Path) -> None:
    made = asked(box, "key", "add", "alice", str(pub), "--read", "--project", "hello", "--expires", "30d")
    assert (made["right"], made["projects"], made["by"]) == ("read", ["hello"], ME)
    assert asked(box, "key", "list") == [made]
    assert asked(box, "key", "test", "alice", "hello") == {"read": True, "push": False, "admin": False}
    listed = corpus(box, "key", "list").text
    assert listed.startswith("alice            read   hello, until ") and made["fingerprint"] in listed
    assert corpus(box, "key", "test", "alice", "hello").text.splitlines()[1] == "push   no: it may read, not push"
    again = asked(box, "key", "add", "alice", str(pub))
    assert (again["right"], again["projects"], again["expires"]) == ("push", [], None)
    assert corpus(box, "key", "remove", "alice").text == "alice is let in no more"
    assert corpus(box, "key", "list").text == "no keys: corpus key add NAME FILE"


WRONG = {
    "add alice /nonexistent": "No such file",
    "add -- -x PUB": "is no name for a key",
    "add alice PUB --project UP": "is no project name",
    "add alice PUB --expires yesterday": "is no end for a key",
    "add alice PUB --principal x": "--principal is for the key of an authority",
    "remove bob": "there is no key 'bob'",
    "test bob hello": "there is no key 'bob'",
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_words_about_keys_are_told_in_one_line(box: Box, pub: Path, words: str) -> None:
    output = corpus(box, "key", *words.replace("PUB", str(pub)).split())
    assert (output.code, output.stdout) == (2, b"")
    assert WRONG[words] in output.stderr.decode() and "Traceback" not in output.stderr.decode()
    assert asked(box, "key", "list") == []


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
    assert (output.code, "line 1: a key of the store stands here too" in output.stderr.decode()) == (3, True)
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
    assert work.push(options=("force",)).code == 0  # whoever may everything can insist
    assert corpus(box, "thaw", "hello").text == "hello is frozen no more"
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
