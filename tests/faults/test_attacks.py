"""What somebody tries who has a key, or had one, and wants more than it gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from corpushooks.access.keyring import Keyring
from corpushooks.store.history import History
from corpushooks.system.process import run, spawn, stop_group
from tests.support.box import Box, until
from tests.support.command import asked, corpus
from tests.support.door import Door, said
from tests.support.ssh_keys import ED25519, KEY, OTHER


def test_a_key_that_is_refused_does_not_open_in_the_name_of_another(box: Box, tmp_path: Path) -> None:
    path, mine, theirs = (tmp_path / name for name in ("keys", "mine.pub", "theirs.pub"))
    mine.write_text(f"ssh-ed25519 {ED25519}\n")
    theirs.write_text(f"ssh-ed25519 {OTHER}\n")
    box.settings(f"authorized_keys: {path}\n")
    asked(box, "key", "add", "alice", str(mine), "--admin")
    before = path.read_text()
    refused = corpus(box, "key", "add", "alice", str(theirs), "--read")
    assert (refused.code, "the name 'alice' is taken by another key" in refused.stderr.decode()) == (2, True)
    assert path.read_text() == before


def test_who_may_not_insist_gets_nothing_from_having_insisted_before_the_freeze(door: Door) -> None:
    door.add("alice")
    gate = f"gate:\n  cmd.run:\n    - name: while ! test -e {door.box.root}/gate; do sleep 0.05; done\n"
    door.box.app(files={".salt/10_gate.sls": gate})
    work = door.work("alice")
    first = work.start_push()
    until(lambda: door.box.exists(1) and "install 00_page" in door.box.log(1))
    run(["git", "-C", work.path, "push", "-q", "-o", "nowait", "-o", "force", work.remote, "HEAD:refs/deploy/now"])
    asked(door.box, "freeze", "hello", "why")
    (door.box.root / "gate").touch()
    assert first.wait(30) == 0
    assert door.box.ended(2).state == "refused"


@pytest.fixture
def kept(door: Door, tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """A connection that bob's key opened, and that stays: the options of ssh to go on with it."""
    door.add("bob", "read")
    path = ("-o", f"ControlPath={tmp_path}/c")
    command = door.server.command_with(door.folder / "bob").split()
    user, _, port = door.server.url("").removeprefix("ssh://").rpartition(":")
    master = spawn([*command, *path, "-o", "ControlMaster=yes", "-N", "-p", port, user])
    until(lambda: door.ssh("bob", flags=(*path, "-O", "check")).code == 0)
    yield path
    stop_group(master.pid)
    master.wait()


def test_a_connection_of_a_key_that_was_changed_is_not_one_of_the_new_key(door: Door, kept: tuple[str, ...]) -> None:
    assert said(door.ssh("bob", "whoami", flags=kept)) == "bob has rights: read every project\n"
    door.remove("bob")
    for path in door.folder.glob("bob*"):
        path.rename(door.folder / f"stolen{path.suffix}")
    door.made.remove("bob")
    door.add("bob", "admin")
    assert said(door.ssh("bob", "whoami")) == "bob has rights: admin every project\n"
    told = door.ssh("stolen", "whoami", flags=kept)
    assert (told.code, "session expired or key revoked" in said(told)) == (3, True)


def test_a_session_of_a_key_that_was_removed_is_not_one_of_the_next_of_its_name(tmp_path: Path) -> None:
    ring = Keyring(History(tmp_path / "store.sqlite"))
    left = ring.admit(ring.add(KEY), "alice", "read", "hello", (1, 1))
    ring.remove("alice")
    ring.add(replace(KEY, blob=OTHER))
    assert ring.admission(left.token) is None


def test_a_certificate_for_nobody_is_not_one_for_everybody(door: Door) -> None:
    door.trust("ops")
    door.certify("dave", "ops", "dave", "-n", door.server.url("").split("//")[1].split("@")[0])
    door.certify("erin", "ops", "erin")
    assert said(door.ssh("dave", "whoami")) == "ops/dave has rights: push every project\n"
    assert "Permission denied" in said(door.ssh("erin", "whoami"))
