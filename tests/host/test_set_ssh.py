"""`set` and `unset` by those who come with a key, through a real sshd."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from corpushooks.system.process import Output
from tests.support.box import until
from tests.support.door import Door, said
from tests.support.variables import FILES, GATED, at_a_terminal, commits, everywhere, git_data, value


@pytest.fixture
def live(door: Door) -> Door:
    door.add("alice", "push", "hello")
    door.box.app(files=FILES)
    assert door.work("alice").push().code == 0
    return door


def test_a_push_key_sets_in_its_name(live: Door) -> None:
    done = live.ssh("alice", "set", "hello", "v=one", "debug=true")
    assert done.code == 0, said(done)
    assert value(live.box) == "one"
    assert commits(live.box) == ["alice|corpus|Set v, debug"]
    assert (live.box.deployment(2).request.who, live.box.deployment(2).request.key) == ("alice", "alice")
    done = live.ssh("alice", "set", "hello", "v='two words {x} \u00e4'", "--no-deploy")
    assert done.code == 0, said(done)
    assert git_data(live.box) == {"v": "two words {x} \u00e4", "debug": True}
    assert f"now with: ssh {live.address} deploy hello" in said(done)
    assert said(live.ssh("alice", "set", "hello")) == "debug=true\nv=two words {x} \u00e4\n"
    done = live.ssh("alice", "unset", "hello", "v", "debug")
    assert done.code == 0 and value(live.box) == "default", said(done)
    done = live.ssh("alice", "set", "hello", "v=two", "words")
    assert done.code == 2 and "over ssh twice" in said(done)
    done = live.ssh("alice", "unset", "hello", "v")
    assert done.code == 2 and f"hint: ssh {live.address} config hello --origin" in said(done)


def test_other_keys_set_nothing(live: Door) -> None:
    live.add("reader", "read", "hello")
    live.add("other", "push", "other")
    for name, code in (("reader", 3), ("other", 3)):
        for words in (("set", "hello", "v=1"), ("unset", "hello", "v"), ("set", "hello")):
            assert live.ssh(name, *words).code == code
    assert live.box.ref(repo="pillar") is None
    live.add("alice", "read", "hello")  # a right is no less with the token of an older one
    for words in ("set", "set hello --root=/ v=1", "set hello -x v=1", "unset hello", "set 'hello;id' v=1"):
        assert live.ssh("alice", words).code in (2, 3)


def test_a_key_that_is_revoked_while_it_waits_sets_nothing(live: Door) -> None:
    work = live.work("alice")
    work.commit({".salt/20_gate.sls": GATED.replace("{0}", str(live.box.root))})
    assert work.push().code == 0
    live.add("bob", "push", "hello")
    with live.started("alice", "set hello v=wait"):
        until(lambda: live.box.exists(3) and "install 20_gate" in live.box.steps(3), 60)
    with live.started("bob", "set hello b=2") as (child, out):
        until(lambda: "waiting for pillar deployment 3" in out.read_text(), 60)
        live.remove("bob")
        (live.box.root / "gate").touch()
        assert child.wait(60) == 3
        assert "session expired or key revoked" in out.read_text()
    assert (git_data(live.box), live.box.history.newest("hello")) == ({"v": "wait"}, 3)


def test_a_secret_over_ssh_is_in_no_process_list_and_no_environment(live: Door) -> None:
    gate = GATED.replace("- name: ", f"- name: env >{live.box.root}/env; ").replace("{0}", str(live.box.root))
    work = live.work("alice")
    work.commit({".salt/20_gate.sls": gate})
    assert work.push().code == 0
    results: list[Output] = []
    given = ("set", "hello", "v=wait", "plain=visible-on-the-clients-command-line", "smtp.pw=-")
    asking = threading.Thread(target=lambda: results.append(live.ssh("alice", *given, stdin=b"hunter2-s3cret\n")))
    asking.start()
    until(lambda: live.box.exists(3) and "install 20_gate" in live.box.steps(3), 60)
    until((live.box.root / "env").exists)
    seen, visible = everywhere(b"hunter2-s3cret"), everywhere(b"visible-on-the-clients")
    environments = b"".join(_environments())
    (live.box.root / "gate").touch()
    asking.join(60)
    assert results[0].code == 0, said(results[0])
    assert git_data(live.box)["smtp"] == {"pw": "hunter2-s3cret"}
    assert not seen
    assert all("ssh" in each and "corpushooks" not in each for each in visible), "only the client has it"
    assert b"hunter2-s3cret" not in environments + (live.box.root / "env").read_bytes() + said(results[0]).encode()
    assert b"visible-on" not in (live.box.root / "env").read_bytes()


def _environments() -> list[bytes]:
    found = []
    for each in Path("/proc").glob("[0-9]*/environ"):
        try:
            found.append(each.read_bytes() if int(each.parent.name) != os.getpid() else b"")
        except OSError:
            continue
    return found


def test_a_terminal_over_ssh_asks_and_does_not_show(live: Door) -> None:
    user, _, address = live.server.url("").removeprefix("ssh://").partition("@")
    host, _, port = address.partition(":")
    command = [*live.server.command_with(live.folder / "alice").split(), "-t", "-p", port, f"{user}@{host}"]
    seen = at_a_terminal([*command, "set", "hello", "asked=-", "--no-deploy"], b"asked: ", b"typed-s3cret\n")
    assert b"typed" not in seen
    assert git_data(live.box) == {"asked": "typed-s3cret"}
